//! The first process of a node container: makes the container look like a machine, starts the node as its only child,
//! buries orphans, passes signals on. It is a process of its own so that the node can wait for its children by pid.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::capacity::{self, Capacity};
use super::{NodeError, RUN};

/// Set for the child: the preamble was done.
const PREPARED: &str = "CFN_NODE_PREPARED";

/// Whether the first process of the container has prepared it and started this one. Then signals are no longer blocked
/// as they are in the first process, neither here nor in what is started from here.
///
/// # Errors
/// When the kernel refuses (never).
pub fn prepared() -> Result<bool, NodeError> {
    if std::env::var_os(PREPARED).is_none() {
        return Ok(false);
    }
    SigSet::empty()
        .thread_set_mask()
        .map_err(|e| refused("unblocking signals", e))?;
    Ok(true)
}

/// Does the preamble, then is the first process until the node ends; returns its exit status.
///
/// # Errors
/// When this is not the first process of a container, or the kernel refuses what a node needs.
pub fn first_process(capacity: Option<Capacity>) -> Result<i32, NodeError> {
    if std::process::id() != 1 {
        return Err(NodeError::NotFirst);
    }
    mounts()?;
    cgroups()?;
    if let Some(c) = capacity {
        pretend(c)?;
    }
    // Signals wait from here on, in the child too, until it says otherwise.
    let mut watched = SigSet::empty();
    for s in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        watched.add(s);
    }
    watched.thread_block().map_err(|e| refused("blocking signals", e))?;
    let own = "/proc/self/exe";
    let child = Command::new(own)
        .args(std::env::args_os().skip(1))
        .env(PREPARED, "1")
        .spawn()
        .map_err(NodeError::file(own))?;
    let node = Pid::from_raw(child.id() as i32);
    loop {
        match watched.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = bury(node) {
                    return Ok(code);
                }
            }
            // A second docker stop, or one while the node ends, changes nothing.
            Ok(_) => {
                let _ = kill(node, Signal::SIGTERM);
            }
            Err(_) => {}
        }
    }
}

/// Waits for every child that has ended; the node's status when it is among them.
fn bury(node: Pid) -> Option<i32> {
    let mut ended = None;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => break,
            WaitStatus::Exited(pid, code) if pid == node => ended = Some(code),
            WaitStatus::Signaled(pid, signal, _) if pid == node => ended = Some(128 + signal as i32),
            _ => {}
        }
    }
    ended
}

fn refused(what: &str, e: nix::Error) -> NodeError {
    NodeError::Kernel {
        what: what.to_owned(),
        cause: format!("{e} (a node container needs the capabilities SYS_ADMIN and NET_ADMIN, and seccomp=unconfined)"),
    }
}

const NONE: Option<&str> = None;

fn mounts() -> Result<(), NodeError> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_SHARED, NONE)
        .map_err(|e| refused("mount --make-rshared /", e))?;
    for path in ["/sys", "/proc/sys", "/sys/fs/cgroup"] {
        // Read-only in an ordinary container; where it is writable already, one of the two is refused.
        let _ = mount(NONE, path, NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, NONE)
            .or_else(|_| mount(NONE, path, NONE, MsFlags::MS_REMOUNT, NONE));
    }
    uncover("/run");
    // No socket, pid or network lease of the time before a restart.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
        .map_err(|e| refused("mounting /run", e))?;
    for directory in [RUN.to_owned(), format!("{RUN}/hold"), "/run/lock".to_owned()] {
        fs::create_dir_all(&directory).map_err(NodeError::file(&directory))?;
    }
    if !Path::new("/dev/kmsg").exists() {
        // Kubelet does not start without one.
        std::os::unix::fs::symlink("/dev/null", "/dev/kmsg").map_err(NodeError::file("/dev/kmsg"))?;
    }
    // Of the whole machine: a node takes a dozen inotify instances, and the kernel's default of 128 ends at nine nodes.
    for (name, least) in [("max_user_instances", 8192), ("max_user_watches", 524_288)] {
        let file = format!("/proc/sys/fs/inotify/{name}");
        let now = fs::read_to_string(&file)
            .ok()
            .and_then(|t| t.trim().parse::<u64>().ok());
        if now.is_some_and(|n| n < least) && fs::write(&file, least.to_string()).is_err() {
            println!("[cfn node] {file} is low and cannot be raised here");
        }
    }
    Ok(())
}

/// Takes away what the engine has mounted below a directory that is about to be covered (Podman: `/run/.containerenv`):
/// kubelet asks for the room on the first place where a disk is mounted, and that must be one that can be seen.
fn uncover(directory: &str) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for place in below(&mounts, directory) {
        let _ = umount2(place, MntFlags::MNT_DETACH);
    }
}

/// The mounts below a directory in a `/proc/self/mountinfo`, the last one first.
fn below<'a>(mounts: &'a str, directory: &str) -> Vec<&'a str> {
    mounts
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .filter(|p| p.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
        .rev()
        .collect()
}

