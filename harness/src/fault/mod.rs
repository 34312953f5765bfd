//! Faults of a host done for real: what a lane runs inside a host (`cfn fault ...`) to break something, until it is
//! ended, and what it leaves behind then: nothing.
//!
//! | ours | Chaos Mesh | how |
//! |---|---|---|
//! | `memory` | StressChaos, `memoryStressors` | memory that is taken and held, [`memory`] |
//! | `fulldisk` | IOChaos, `fault` with ENOSPC | a file that fills the file system, [`disk`] |
//! | `slowdisk` | IOChaos, `latency` | the control group's bound on reads and writes, [`slow`] |
//! | `pause` | none (`docker pause`) | the freezer; nothing is run inside |
//! | `crash`, `kill`, `stop` | PodChaos, `pod-kill` and `container-kill` | signals; the lane does it |
//! | `partition`, `isolate`, `shape` | NetworkChaos | [`crate::link`] |
//! | `clock` | TimeChaos | refused: containers share the machine's clock, and time namespaces do not have the wall clock |

pub mod disk;
pub mod memory;
pub mod slow;

use crate::scenario::{Fault, FaultKind};

/// What `cfn fault` prints as soon as the fault is there.
pub const IN_PLACE: &str = "done";

/// What a lane runs inside a host for a fault, until it heals it by ending it (SIGTERM); none for faults that are done
/// from outside, or not at all.
#[must_use]
pub fn command(f: &Fault) -> Option<Vec<String>> {
    let words = match f.kind.value {
        FaultKind::Memory => format!("memory --mib {}", f.mib.as_ref()?.value),
        FaultKind::FullDisk => "disk".to_owned(),
        FaultKind::SlowDisk => "slow".to_owned(),
        _ => return None,
    };
    Some(
        ["cfn", "fault"]
            .into_iter()
            .chain(words.split(' '))
            .map(str::to_owned)
            .collect(),
    )
}

/// Why a fault could not be put in.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// Doing it would break the machine, not the host: there is no bound between them.
    #[error("{what}; {cure}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What helps.
        cure: String,
    },
    /// The operating system said no.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What it said.
        source: std::io::Error,
    },
}

impl FaultError {
    fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_that_are_done_inside_have_a_command() {
        for (yaml, words) in [
            ("{kind: memory, node: n, mib: 300}", Some("cfn fault memory --mib 300")),
            ("{kind: fulldisk, node: n}", Some("cfn fault disk")),
            ("{kind: slowdisk, node: n}", Some("cfn fault slow")),
            ("{kind: pause, node: n}", None),
            ("{kind: clock, node: n}", None),
            ("{kind: crash, node: n}", None),
        ] {
            let f: Fault = serde_yaml::from_str(yaml).unwrap();
            assert_eq!(command(&f).map(|c| c.join(" ")).as_deref(), words, "{yaml}");
        }
    }
}
