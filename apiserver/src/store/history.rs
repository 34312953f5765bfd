//! The recent past of a resource: what a watch that starts at a revision that was is told first.
//!
//! States that were are objects as others are: nobody asks for them as a rule, and then they are packed ([`super::pack`]).

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use super::{Event, EventKind, Object, ResourceKey, Revision};

/// How many past events a resource keeps for watches that start in the past (kube-apiserver's watch cache: 100 to
/// 100,000 by demand).
pub(super) const HISTORY: usize = 10_000;

struct Past {
    kind: EventKind,
    revision: Revision,
    object: Arc<Object>,
    previous: Option<Arc<Object>>,
}

/// The recent past of one resource.
#[derive(Default)]
pub(super) struct History {
    events: VecDeque<Past>,
    /// Events up to this revision are gone.
    pub(super) forgotten: Revision,
}

impl History {
    /// One that begins at a revision.
    pub(super) fn after(revision: Revision) -> Self {
        Self {
            events: VecDeque::new(),
            forgotten: revision,
        }
    }

    /// Takes a write in.
    pub(super) fn push(&mut self, event: &Event) {
        if self.events.len() >= HISTORY
            && let Some(old) = self.events.pop_front()
        {
            self.forgotten = old.revision;
        }
        self.events.push_back(Past {
            kind: event.kind,
            revision: event.revision,
            object: event.object.clone(),
            previous: event.previous.clone(),
        });
    }

    /// The events after a revision, as they were.
    pub(super) fn since<'a>(
        &'a self,
        resource: &'a ResourceKey,
        revision: Revision,
    ) -> impl DoubleEndedIterator<Item = Event> + 'a {
        let past = self.events.partition_point(|e| e.revision <= revision);
        let events = self.events.range((Bound::Included(past), Bound::Unbounded));
        events.map(|e| Event {
            kind: e.kind,
            resource: resource.clone(),
            object: e.object.clone(),
            previous: e.previous.clone(),
            revision: e.revision,
        })
    }
}
