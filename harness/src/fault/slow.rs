//! A slow disk: the control group's bound on what may be written and read per second.

use std::path::{Path, PathBuf};

use super::FaultError;

/// What is written where, to bound a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The control group's file.
    pub file: PathBuf,
    /// What to write to put the bound in.
    pub on: String,
    /// What to write to take it away.
    pub off: String,
}

/// How a device (`8:0`) is bounded to so many bytes per second, by the version of control groups. In version 1 only
/// direct input and output is bounded, not what the kernel writes back later.
#[must_use]
pub fn bounds(group: &Path, version: u8, device: &str, bytes: u64) -> Vec<Bound> {
    if version == 2 {
        return vec![Bound {
            file: group.join("io.max"),
            on: format!("{device} rbps={bytes} wbps={bytes}"),
            off: format!("{device} rbps=max wbps=max"),
        }];
    }
    ["read", "write"]
        .iter()
        .map(|way| Bound {
            file: group.join(format!("blkio.throttle.{way}_bps_device")),
            on: format!("{device} {bytes}"),
            off: format!("{device} 0"),
        })
        .collect()
}

/// The device under `path` by `/proc/self/mountinfo`: the longest mount point that `path` begins with; none where it is
/// no device of its own (tmpfs: major number 0).
#[must_use]
pub fn device(mountinfo: &str, path: &Path) -> Option<String> {
    let mut best: Option<(&Path, &str)> = None;
    for line in mountinfo.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(point)) = (fields.nth(2), fields.nth(1)) else {
            continue;
        };
        let point = Path::new(point);
        if path.starts_with(point) && best.is_none_or(|(b, _)| point.components().count() >= b.components().count()) {
            best = Some((point, device));
        }
    }
    best.map(|(_, d)| d.to_owned()).filter(|d| !d.starts_with("0:"))
}

/// Bounds that hold while this lives.
pub struct Slowed(Vec<Bound>);

impl Slowed {
    /// Puts bounds in.
    ///
    /// # Errors
    /// [`FaultError::Refused`]: the control groups may not be written here.
    pub fn put(bounds: Vec<Bound>) -> Result<Self, FaultError> {
        let mut put = Self(Vec::new());
        for b in bounds {
            std::fs::write(&b.file, &b.on).map_err(|e| FaultError::Refused {
                what: format!("writing {}: {e}", b.file.display()),
                cure: "run it in a host that has its control groups to itself, as the node image does".into(),
            })?;
            put.0.push(b);
        }
        Ok(put)
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        for b in &self.0 {
            let _ = std::fs::write(&b.file, &b.off);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_bounded() {
        let group = Path::new("/g");
        let v2 = bounds(group, 2, "8:0", 1000);
        assert_eq!(v2[0].on, "8:0 rbps=1000 wbps=1000");
        let v1 = bounds(group, 1, "8:0", 1000);
        assert_eq!(
            (v1[1].file.as_path(), v1[1].on.as_str(), v1[1].off.as_str()),
            (Path::new("/g/blkio.throttle.write_bps_device"), "8:0 1000", "8:0 0")
        );
    }

    #[test]
    fn the_device_is_that_of_the_innermost_mount() {
        let info = "1 0 0:40 / / rw - overlay overlay rw\n\
                    2 1 8:1 /v/x /var/lib/kubelet rw,relatime - ext4 /dev/sda1 rw\n\
                    3 1 0:50 / /run rw - tmpfs tmpfs rw\n";
        let of = |p: &str| device(info, Path::new(p));
        assert_eq!(of("/var/lib/kubelet/pods"), Some("8:1".to_owned()));
        assert_eq!(of("/var/lib/kubeletx"), None);
        assert_eq!(of("/run/x"), None);
    }

    #[test]
    fn bounds_are_taken_away_when_the_fault_ends() {
        let dir = tempfile::tempdir().unwrap();
        let b = bounds(dir.path(), 2, "8:0", 7);
        let file = b[0].file.clone();
        let slowed = Slowed::put(b).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "8:0 rbps=7 wbps=7");
        drop(slowed);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "8:0 rbps=max wbps=max");
        assert!(Slowed::put(bounds(Path::new("/nowhere"), 2, "8:0", 7)).is_err());
    }
}
