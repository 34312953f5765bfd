//! What a run leaves behind: events, samples, verdicts, decisions and the facts around them.
//!
//! Everything here is plain data (serde, ordered maps): the lanes and the scenario runner fill it in, the writers of
//! [`crate::report`] turn it into files. Times are offsets from the start of their scenario, so that two runs compare.

pub mod batch;
pub mod decision;
pub mod event;
pub mod mask;
pub mod place;
pub mod run;
pub mod scenario;
pub mod series;
pub mod verdict;

pub use batch::{Batch, BatchLatency};
pub use decision::{ClusterDecision, Decision};
pub use event::{Event, EventKind};
pub use place::{Cluster, Link, Map, Site};
pub use run::RunResult;
pub use scenario::{ScenarioResult, StepOutcome, StepResult, Test};
pub use series::{Percentile, Quantile, Sample, Series, Summary};
pub use verdict::{Bound, Level, Source, Status, Verdict};

/// Durations as milliseconds in files: a number a person can read, rounded to the microsecond so that the same
/// duration is always the same text.
pub mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// The duration in milliseconds, rounded to three decimals.
    pub fn of(duration: Duration) -> f64 {
        let micros = (duration.as_nanos() + 500) / 1000;
        micros as f64 / 1000.0
    }

    /// Writes a duration as milliseconds.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(of(*duration))
    }

    /// Reads milliseconds back.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let ms = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(ms / 1000.0).map_err(serde::de::Error::custom)
    }

    /// The same for an optional duration.
    pub mod option {
        use std::time::Duration;

        use serde::{Deserialize, Deserializer, Serializer};

        /// Writes milliseconds or null.
        pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => serializer.serialize_some(&super::of(*duration)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads milliseconds or null.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Option::<f64>::deserialize(deserializer)?
                .map(|ms| Duration::try_from_secs_f64(ms / 1000.0).map_err(serde::de::Error::custom))
                .transpose()
        }
    }
}
