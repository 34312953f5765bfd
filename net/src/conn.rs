//! A connection between two hosts: whether it lives, and what is under way in each direction.
//!
//! On the memory transport a connection is two queues of chunks, each with the instant it arrives; no task moves
//! them. Over TCP the two queues stand between the client and a task that copies to and from the socket, or there
//! is just the socket while both hosts are at one site. Locks: a direction's before the network's, never the other
//! way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::network::{Net, Transport};
use crate::route::Route;
use crate::shape::{self, Draws};
use crate::timer;

/// Bytes under way or unread in one direction before the writer waits, within a site.
const NEAR: usize = 256 * 1024;
/// The same over links: more than bandwidth times delay of what is emulated (100 Mbit/s at 80 ms).
const FAR: usize = 1024 * 1024;
/// Pieces of a write on a line of limited throughput.
const PIECE: usize = 8 * shape::SEGMENT;

/// What both ends, the network and the faults share of a connection.
pub(crate) struct Conn {
    pub(crate) id: u64,
    /// The host that connected; none for a program outside the testbed.
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) net: Net,
    /// The client's socket of a TCP connection, by which the listener knows it.
    pub(crate) socket: OnceLock<SocketAddr>,
    /// From the client, to the client. Unset while the connection is a bare socket.
    queues: OnceLock<[Mutex<Queue>; 2]>,
    draws: Mutex<Option<[Draws; 2]>>,
    dead: AtomicBool,
    /// The network's generation that a bare socket's client has seen.
    seen: AtomicU64,
    /// Reader and writer of: the client, the far end of the queues, the server of a TCP connection.
    wakers: [AtomicWaker; 6],
}

/// One direction.
struct Queue {
    chunks: VecDeque<Chunk>,
    buffered: usize,
    /// The end of stream: written, and when it arrives.
    end: Option<Option<Instant>>,
    /// Arrival of the last chunk: order never changes.
    last: Option<Instant>,
    route: Arc<Route>,
    /// The network's generation that `route` is of.
    generation: u64,
    draws: Draws,
    /// Nobody reads any more.
    deaf: bool,
}

struct Chunk {
    data: Bytes,
    /// When it arrives; none while the way is cut.
    at: Option<Instant>,
    /// Whether the links' counters have it: what is sent again counts once.
    counted: bool,
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset")
}

impl Conn {
    pub(crate) fn new(id: u64, from: Option<String>, to: String, net: Net, draws: Option<[Draws; 2]>) -> Arc<Self> {
        Arc::new(Self {
            id,
            from,
            to,
            net,
            socket: OnceLock::new(),
            queues: OnceLock::new(),
            draws: Mutex::new(draws),
            dead: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            wakers: Default::default(),
        })
    }

