//! One thing that happened during a scenario.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What kind of thing happened; the timeline draws each kind in its own lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EventKind {
    /// A step of the scenario began.
    Step,
    /// A fault was put in. Its `until` is set when it is healed; a fault without one lasted to the end.
    Fault,
    /// A fault was taken away. Drawn only as the end of its fault's bar; kept in the trace.
    Heal,
    /// An object of interest changed (created, Ready, deleted, moved).
    Object,
    /// The scheduler decided about a workload.
    Decision,
    /// A context relocation changed its state.
    Relocation,
    /// A vehicle or sensor did something (crossed an edge, lost its service).
    Vehicle,
    /// A verdict was reached.
    Verdict,
    /// Anything else worth telling the reader.
    Note,
}

impl EventKind {
    /// The kind's name in files and on the timeline.
    pub fn name(self) -> &'static str {
        match self {
            EventKind::Step => "Step",
            EventKind::Fault => "Fault",
            EventKind::Heal => "Heal",
            EventKind::Object => "Object",
            EventKind::Decision => "Decision",
            EventKind::Relocation => "Relocation",
            EventKind::Vehicle => "Vehicle",
            EventKind::Verdict => "Verdict",
            EventKind::Note => "Note",
        }
    }
}

/// One thing that happened, at an offset from the start of its scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Offset from the scenario's start; in files: milliseconds.
    #[serde(with = "super::millis")]
    pub at: Duration,
    /// End of what lasts (a step, a fault); none for what happens at one moment.
    #[serde(default, with = "super::millis::option", skip_serializing_if = "Option::is_none")]
    pub until: Option<Duration>,
    /// What kind of thing.
    pub kind: EventKind,
    /// Where: a site or a cluster; empty when it is about the whole testbed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// What it is about: `Deployment default/sentiment`, `link edge-1 - cloud`, a vehicle.
    pub subject: String,
    /// What happened, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Event {
    /// An event at one moment, about `subject`.
    pub fn new(at: Duration, kind: EventKind, subject: impl Into<String>, detail: impl Into<String>) -> Event {
        Event {
            at,
            until: None,
            kind,
            place: String::new(),
            subject: subject.into(),
            detail: detail.into(),
        }
    }

    /// The same event, at a site or a cluster.
    pub fn at_place(mut self, place: impl Into<String>) -> Event {
        self.place = place.into();
        self
    }
}
