//! Memory pressure: memory taken and held.

use super::FaultError;

/// What is left for others on the machine at least, MiB.
const LEAVE: u64 = 512;
const MIB: usize = 1 << 20;

/// Whether so much may be taken: the bound is the control group's, else the machine's less what it needs itself.
///
/// # Errors
/// [`FaultError::Refused`]: there is no bound, and it would take the machine's last memory.
pub fn allowed(mib: u64, limit: Option<u64>, available: u64) -> Result<(), FaultError> {
    if limit.is_some() || mib + LEAVE <= available {
        return Ok(());
    }
    Err(FaultError::Refused {
        what: format!("taking {mib} MiB of {available} would leave the machine without memory"),
        cure: format!(
            "take at most {} MiB, or give the host a bound (docker --memory)",
            available.saturating_sub(LEAVE)
        ),
    })
}

/// The control group's bound, MiB; none: none below the machine's memory. `text` is `memory.max` (version 2) or
/// `memory.limit_in_bytes` (version 1, whose "none" is a very large number).
#[must_use]
pub fn limit(text: &str, machine: u64) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    Some(bytes >> 20).filter(|m| *m < machine)
}

/// Memory that is held while this lives.
pub struct Held(Vec<Vec<u8>>);

impl Held {
    /// Takes `mib` MiB, a MiB at a time; each page is written, else the kernel would not give it. `taken` hears how much
    /// there is after each.
    #[must_use]
    pub fn take(mib: u64, mut taken: impl FnMut(usize)) -> Self {
        let mut all = Vec::new();
        for i in 0..mib {
            // Not zero: pages of zeros may be one and the same.
            all.push(vec![(i % 251) as u8 + 1; MIB]);
            taken(all.len());
        }
        Self(all)
    }

    /// How much it is, MiB.
    #[must_use]
    pub fn mib(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_last_memory_is_not_taken() {
        for (mib, limit, available, ok) in [
            (100, None, 1000, true),
            (600, None, 1000, false),
            (600, Some(500), 1000, true),
            (489, None, 1000, false),
            (488, None, 1000, true),
        ] {
            assert_eq!(
                allowed(mib, limit, available).is_ok(),
                ok,
                "{mib} {limit:?} {available}"
            );
        }
    }

    #[test]
    fn limits_are_read_in_both_versions() {
        assert_eq!(limit("536870912\n", 24000), Some(512));
        assert_eq!(limit("max\n", 24000), None);
        assert_eq!(limit("9223372036854771712\n", 24000), None);
    }

    #[test]
    fn what_is_taken_is_there() {
        let before = resident();
        let held = Held::take(32, |_| {});
        assert_eq!(held.mib(), 32);
        assert!(resident() >= before + 30, "resident memory grows");
    }

    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() / 1024
    }
}
