//! The recent past of a resource: what a watch that starts at a revision that was is told first.
//!
//! What was overwritten is kept as JSON, not as a tree: a tree takes several times the room, and almost nobody asks.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::{Event, EventKind, Object, ResourceKey, Revision};

/// How many past events a resource keeps for watches that start in the past (kube-apiserver's watch cache: 100 to
/// 100,000 by demand).
pub(super) const HISTORY: usize = 10_000;

/// A state that is the object's no more.
struct Packed {
    bytes: Bytes,
    revision: Revision,
}

impl Packed {
    fn of(object: &Object) -> Arc<Self> {
        Arc::new(Self {
            bytes: object.bytes(),
            revision: object.revision,
        })
    }

    fn object(&self) -> Arc<Object> {
        Arc::new(Object::read(self.bytes.clone(), self.revision))
    }
}

/// A state of an object.
enum State {
    /// What it is now.
    Now(Arc<Object>),
    /// What it was.
    Was(Arc<Packed>),
}

impl State {
    fn object(&self) -> Arc<Object> {
        match self {
            Self::Now(o) => o.clone(),
            Self::Was(p) => p.object(),
        }
    }
}

struct Past {
    kind: EventKind,
    revision: Revision,
    object: State,
    previous: Option<Arc<Packed>>,
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

    /// Takes a write in; the state before it is the object's no more.
    pub(super) fn push(&mut self, event: &Event) {
        if self.events.len() >= HISTORY
            && let Some(old) = self.events.pop_front()
        {
            self.forgotten = old.revision;
        }
        let previous = event.previous.as_ref().map(|p| {
            let made = self.events.binary_search_by_key(&p.revision, |e| e.revision);
            match made.ok().and_then(|i| self.events.get_mut(i)) {
                Some(Past {
                    object: State::Was(packed),
                    ..
                }) => packed.clone(),
                Some(made) => {
                    let packed = Packed::of(p);
                    made.object = State::Was(packed.clone());
                    packed
                }
                None => Packed::of(p),
            }
        });
        self.events.push_back(Past {
            kind: event.kind,
            revision: event.revision,
            object: match event.kind {
                EventKind::Deleted => State::Was(Packed::of(&event.object)),
                _ => State::Now(event.object.clone()),
            },
            previous,
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
            object: e.object.object(),
            previous: e.previous.as_ref().map(|p| p.object()),
            revision: e.revision,
        })
    }
}
