//! A full disk: a file that takes what room there is.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::FaultError;

/// The file that fills a directory's file system.
pub const FILE: &str = ".cfn-fault-disk";
/// File systems above this size are taken for the machine's own, MiB.
pub const MOST: u64 = 16 << 10;
const MIB: u64 = 1 << 20;

/// How much to write to leave `leave` MiB of a file system with `free` of `size`.
///
/// # Errors
/// [`FaultError::Refused`]: the file system is larger than `most`, so it is the machine's and not the host's own.
pub fn amount(size: u64, free: u64, leave: u64, most: u64) -> Result<u64, FaultError> {
    if size > most {
        return Err(FaultError::Refused {
            what: format!("the file system has {size} MiB: filling it would fill the machine's disk"),
            cure: format!(
                "give the host a volume of its own of at most {most} MiB (a tmpfs with size=, a loop device)"
            ),
        });
    }
    Ok(free.saturating_sub(leave))
}

/// A file that fills a file system while this lives.
pub struct Filled(PathBuf);

impl Filled {
    /// Writes `mib` MiB into a file in `dir`, or less where the file system is full before.
    ///
    /// # Errors
    /// [`FaultError::Io`] for anything but a full disk.
    pub fn fill(dir: &Path, mib: u64) -> Result<Self, FaultError> {
        let path = dir.join(FILE);
        let doing = format!("filling {}", path.display());
        let mut f = std::fs::File::create(&path).map_err(FaultError::io(&doing))?;
        let filled = Self(path);
        let block = vec![0x5a; MIB as usize];
        for _ in 0..mib {
            match f.write_all(&block) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => return Ok(filled),
                Err(e) => return Err(FaultError::io(doing)(e)),
            }
        }
        match f.sync_all() {
            Err(e) if !matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                Err(FaultError::io(doing)(e))
            }
            _ => Ok(filled),
        }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_disk_is_not_filled() {
        assert_eq!(amount(100, 80, 5, MOST).ok(), Some(75));
        assert_eq!(amount(100, 3, 5, MOST).ok(), Some(0));
        let refused = amount(50_000, 40_000, 0, MOST).unwrap_err().to_string();
        assert!(refused.contains("machine's disk"), "{refused}");
    }

    #[test]
    fn the_file_is_gone_when_the_fault_ends() {
        let dir = tempfile::tempdir().unwrap();
        let filled = Filled::fill(dir.path(), 3).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join(FILE)).unwrap().len(), 3 * MIB);
        drop(filled);
        assert!(!dir.path().join(FILE).exists());
    }
}
