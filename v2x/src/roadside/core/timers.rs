//! What the service does when time passes: asks again, gives up, withdraws, forgets.

use std::time::Duration;

use super::outbound::stay;
use super::{Action, Core};
use crate::roadside::frame::Word;
use crate::units::{Micros, duration_micros};

/// How long the service waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// A snapshot must be acknowledged within this (plus its transmission at 100 Mbit/s).
    pub acknowledge: Duration,
    /// A context asked for must arrive within this (plus its transmission at 100 Mbit/s).
    pub take: Duration,
    /// Attempts of either.
    pub attempts: u32,
    /// After a failure the same relocation is not tried again for so long.
    pub cool_down: Duration,
    /// A copy is withdrawn when its prediction was not repeated for so long.
    pub withdraw: Duration,
    /// A hand-over that the target does not confirm within this has failed.
    pub confirm: Duration,
    /// Contexts that nobody asks for are forgotten after this.
    pub forget: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            acknowledge: Duration::from_millis(500),
            take: Duration::from_millis(300),
            attempts: 3,
            cool_down: Duration::from_secs(2),
            withdraw: Duration::from_secs(15),
            confirm: Duration::from_secs(30),
            forget: Duration::from_secs(600),
        }
    }
}

impl Core {
    pub(super) fn tick(&mut self, now: Micros, out: &mut Vec<Action>) {
        let mut late = Vec::new();
        let mut unused = Vec::new();
        for (vehicle, s) in &self.served {
            for (target, copy) in &s.copies {
                match copy.deadline {
                    Some(d) if now >= d => late.push((vehicle.clone(), target.clone(), copy.id)),
                    None if now - copy.predicted > duration_micros(self.timers.withdraw) => {
                        unused.push((vehicle.clone(), target.clone(), copy.id));
                    }
                    _ => {}
                }
            }
        }
        for (vehicle, target, id) in late {
            let attempts = self.relocations.get(&id).map_or(u32::MAX, |r| r.attempts);
            if attempts < self.timers.attempts {
                self.push(now, &vehicle, &target, out);
                continue;
            }
            self.end(now, id, "the target does not acknowledge", out);
            self.cool(now, &vehicle, &target);
            out.push(Action::Send(
                target.clone(),
                self.word(Word::Drop {
                    id,
                    vehicle: vehicle.clone(),
                }),
            ));
            out.push(stay(&vehicle, &target));
            if let Some(s) = self.served.get_mut(&vehicle) {
                s.copies.remove(&target);
            }
        }
        for (vehicle, target, id) in unused {
            self.withdraw(now, &vehicle, &target, id, out);
            if let Some(s) = self.served.get_mut(&vehicle) {
                s.copies.remove(&target);
            }
        }
        let asked: Vec<String> = self
            .arriving
            .iter()
            .filter(|(_, a)| now >= a.deadline)
            .map(|(v, _)| v.clone())
            .collect();
        for vehicle in asked {
            if self
                .arriving
                .get(&vehicle)
                .is_some_and(|a| a.attempts < self.timers.attempts)
            {
                self.ask(now, &vehicle, out);
            } else {
                self.reject(now, &vehicle, out);
            }
        }
        let unconfirmed: Vec<u64> = self
            .frozen
            .values()
            .filter(|f| now - f.since > duration_micros(self.timers.confirm))
            .map(|f| f.id)
            .collect();
        for id in unconfirmed {
            self.end(now, id, "the target does not confirm", out);
        }
        let forget = duration_micros(self.timers.forget);
        self.frozen.retain(|_, f| now - f.since <= forget);
        self.held.retain(|_, h| now - h.touched <= forget);
        self.served.retain(|_, s| now - s.heard <= forget);
        self.cooling.retain(|_, t| now < *t);
    }
}
