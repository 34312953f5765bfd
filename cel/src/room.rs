//! Expressions are trees, and whoever goes through one calls itself as often as it is high.

/// What one more level has of the stack at least (bytes): some 12 KB a macro without optimisation, of which 250 may be in
/// one another, and a thread has 2 MiB for everything.
const ROOM: usize = 128 << 10;
/// How much stack is added where there is less.
const MORE: usize = 1 << 20;

/// What `f` gives, with room for it on the stack.
pub(crate) fn with_room<R>(f: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(ROOM, MORE, f)
}
