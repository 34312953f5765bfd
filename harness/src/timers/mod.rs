//! Timers are inputs: a profile names every one of them, by its upstream flag, and every bound of a scenario is
//! arithmetic over them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::bundled;
use crate::input::{At, Delay, Problem, Problems, Source, parse, show_duration};
use crate::topology::{API_VERSION, Metadata};

/// Every timer there is, with what it does.
pub const KNOWN: &[(&str, &str)] = &[
    (
        "clusterStatusUpdateFrequency",
        "karmada-agent: how often a member's status is reported",
    ),
    ("clusterLeaseDuration", "karmada-agent: how long a member's lease lasts"),
    (
        "clusterLeaseRenewInterval",
        "karmada-agent: how often the lease is renewed (its duration by the renew fraction)",
    ),
    (
        "clusterMonitorPeriod",
        "karmada-controller-manager: how often leases are looked at",
    ),
    (
        "clusterMonitorGracePeriod",
        "karmada-controller-manager: age of a lease at which its member's status is Unknown",
    ),
    (
        "clusterStartupGracePeriod",
        "karmada-controller-manager: the same for a member that has just joined",
    ),
    (
        "clusterFailureThreshold",
        "karmada-controller-manager: how long a member must be bad before its condition says so",
    ),
    (
        "clusterSuccessThreshold",
        "karmada-controller-manager: how long it must be good again before its condition says so",
    ),
    (
        "failoverEvictionTimeout",
        "karmada-controller-manager: from the condition to the NoExecute taint",
    ),
    (
        "defaultNotReadyToleration",
        "karmada-webhook and kube-apiserver, default-not-ready-toleration-seconds: how long a taint is tolerated without being asked",
    ),
    (
        "gracefulEvictionTimeout",
        "karmada-controller-manager: how long an evicted placement waits for its substitute",
    ),
    (
        "clusterLeaveTimeout",
        "how long a leaving member's agent has to clean up",
    ),
    (
        "nodeStatusUpdateFrequency",
        "kubelet: how often a node's status is reported",
    ),
    ("nodeLeaseDuration", "kubelet: how long a node's lease lasts"),
    (
        "nodeLeaseRenewInterval",
        "kubelet: how often the node's lease is renewed (a quarter of its duration)",
    ),
    (
        "nodeMonitorPeriod",
        "kube-controller-manager: how often node leases are looked at",
    ),
    (
        "nodeMonitorGracePeriod",
        "kube-controller-manager: age of a node's lease at which the node is NotReady",
    ),
    (
        "nodeStatusReportFrequency",
        "kubelet: how often its status is reported when nothing changed",
    ),
    (
        "nodeEvictionInterval",
        "kube-controller-manager: between two nodes that are emptied (the inverse of node-eviction-rate)",
    ),
    (
        "podGcPeriod",
        "kube-controller-manager: how often pods without a node are collected",
    ),
    (
        "podGcQuarantine",
        "kube-controller-manager: how long a node must be gone before its pods are",
    ),
    (
        "podStartup",
        "kubelet: how long a pod that was placed may take until it is Ready, its image there (Kubernetes' scalability SLO: 5 s for 99 of 100)",
    ),
    (
        "crashLoopFirst",
        "kubelet: first wait of a container that fails again and again",
    ),
    ("crashLoopLimit", "kubelet: longest wait of such a container"),
    ("probePeriod", "cluster agent: how often each other site is probed"),
    (
        "metricsWindow",
        "cluster agent: the window of CATS L0 metrics (draft-ietf-cats-metric-definition: 10 s)",
    ),
    (
        "edgeHeartbeatInterval",
        "edge agent (YurtHub's heartbeat flags): how often it looks whether its cluster can be reached",
    ),
    (
        "edgeHeartbeatTimeout",
        "edge agent: how long a look, or a request, may take",
    ),
];

/// The names of all timers.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().map(|(n, _)| *n)
}

/// A profile: a value for every timer.
#[derive(Debug, Clone, PartialEq)]
pub struct Timers {
    /// Its name: `fast`, `karmada-1.4`.
    pub profile: String,
    /// Karmada's feature gates.
    pub gates: Gates,
    values: BTreeMap<String, Duration>,
}

/// Karmada's feature gates that a profile may set; what it does not set is as the profile `karmada-1.4` has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Gates {
    /// Members that fail get NoExecute taints, and those are obeyed.
    pub failover: bool,
    /// A policy with `preemption: Always` takes templates from one of lower priority.
    pub policy_preemption: bool,
    /// Agents report what is free on each node, and the scheduler counts with it beside the general estimate
    /// (`--enable-scheduler-estimator`).
    pub scheduler_estimator: bool,
    /// Replicas that no node of a member takes go elsewhere when they have waited so long (Karmada's descheduler with
    /// `--unschedulable-threshold`); where it is not set they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descheduler: Option<Delay>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            failover: true,
            policy_preemption: false,
            scheduler_estimator: false,
            descheduler: None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TimersFile {
    api_version: At<String>,
    kind: At<String>,
    metadata: Metadata,
    #[serde(default)]
    gates: Gates,
    spec: BTreeMap<String, At<Delay>>,
}

