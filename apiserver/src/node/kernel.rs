//! What little the kernel of a simulated node has to say to a container: its limits, as control groups have them, and
//! which processors it may run on.

use cfn_cel::quantity::Quantity;
use serde_json::Value;

use super::files::Files;
use crate::controllers::object::Object;

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

/// The settings that a pod has of its own, with the values of a new network or IPC namespace, and that it may change
/// (`SafeSysctlAllowlist` of `pkg/kubelet/sysctl`).
const SYSCTLS: [(&str, &str); 12] = [
    ("kernel.shm_rmid_forced", "0"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.tcp_syncookies", "1"),
    ("net.ipv4.ping_group_range", "0\t2147483647"),
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ip_local_reserved_ports", ""),
    ("net.ipv4.tcp_keepalive_time", "7200"),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_keepalive_intvl", "75"),
    ("net.ipv4.tcp_keepalive_probes", "9"),
    ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
    ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
];

/// The file of a setting: between its parts are dots, or slashes where a part has dots.
pub(crate) fn sysctl_path(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(i) if name[i..].starts_with('/') => format!("/proc/sys/{name}"),
        _ => format!("/proc/sys/{}", name.replace('.', "/")),
    }
}

/// Writes the settings that a pod has.
pub(crate) fn write_sysctls(files: &Files, pod: &Value) {
    let own = pod.items("/spec/securityContext/sysctls").iter();
    let own = own.map(|s| (s.text("/name"), s.text("/value")));
    for (name, value) in SYSCTLS.into_iter().chain(own) {
        files.put_kernel(&sysctl_path(name), &format!("{value}\n"));
    }
}

/// Why a pod may not change one of the settings that it changes (`patternAllowlist.validateSysctl`).
pub(crate) fn forbidden_sysctl(pod: &Value) -> Option<String> {
    let own = pod.items("/spec/securityContext/sysctls").iter();
    own.map(|s| s.text("/name").replace('/', ".")).find_map(|name| {
        if !SYSCTLS.iter().any(|(safe, _)| *safe == name) {
            return Some(format!("{} not allowlisted", crate::schema::quote(&name)));
        }
        let (of_host, namespace) = match name.starts_with("net.") {
            true => ("/spec/hostNetwork", "Net"),
            false => ("/spec/hostIPC", "IPC"),
        };
        pod.flag(of_host).then(|| {
            format!(
                "{} not allowed with host {namespace} enabled",
                crate::schema::quote(&name)
            )
        })
    })
}

/// Whether a container has a capability that it does not have by itself.
pub(crate) fn may(container: &Value, capability: &str) -> bool {
    let listed = |list: &str| {
        let all = container.items(&format!("/securityContext/capabilities/{list}"));
        all.iter().any(|c| c == capability || c == "ALL")
    };
    container.flag("/securityContext/privileged") || listed("add")
}

/// Whether a container's programs cannot gain privileges (`AddNoNewPrivileges` of `pkg/securitycontext`).
pub(crate) fn gains_nothing(container: &Value) -> bool {
    container.pointer("/securityContext/allowPrivilegeEscalation") == Some(&Value::Bool(false))
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
    fn settings_of_a_pod() {
        let root = Volume::new(Inode::directory(0o755), "61267");
        let files = Files::new(vec![Mount::new("/", root, "", false)], User::default());
        let pod = |name: &str| json!({"spec": {"securityContext": {"sysctls": [{"name": name, "value": "1"}]}}});
        let safe = pod("kernel.shm_rmid_forced");
        write_sysctls(&files, &safe);
        let read = |name: &str| files.read(&sysctl_path(name));
        assert_eq!(read("kernel.shm_rmid_forced"), Ok(b"1\n".to_vec()));
        assert_eq!(read("net/ipv4/tcp_syncookies"), Ok(b"1\n".to_vec()));
        assert_eq!(forbidden_sysctl(&safe), None);
        let why = forbidden_sysctl(&pod("kernel.msgmax"));
        assert_eq!(why.as_deref(), Some("\"kernel.msgmax\" not allowlisted"));
    }

    #[test]
    fn privileges() {
        let container = |context: Value| json!({"securityContext": context});
        for (context, admin, gains) in [
            (json!({}), false, true),
            (json!({"privileged": true}), true, true),
            (json!({"capabilities": {"add": ["NET_ADMIN"]}}), true, true),
            (json!({"allowPrivilegeEscalation": false}), false, false),
        ] {
            let c = container(context);
            assert_eq!((may(&c, "NET_ADMIN"), !gains_nothing(&c)), (admin, gains), "{c}");
        }
    }

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
