//! What this machine can do for each lane, and the cure where it cannot.
//!
//! Facts are gathered at the edge ([`gather`]); what follows from them is a pure function ([`judge`]), which the
//! docker lane asks, too, to refuse at once and by name.

pub mod daemon;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod kernel;
pub mod machine;
pub mod ports;
pub mod tools;

pub use facts::Facts;
pub use finding::{Finding, Lane, State};

/// How large a testbed is wanted: limits are judged against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Clusters.
    pub clusters: u64,
    /// Hosts: control planes and nodes.
    pub hosts: u64,
}

impl Default for Size {
    /// The lab of three clusters and eight hosts (`topologies/r7-lab.yaml`).
    fn default() -> Self {
        Self { clusters: 3, hosts: 8 }
    }
}

/// Everything that follows from the facts, in the order in which one would look.
#[must_use]
pub fn judge(facts: &Facts, size: Size) -> Vec<Finding> {
    let mut out = machine::judge(&facts.machine);
    out.extend(ports::judge(&facts.ports));
    out.extend(tools::judge(&facts.tools));
    out.extend(daemon::judge(&facts.daemon, size));
    if facts.daemon.is_ok() {
        out.extend(kernel::judge(&facts.kernel, size));
    }
    out
}

/// The lanes that nothing keeps from working.
#[must_use]
pub fn ready(findings: &[Finding]) -> Vec<Lane> {
    Lane::ALL
        .into_iter()
        .filter(|l| !findings.iter().any(|f| f.state == State::Fail && f.lanes.contains(l)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_ready_when_nothing_it_needs_fails() {
        let findings = [
            Finding::ok("memory", &[Lane::Sim, Lane::Local], "enough"),
            Finding::warn("docker", &[Lane::Docker], "slow", "a faster disk"),
        ];
        assert_eq!(ready(&findings), Lane::ALL);
        let failed = Finding::fail("docker", &[Lane::Docker], "absent", "install it");
        assert_eq!(ready(&[failed]), [Lane::Sim, Lane::Local]);
    }
}
