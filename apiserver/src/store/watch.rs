//! Events and the channels that carry them.

use std::sync::Arc;

use super::{Object, ResourceKey, Revision};

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It was created, or is there at the start of a watch.
    Added,
    /// It was changed.
    Modified,
    /// It is gone; the event carries its last state.
    Deleted,
}

/// One write.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To which resource.
    pub resource: ResourceKey,
    /// The state after (before, when deleted) with the write's revision.
    pub object: Arc<Object>,
    /// The state before.
    pub previous: Option<Arc<Object>>,
    /// The write's revision.
    pub revision: Revision,
}

/// Where a watcher reads.
pub type Source = tokio::sync::mpsc::UnboundedReceiver<Arc<Event>>;

/// Where the store writes, inside the write's critical section: must be quick and must not call the store.
pub trait Sink: Send {
    /// Takes an event; false: nobody listens any more.
    fn send(&self, event: &Arc<Event>) -> bool;
    /// Whether nobody listens any more.
    fn is_closed(&self) -> bool;
}

impl Sink for tokio::sync::mpsc::UnboundedSender<Arc<Event>> {
    fn send(&self, event: &Arc<Event>) -> bool {
        tokio::sync::mpsc::UnboundedSender::send(self, event.clone()).is_ok()
    }
    fn is_closed(&self) -> bool {
        tokio::sync::mpsc::UnboundedSender::is_closed(self)
    }
}
