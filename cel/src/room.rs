//! Expressions and patterns are trees, and whoever goes through one calls itself as often as it is high: room on the
//! stack for that, whichever thread it is.

/// What one more level has at least (bytes): a macro takes some 12 KB without optimisation, 250 may be in one another, and
/// a thread has 2 MiB for everything.
const ROOM: usize = 128 << 10;
/// How much is added where there is less (bytes).
const MORE: usize = 1 << 20;
/// What readers that are bounded by something else than their own height have (bytes): pages that nobody touches cost
/// nothing.
const WHOLE: usize = 64 << 20;

/// What `f`, one level of what calls itself, gives.
pub(crate) fn with_room<R>(f: impl FnOnce() -> R) -> R {
    stacker::maybe_grow(ROOM, MORE, f)
}

/// What `f`, all levels of it, gives.
pub(crate) fn with_much_room<R>(f: impl FnOnce() -> R) -> R {
    stacker::grow(WHOLE, f)
}