/// A cgroup namespace of the container's own, whose root is what Docker gave the container: kubelet and runc then see
/// one and the same tree.
fn cgroups() -> Result<(), NodeError> {
    unshare(CloneFlags::CLONE_NEWCGROUP).map_err(|e| refused("a cgroup namespace", e))?;
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers");
    if unified.exists() {
        return delegate(unified);
    }
    let own = fs::read_to_string("/proc/self/cgroup").map_err(NodeError::file("/proc/self/cgroup"))?;
    for hierarchy in hierarchies(&own) {
        let directory = format!("/sys/fs/cgroup/{}", hierarchy.trim_start_matches("name="));
        let _ = fs::create_dir_all(&directory);
        let _ = umount2(directory.as_str(), MntFlags::MNT_DETACH);
        let options = if hierarchy.starts_with("name=") {
            format!("none,{hierarchy}")
        } else {
            hierarchy.to_owned()
        };
        if let Err(e) = mount(
            Some("cgroup"),
            directory.as_str(),
            Some("cgroup"),
            MsFlags::empty(),
            Some(options.as_str()),
        ) {
            println!("[cfn node] no cgroup hierarchy {hierarchy}: {e}");
        }
    }
    Ok(())
}

/// The version 1 hierarchies in a `/proc/self/cgroup`.
fn hierarchies(own: &str) -> Vec<&str> {
    own.lines()
        .filter_map(|l| l.split(':').nth(1))
        .filter(|h| !h.is_empty())
        .collect()
}

/// cgroup version 2: controllers reach the children of a cgroup only when no process is in it itself.
fn delegate(controllers: &Path) -> Result<(), NodeError> {
    let leaf = Path::new("/sys/fs/cgroup/init");
    fs::create_dir_all(leaf).map_err(NodeError::file(leaf))?;
    let pids = fs::read_to_string("/sys/fs/cgroup/cgroup.procs").unwrap_or_default();
    for pid in pids.lines() {
        let _ = fs::write(leaf.join("cgroup.procs"), pid);
    }
    let text = fs::read_to_string(controllers).map_err(NodeError::file(controllers))?;
    for controller in text.split_whitespace() {
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", format!("+{controller}"));
    }
    Ok(())
}

/// Lays files over those that kubelet reads the machine's size from. On /run, which is new at each start.
///
/// # Errors
/// When the kernel refuses a mount.
pub fn pretend(of: Capacity) -> Result<(), NodeError> {
    let base = format!("{RUN}/capacity");
    let bind = |from: &str, to: &str| {
        mount(Some(from), to, NONE, MsFlags::MS_BIND, NONE).map_err(|e| refused(&format!("mounting over {to}"), e))
    };
    let read = |path: &str| fs::read_to_string(path).map_err(NodeError::file(path));
    let write = |path: &str, text: &str| {
        if let Some(parent) = Path::new(path).parent() {
            fs::create_dir_all(parent).map_err(NodeError::file(parent))?;
        }
        fs::write(path, text).map_err(NodeError::file(path))
    };
    if let Some(total) = of.memory {
        let made = format!("{base}/meminfo");
        write(&made, &capacity::meminfo(&read("/proc/meminfo")?, total))?;
        bind(&made, "/proc/meminfo")?;
    }
    if let Some(cores) = of.cpu {
        let made = format!("{base}/cpuinfo");
        write(&made, &capacity::cpuinfo(&read("/proc/cpuinfo")?, cores))?;
        bind(&made, "/proc/cpuinfo")?;
        let online = read("/sys/devices/system/cpu/online")?;
        for (path, text) in capacity::cpu_files(cores, &online) {
            write(&format!("{base}/cpu/{path}"), &text)?;
        }
        bind(&format!("{base}/cpu"), "/sys/devices/system/cpu")?;
    }
    // Without NUMA nodes kubelet counts the cores of the directory above.
    let nodes = "/sys/devices/system/node";
    if Path::new(nodes).exists() {
        let empty = format!("{base}/node");
        fs::create_dir_all(&empty).map_err(NodeError::file(&empty))?;
        bind(&empty, nodes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_the_hierarchies() {
        let own = "12:cpu,cpuacct:/\n2:name=systemd:/\n1:memory:/docker/x\n0::/\n";
        assert_eq!(super::hierarchies(own), ["cpu,cpuacct", "name=systemd", "memory"]);
    }

    #[test]
    fn finds_what_is_mounted_below() {
        let mounts = "1 0 0:85 / / rw - overlay overlay rw\n2 1 254:0 /a /run/.containerenv rw - ext4 /dev/vda rw\n\
                      3 1 254:0 /b /runtime rw - ext4 /dev/vda rw\n4 1 0:9 / /run/secrets rw - tmpfs tmpfs rw\n";
        assert_eq!(super::below(mounts, "/run"), ["/run/secrets", "/run/.containerenv"]);
    }
}