impl Timers {
    /// Reads a profile: every timer must be there, and none else.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        let file: TimersFile = parse(source)?;
        let mut problems = Vec::new();
        if file.api_version.value != API_VERSION {
            let p = Problem::new(
                source,
                file.api_version.location,
                format!("apiVersion `{}`", file.api_version),
            );
            problems.push(p.one_of(&file.api_version, [API_VERSION]));
        }
        if file.kind.value != "Timers" {
            let p = Problem::new(source, file.kind.location, format!("kind `{}`", file.kind));
            problems.push(p.one_of(&file.kind, ["Timers"]));
        }
        for (name, value) in &file.spec {
            if !names().any(|n| n == name) {
                problems.push(
                    Problem::new(source, value.location, format!("unknown timer `{name}`")).one_of(name, names()),
                );
            }
            if value.0.is_zero() {
                let p = Problem::new(source, value.location, format!("timer `{name}` is zero"));
                problems.push(p.expected("a duration above zero"));
            }
        }
        for name in names() {
            if !file.spec.contains_key(name) {
                let p = Problem::new(
                    source,
                    file.metadata.name.location,
                    format!("timer `{name}` is missing"),
                );
                problems.push(p.expected("a value for every timer"));
            }
        }
        Problems(problems).into_result()?;
        let values = file.spec.iter().map(|(k, v)| (k.clone(), v.value.0)).collect();
        Ok(Self {
            profile: file.metadata.name.value,
            gates: file.gates,
            values,
        })
    }

    /// The profiles that come with the program.
    #[must_use]
    pub fn bundled_names() -> Vec<&'static str> {
        bundled::TIMERS.iter().map(|(n, _)| *n).collect()
    }

    /// As [`Timers::find`]; a bundled profile `NAME-LANE` takes the place of `NAME` in that lane, because what
    /// controllers in memory can follow, real ones cannot.
    ///
    /// # Errors
    /// As [`Timers::find`].
    pub fn find_in(name: &str, lane: &str) -> Result<Self, Problems> {
        let own = format!("{name}-{lane}");
        Self::find(if Self::bundled_names().contains(&own.as_str()) {
            &own
        } else {
            name
        })
    }

    /// A profile by its name or by its file's path.
    ///
    /// # Errors
    /// When there is no such profile or file, or the file is wrong.
    pub fn find(name: &str) -> Result<Self, Problems> {
        if let Some((_, text)) = bundled::TIMERS.iter().find(|(n, _)| *n == name) {
            return Self::read(&Source::new(format!("harness/timers/{name}.yaml"), *text));
        }
        if name.ends_with(".yaml") || name.contains('/') {
            return Self::read(&Source::read(std::path::Path::new(name))?);
        }
        let p = Problem::of_file(name, format!("unknown timer profile `{name}`"));
        Err(p.one_of(name, Self::bundled_names()).into())
    }

    /// A timer's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Duration> {
        self.values.get(name).copied()
    }

    /// A timer known to exist. Zero for one that is unknown (a profile that was read has all).
    #[must_use]
    pub fn of(&self, name: &'static str) -> Duration {
        debug_assert!(names().any(|n| n == name), "unknown timer {name}");
        self.get(name).unwrap_or_default()
    }

    /// Whole seconds, rounded up, at least 1: for fields of Kubernetes that count seconds.
    #[must_use]
    pub fn seconds(&self, name: &'static str) -> i64 {
        (self.of(name).as_secs_f64().ceil() as i64).max(1)
    }

    /// All of them as text with units, for the report.
    #[must_use]
    pub fn shown(&self) -> BTreeMap<String, String> {
        let timers = self.values.iter().map(|(k, v)| (k.clone(), show_duration(*v)));
        let usual = Gates::default();
        let gates = [
            ("failover", self.gates.failover, usual.failover),
            (
                "policyPreemption",
                self.gates.policy_preemption,
                usual.policy_preemption,
            ),
            (
                "schedulerEstimator",
                self.gates.scheduler_estimator,
                usual.scheduler_estimator,
            ),
        ];
        let descheduler = self
            .gates
            .descheduler
            .map(|d| ("gate descheduler".to_owned(), show_duration(d.0)));
        let timers = timers.chain(descheduler);
        let gates = gates
            .into_iter()
            .filter(|(_, on, usual)| on != usual)
            .map(|(k, on, _)| (format!("gate {k}"), if on { "on" } else { "off" }.to_owned()));
        timers.chain(gates).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_profiles_are_whole() {
        for name in Timers::bundled_names() {
            Timers::find(name).unwrap();
        }
        let t = Timers::find("karmada-1.4").unwrap();
        let sum = t.of("clusterFailureThreshold") + t.of("failoverEvictionTimeout") + t.of("defaultNotReadyToleration");
        assert_eq!(sum, Duration::from_secs(630));
    }

    #[test]
    fn a_lane_may_have_its_own() {
        for (name, lane, profile) in [
            ("fast", "docker", "fast-docker"),
            ("fast", "sim", "fast"),
            ("fast-gates", "docker", "fast-gates-docker"),
            ("karmada-1.4", "docker", "karmada-1.4"),
        ] {
            assert_eq!(Timers::find_in(name, lane).unwrap().profile, profile);
        }
    }

    #[test]
    fn a_wrong_name_is_told() {
        let e = Timers::find("karmada-1.5").unwrap_err();
        assert_eq!(e.0[0].nearest.as_deref(), Some("karmada-1.4"));
    }
}
