//! Sets of slots.

/// A set of slots, one bit each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::engine) struct Bits(Vec<u64>);

impl Bits {
    pub(in crate::engine) fn set(&mut self, slot: u32) {
        let word = slot as usize / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (slot % 64);
    }

    pub(in crate::engine) fn clear(&mut self, slot: u32) {
        if let Some(w) = self.0.get_mut(slot as usize / 64) {
            *w &= !(1 << (slot % 64));
        }
    }

    pub(in crate::engine) fn put(&mut self, slot: u32, is: bool) {
        if is { self.set(slot) } else { self.clear(slot) }
    }

    pub(in crate::engine) fn has(&self, slot: u32) -> bool {
        self.0
            .get(slot as usize / 64)
            .is_some_and(|w| w >> (slot % 64) & 1 == 1)
    }

    pub(in crate::engine) fn and(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= b;
        }
    }

    pub(in crate::engine) fn without(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a &= !b;
        }
    }

    pub(in crate::engine) fn or(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            *a |= b;
        }
    }

    pub(in crate::engine) fn count(&self) -> usize {
        self.0.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().zip(0_u32..).flat_map(|(word, i)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros();
                left &= left - 1;
                Some(i * 64 + bit)
            })
        })
    }
}

/// Largest set that is kept as a list.
const FEW: usize = 32;

/// A set of slots that is small for values which few clusters have.
#[derive(Debug, Clone)]
pub(in crate::engine) enum Posting {
    Few(Vec<u32>),
    Many(Bits),
}

impl Default for Posting {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Posting {
    pub(in crate::engine) fn insert(&mut self, slot: u32) {
        match self {
            Self::Few(list) if list.contains(&slot) => {}
            Self::Few(list) if list.len() < FEW => list.push(slot),
            Self::Few(list) => {
                let mut bits = Bits::default();
                for s in list.iter().chain([&slot]) {
                    bits.set(*s);
                }
                *self = Self::Many(bits);
            }
            Self::Many(bits) => bits.set(slot),
        }
    }

    pub(in crate::engine) fn remove(&mut self, slot: u32) {
        match self {
            Self::Few(list) => list.retain(|s| *s != slot),
            Self::Many(bits) => bits.clear(slot),
        }
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        matches!(self, Self::Few(list) if list.is_empty())
    }

    pub(in crate::engine) fn add_to(&self, bits: &mut Bits) {
        match self {
            Self::Few(list) => list.iter().for_each(|s| bits.set(*s)),
            Self::Many(many) => bits.or(many),
        }
    }

    /// Calls `f` with each slot.
    pub(in crate::engine) fn each(&self, mut f: impl FnMut(u32)) {
        match self {
            Self::Few(list) => list.iter().for_each(|s| f(*s)),
            Self::Many(bits) => bits.iter().for_each(f),
        }
    }
}