    /// Puts queues between the two ends.
    pub(crate) fn queued(&self) {
        let draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner).take();
        let from = self.from.as_deref().unwrap_or_default();
        if let Some([up, down]) = draws {
            let queue = |a: &str, b: &str, draws| {
                let (route, generation) = self.net.route(a, b);
                let chunks = VecDeque::new();
                Mutex::new(Queue {
                    chunks,
                    buffered: 0,
                    end: None,
                    last: None,
                    route,
                    generation,
                    draws,
                    deaf: false,
                })
            };
            let queues = [queue(from, &self.to, up), queue(&self.to, from, down)];
            // Set once: the draws are taken once.
            let _ = self.queues.set(queues);
        }
    }

    /// The draws of both directions, for the handshake.
    pub(crate) fn with_draws<T>(&self, f: impl FnOnce(&mut [Draws; 2]) -> T) -> Option<T> {
        self.draws
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(f)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Registers the task that waits at a stream's end.
    pub(crate) fn wait(&self, place: usize, writer: bool, cx: &Context<'_>) {
        self.wakers[place * 2 + usize::from(writer)].register(cx.waker());
    }

    /// Ends the connection for both sides.
    pub(crate) fn kill(&self) {
        if !self.dead.swap(true, Ordering::AcqRel) {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        self.wakers.iter().for_each(AtomicWaker::wake);
    }

    /// Follows a change of the network: holds what is cut off, sends what was held, wakes who may go on.
    pub(crate) fn refresh(&self) {
        let now = Instant::now();
        if let Some(queues) = self.queues.get() {
            for (i, q) in queues.iter().enumerate() {
                self.follow(&mut lock(q), i, now);
            }
        }
        self.wake_all();
    }

    /// For a bare socket's client: whether the way is no longer within one site.
    pub(crate) fn left_site(&self) -> bool {
        let Some(from) = self.from.as_deref() else { return false };
        let generation = self.net.generation();
        if self.seen.swap(generation, Ordering::AcqRel) == generation {
            return false;
        }
        self.net.transport() != Transport::Host && *self.net.route(from, &self.to).0 != Route::Direct
    }

    /// Whether the network changed since [`Conn::left_site`] looked.
    pub(crate) fn unseen(&self) -> bool {
        self.from.is_some() && self.seen.load(Ordering::Acquire) != self.net.generation()
    }

    /// Brings a direction's route up to date.
    fn follow(&self, q: &mut Queue, direction: usize, now: Instant) {
        if q.generation == self.net.generation() {
            return;
        }
        let from = self.from.as_deref().unwrap_or_default();
        let (a, b) = if direction == 0 {
            (from, self.to.as_str())
        } else {
            (self.to.as_str(), from)
        };
        (q.route, q.generation) = self.net.route(a, b);
        if *q.route == Route::Blocked {
            // What is under way is lost and will be sent again.
            q.chunks
                .iter_mut()
                .filter(|c| c.at.is_some_and(|at| at > now))
                .for_each(|c| c.at = None);
            q.end = q.end.map(|at| at.filter(|at| *at <= now));
            q.last = q.last.map(|l| l.min(now));
        } else if q.chunks.iter().any(|c| c.at.is_none()) || q.end == Some(None) {
            let mut chunks = std::mem::take(&mut q.chunks);
            for c in chunks.iter_mut().filter(|c| c.at.is_none()) {
                c.at = self.stamp(q, c.data.len(), now);
                if let Route::Over(hops) = &*q.route
                    && !std::mem::replace(&mut c.counted, true)
                {
                    self.net.count_and_tell_limited(hops, c.data.len());
                }
            }
            q.chunks = chunks;
            if q.end == Some(None) {
                q.end = Some(self.stamp(q, 0, now));
            }
        }
    }

    /// When `bytes` written now arrive.
    fn stamp(&self, q: &mut Queue, bytes: usize, now: Instant) -> Option<Instant> {
        let at = match &*q.route {
            Route::Direct => now,
            Route::Blocked => return None,
            Route::Over(hops) => self.net.cross(hops, bytes, now, &mut q.draws),
        };
        let at = q.last.map_or(at, |last| at.max(last));
        q.last = Some(at);
        Some(at)
    }

    fn queue(&self, direction: usize) -> io::Result<MutexGuard<'_, Queue>> {
        self.queues.get().map(|q| lock(&q[direction])).ok_or_else(reset)
    }

    /// Writes into `direction` (whose writer is at that place, its reader at the other).
    pub(crate) fn poll_write(&self, direction: usize, data: &[u8], cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.wait(direction, true, cx);
        if self.is_dead() {
            return Poll::Ready(Err(reset()));
        }
        let now = Instant::now();
        let mut q = self.queue(direction)?;
        if q.end.is_some() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if q.deaf {
            drop(q);
            // The other side closed: it is known here when its end of stream has come.
            let known = self.queue(1 - direction)?.ended(now);
            return Poll::Ready(if known {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(data.len())
            });
        }
        self.follow(&mut q, direction, now);
        let room = if *q.route == Route::Direct { NEAR } else { FAR }.saturating_sub(q.buffered);
        if room == 0 {
            return Poll::Pending;
        }
        timer::note_activity();
        let data = &data[..data.len().min(room)];
        let limited = match &*q.route {
            Route::Over(hops) => self.net.count_and_tell_limited(hops, data.len()),
            _ => false,
        };
        for piece in data.chunks(if limited { PIECE } else { FAR }) {
            let at = self.stamp(&mut q, piece.len(), now);
            let data = Bytes::copy_from_slice(piece);
            q.chunks.push_back(Chunk {
                data,
                at,
                counted: at.is_some(),
            });
        }
        q.buffered += data.len();
        drop(q);
        self.wakers[(1 - direction) * 2].wake();
        Poll::Ready(Ok(data.len()))
    }

    /// Ends `direction`, once.
    pub(crate) fn end(&self, direction: usize) {
        let Ok(mut q) = self.queue(direction) else { return };
        if q.end.is_none() {
            let now = Instant::now();
            self.follow(&mut q, direction, now);
            let at = self.stamp(&mut q, 0, now);
            q.end = Some(at);
            drop(q);
            timer::note_activity();
            self.wakers[(1 - direction) * 2].wake();
        }
    }

    /// Reads what has arrived in `direction`; when nothing has, tells when to ask again.
    pub(crate) fn poll_read(&self, direction: usize, buf: &mut ReadBuf<'_>, cx: &Context<'_>) -> io::Result<Read> {
        self.wait(1 - direction, false, cx);
        if self.is_dead() {
            return Err(reset());
        }
        let now = Instant::now();
        let mut q = self.queue(direction)?;
        self.follow(&mut q, direction, now);
        let before = buf.remaining();
        while buf.remaining() > 0
            && let Some(c) = q.chunks.front_mut()
            && c.at.is_some_and(|at| at <= now)
        {
            let part = c.data.split_to(c.data.len().min(buf.remaining()));
            let all = c.data.is_empty();
            buf.put_slice(&part);
            q.buffered -= part.len();
            if all {
                q.chunks.pop_front();
            }
        }
        if buf.remaining() < before || before == 0 {
            drop(q);
            timer::note_activity();
            self.wakers[direction * 2 + 1].wake();
            return Ok(Read::Done);
        }
        if q.ended(now) {
            return Ok(Read::Done);
        }
        let next = q.chunks.front().map_or(q.end.flatten(), |c| c.at);
        Ok(next.map_or(Read::Nothing, Read::At))
    }

    /// The reader of `direction` is gone.
    pub(crate) fn deaf(&self, direction: usize) {
        let Ok(mut q) = self.queue(direction) else { return };
        q.deaf = true;
        q.buffered = 0;
        q.chunks.clear();
        drop(q);
        self.wakers[direction * 2 + 1].wake();
    }
}

/// What reading gave.
pub(crate) enum Read {
    /// Bytes, or none at the end of stream.
    Done,
    /// Nothing until this instant.
    At(Instant),
    /// Nothing under way.
    Nothing,
}

impl Queue {
    /// Whether the end of stream has arrived (and all before it was read).
    fn ended(&self, now: Instant) -> bool {
        self.chunks.is_empty() && self.end.flatten().is_some_and(|at| at <= now)
    }
}

fn lock(q: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    q.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.net.forget(self.id, self.socket.get());
    }
}
