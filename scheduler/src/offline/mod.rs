//! Placements offline (`cfn schedule`): from the text of files to JSON lines. Pure functions.
//!
//! Input: JSON, JSON lines or YAML (several documents, `List`s), plain or gzip, in Karmada's shape or Open Cluster
//! Management's. A fleet: `Cluster`, `ComputingMetric`, `ManagedCluster`, `ManagedClusterSet`, `ManagedClusterSetBinding`,
//! `AddOnPlacementScore` objects, or `{clusters: [...]}`. Bindings: `ResourceBinding` objects, bare specs, `{specs: [...]}`,
//! or OCM `Placement`s with the `PlacementDecision`s there are; `ComputingPolicy` objects among them apply to the bindings
//! they name. Cases: one a document, each with its own clusters: `{id, clusters, spec}` or `{id, clusters, placement, scores,
//! previous, otherDecisions}`; fields with answers in them are ignored.
//!
//! Output, one line per decision: `{"id", "result": [{"name", "replicas"}]}` or
//! `{"id", "error": "NoClusterFit" | "Unschedulable" | "error", "message"}`; for OCM `{"id", "decisions", "sum", "filters",
//! "prioritizers", "unscheduled", "status"}`; and `explanation` where asked for.

mod case;
mod check;
mod document;
mod karmada;
mod ocm;
mod what_if;
mod world;

use jiff::Timestamp;

pub use case::cases;
pub use document::documents;
pub use karmada::Item;
pub use world::World;

/// Why files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Not gzip, though it begins like it.
    #[error("gzip: {0}")]
    Gzip(#[from] std::io::Error),
    /// Not UTF-8.
    #[error("not text: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    /// It begins like JSON and is not.
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Neither JSON nor YAML.
    #[error("neither JSON, JSON lines nor YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
    /// A document is not what it should be.
    #[error("document {at}, {path}: expected {what}: {error}")]
    Shape {
        /// Which document, from 1.
        at: usize,
        /// Field.
        path: String,
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        error: String,
    },
    /// There is nothing of what is needed.
    #[error("no {0} in the file")]
    Nothing(&'static str),
    /// The batch could not be bounded.
    #[error(transparent)]
    Bound(#[from] crate::engine::bound::BoundError),
    /// A cluster that is to be lost is not in the fleet.
    #[error("no cluster {0} in the fleet")]
    NoSuchCluster(String),
}

/// In whose shape a document is, where it does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Karmada's.
    Karmada,
    /// Open Cluster Management's.
    Ocm,
}

/// How to decide and what to say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Per cluster and plugin, the reason of a refusal or the score.
    pub explain: bool,
    /// Shape, where it does not show.
    pub format: Option<Format>,
    /// Clusters that are lost after the first decision; the second is told.
    pub lost: Vec<String>,
    /// Say how far the batch is from the best that any scheduler could do.
    pub bound: bool,
    /// Wall time for tolerations that end and scores that expire; without it none does.
    pub now: Option<Timestamp>,
}

/// What a run says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// One JSON object a decision.
    pub lines: Vec<String>,
    /// What was strange in the input and did not matter.
    pub warnings: Vec<String>,
}

/// `--fleet FILE --bindings FILE`: every binding on the same fleet.
///
/// # Errors
/// When a file cannot be used; then nothing was decided.
pub fn run(world: World, bindings: &[u8], options: &Options) -> Result<Output, OfflineError> {
    let mut world = world;
    let work = world.bindings(bindings, options)?;
    let mut out = Output {
        warnings: std::mem::take(&mut world.warnings),
        ..Output::default()
    };
    for name in &options.lost {
        if !world.has(name) {
            return Err(OfflineError::NoSuchCluster(name.clone()));
        }
    }
    let fleet = world.fleet(&work);
    out.lines = if options.lost.is_empty() {
        let mut lines = karmada::lines(&fleet, &world, &work, options);
        lines.extend(ocm::lines(&world, &work, options));
        lines.sort_by_key(|(at, _)| *at);
        lines.into_iter().map(|(_, l)| l).collect()
    } else {
        what_if::lines(fleet.clone(), &world, &work, options)
    };
    if options.bound {
        out.lines.push(karmada::bound(&fleet, &world, &work, options)?);
    }
    Ok(out)
}
