//! What little the kernel of a simulated node has to say to a container: its limits, as control groups have them, and
//! which processors it may run on.

use cfn_cel::quantity::Quantity;
use serde_json::Value;

use super::files::Files;

/// The files that are there.
pub(crate) const FILES: [&str; 4] = [
    "/proc/self/status",
    "/sys/fs/cgroup/cpu.max",
    "/sys/fs/cgroup/cpu.weight",
    "/sys/fs/cgroup/memory.max",
];

/// What `mount` lists.
pub(crate) const MOUNTS: &[(&str, &str, &str)] = &[
    ("overlay", "/", "overlay"),
    ("proc", "/proc", "proc"),
    ("cgroup", "/sys/fs/cgroup", "cgroup2"),
];

/// Length of a period of the scheduler, microseconds.
const PERIOD: i64 = 100_000;

/// Writes the files for a container with these resources.
pub(crate) fn write(files: &Files, resources: &Value) {
    files.put_kernel(
        FILES[0],
        "Name:\tsh\nState:\tR (running)\nCpus_allowed:\tf\nCpus_allowed_list:\t0-3\n",
    );
    let amount = |list: &str, name: &str| {
        let amount = Quantity::from_value(&resources[list][name]).ok();
        amount.filter(|q| !q.is_zero())
    };
    let limit = amount("limits", "cpu");
    let quota = limit.map_or_else(
        || "max".to_owned(),
        |q| (q.milli_value() * PERIOD / 1000).max(1000).to_string(),
    );
    files.put_kernel(FILES[1], &format!("{quota} {PERIOD}\n"));
    // `MilliCPUToShares`, and what the runtime makes of shares.
    let share = amount("requests", "cpu").or(limit);
    let shares = share.map_or(2, |q| (q.milli_value() * 1024 / 1000).clamp(2, 262_144));
    files.put_kernel(FILES[2], &format!("{}\n", 1 + (shares - 2) * 9999 / 262_142));
    let memory = amount("limits", "memory").map_or_else(|| "max".to_owned(), |q| q.value().to_string());
    files.put_kernel(FILES[3], &format!("{memory}\n"));
}

/// Whether a command line asks for nothing else of the kernel.
pub(crate) fn has_all_of(argument: &str) -> bool {
    let mut rest = argument.to_owned();
    FILES.iter().for_each(|file| rest = rest.replace(file, ""));
    !["/proc/", "/sys/"].iter().any(|p| rest.contains(p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::files::{Inode, Mount, User, Volume};
    use serde_json::json;

    #[test]
    fn limits_are_those_of_control_groups() {
        let root = Volume::new(Inode::directory(0o755), "61267");
        let files = Files::new(vec![Mount::new("/", root, "", false)], User::default());
        let read = |path: &str| String::from_utf8(files.read(path).unwrap()).unwrap();
        let all = || [FILES[1], FILES[2], FILES[3]].map(|f| read(f).trim().to_owned());
        write(&files, &json!({}));
        assert_eq!(all(), ["max 100000", "1", "max"]);
        write(
            &files,
            &json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "2", "memory": "64Mi"}}),
        );
        assert_eq!(all(), ["200000 100000", "10", "67108864"]);
        write(&files, &json!({"limits": {"cpu": "5m"}}));
        assert_eq!(all(), ["1000 100000", "1", "max"], "a quota has a least");
    }
}
