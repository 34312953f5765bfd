//! A watch: events of a resource as JSON lines or frames of protobuf, with selectors that let objects come and go, and bookmarks.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use cfn_net::SharedClock;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep};

use super::output::Output;
use crate::registry::{ListOptions, Resource, Server};
use crate::schema;
use crate::status::Status;
use crate::store::{Event, EventKind, Object, Page, Source, StoreError};

/// How often a client that allows bookmarks gets one (kube-apiserver: about once a minute).
const BOOKMARK: Duration = Duration::from_secs(60);
/// How long a watch lasts that does not say (kube-apiserver: random between 30 and 60 minutes; fixed here).
const LIFETIME: Duration = Duration::from_secs(45 * 60);
/// How many events go into one frame at most.
const BATCH: usize = 128;

/// What a watch asks for.
pub(super) struct WatchOptions {
    pub(super) namespace: Option<String>,
    pub(super) which: ListOptions,
    /// `resourceVersion`; `None` or 0: from what is there.
    pub(super) since: Option<u64>,
    pub(super) bookmarks: bool,
    /// `sendInitialEvents`.
    pub(super) initial: Option<bool>,
    pub(super) timeout: Option<Duration>,
}

/// The body of a watch's response.
pub(super) struct Watch {
    server: Arc<Server>,
    resource: Arc<Resource>,
    options: WatchOptions,
    output: Output,
    clock: SharedClock,
    source: Option<Source>,
    first: VecDeque<First>,
    end: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
    /// An event that is not on disk yet, and the wait for it to be.
    held: Option<Held>,
    /// What is there at the start, while it is converted.
    page: Option<Page>,
    /// Why something could not be converted.
    failure: Arc<OnceLock<Status>>,
}

/// What a watch begins with.
enum First {
    /// It is told as it is.
    Line(Bytes),
    /// An object that was there: it is written when the client takes it, as there may be very many.
    Object(Arc<Object>),
}

/// How many bytes of what a watch begins with are made at once, about.
const PIECE: usize = 256 * 1024;

/// Something that may be told when the wait is over.
type Held = (Option<Arc<Event>>, Pin<Box<dyn Future<Output = ()> + Send>>);

impl Watch {
    pub(super) fn new(server: &Arc<Server>, resource: Arc<Resource>, options: WatchOptions, output: Output) -> Self {
        let timeout = options.timeout.unwrap_or(LIFETIME);
        let mut w = Self {
            server: server.clone(),
            clock: server.clock.clone(),
            source: None,
            first: VecDeque::new(),
            end: Box::pin(tokio::time::sleep(timeout)),
            bookmark: options.bookmarks.then(|| Box::pin(tokio::time::sleep(BOOKMARK))),
            resource,
            options,
            output,
            held: None,
            page: None,
            failure: Arc::default(),
        };
        w.start();
        // What is there at the start may be as new.
        let revision = server.store.revision();
        if revision > server.store.durable_revision() {
            w.held = Some(w.hold(None, revision));
        }
        w
    }

    fn start(&mut self) {
        let key = self.resource.storage.clone();
        let from_now = self.options.since.is_none_or(|r| r == 0);
        let initial = self.options.initial.unwrap_or(from_now);
        if initial {
            let (page, source) = self.server.store.list_and_watch(&key, self.namespace());
            self.source = Some(source);
            if page.objects.iter().all(|o| self.resource.present(o).is_ok()) {
                self.begin(&page);
            } else {
                self.page = Some(page);
                self.held = Some(self.hold(None, 0));
            }
            return;
        }
        let since = if from_now {
            self.server.store.revision()
        } else {
            self.options.since.unwrap_or_default()
        };
        match self.server.store.watch_since(&key, since) {
            Ok(s) => self.source = Some(s),
            Err(e @ StoreError::TooOld(..)) => self
                .first
                .push_back(First::Line(self.output.failed(&Status::expired(e.to_string())))),
            Err(e) => self
                .first
                .push_back(First::Line(self.output.failed(&Status::internal(e)))),
        }
    }

    /// What is there already.
    fn begin(&mut self, page: &Page) {
        for o in &page.objects {
            match self.resource.present(o) {
                Ok(o) if self.options.which.is_everything() || self.options.which.matches(&o.peek()) => {
                    self.first.push_back(First::Object(o));
                }
                Ok(_) => {}
                Err(_) => return self.give_up(),
            }
        }
        if self.options.initial == Some(true) && self.options.bookmarks {
            let mark = self.mark(page.revision, true);
            self.first.push_back(First::Line(mark));
        }
    }

    /// A wait until `revision` is on disk and all that is noted is converted.
    fn hold(&self, event: Option<Arc<Event>>, revision: u64) -> Held {
        let (server, resource, failure) = (self.server.clone(), self.resource.clone(), self.failure.clone());
        let wait = async move {
            server.store.until_durable(revision).await;
            if let Err(s) = server.convert_missing(&resource).await {
                let _ = failure.set(s);
            }
        };
        (event, Box::pin(wait))
    }

    /// Nobody can say what an object is in this version: the watch ends, and says why.
    fn give_up(&mut self) {
        let why = self.failure.get().cloned();
        let why = why.unwrap_or_else(|| Status::internal("an object could not be converted"));
        self.first.push_back(First::Line(self.output.failed(&why)));
        self.source = None;
    }

