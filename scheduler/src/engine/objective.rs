//! What is minimised beyond latency: cost, energy, carbon, the way of the data, and bandwidth.
//!
//! Joint: each part is divided by the best cluster's, weighted and added up, so that weights compare shares and not units. A
//! part that some cluster does not know counts for nobody: what is not measured must not decide.

use cfn_api::cfn::{ComputingPolicySpec, Objective, ObjectiveWeights};

use super::estimate::Requests;
use super::fleet::Member;
use super::latency::Latency;
use super::task;

/// Largest share that a part can be worse than the best one's; a best of zero would be infinitely better.
const WORST: f64 = 1000.0;

/// One part of what a cluster costs; none where nobody knows it.
type Part = fn(&Parts) -> Option<f64>;

/// What a cluster would mean for a replica, each part where it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Parts {
    /// Milliseconds.
    pub latency: Option<f64>,
    /// Money an hour.
    pub cost: Option<f64>,
    /// Watts.
    pub energy: Option<f64>,
    /// Grams an hour.
    pub carbon: Option<f64>,
    /// Seconds to bring the data.
    pub data: Option<f64>,
    /// Mbit/s to the worst of the clients' sites.
    pub bandwidth: Option<f64>,
}

/// Bandwidth to a site; unlimited to a cluster's own.
fn bandwidth(member: &Member, site: &str) -> Option<f64> {
    if member.site() == site {
        return Some(f64::INFINITY);
    }
    let status = member.metric.as_ref()?.status.as_ref()?;
    let known = status.l0.bandwidth.iter().find(|b| b.site == site)?;
    (known.megabits_per_second > 0.0).then_some(known.megabits_per_second)
}

impl Parts {
    pub(super) fn of(
        member: &Member,
        policy: &ComputingPolicySpec,
        requests: &Requests,
        latency: Option<&Latency>,
    ) -> Self {
        let rates = member
            .metric
            .as_ref()
            .and_then(|m| m.status.as_ref())
            .and_then(|s| s.rates);
        // What asks for no core counts as one, so that clusters still compare.
        let cores = if requests.cores() > 0.0 { requests.cores() } else { 1.0 };
        let energy = rates.map(|r| r.watts_per_core * cores);
        let seconds = |site: &str, gigabytes: f64| Some(gigabytes * 8000.0 / bandwidth(member, site)?);
        let clients = policy.latency.iter().flat_map(|l| &l.clients);
        Self {
            latency: latency.map(|l| l.of(policy.objective)),
            cost: rates.map(|r| r.cost_per_core_hour * cores),
            energy,
            carbon: rates.zip(energy).map(|(r, w)| r.carbon_per_kilowatt_hour * w / 1000.0),
            data: policy
                .data
                .iter()
                .try_fold(0.0, |sum, d| Some(sum + seconds(&d.site, d.gigabytes)?)),
            bandwidth: clients
                .map(|c| bandwidth(member, &c.site))
                .try_fold(f64::INFINITY, |worst, b| Some(worst.min(b?))),
        }
    }

    fn single(&self, objective: Objective) -> Option<f64> {
        match objective {
            Objective::Joint | Objective::Compute | Objective::Network => self.latency,
            Objective::Cost => self.cost,
            Objective::Energy => self.energy,
            Objective::Carbon => self.carbon,
            Objective::Data => self.data,
            Objective::Bandwidth => self.bandwidth.map(|b| 1.0 / b),
        }
    }
}

/// Whether the policy ranks clusters at all: it names clients, or something else to minimise.
pub(super) fn ranks(policy: &ComputingPolicySpec) -> bool {
    policy.latency.as_ref().is_some_and(|l| !l.clients.is_empty())
        || policy.weights.is_some()
        || !policy.data.is_empty()
        || !matches!(
            policy.objective,
            Objective::Joint | Objective::Compute | Objective::Network
        )
}

/// What each cluster is worth, the lower the better; infinite for one that does not know what is asked.
pub(super) fn values(policy: &ComputingPolicySpec, parts: &[Parts]) -> Vec<f64> {
    if policy.objective != Objective::Joint {
        let known = parts
            .iter()
            .map(|p| p.single(policy.objective).unwrap_or(f64::INFINITY));
        return known.collect();
    }
    let weights = policy
        .weights
        .unwrap_or_else(|| task::defaults(policy.task_type).weights);
    let named = policy.latency.as_ref().is_some_and(|l| !l.clients.is_empty());
    let mut sums = vec![0.0; parts.len()];
    let ObjectiveWeights {
        latency,
        cost,
        energy,
        carbon,
        data,
    } = weights;
    // Where nothing else counts, latency itself is the value and keeps its unit.
    let others = cost > 0.0 || energy > 0.0 || carbon > 0.0 || data > 0.0;
    let all = |part: fn(&Parts) -> Option<f64>| parts.iter().all(|p| part(p).is_some());
    let counted: [(f64, Part); 4] = [
        (cost, |p| p.cost),
        (energy, |p| p.energy),
        (carbon, |p| p.carbon),
        (data, |p| p.data),
    ];
    let counted: Vec<_> = counted.into_iter().filter(|(w, part)| *w > 0.0 && all(*part)).collect();
    let counts_data = !policy.data.is_empty();
    if named && (!others || counted.iter().all(|(_, part)| flat(parts, *part))) {
        return parts.iter().map(|p| p.latency.unwrap_or(f64::INFINITY)).collect();
    }
    let mut add = |weight: f64, part: fn(&Parts) -> Option<f64>| {
        let best = parts.iter().filter_map(part).fold(f64::INFINITY, f64::min).max(1e-9);
        for (sum, p) in sums.iter_mut().zip(parts) {
            *sum += weight * part(p).map_or(f64::INFINITY, |v| (v / best).min(WORST));
        }
    };
    if named {
        add(latency.max(f64::MIN_POSITIVE), |p| p.latency);
    }
    for (weight, part) in counted {
        if counts_data || parts.iter().any(|p| part(p) != Some(0.0)) {
            add(weight, part);
        }
    }
    sums
}

/// Whether a part is the same everywhere, so that it decides nothing.
fn flat(parts: &[Parts], part: fn(&Parts) -> Option<f64>) -> bool {
    let mut known = parts.iter().filter_map(part);
    let first = known.next();
    known.all(|v| Some(v) == first)
}
