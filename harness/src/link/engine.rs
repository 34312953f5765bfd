//! Holding packets for as long as their links take: one thread of the operating system that does nothing else, so
//! that what it adds is small. Everything it decides is in [`Lines`]; this is the seam to the kernel and the clock.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cfn_net::Seed;
use cfn_net::way::Dice;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::Rule;
use super::config::Lines;
use super::nfqueue::{Mode, Socket};
use super::packets::{self, Message, Verdict};

/// From this rate on packets may be as large as offload makes them (64 KiB last 1 ms at 500 Mbit/s); below, and where
/// packets are lost one by one, each is one of the wire's.
const OFFLOAD_RATE: f64 = 500.0;
/// How many messages are taken before it is looked whether packets are due.
const BATCH: usize = 64;
/// How many of the last packets are remembered for the figures.
const REMEMBERED: usize = 4096;

/// A queue of the kernel and what happens to its packets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Assignment {
    pub(crate) queue: u16,
    pub(crate) seed: Seed,
    pub(crate) rule: Rule,
}

impl Assignment {
    fn mode(&self) -> Mode {
        let slowest = self.rule.rate();
        Mode {
            length: slowest.is_some(),
            offload: !self.rule.loses() && slowest.is_none_or(|r| r >= OFFLOAD_RATE),
        }
    }
}

/// What happened in a queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Packets that came (as the kernel counts: large ones of the sender's offload are one).
    pub packets: u64,
    /// Packets dropped, by loss or a full buffer.
    pub dropped: u64,
    /// Packets that wait now.
    pub waiting: u64,
    /// How late packets left, microseconds: median of the last some thousand.
    pub late_p50: u64,
    /// The same, of 100 the 99th.
    pub late_p99: u64,
    /// The same, the last.
    pub late_max: u64,
}

/// What the thread is asked.
pub(crate) enum Command {
    /// Serve these queues so; others stay as they are.
    Serve(Vec<Assignment>, mpsc::Sender<io::Result<()>>),
    /// Serve only these queues: what waits in others leaves at once.
    Keep(Vec<u16>, mpsc::Sender<io::Result<()>>),
    /// What happened, by queue.
    Count(mpsc::Sender<BTreeMap<u16, Counts>>),
}

/// The thread, as its owner has it. It ends when this is dropped.
pub(crate) struct Engine {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
    /// How it is scheduled, for whoever looks.
    pub(crate) priority: String,
}

impl Engine {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let socket = Socket::open()?;
        let (wake, woken) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let (commands, inbox) = mpsc::channel();
        let (said, priority) = mpsc::channel();
        std::thread::Builder::new().name("link".into()).spawn(move || {
            let _ = said.send(hurry());
            let thread = Thread {
                socket,
                woken,
                inbox,
                #[allow(
                    clippy::disallowed_methods,
                    reason = "the seam: packets are real, and so is their time"
                )]
                start: Instant::now(),
                queues: BTreeMap::new(),
            };
            if let Err(e) = thread.run() {
                // Without a listener the kernel lets everything pass (--queue-bypass): that must not go unseen.
                eprintln!("error: shaping ended: {e}");
                std::process::exit(1);
            }
        })?;
        let priority = priority.recv().map_err(io::Error::other)?;
        Ok(Self {
            commands,
            wake,
            priority,
        })
    }

    fn ask<T>(&self, make: impl FnOnce(mpsc::Sender<T>) -> Command) -> io::Result<T> {
        let (tx, rx) = mpsc::channel();
        self.commands.send(make(tx)).map_err(io::Error::other)?;
        (&self.wake).write_all(&[1])?;
        rx.recv_timeout(Duration::from_secs(5)).map_err(io::Error::other)
    }

    pub(crate) fn serve(&self, all: Vec<Assignment>) -> io::Result<()> {
        self.ask(|tx| Command::Serve(all, tx))?
    }

    pub(crate) fn keep(&self, queues: Vec<u16>) -> io::Result<()> {
        self.ask(|tx| Command::Keep(queues, tx))?
    }

    pub(crate) fn count(&self) -> io::Result<BTreeMap<u16, Counts>> {
        self.ask(Command::Count)
    }
}

/// A share of a core in every millisecond, microseconds: what the thread asks for, the most first. Linux admits so
/// many that all cores are not promised away; some 20 hosts on two cores get the first.
const SHARES: [u64; 3] = [100, 50, 20];

/// The thread wants to run when a packet is due, before anything else on a busy machine: SCHED_FIFO; where the control
/// group gives containers no real-time share (CONFIG_RT_GROUP_SCHED, Docker's default there) SCHED_DEADLINE, which asks
/// for none; else the best nice value. All need CAP_SYS_NICE. And timers to the nanosecond instead of Linux' usual
/// slack of 50 us.
fn hurry() -> String {
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let tid = rustix::thread::gettid().as_raw_nonzero().to_string();
    let chrt = |args: &[&str]| {
        let status = std::process::Command::new("chrt")
            .args(args)
            .arg(&tid)
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|s| s.success())
    };
    if chrt(&["--fifo", "--pid", "1"]) {
        return "SCHED_FIFO".into();
    }
    for us in SHARES {
        let runtime = (us * 1000).to_string();
        let deadline = ["--deadline", "--sched-runtime", &runtime, "--sched-deadline", "1000000"];
        if chrt(&[&deadline[..], &["--sched-period", "1000000", "--pid", "0"]].concat()) {
            return format!("SCHED_DEADLINE {us} us of each ms");
        }
    }
    match rustix::process::setpriority_process(None, -20) {
        Ok(()) => "nice -20".into(),
        Err(_) => "normal (CAP_SYS_NICE is missing: packets are late on a busy machine)".into(),
    }
}