    fn namespace(&self) -> Option<&str> {
        self.options.namespace.as_deref().filter(|_| self.resource.namespaced)
    }

    fn line(&self, kind: &str, o: &Arc<Object>) -> Bytes {
        let output = Output {
            now: self.clock.now(),
            ..self.output
        };
        let line = output.event(kind, &self.resource, o);
        line.unwrap_or_else(|s| self.output.failed(&s))
    }

    fn mark(&self, revision: u64, end_of_initial: bool) -> Bytes {
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if end_of_initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (api_version, kind) = (&*self.resource.api_version, &*self.resource.kind);
        let mut object = json!({"kind": kind, "apiVersion": api_version, "metadata": meta});
        if self.resource.custom.is_none() {
            schema::write_always(api_version, kind, &mut object);
        }
        let o = Arc::new(Object::new(object, revision));
        self.line("BOOKMARK", &o)
    }

    /// What the client sees of an event: with selectors an object may enter or leave by a change.
    ///
    /// # Errors
    /// When a webhook has to convert it first.
    fn translate(&self, e: &Event) -> Result<Option<Bytes>, Status> {
        if let Some(ns) = self.namespace()
            && e.object.namespace() != ns
        {
            return Ok(None);
        }
        let o = self.resource.present(&e.object)?;
        let which = &self.options.which;
        if which.is_everything() {
            let kind = match e.kind {
                EventKind::Added => "ADDED",
                EventKind::Modified => "MODIFIED",
                EventKind::Deleted => "DELETED",
            };
            return Ok(Some(self.line(kind, &o)));
        }
        let previous = e.previous.as_ref().map(|p| self.resource.present(p)).transpose()?;
        let before = previous.as_ref().is_some_and(|p| which.matches(&p.peek()));
        let after = e.kind != EventKind::Deleted && which.matches(&o.peek());
        Ok(match (before, after) {
            (false, false) => None,
            (false, true) => Some(self.line("ADDED", &o)),
            (true, true) => Some(self.line("MODIFIED", &o)),
            (true, false) if e.kind == EventKind::Deleted => Some(self.line("DELETED", &o)),
            (true, false) => {
                // The last state that was selected, at the revision of the change.
                let mut last: Value = previous.map_or(Value::Null, |p| (*p.peek()).clone());
                last["metadata"]["resourceVersion"] = json!(e.revision.to_string());
                Some(self.line("DELETED", &Arc::new(Object::new(last, e.revision))))
            }
        })
    }

    /// The next bytes; `None`: the watch is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some((event, wait)) = &mut self.held {
            if wait.as_mut().poll(cx).is_pending() {
                // A watch ends in time, whatever the disk does.
                return self.end.as_mut().poll(cx).map(|()| None);
            }
            let event = event.take();
            self.held = None;
            if let Some(page) = self.page.take() {
                self.begin(&page);
            }
            match event.map(|e| (self.translate(&e), e)) {
                Some((Ok(Some(line)), _)) => return Poll::Ready(Some(line)),
                Some((Err(_), _)) if self.failure.get().is_some() => self.give_up(),
                Some((Err(_), e)) => {
                    self.held = Some(self.hold(Some(e), 0));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some((Ok(None), _)) | None => {}
            }
        }
        if !self.first.is_empty() {
            let mut b = BytesMut::new();
            while let Some(first) = self.first.pop_front() {
                match first {
                    First::Line(line) => b.put_slice(&line),
                    First::Object(o) => b.put_slice(&self.line("ADDED", &o)),
                }
                if b.len() > PIECE {
                    break;
                }
            }
            return Poll::Ready(Some(b.freeze()));
        }
        // Read before the channel is found empty: all up to here has been told then.
        let durable = self.server.store.durable_revision();
        let revision = self.server.store.revision().min(durable);
        let Some(mut source) = self.source.take() else {
            return Poll::Ready(None);
        };
        let mut out = BytesMut::new();
        let mut open = true;
        for _ in 0..BATCH {
            match source.poll_recv(cx) {
                Poll::Ready(Some(e)) if e.revision > durable => {
                    let revision = e.revision;
                    self.held = Some(self.hold(Some(e), revision));
                    cx.waker().wake_by_ref();
                    break;
                }
                Poll::Ready(Some(e)) => match self.translate(&e) {
                    Ok(Some(line)) => out.put_slice(&line),
                    Ok(None) => {}
                    Err(_) => {
                        self.held = Some(self.hold(Some(e), 0));
                        cx.waker().wake_by_ref();
                        break;
                    }
                },
                Poll::Ready(None) => {
                    open = false;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if open {
            self.source = Some(source);
        }
        if !out.is_empty() {
            return Poll::Ready(Some(out.freeze()));
        }
        if !open || self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        // A whole batch that was not for this client: there may be more.
        if let Some(s) = &self.source
            && !s.is_empty()
        {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(timer) = &mut self.bookmark
            && timer.as_mut().poll(cx).is_ready()
        {
            timer.as_mut().reset(Instant::now() + BOOKMARK);
            return Poll::Ready(Some(self.mark(revision, false)));
        }
        Poll::Pending
    }
}
