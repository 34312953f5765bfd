//! The socket of nfnetlink_queue: packets that the kernel holds until this process says what becomes of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with, sockopt,
};

use super::packets::{self, Message};

/// How much of the kernel's messages may wait for this process; each is some 150 bytes.
const RECEIVE_BUFFER: usize = 32 << 20;
/// How many packets may wait in a queue: 100 ms of small packets at a million a second.
const WAITING: u32 = 100_000;
/// How long the kernel may take to answer, seconds.
const ANSWER: i64 = 2;

/// A netlink socket that serves queues.
pub(crate) struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
    /// Packets that came while an answer was awaited.
    early: Vec<Message>,
}

/// What is asked of the kernel for a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode {
    /// Packets' lengths are told.
    pub(crate) length: bool,
    /// Packets may be as large as the sender's offload made them.
    pub(crate) offload: bool,
}

impl Socket {
    /// Opens it; needs CAP_NET_ADMIN in the network namespace for more.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
        // Beyond rmem_max only with CAP_NET_ADMIN over the machine (not so under rootless Docker).
        if sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, RECEIVE_BUFFER)?;
        }
        Ok(Self {
            fd,
            buffer: vec![0; 64 << 10],
            sequence: 0,
            early: Vec::new(),
        })
    }

    /// Serves a queue from now on.
    pub(crate) fn bind(&mut self, queue: u16, mode: Mode) -> io::Result<()> {
        self.ask(|s| packets::bind(s, queue))?;
        self.set_mode(queue, mode)
    }

    /// Changes how a queue is served.
    pub(crate) fn set_mode(&mut self, queue: u16, mode: Mode) -> io::Result<()> {
        self.ask(|s| packets::copy(s, queue, mode.length))?;
        self.ask(|s| packets::limits(s, queue, WAITING, mode.offload))
    }

    /// Serves it no longer.
    pub(crate) fn unbind(&mut self, queue: u16) -> io::Result<()> {
        self.ask(|s| packets::unbind(s, queue))
    }

    /// Says what becomes of packets.
    pub(crate) fn tell(&self, verdict: &[u8]) -> io::Result<()> {
        match send(&self.fd, verdict, SendFlags::empty()) {
            // An error is told as a message of its own; a packet may be gone with its interface.
            Ok(_) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// What has come, if anything; none when nothing waits.
    pub(crate) fn receive(&mut self) -> io::Result<Option<Vec<Message>>> {
        if !self.early.is_empty() {
            return Ok(Some(std::mem::take(&mut self.early)));
        }
        loop {
            return match recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((n, _)) => Ok(Some(packets::read(&self.buffer[..n]))),
                Err(Errno::AGAIN) => Ok(None),
                // Some did not fit: the kernel let them pass (fail-open).
                Err(Errno::NOBUFS | Errno::INTR) => continue,
                Err(e) => Err(e.into()),
            };
        }
    }

    fn ask(&mut self, make: impl Fn(u32) -> Vec<u8>) -> io::Result<()> {
        self.sequence += 1;
        let sequence = self.sequence;
        self.tell(&make(sequence))?;
        let mut early = Vec::new();
        let answer = loop {
            let limit = Timespec {
                tv_sec: ANSWER,
                tv_nsec: 0,
            };
            if poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&limit))? == 0 {
                break Err(io::ErrorKind::TimedOut.into());
            }
            let messages = self.receive()?.unwrap_or_default();
            let answer = messages.iter().find_map(|m| match m {
                Message::Answer { sequence: s, errno } if *s == sequence => Some(*errno),
                _ => None,
            });
            early.extend(messages.into_iter().filter(|m| matches!(m, Message::Packet { .. })));
            match answer {
                Some(0) => break Ok(()),
                Some(e) => break Err(io::Error::from_raw_os_error(e)),
                None => {}
            }
        };
        self.early.extend(early);
        answer
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
