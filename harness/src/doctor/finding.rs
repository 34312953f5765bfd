//! One thing that was looked at.

use serde::{Deserialize, Serialize};

use crate::lane::LaneError;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Something will be slower, less exact, or not possible; the rest works.
    Warn,
    /// The lanes that need it cannot work.
    Fail,
}

/// The lanes whose needs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Virtual time, in memory.
    Sim,
    /// Sockets on loopback.
    Local,
    /// Containers.
    Docker,
}

impl Lane {
    /// All, the least demanding first.
    pub const ALL: [Self; 3] = [Self::Sim, Self::Local, Self::Docker];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sim => "sim",
            Self::Local => "local",
            Self::Docker => "docker",
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// Which lanes need it.
    pub lanes: Vec<Lane>,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What helps, where something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &str, lanes: &[Lane], seen: impl Into<String>) -> Self {
        Self {
            check: check.into(),
            lanes: lanes.to_vec(),
            state: State::Ok,
            seen: seen.into(),
            cure: None,
        }
    }

    /// Worth knowing.
    pub fn warn(check: &str, lanes: &[Lane], seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            state: State::Warn,
            cure: Some(cure.into()),
            ..Self::ok(check, lanes, seen)
        }
    }

    /// In the way.
    pub fn fail(check: &str, lanes: &[Lane], seen: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(check, lanes, seen, cure)
        }
    }
}

/// The first of `findings` that keeps `lane` from working, as an error with its cure.
///
/// # Errors
/// [`LaneError::Environment`] that names the check.
pub fn refuse(lane: Lane, findings: &[Finding]) -> Result<(), LaneError> {
    match findings
        .iter()
        .find(|f| f.state == State::Fail && f.lanes.contains(&lane))
    {
        None => Ok(()),
        Some(f) => Err(LaneError::Environment {
            what: format!("{}: {}", f.check, f.seen),
            cure: f.cure.clone().unwrap_or_default(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_refuses_by_the_name_of_what_fails() {
        let findings = [
            Finding::warn("netem", &[Lane::Docker], "none", "none needed"),
            Finding::fail("inotify", &[Lane::Docker], "128", "sysctl"),
        ];
        assert!(refuse(Lane::Local, &findings).is_ok());
        match refuse(Lane::Docker, &findings) {
            Err(LaneError::Environment { what, cure }) => {
                assert_eq!((what.as_str(), cure.as_str()), ("inotify: 128", "sysctl"))
            }
            other => panic!("{other:?}"),
        }
    }
}
