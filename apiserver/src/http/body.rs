//! Bodies of responses: bytes, a watch, or what another server answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::task::AbortOnDropHandle;

use super::watch::Watch;

/// The body of a response.
pub struct ResponseBody {
    kind: Kind,
    end: OnEnd,
}

/// What is done when the body was sent, or is given up.
#[derive(Default)]
struct OnEnd(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnEnd {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

enum Kind {
    Full(Option<Bytes>),
    Watch(Box<Watch>),
    /// What another server answers, and the connection to it.
    Proxied(Incoming, #[allow(dead_code)] AbortOnDropHandle<()>),
}

impl ResponseBody {
    /// These bytes.
    #[must_use]
    pub fn full(bytes: Bytes) -> Self {
        Kind::Full(Some(bytes).filter(|b| !b.is_empty())).into()
    }

    pub(super) fn watch(w: Watch) -> Self {
        Kind::Watch(Box::new(w)).into()
    }

    pub(super) fn proxied(body: Incoming, connection: AbortOnDropHandle<()>) -> Self {
        Kind::Proxied(body, connection).into()
    }

    /// All of it, where it is known and not sent yet.
    pub(super) fn whole(&self) -> Option<&Bytes> {
        match &self.kind {
            Kind::Full(b) => b.as_ref(),
            Kind::Watch(_) | Kind::Proxied(..) => None,
        }
    }

    /// Whether this goes on for long.
    pub(super) fn is_watch(&self) -> bool {
        matches!(self.kind, Kind::Watch(_))
    }

    /// Does `f` when the body is sent, or given up.
    pub(super) fn on_end(&mut self, f: impl FnOnce() + Send + 'static) {
        self.end = OnEnd(Some(Box::new(f)));
    }
}

impl From<Kind> for ResponseBody {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            end: OnEnd::default(),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Full(b) => Poll::Ready(b.take().map(|b| Ok(Frame::data(b)))),
            Kind::Watch(w) => w.poll(cx).map(|b| b.map(|b| Ok(Frame::data(b)))),
            // One that breaks off ends here: the client misses what its length announced.
            Kind::Proxied(b, _) => Pin::new(b).poll_frame(cx).map(|f| f.and_then(Result::ok).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(b) => b.is_none(),
            Kind::Watch(_) => false,
            Kind::Proxied(b, _) => b.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(b) => SizeHint::with_exact(b.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Watch(_) => SizeHint::default(),
            Kind::Proxied(b, _) => b.size_hint(),
        }
    }
}
