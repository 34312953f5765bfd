//! What a task type means where its policy says nothing else: data, read once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use cfn_api::cfn::{ObjectiveWeights, TaskType};
use serde::Deserialize;

/// Defaults of a task type.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// What the clients may wait, e.g. `20ms`.
    pub budget: Option<String>,
    /// Percent by which another cluster must be better.
    pub hysteresis: f64,
    /// Shares in the objective Joint.
    pub weights: ObjectiveWeights,
}

fn table() -> &'static BTreeMap<String, Defaults> {
    static TABLE: OnceLock<BTreeMap<String, Defaults>> = OnceLock::new();
    // Checked by a test; an unreadable table would mean no defaults.
    TABLE.get_or_init(|| serde_yaml::from_str(include_str!("tasks.yaml")).unwrap_or_default())
}

/// The defaults of a task type (`tasks.yaml`).
#[must_use]
pub fn defaults(task: TaskType) -> Defaults {
    table().get(&format!("{task:?}")).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_type_has_defaults() {
        use TaskType::{AITraining, Batch, Interactive, LatencyCritical, V2X};
        for task in [V2X, LatencyCritical, Interactive, AITraining, Batch] {
            assert_ne!(defaults(task), Defaults::default(), "{task:?}");
        }
        assert_eq!(table().len(), 5);
    }
}
