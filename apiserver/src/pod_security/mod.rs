//! Pod security standards (`k8s.io/pod-security-admission`): what the labels of a namespace ask for, and whether a pod
//! keeps to it.

mod baseline;
mod containers;
mod restricted;

use std::fmt;

use serde_json::Value;

use crate::schema::FieldError;

const PREFIX: &str = "pod-security.kubernetes.io/";
/// The last version that brought a rule (`maxVersion` of the registry): later ones, and `latest`, mean the same.
const LAST: u32 = 35;

/// How much a pod may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Everything.
    Privileged,
    /// Nothing that is known to raise its privileges.
    Baseline,
    /// Hardened as is good practice.
    Restricted,
}

/// A level as a version of Kubernetes defined it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LevelVersion {
    pub(crate) level: Level,
    version: Option<u32>,
}

impl LevelVersion {
    /// The minor version; `None`: the latest.
    pub(crate) fn version(self) -> Option<u32> {
        self.version
    }
}

const FREE: LevelVersion = LevelVersion {
    level: Level::Privileged,
    version: None,
};

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Some(minor) => write!(f, "{level}:v1.{minor}"),
            None => write!(f, "{level}:latest"),
        }
    }
}

/// What a namespace asks of its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Pods that do not keep to it are refused.
    pub(crate) enforce: LevelVersion,
    /// Pods that do not keep to it are noted in the audit log.
    pub(crate) audit: LevelVersion,
    /// Whoever writes pods, or what makes them, is warned.
    pub(crate) warn: LevelVersion,
}

impl Policy {
    /// Whether nothing is asked.
    pub(crate) fn is_privileged(&self) -> bool {
        [self.enforce, self.audit, self.warn]
            .iter()
            .all(|l| l.level == Level::Privileged)
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

/// `None`: it is none; of `v1.x` the minor version.
fn version(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor.bytes().all(|b| b.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    plain.then(|| minor.parse().ok().map(Some))?
}

/// What labels ask for, and what is wrong with them (`PolicyToEvaluate`).
pub(crate) fn policy(labels: &Value) -> (Policy, Vec<FieldError>) {
    let mut policy = Policy {
        enforce: FREE,
        audit: FREE,
        warn: FREE,
    };
    let mut errors = Vec::new();
    let Some(labels) = labels.as_object().filter(|l| l.keys().any(|k| k.starts_with(PREFIX))) else {
        return (policy, errors);
    };
    let said = |mode: &str| labels.get(&format!("{PREFIX}{mode}")).and_then(Value::as_str);
    let mut wrong = |mode: &str, value: &str, why: &str| {
        errors.push(FieldError::invalid(
            format!("metadata.labels[{PREFIX}{mode}]"),
            value,
            why,
        ));
    };
    // What cannot be read is enforced most strictly, and noted and told as if nothing were asked.
    let mut read = |mode: &str, unread: Level, of: &mut LevelVersion| {
        let mut readable = false;
        if let Some(text) = said(mode) {
            let found = level(text);
            readable = found.is_some();
            of.level = found.unwrap_or(unread);
            if !readable {
                wrong(mode, text, "must be one of privileged, baseline, restricted");
            }
        }
        let versioned = format!("{mode}-version");
        if let Some(text) = said(&versioned) {
            let found = version(text);
            of.version = found.unwrap_or_default();
            if found.is_none() {
                wrong(&versioned, text, "must be \"latest\" or \"v1.x\"");
            }
        }
        readable
    };
    let enforces = read("enforce", Level::Restricted, &mut policy.enforce);
    read("audit", Level::Privileged, &mut policy.audit);
    read("warn", Level::Privileged, &mut policy.warn);
    // Who enforces is warned as well, where nothing else is said.
    if said("warn").is_none() && enforces && policy.enforce.level > policy.warn.level {
        policy.warn.level = policy.enforce.level;
        if said("warn-version").is_none() {
            policy.warn.version = policy.enforce.version;
        }
    }
    (policy, errors)
}

/// A rule that a pod does not keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// In few words: `host namespaces`.
    pub(crate) reason: &'static str,
    /// What of this pod: `hostNetwork=true`.
    detail: String,
}

impl Violation {
    /// What a check answers.
    fn of(reason: &'static str, detail: String) -> Option<Self> {
        Some(Self { reason, detail })
    }
}

/// All of them with what of the pod it is (`ForbiddenDetail`).
pub(crate) fn details(all: &[Violation]) -> String {
    let one = |v: &Violation| format!("{} ({})", v.reason, v.detail);
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// All of them in few words (`ForbiddenReason`).
pub(crate) fn reasons(all: &[Violation]) -> String {
    all.iter().map(|v| v.reason).collect::<Vec<_>>().join(", ")
}

/// A pod, or the template of one, as rules see it.
struct Pod<'a> {
    meta: &'a Value,
    spec: &'a Value,
    /// The minor version whose rules count.
    version: u32,
}

impl Pod<'_> {
    /// Whether it is in a user namespace of its own: what root may there is little (KEP-127, rules of 1.35).
    fn in_user_namespace(&self) -> bool {
        self.version >= 35 && self.spec["hostUsers"] == false
    }

    /// Windows has none of what most rules of the restricted level are about (rules of 1.25).
    fn is_windows(&self) -> bool {
        self.version >= 25 && self.spec["os"]["name"] == "windows"
    }
}

/// A rule: what of a pod breaks it.
type Check = fn(&Pod<'_>) -> Option<Violation>;

/// What of a pod with this metadata and spec `asked` forbids: rules of the baseline level first, each level's by name.
pub(crate) fn evaluate(asked: LevelVersion, meta: &Value, spec: &Value) -> Vec<Violation> {
    let version = asked.version.unwrap_or(LAST).min(LAST);
    let pod = Pod { meta, spec, version };
    let restricted = asked.level == Level::Restricted;
    // A stricter rule of the restricted level stands for that of the baseline.
    let of_baseline = baseline::CHECKS.iter().filter(|(name, _)| {
        !restricted
            || match *name {
                "capabilities_baseline" => version < 22,
                "hostPathVolumes" => false,
                "procMount" => version < 35,
                "seccompProfile_baseline" => version < 19,
                _ => true,
            }
    });
    let of_restricted = restricted::CHECKS.iter().filter(|_| restricted);
    let checks = of_baseline.chain(of_restricted);
    match asked.level {
        Level::Privileged => Vec::new(),
        _ => checks.filter_map(|(_, check)| check(&pod)).collect(),
    }
}

#[cfg(test)]
mod tests;
