//! The context of one vehicle at the edge: what would be missed if it were lost.
//!
//! Updates are applied exactly once and in order: an update that was applied is dropped when it comes again, one that
//! comes early waits until those before it are there. Independent of that bookkeeping the context carries a digest
//! chained over every update applied, which the auditor recomputes from what the vehicle sent: an update lost,
//! duplicated or reordered anywhere, on any edge, changes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::topics::Cam;
use crate::units::Micros;

/// One update of a vehicle's context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Number, from 1, without gaps.
    pub seq: u64,
    /// When the vehicle made it.
    pub sent_at: Micros,
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// Metres per second.
    pub speed: f64,
    /// Radians.
    pub heading: f64,
    /// Cell.
    pub cell: usize,
}

impl From<&Cam> for Update {
    fn from(c: &Cam) -> Self {
        Self {
            seq: c.seq,
            sent_at: c.sent_at,
            x: c.x,
            y: c.y,
            speed: c.speed,
            heading: c.heading,
            cell: c.cell,
        }
    }
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Applied, and with it those that waited for it: numbers `from..=to`.
    Applied {
        /// First number applied.
        from: u64,
        /// Last number applied.
        to: u64,
    },
    /// It had been applied before; dropped.
    Duplicate,
    /// It waits for the missing number.
    Early {
        /// The first number that is missing.
        missing: u64,
    },
    /// Too many wait already; dropped (the vehicle will send it again).
    Refused,
}

/// Last positions kept.
pub const POSITIONS: usize = 32;
/// Updates kept so that a copy elsewhere can be brought up to date without a new snapshot.
pub const RECENT: usize = 256;
/// Early updates that may wait.
pub const WAITING: usize = 1024;

/// The context of one vehicle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// The vehicle.
    pub vehicle: String,
    /// Number before the first update that this context has seen (0 unless it was started in the middle).
    pub base: u64,
    /// Highest number up to which all are applied.
    pub last: u64,
    /// Updates applied.
    pub applied: u64,
    /// Digest chained over the updates applied (see [`chain`]).
    pub digest: u64,
    /// Last positions, oldest first.
    pub positions: VecDeque<Update>,
    /// Warnings given: event -> when last.
    pub warnings: BTreeMap<String, Micros>,
    /// What the vehicle wants to hear of.
    pub subscriptions: BTreeSet<String>,
    /// Early updates.
    pub waiting: BTreeMap<u64, Update>,
}

/// The digest after `update`, from the digest before it (FNV-1a over number and time of sending).
#[must_use]
pub fn chain(digest: u64, seq: u64, sent_at: Micros) -> u64 {
    let mut h = if digest == 0 { 0xcbf2_9ce4_8422_2325 } else { digest };
    for b in seq.to_le_bytes().iter().chain(&sent_at.to_le_bytes()) {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    }
    h
}

impl Context {
    /// The context of a vehicle whose next update is number `base + 1`.
    #[must_use]
    pub fn new(vehicle: &str, base: u64) -> Self {
        Self {
            vehicle: vehicle.to_owned(),
            base,
            last: base,
            applied: 0,
            digest: 0,
            positions: VecDeque::new(),
            warnings: BTreeMap::new(),
            subscriptions: BTreeSet::from([crate::topics::warn(vehicle)]),
            waiting: BTreeMap::new(),
        }
    }

    /// Applies an update, exactly once and in order.
    pub fn apply(&mut self, u: Update) -> Outcome {
        if u.seq <= self.last || self.waiting.contains_key(&u.seq) {
            return Outcome::Duplicate;
        }
        if u.seq > self.last + 1 {
            if self.waiting.len() >= WAITING {
                return Outcome::Refused;
            }
            self.waiting.insert(u.seq, u);
            return Outcome::Early { missing: self.last + 1 };
        }
        let from = u.seq;
        self.take(u);
        while let Some(u) = self.waiting.remove(&(self.last + 1)) {
            self.take(u);
        }
        Outcome::Applied { from, to: self.last }
    }

    fn take(&mut self, u: Update) {
        self.last = u.seq;
        self.applied += 1;
        self.digest = chain(self.digest, u.seq, u.sent_at);
        self.positions.push_back(u);
        while self.positions.len() > RECENT {
            self.positions.pop_front();
        }
    }

