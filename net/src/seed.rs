//! Randomness. One number is the seed of a run; every component draws from a stream of its own, named, so that
//! one component's draws never shift another's.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The seed of a run, or of one part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// A seed that nobody can guess, where nothing has to be repeated: drawn from the operating system.
    #[must_use]
    pub fn unpredictable() -> Seed {
        let mut bytes = [0; 8];
        // Without the system's randomness no TLS works either.
        let _ = rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes);
        Seed(u64::from_le_bytes(bytes))
    }

    /// The generator of the stream `name`: the same for the same seed and name on every machine.
    #[must_use]
    pub fn rng(self, name: &str) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.child(name).0)
    }

    /// A seed of its own for the part `name`.
    #[must_use]
    pub fn child(self, name: &str) -> Seed {
        // FNV-1a over the seed's bytes and the name, then a finaliser (splitmix64), so that near seeds are far apart.
        let mut h = 0xcbf2_9ce4_8422_2325_u64;
        for b in self.0.to_le_bytes().iter().chain(name.as_bytes()) {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
        h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Seed(h ^ (h >> 31))
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
