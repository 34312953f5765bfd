//! The restricted level: hardened as is good practice, beyond the baseline (`policy/check_*.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{added, seccomp_set, unmasked};
use super::containers::{list, plural, quoted, setters, told};
use super::{Check, Pod, Violation};

/// The rules, in the order in which they are told.
pub(super) const CHECKS: [(&str, Check); 7] = [
    ("allowPrivilegeEscalation", privilege_escalation),
    ("capabilities_restricted", capabilities),
    ("procMount_restricted", proc_mount),
    ("restrictedVolumes", volumes),
    ("runAsNonRoot", run_as_non_root),
    ("runAsUser", run_as_user),
    ("seccompProfile_restricted", seccomp),
];

fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 8 || pod.is_windows() {
        return None;
    }
    let names = pod.which(|c| c["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || {
        format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            told(&names)
        )
    };
    (!names.is_empty()).then(|| Violation::of("allowPrivilegeEscalation != false", detail()))?
}

fn capabilities(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 22 || pod.is_windows() {
        return None;
    }
    let drops_all = |c: &Value| {
        list(&c["securityContext"]["capabilities"], "drop")
            .iter()
            .any(|d| d == "ALL")
    };
    let keeping = pod.which(|c| !drops_all(c));
    let (adding, all) = pod.with(|c| added(c).filter(|a| *a != "NET_BIND_SERVICE").map(str::to_owned));
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = told(&keeping);
        details.push(format!("{who} must set securityContext.capabilities.drop=[\"ALL\"]"));
    }
    if !adding.is_empty() {
        let (who, what) = (told(&adding), quoted(&all));
        details.push(format!(
            "{who} must not include {what} in securityContext.capabilities.add"
        ));
    }
    (!details.is_empty()).then(|| Violation::of("unrestricted capabilities", details.join("; ")))?
}

/// Of pods in user namespaces, too, which the baseline lets be.
fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    match pod.version {
        35.. => unmasked(pod),
        _ => None,
    }
}

/// What may be mounted.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What may not, as it is told.
const RESTRICTED: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn volumes(pod: &Pod<'_>) -> Option<Violation> {
    let allowed = |v: &Value| VOLUMES.iter().any(|k| v[*k].is_object());
    let bad: Vec<&Value> = list(pod.spec, "volumes").iter().filter(|v| !allowed(v)).collect();
    if bad.is_empty() {
        return None;
    }
    let kind = |v: &&Value| RESTRICTED.into_iter().find(|k| v[*k].is_object()).unwrap_or("unknown");
    let kinds: BTreeSet<&str> = bad.iter().map(kind).collect();
    let count = bad.len();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", count),
        quoted(bad.iter().map(|v| v["name"].as_str().unwrap_or_default())),
        plural("uses", "use", count),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    Violation::of("restricted volume types", detail)
}

fn run_as_non_root(pod: &Pod<'_>) -> Option<Violation> {
    if pod.in_user_namespace() {
        return None;
    }
    let said = |of: &Value| of["securityContext"]["runAsNonRoot"].as_bool();
    let of_pod = said(pod.spec);
    let detail = match setters(of_pod == Some(false), &pod.which(|c| said(c) == Some(false))) {
        Some(who) => format!("{who} must not set securityContext.runAsNonRoot=false"),
        None => {
            let silent = pod.which(|c| said(c).is_none());
            if of_pod == Some(true) || silent.is_empty() {
                return None;
            }
            format!("pod or {} must set securityContext.runAsNonRoot=true", told(&silent))
        }
    };
    Violation::of("runAsNonRoot != true", detail)
}

fn run_as_user(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 23 || pod.in_user_namespace() {
        return None;
    }
    let root = |of: &Value| of["securityContext"]["runAsUser"] == 0;
    let who = setters(root(pod.spec), &pod.which(root))?;
    Violation::of("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn seccomp(pod: &Pod<'_>) -> Option<Violation> {
    if pod.version < 19 || pod.is_windows() {
        return None;
    }
    if let Some(set) = seccomp_set(pod) {
        return Some(set);
    }
    let sets = |of: &Value| of["securityContext"]["seccompProfile"].is_object();
    let silent = pod.which(|c| !sets(c));
    if sets(pod.spec) || silent.is_empty() {
        return None;
    }
    let who = told(&silent);
    let detail =
        format!("pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"");
    Violation::of("seccompProfile", detail)
}
