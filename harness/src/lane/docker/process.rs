//! The daemon's own process, where it is on this machine and can be seen: what it may not do itself, its containers may
//! not either.

use std::fs;

use bollard::models::ResourcesUlimits;

use super::daemon::Endpoint;

/// The process that listens at an endpoint, if it is a daemon's: systemd holds a socket that it activates.
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// `dockerd` or `podman`.
    pub name: String,
    /// Whose it is: 0 is root.
    pub user: u32,
}

impl Process {
    /// Who is at the other end of a daemon's socket.
    pub async fn of(e: &Endpoint) -> Option<Self> {
        let conn = tokio::net::UnixStream::connect(e.socket()?).await.ok()?;
        let peer = conn.peer_cred().ok()?;
        let (pid, user) = (peer.pid()?, peer.uid());
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
        matches!(name.as_str(), "dockerd" | "podman").then_some(Self { pid, name, user })
    }

    /// The capabilities that it lacks, of those that the kernel knows.
    #[must_use]
    pub fn lacks(&self) -> Option<Vec<String>> {
        let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap")
            .ok()
            .and_then(|t| t.trim().parse().ok())
            .unwrap_or(40);
        lacks(&fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?, last)
    }
}

/// Limits to give to containers, because the daemon would give more than it may itself: Podman sets `nofile` and `nproc`
/// of every container to 1,048,576 unless told otherwise, and without `SYS_RESOURCE` no process raises a hard limit.
pub(super) async fn limits(e: &Endpoint) -> Vec<ResourcesUlimits> {
    let Some(p) = Process::of(e).await.filter(|p| p.name == "podman") else {
        return Vec::new();
    };
    if !p.lacks().is_some_and(|l| l.iter().any(|c| c == "SYS_RESOURCE")) {
        return Vec::new();
    }
    hard(&fs::read_to_string(format!("/proc/{}/limits", p.pid)).unwrap_or_default())
}

/// The hard limits in a `/proc/<pid>/limits`, by the names that `--ulimit` has for them; no limit is -1.
fn hard(limits: &str) -> Vec<ResourcesUlimits> {
    let of = |title: &str| {
        let line = limits.lines().find_map(|l| l.strip_prefix(title))?;
        match line.split_whitespace().nth(1)? {
            "unlimited" => Some(-1),
            n => n.parse().ok(),
        }
    };
    [("nofile", "Max open files"), ("nproc", "Max processes")]
        .into_iter()
        .filter_map(|(name, title)| {
            let most = of(title)?;
            Some(ResourcesUlimits {
                name: Some(name.to_owned()),
                soft: Some(most),
                hard: Some(most),
            })
        })
        .collect()
}

/// The capabilities of Linux by number (`linux/capability.h`), up to the last one.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The capabilities that a process lacks, from its `/proc/<pid>/status`; none when it does not say. The kernel's last
/// capability (`/proc/sys/kernel/cap_last_cap`) bounds what can be had.
fn lacks(status: &str, last: usize) -> Option<Vec<String>> {
    let mask = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|m| u64::from_str_radix(m.trim(), 16).ok())?;
    let missing = CAPABILITIES
        .iter()
        .enumerate()
        .take(last + 1)
        .filter(|(i, _)| mask & (1 << i) == 0)
        .map(|(_, n)| (*n).to_owned());
    Some(missing.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_read_from_a_process_status() {
        let all = "Name:\tdockerd\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        let one = "CapEff:\t000001fffeffffff\n";
        assert_eq!(lacks(all, 40), Some(vec![]));
        assert_eq!(lacks(one, 40), Some(vec!["SYS_RESOURCE".to_owned()]));
        assert_eq!(lacks("CapEff:\t000000ffffffffff\n", 39), Some(vec![]));
        assert_eq!(lacks("Name: x\n", 40), None);
    }

    #[test]
    fn limits_are_read_from_a_process() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             100                  32768                processes \n\
                    Max open files            1024                 unlimited            files     \n";
        let limits: Vec<_> = hard(text).into_iter().map(|l| (l.name, l.soft, l.hard)).collect();
        let want = |name: &str, n| (Some(name.to_owned()), Some(n), Some(n));
        assert_eq!(limits, [want("nofile", -1), want("nproc", 32768)]);
        assert!(hard("").is_empty());
    }
}
