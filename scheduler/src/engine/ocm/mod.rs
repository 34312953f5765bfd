//! Open Cluster Management's placement: the second front door. Filters, prioritizers and groups as its placement
//! controller has them (`pkg/placement/controllers/scheduling`), checked against recorded placements.
//!
//! It chooses clusters and never divides replicas; a Karmada division inside an OCM choice is one decision with
//! [`crate::engine::Request::within`].

mod expression;
mod filter;
mod groups;
mod managed;
mod score;
mod sets;
mod status;

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::ocm::PLACEMENT_LABEL;
use cfn_api::ocm::cluster::{AddOnPlacementScore, ManagedCluster};
use cfn_api::ocm::placement::{Placement, PlacementDecision};
use jiff::Timestamp;

pub use groups::{Group, MAX_DECISIONS, decision_groups, placement_decisions};
pub use managed::as_managed;
pub use sets::{Eligible, SetError, eligible, set_members};
pub use status::{Counts, conditions};

/// Code of a [`Status`], as upstream numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Code {
    /// All went well.
    #[default]
    Success = 0,
    /// It went, with something to know.
    Warning = 1,
    /// It failed.
    Error = 2,
    /// The Placement makes no sense.
    Misconfigured = 3,
}

/// How a decision ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Code.
    pub code: Code,
    /// Plugin that said so.
    pub plugin: String,
    /// Why.
    pub message: String,
}

impl Status {
    fn new(code: Code, plugin: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            plugin: plugin.to_owned(),
            message: message.into(),
        }
    }

    fn misconfigured(plugin: &str, message: impl Into<String>) -> Self {
        Self::new(Code::Misconfigured, plugin, message)
    }
}

/// What is known when a Placement is decided.
#[derive(Debug, Clone, Default)]
pub struct View<'a> {
    /// The clusters it may choose from, in the order in which they are filtered.
    pub clusters: Vec<&'a ManagedCluster>,
    /// Scores of add-ons, by cluster and resource name.
    pub scores: BTreeMap<(&'a str, &'a str), &'a AddOnPlacementScore>,
    /// All decisions there are, this Placement's own among them.
    pub decisions: Vec<&'a PlacementDecision>,
    /// Wall time; without it no toleration ends and no score expires.
    pub now: Option<Timestamp>,
}

impl<'a> View<'a> {
    /// A view of clusters and nothing else.
    #[must_use]
    pub fn of(clusters: impl IntoIterator<Item = &'a ManagedCluster>) -> Self {
        Self {
            clusters: clusters.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Adds scores.
    #[must_use]
    pub fn with_scores(mut self, scores: impl IntoIterator<Item = &'a AddOnPlacementScore>) -> Self {
        let key = |s: &'a AddOnPlacementScore| {
            let m = &s.metadata;
            (
                m.namespace.as_deref().unwrap_or_default(),
                m.name.as_deref().unwrap_or_default(),
            )
        };
        self.scores.extend(scores.into_iter().map(|s| (key(s), s)));
        self
    }

    /// The clusters that `placement` has now.
    fn own(&self, placement: &Placement) -> BTreeSet<&'a str> {
        self.decisions
            .iter()
            .filter(|d| belongs(d, placement))
            .flat_map(|d| d.status.iter().flat_map(|s| &s.decisions))
            .map(|d| d.cluster_name.as_str())
            .collect()
    }
}

/// Whether a decision is `placement`'s.
fn belongs(decision: &PlacementDecision, placement: &Placement) -> bool {
    let label = decision.metadata.labels.as_ref().and_then(|l| l.get(PLACEMENT_LABEL));
    decision.metadata.namespace == placement.metadata.namespace && label == placement.metadata.name.as_ref()
}

fn name(cluster: &ManagedCluster) -> &str {
    cluster.metadata.name.as_deref().unwrap_or_default()
}

/// What was left after a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// The filters so far, joined by commas.
    pub name: String,
    /// Clusters. Those after the last filter are best first, as upstream records them.
    pub clusters: Vec<String>,
}

/// What a prioritizer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scored {
    /// Name: of the built-in one, or `AddOn/resource/score`.
    pub name: String,
    /// Weight.
    pub weight: i32,
    /// By cluster; who has none is not in it.
    pub scores: BTreeMap<String, i64>,
}

/// A choice of clusters with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The clusters, best first.
    pub decisions: Vec<String>,
    /// How many passed the filters.
    pub feasible: usize,
    /// After each filter.
    pub filters: Vec<Filtered>,
    /// Of each prioritizer with a weight.
    pub prioritizers: Vec<Scored>,
    /// Weighted sum by cluster.
    pub sum: BTreeMap<String, i64>,
    /// How many are missing of the number asked for.
    pub unscheduled: i64,
    /// When a toleration in use ends and the choice must be made again.
    pub requeue_at: Option<Timestamp>,
    /// How it ended.
    pub status: Status,
}

/// Chooses clusters for `placement`.
#[must_use]
pub fn choose(view: &View<'_>, placement: &Placement) -> Choice {
    let mut choice = Choice::default();
    if let Err(status) = run(view, placement, &mut choice) {
        choice.status = status;
        choice.prioritizers.clear();
        choice.sum.clear();
    }
    choice
}

fn run(view: &View<'_>, placement: &Placement, choice: &mut Choice) -> Result<(), Status> {
    let spec = &placement.spec;
    let names = |list: &[&ManagedCluster]| list.iter().map(|c| name(c).to_owned()).collect::<Vec<_>>();
    let mut left = filter::predicate(view, spec)?;
    choice.filters.push(Filtered {
        name: filter::PREDICATE.to_owned(),
        clusters: names(&left),
    });
    let own = view.own(placement);
    let (tolerated, requeue_at) = filter::tolerated(view, spec, left, &own)?;
    left = tolerated;
    choice.requeue_at = requeue_at;
    let wanted = match spec.number_of_clusters {
        // Upstream would fail in mid-air.
        Some(n) if n < 0 => {
            return Err(Status::misconfigured(
                "",
                format!("spec.numberOfClusters: {n} is negative"),
            ));
        }
        n => n,
    };
    let weights = score::weights(&spec.prioritizer_policy)?;
    let mut sums: Vec<i64> = vec![0; left.len()];
    for (prioritizer, weight) in weights {
        let (scores, status) = prioritizer.score(view, placement, &left, &own);
        if let Some(s) = status {
            choice.status = s;
        }
        for (sum, score) in sums.iter_mut().zip(&scores) {
            *sum += score.unwrap_or(0) * i64::from(weight);
        }
        let named = left.iter().zip(scores);
        choice.prioritizers.push(Scored {
            name: prioritizer.name(),
            weight,
            scores: named.filter_map(|(c, s)| Some((name(c).to_owned(), s?))).collect(),
        });
    }
    let mut ranked: Vec<(&ManagedCluster, i64)> = left.into_iter().zip(sums).collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| name(a.0).cmp(name(b.0))));
    choice.filters.push(Filtered {
        name: format!("{},{}", filter::PREDICATE, filter::TAINT_TOLERATION),
        clusters: ranked.iter().map(|(c, _)| name(c).to_owned()).collect(),
    });
    choice.sum = ranked.iter().map(|(c, s)| (name(c).to_owned(), *s)).collect();
    choice.feasible = ranked.len();
    let take = wanted.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(0));
    choice.decisions = ranked.iter().take(take).map(|(c, _)| name(c).to_owned()).collect();
    choice.unscheduled = wanted.map_or(0, |n| {
        i64::from(n) - i64::try_from(choice.decisions.len()).unwrap_or(i64::MAX)
    });
    Ok(())
}
