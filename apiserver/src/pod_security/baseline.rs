//! The baseline level: nothing that is known to raise a pod's privileges (`policy/check_*.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::containers::{list, plural, quoted, setters, told};
use super::{Check, Pod, Violation};
use crate::schema::quote;

/// The rules, in the order in which they are told.
pub(super) const CHECKS: [(&str, Check); 12] = [
    ("appArmorProfile", app_armor),
    ("capabilities_baseline", capabilities),
    ("hostNamespaces", host_namespaces),
    ("hostPathVolumes", host_path_volumes),
    ("hostPorts", host_ports),
    ("hostProbesAndHostLifecycle", probes_of_hosts),
    ("privileged", privileged),
    ("procMount", proc_mount),
    ("seLinuxOptions", se_linux),
    ("seccompProfile_baseline", seccomp),
    ("sysctls", sysctls),
    ("windowsHostProcess", host_process),
];

fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let bad = |of: &Value| {
        let profile = &of["securityContext"]["appArmorProfile"];
        let kind = profile["type"].as_str().unwrap_or_default();
        let is = profile.is_object() && !matches!(kind, "RuntimeDefault" | "Localhost");
        is.then(|| kind.to_owned())
    };
    let of_pod = bad(pod.spec);
    let (names, mut values) = pod.with(bad);
    let mut who: Vec<String> = setters(of_pod.is_some(), &names).into_iter().collect();
    values.extend(of_pod);
    let mut values: Vec<String> = values.into_iter().collect();
    let noted = pod.meta["annotations"].as_object().into_iter().flatten();
    let mut annotations: Vec<String> = noted
        .filter(|(k, _)| k.starts_with("container.apparmor.security.beta.kubernetes.io/"))
        .filter_map(|(k, v)| Some((k, v.as_str()?)))
        .filter(|(_, v)| !(v.is_empty() || *v == "runtime/default" || v.starts_with("localhost/")))
        .map(|(k, v)| format!("{k}={}", quote(v)))
        .collect();
    if !annotations.is_empty() {
        annotations.sort();
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let (who, values) = (who.join(" and "), quoted(&values));
    Violation::of(reason, format!("{who} must not set AppArmor profile type to {values}"))
}

/// What container runtimes give by default.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The capabilities that a container adds.
pub(super) fn added(container: &Value) -> impl Iterator<Item = &str> {
    let capabilities = &container["securityContext"]["capabilities"];
    list(capabilities, "add").iter().filter_map(Value::as_str)
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    let (names, all) = pod.with(|c| added(c).filter(|a| !CAPABILITIES.contains(a)).map(str::to_owned));
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        told(&names),
        quoted(&all)
    );
    Violation::of("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|k| pod.spec[*k] == true);
    let all: Vec<String> = shared.map(|k| format!("{k}=true")).collect();
    (!all.is_empty()).then(|| Violation::of("host namespaces", all.join(", ")))?
}

fn host_path_volumes(pod: &Pod<'_>) -> Option<Violation> {
    let bad = list(pod.spec, "volumes").iter().filter(|v| v["hostPath"].is_object());
    let names: Vec<&str> = bad.map(|v| v["name"].as_str().unwrap_or_default()).collect();
    if names.is_empty() {
        return None;
    }
    let detail = format!("{} {}", plural("volume", "volumes", names.len()), quoted(&names));
    Violation::of("hostPath volumes", detail)
}

fn host_ports(pod: &Pod<'_>) -> Option<Violation> {
    let ports = |c| list(c, "ports").iter().filter_map(|p| p["hostPort"].as_i64());
    let (names, all) = pod.with(|c| ports(c).filter(|p| *p != 0).map(|p| p.to_string()));
    if names.is_empty() {
        return None;
    }
    let detail = format!(
        "{} {} {} {}",
        told(&names),
        plural("uses", "use", names.len()),
        plural("hostPort", "hostPorts", all.len()),
        all.into_iter().collect::<Vec<_>>().join(", ")
    );
    Violation::of("hostPort", detail)
}

fn probes_of_hosts(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 34 {
        return None;
    }
    let (names, all) = pod.with(|c| {
        let handlers = [
            &c["livenessProbe"],
            &c["readinessProbe"],
            &c["startupProbe"],
            &c["lifecycle"]["postStart"],
            &c["lifecycle"]["preStop"],
        ];
        let hosts = handlers
            .into_iter()
            .flat_map(|h| [&h["httpGet"]["host"], &h["tcpSocket"]["host"]]);
        hosts
            .filter_map(Value::as_str)
            .filter(|h| !h.is_empty())
            .map(str::to_owned)
    });
    if names.is_empty() {
        return None;
    }
    let names: BTreeSet<&str> = names.into_iter().collect();
    let count = names.len();
    let detail = format!(
        "{} {} {} {} {}",
        plural("container", "containers", count),
        quoted(names),
        plural("uses", "use", count),
        plural("probe or lifecycle host", "probe or lifecycle hosts", all.len()),
        quoted(&all)
    );
    Violation::of("probe or lifecycle host", detail)
}

fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let names = pod.which(|c| c["securityContext"]["privileged"] == true);
    let detail = || format!("{} must not set securityContext.privileged=true", told(&names));
    (!names.is_empty()).then(|| Violation::of("privileged", detail()))?
}

fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    match pod.in_user_namespace() {
        true => None,
        false => unmasked(pod),
    }
}

/// Whatever the pod is (the rule of the restricted level).
pub(super) fn unmasked(pod: &Pod<'_>) -> Option<Violation> {
    let (names, all) = pod.with(|c| {
        let kind = c["securityContext"]["procMount"].as_str();
        kind.filter(|k| *k != "Default").map(str::to_owned)
    });
    let detail = || {
        format!(
            "{} must not set securityContext.procMount to {}",
            told(&names),
            quoted(&all)
        )
    };
    (!names.is_empty()).then(|| Violation::of("procMount", detail()))?
}

fn se_linux(pod: &Pod<'_>) -> Option<Violation> {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || kind == "container_engine_t" && pod.version >= 31
    };
    let said = |of: &Value, k: &str| {
        of["securityContext"]["seLinuxOptions"][k]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let sets = |of: &Value, k: &str| !said(of, k).is_empty();
    let bad = |of: &Value| !allowed(&said(of, "type")) || sets(of, "user") || sets(of, "role");
    let who = setters(bad(pod.spec), &pod.which(bad))?;
    let everyone = || pod.containers().chain([pod.spec]);
    let kinds: BTreeSet<String> = everyone().map(|o| said(o, "type")).filter(|k| !allowed(k)).collect();
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(&kinds)));
    }
    for k in ["user", "role"] {
        if everyone().any(|o| sets(o, k)) {
            data.push(format!("{k} may not be set"));
        }
    }
    let detail = format!(
        "{who} set forbidden securityContext.seLinuxOptions: {}",
        data.join("; ")
    );
    Violation::of("seLinuxOptions", detail)
}

/// The kind of a seccomp profile that may not be.
pub(super) fn bad_seccomp(of: &Value) -> Option<String> {
    let profile = &of["securityContext"]["seccompProfile"];
    let kind = profile["type"].as_str().unwrap_or_default();
    let is = profile.is_object() && !matches!(kind, "Localhost" | "RuntimeDefault");
    is.then(|| kind.to_owned())
}

/// Who sets a seccomp profile that may not be.
pub(super) fn seccomp_set(pod: &Pod<'_>) -> Option<Violation> {
    let of_pod = bad_seccomp(pod.spec);
    let (names, mut values) = pod.with(bad_seccomp);
    let who = setters(of_pod.is_some(), &names)?;
    values.extend(of_pod);
    let detail = format!(
        "{who} must not set securityContext.seccompProfile.type to {}",
        quoted(&values)
    );
    Violation::of("seccompProfile", detail)
}

/// Before the field there were annotations (rules before 1.19).
fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version >= 19 {
        return seccomp_set(pod);
    }
    let bad = |key: String| {
        let v = pod.meta["annotations"][&key].as_str()?;
        let good = matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
        (!good).then(|| format!("{key}={}", quote(v)))
    };
    let of_pod = "seccomp.security.alpha.kubernetes.io/pod".to_owned();
    let of_container = |c: &Value| {
        let name = c["name"].as_str().unwrap_or_default();
        format!("container.seccomp.security.alpha.kubernetes.io/{name}")
    };
    let keys = [of_pod].into_iter().chain(pod.containers().map(of_container));
    let all: BTreeSet<String> = keys.filter_map(bad).collect();
    if all.is_empty() {
        return None;
    }
    let noted = plural("annotation", "annotations", all.len());
    let all: Vec<String> = all.into_iter().collect();
    Violation::of("seccompProfile", format!("forbidden {noted} {}", all.join(", ")))
}

/// Settings of the kernel that are a pod's own, and since which minor version they may be set.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(pod: &Pod<'_>) -> Option<Violation> {
    let allowed = |name: &str| SYSCTLS.iter().any(|(n, since)| *n == name && pod.version >= *since);
    let set = list(&pod.spec["securityContext"], "sysctls").iter();
    let bad: Vec<&str> = set.filter_map(|s| s["name"].as_str()).filter(|n| !allowed(n)).collect();
    (!bad.is_empty()).then(|| Violation::of("forbidden sysctls", bad.join(", ")))?
}

fn host_process(pod: &Pod<'_>) -> Option<Violation> {
    let is = |of: &Value| of["securityContext"]["windowsOptions"]["hostProcess"] == true;
    let who = setters(is(pod.spec), &pod.which(is))?;
    let detail = format!("{who} must not set securityContext.windowsOptions.hostProcess=true");
    Violation::of("hostProcess", detail)
}