struct Queue {
    assignment: Assignment,
    lines: Lines,
    dice: Dice,
    /// When each leaves, and its number; in order.
    waiting: VecDeque<(Duration, u32)>,
    counts: Counts,
    late: VecDeque<u32>,
}

impl Queue {
    fn new(assignment: Assignment) -> Self {
        Self {
            dice: Dice::new(assignment.seed, &format!("link {}", assignment.rule.key())),
            assignment,
            lines: Lines::default(),
            waiting: VecDeque::new(),
            counts: Counts::default(),
            late: VecDeque::with_capacity(REMEMBERED),
        }
    }

    fn count(&self) -> Counts {
        let mut late: Vec<u32> = self.late.iter().copied().collect();
        late.sort_unstable();
        let at = |share: f64| {
            let i = (late.len() as f64 * share) as usize;
            late.get(i.min(late.len().saturating_sub(1)))
                .map_or(0, |n| u64::from(*n))
        };
        Counts {
            waiting: self.waiting.len() as u64,
            late_p50: at(0.5),
            late_p99: at(0.99),
            late_max: at(1.0),
            ..self.counts
        }
    }
}

struct Thread {
    socket: Socket,
    woken: UnixStream,
    inbox: mpsc::Receiver<Command>,
    start: Instant,
    queues: BTreeMap<u16, Queue>,
}

impl Thread {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let next = self.release()?;
            let wait = next.map(|at| at.saturating_sub(self.now()));
            let timeout = wait.map(|w| Timespec {
                tv_sec: w.as_secs() as i64,
                tv_nsec: i64::from(w.subsec_nanos()),
            });
            let mut fds = [
                PollFd::new(&self.socket, PollFlags::IN),
                PollFd::new(&self.woken, PollFlags::IN),
            ];
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let [packets, woken] = fds.map(|f| !f.revents().is_empty());
            if packets {
                self.take()?;
            }
            if woken && !self.obey()? {
                return Ok(());
            }
        }
    }

    /// Lets those pass that are due; when the next one is.
    fn release(&mut self) -> io::Result<Option<Duration>> {
        let mut next: Option<Duration> = None;
        for (number, q) in &mut self.queues {
            let now = self.start.elapsed();
            let mut last = None;
            while let Some((at, id)) = q.waiting.front().copied().filter(|(at, _)| *at <= now) {
                q.waiting.pop_front();
                last = Some(id);
                if q.late.len() == REMEMBERED {
                    q.late.pop_front();
                }
                q.late
                    .push_back(u32::try_from((now - at).as_micros()).unwrap_or(u32::MAX));
            }
            if let Some(id) = last {
                self.socket.tell(&packets::accept_to(*number, id))?;
            }
            if let Some((at, _)) = q.waiting.front() {
                next = Some(next.map_or(*at, |n| n.min(*at)));
            }
        }
        Ok(next)
    }

    /// Takes what has come, some at a time.
    fn take(&mut self) -> io::Result<()> {
        for _ in 0..BATCH {
            let Some(messages) = self.socket.receive()? else { break };
            for m in messages {
                if let Message::Packet { queue, id, bytes } = m {
                    self.arrive(queue, id, bytes)?;
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, queue: u16, id: u32, bytes: Option<u32>) -> io::Result<()> {
        let now = self.now();
        let Some(q) = self.queues.get_mut(&queue) else {
            return self.socket.tell(&packets::verdict(queue, id, Verdict::Accept));
        };
        q.counts.packets += 1;
        let bytes = bytes.map_or(0, |b| b as usize);
        match q.lines.pass(&q.assignment.rule, bytes, now, &mut q.dice) {
            Some(at) => {
                q.waiting.push_back((at, id));
                Ok(())
            }
            None => {
                q.counts.dropped += 1;
                self.socket.tell(&packets::verdict(queue, id, Verdict::Drop))
            }
        }
    }

    /// Does what it is asked; false when nobody can ask any more.
    fn obey(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 64];
        match self.woken.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Serve(all, done)) => {
                    let result = all.into_iter().try_for_each(|a| self.serve(a));
                    let _ = done.send(result);
                }
                Ok(Command::Keep(keep, done)) => {
                    let _ = done.send(self.keep(&keep));
                }
                Ok(Command::Count(done)) => {
                    let _ = done.send(self.queues.iter().map(|(n, q)| (*n, q.count())).collect());
                }
                Err(mpsc::TryRecvError::Empty) => return Ok(true),
                Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
            }
        }
    }

    fn serve(&mut self, a: Assignment) -> io::Result<()> {
        match self.queues.get_mut(&a.queue) {
            Some(q) => {
                if q.assignment.mode() != a.mode() {
                    self.socket.set_mode(a.queue, a.mode())?;
                }
                q.assignment = a;
            }
            None => {
                self.socket.bind(a.queue, a.mode())?;
                self.queues.insert(a.queue, Queue::new(a));
            }
        }
        Ok(())
    }

    fn keep(&mut self, keep: &[u16]) -> io::Result<()> {
        // Those that wait in the kernel for this thread belong to a queue, too.
        while let Some(messages) = self.socket.receive()? {
            for m in messages {
                if let Message::Packet { queue, id, bytes } = m {
                    self.arrive(queue, id, bytes)?;
                }
            }
        }
        let gone: Vec<u16> = self.queues.keys().copied().filter(|n| !keep.contains(n)).collect();
        for n in gone {
            if let Some((_, id)) = self.queues.remove(&n).and_then(|q| q.waiting.back().copied()) {
                self.socket.tell(&packets::accept_to(n, id))?;
            }
            self.socket.unbind(n)?;
        }
        Ok(())
    }
}
