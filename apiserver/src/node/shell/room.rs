//! Commands wait for the ones inside them, on the stack of whoever drives them.

use std::pin::Pin;
use std::task::{Context, Poll};

/// What a command has of the stack at least (bytes). One level takes some 30 KB without optimisation, and a thread has
/// 2 MiB for everything.
const ROOM: usize = 256 << 10;
/// How much stack is added where there is less.
const MORE: usize = 1 << 20;

/// A future that has [`ROOM`] on the stack whenever it runs, however many wait for it: what stands in recursion is to go
/// through one, so that scripts which run themselves end by their bound, not by the end of the stack.
pub(super) struct Roomy<F>(Pin<Box<F>>);

impl<F> Roomy<F> {
    pub(super) fn new(inner: F) -> Self {
        Self(Box::pin(inner))
    }
}

impl<F: Future> Future for Roomy<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<F::Output> {
        stacker::maybe_grow(ROOM, MORE, || self.0.as_mut().poll(c))
    }
}