    /// The last position.
    #[must_use]
    pub fn position(&self) -> Option<&Update> {
        self.positions.back()
    }

    /// The updates after number `have`, oldest first; None when they are no longer all kept (a snapshot is needed).
    #[must_use]
    pub fn since(&self, have: u64) -> Option<Vec<Update>> {
        if have > self.last || have < self.base {
            return None;
        }
        let updates: Vec<Update> = self.positions.iter().filter(|u| u.seq > have).cloned().collect();
        (updates.len() as u64 == self.last - have).then_some(updates)
    }

    /// The context as it travels: JSON, filled with spaces to `size` bytes (more when the content is larger). Only the
    /// last [`POSITIONS`] positions travel, and nothing that waits (the vehicle sends that again).
    #[must_use]
    pub fn to_bytes(&self, size: usize) -> Vec<u8> {
        let mut c = self.clone();
        c.waiting.clear();
        while c.positions.len() > POSITIONS {
            c.positions.pop_front();
        }
        let mut bytes = crate::topics::to_json(&c);
        if bytes.len() < size {
            bytes.resize(size, b' ');
        }
        bytes
    }

    /// A context that travelled.
    ///
    /// # Errors
    /// When the bytes are no context.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn update(seq: u64) -> Update {
        Update {
            seq,
            sent_at: seq as i64 * 100,
            x: 0.5,
            y: 1.25,
            speed: 3.5,
            heading: 0.1,
            cell: 1,
        }
    }

    fn expected(n: u64) -> u64 {
        (1..=n).fold(0, |d, s| chain(d, s, s as i64 * 100))
    }

    #[test]
    fn outcomes() {
        let mut c = Context::new("v", 0);
        let cases = [
            (1, Outcome::Applied { from: 1, to: 1 }),
            (1, Outcome::Duplicate),
            (3, Outcome::Early { missing: 2 }),
            (3, Outcome::Duplicate),
            (4, Outcome::Early { missing: 2 }),
            (2, Outcome::Applied { from: 2, to: 4 }),
            (4, Outcome::Duplicate),
            (5, Outcome::Applied { from: 5, to: 5 }),
        ];
        for (seq, want) in cases {
            assert_eq!(c.apply(update(seq)), want, "update {seq}");
        }
        assert_eq!((c.last, c.applied, c.digest), (5, 5, expected(5)));
        assert_eq!(c.since(3).unwrap().iter().map(|u| u.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(c.since(5).unwrap(), []);
        assert_eq!(c.since(6), None);
    }

    #[test]
    fn travels_at_its_size() {
        let mut c = Context::new("v", 0);
        for s in 1..=100 {
            c.apply(update(s));
        }
        let bytes = c.to_bytes(65_536);
        assert_eq!(bytes.len(), 65_536);
        let back = Context::from_bytes(&bytes).unwrap();
        assert_eq!(
            (back.last, back.digest, back.positions.len()),
            (100, c.digest, POSITIONS)
        );
        assert_eq!(back.since(90), c.since(90));
        assert_eq!(back.since(10), None);
        assert!(c.to_bytes(10).len() > 1000);
    }

    proptest! {
        /// Any order, any repetition: in order, exactly once; what never came is seen to be missing.
        #[test]
        fn exactly_once_in_order(
            n in 1_u64..60,
            order in prop::collection::vec((0_u64..60, any::<u32>()), 0..200),
            skip in prop::option::of(0_u64..60),
        ) {
            let mut c = Context::new("v", 0);
            let skip = skip.map(|s| s % n + 1);
            let mut sent: Vec<(u32, u64)> = (1..=n).map(|s| ((s as u32).wrapping_mul(2_654_435_761), s)).collect();
            sent.extend(order.iter().map(|(s, k)| (*k, s % n + 1)));
            sent.sort_unstable();
            let mut seen = 0;
            for (_, s) in sent {
                if Some(s) == skip { continue; }
                if let Outcome::Applied { from, to } = c.apply(update(s)) {
                    prop_assert_eq!(from, seen + 1);
                    prop_assert!(to >= from);
                    seen = to;
                }
            }
            let whole = skip.map_or(n, |s| s - 1);
            prop_assert_eq!(c.last, whole);
            prop_assert_eq!(c.applied, whole);
            prop_assert_eq!(c.digest, expected(whole));
        }
    }
}
