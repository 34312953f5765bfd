//! Computing and network together.
//!
//! Convention: what a client waits for an answer. `network` is the round trip that the cluster's agent measures to a
//! client's site, weighted over the clients' sites; `compute` is the cluster's service time; `total` is their sum. So
//! the CATS figures (9.4 ms of access and 5 ms to the site for question and answer, 5 ms of compute) give 19.4 ms.
//!
//! Load: the service time grows by `(1 - KNEE) / (1 - u)` above a utilisation `u` of [`KNEE`] (as a queue's waiting
//! time does) and not below it. `u` is what others requested that do not yield to this task, at most 0.99.

use cfn_api::cfn::{ComputingPolicySpec, LatencyRequirement, Objective};
use cfn_api::karmada::work::LatencyExplanation;

use super::estimate;
use super::fleet::{Fleet, Member};

/// Utilisation from which a service slows down.
pub const KNEE: f64 = 0.8;

/// What a cluster would give the clients, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// Round trip between the clients and the cluster's site.
    pub network: f64,
    /// Service time.
    pub compute: f64,
}

impl Latency {
    /// Network plus compute.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.network + self.compute
    }

    /// What the objective minimises.
    #[must_use]
    pub fn of(&self, objective: Objective) -> f64 {
        match objective {
            Objective::Compute => self.compute,
            Objective::Network => self.network,
            _ => self.total(),
        }
    }

    pub(super) fn explain(&self, budget: Option<f64>) -> LatencyExplanation {
        LatencyExplanation {
            network: self.network,
            compute: self.compute,
            total: self.total(),
            budget,
        }
    }
}

/// Estimates `member` for the clients of `policy`. `None`: some client's site was never measured or did not answer.
pub(super) fn estimate(
    fleet: &Fleet,
    member: &Member,
    binding: &str,
    policy: &ComputingPolicySpec,
    requirement: &LatencyRequirement,
) -> Option<Latency> {
    let status = member.metric.as_ref()?.status.as_ref()?;
    let (mut sum, mut weights) = (0.0, 0.0);
    for client in &requirement.clients {
        let weight = client.weight.unwrap_or(1.0).max(0.0);
        let measured = status.l0.rtt.iter().find(|r| r.site == client.site);
        let rtt = match measured {
            Some(r) if r.lost || (r.samples == 0 && r.milliseconds == 0.0) => return None,
            Some(r) => r.milliseconds,
            None if client.site == member.site() => 0.0,
            None => return None,
        };
        sum += weight * rtt;
        weights += weight;
    }
    let network = if weights > 0.0 { sum / weights } else { 0.0 };
    let u = estimate::foreign_utilization(fleet, member, binding, policy.task_type) / 100.0;
    let slowdown = if u <= KNEE {
        1.0
    } else {
        (1.0 - KNEE) / (1.0 - u.min(0.99))
    };
    Some(Latency {
        network,
        compute: status.l0.compute.service_time_milliseconds * slowdown,
    })
}

/// Reads `20ms`, `1.5s`, `250us` as milliseconds; a bare number is milliseconds.
#[must_use]
pub fn milliseconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let n: f64 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "" | "ms" => 1.0,
        "s" => 1000.0,
        "us" | "µs" => 0.001,
        "ns" => 0.000_001,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    Some(n * unit)
}
