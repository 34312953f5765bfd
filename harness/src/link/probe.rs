//! What two hosts see of the link between them, by ordinary sockets: the far end answers, the near end measures.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Where the far end answers, TCP and UDP.
pub const PORT: u16 = 7;
/// The size of a request over TCP and of a datagram: that of a small message.
const SMALL: usize = 64;

/// What is wanted of the far end: the first byte of a connection.
const ECHO: u8 = b'e';
const SINK: u8 = b's';
const REPORT: u8 = b'r';

/// What is to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Amount {
    /// Requests over one TCP connection, one after the other.
    pub requests: u32,
    /// Datagrams, one a millisecond.
    pub datagrams: u32,
    /// For how long to send as much as TCP can, milliseconds; 0: not at all.
    pub bulk_ms: u64,
}

/// What was seen, times in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// Half of each round trip over TCP, in order of size.
    pub tcp: Vec<u32>,
    /// Each datagram's way there, in order of size (both hosts have one clock: they are on one machine).
    pub udp: Vec<u32>,
    /// Datagrams that were sent.
    pub sent: u32,
    /// Bytes that arrived during the bulk transfer.
    pub bulk_bytes: u64,
    /// How long it took, from the first byte's arrival to the last's.
    pub bulk_us: u64,
}

/// Microseconds of the machine's monotonic clock, which all its containers share.
fn now() -> u64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec as u64 * 1_000_000 + t.tv_nsec as u64 / 1000
}

#[allow(clippy::disallowed_methods, reason = "the seam: it paces real datagrams")]
fn pause(d: Duration) {
    std::thread::sleep(d);
}

/// Answers for ever.
///
/// # Errors
/// The ports cannot be listened on.
pub fn answer() -> io::Result<()> {
    let delays = Arc::new(Mutex::new(Vec::<u32>::new()));
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let mine = delays.clone();
    std::thread::Builder::new().name("udp".into()).spawn(move || {
        let mut b = [0; 2048];
        while let Ok(n) = udp.recv(&mut b) {
            if let Some(sent) = b[..n].first_chunk().map(|c| u64::from_be_bytes(*c)) {
                let delay = u32::try_from(now().saturating_sub(sent)).unwrap_or(u32::MAX);
                mine.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
            }
        }
    })?;
    for conn in tcp.incoming() {
        let (conn, delays) = (conn?, delays.clone());
        std::thread::Builder::new().spawn(move || {
            // Whoever asked hears of the end of the connection.
            let _ = serve(conn, &delays);
        })?;
    }
    Ok(())
}

fn serve(mut conn: TcpStream, delays: &Mutex<Vec<u32>>) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut want = [0];
    conn.read_exact(&mut want)?;
    match want[0] {
        ECHO => {
            let mut b = [0; SMALL];
            loop {
                conn.read_exact(&mut b)?;
                conn.write_all(&b)?;
            }
        }
        SINK => {
            let (mut b, mut bytes, mut first) = (vec![0; 1 << 18], 0_u64, None);
            let mut last = 0;
            loop {
                let n = conn.read(&mut b)?;
                if n == 0 {
                    break;
                }
                bytes += n as u64;
                last = now();
                first.get_or_insert(last);
            }
            conn.write_all(&bytes.to_be_bytes())?;
            conn.write_all(&(last - first.unwrap_or(last)).to_be_bytes())
        }
        _ => {
            let taken = std::mem::take(&mut *delays.lock().unwrap_or_else(PoisonError::into_inner));
            conn.write_all(&serde_json::to_vec(&taken)?)
        }
    }
}

fn connect(to: SocketAddr, want: u8) -> io::Result<TcpStream> {
    let mut conn = TcpStream::connect_timeout(&to, Duration::from_secs(10))?;
    conn.set_nodelay(true)?;
    conn.set_read_timeout(Some(Duration::from_secs(60)))?;
    conn.write_all(&[want])?;
    Ok(conn)
}

/// Measures the way to the far end at `host`.
///
/// # Errors
/// It does not answer.
pub fn measure(host: Ipv4Addr, amount: Amount) -> io::Result<Seen> {
    let to = SocketAddr::from((host, PORT));
    let mut seen = Seen {
        sent: amount.datagrams,
        ..Seen::default()
    };
    // What is still under way of an earlier measurement is not of this one.
    let mut taken = Vec::new();
    connect(to, REPORT)?.read_to_end(&mut taken)?;

    let mut conn = connect(to, ECHO)?;
    let mut b = [7; SMALL];
    for i in 0..=amount.requests {
        let sent = now();
        conn.write_all(&b)?;
        conn.read_exact(&mut b)?;
        // The first also waits for what the connection began with.
        if i > 0 {
            seen.tcp.push(u32::try_from((now() - sent) / 2).unwrap_or(u32::MAX));
        }
    }
    drop(conn);

    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    for _ in 0..amount.datagrams {
        let mut b = [0; SMALL];
        b[..8].copy_from_slice(&now().to_be_bytes());
        udp.send_to(&b, to)?;
        pause(Duration::from_millis(1));
    }
    // The last one arrives before an answer to what is asked half a second later does.
    pause(Duration::from_millis(500));
    let mut report = Vec::new();
    connect(to, REPORT)?.read_to_end(&mut report)?;
    seen.udp = serde_json::from_slice(&report)?;

    if amount.bulk_ms > 0 {
        let mut conn = connect(to, SINK)?;
        let (block, end) = (vec![0; 1 << 16], now() + amount.bulk_ms * 1000);
        while now() < end {
            conn.write_all(&block)?;
        }
        conn.shutdown(std::net::Shutdown::Write)?;
        let mut b = [0; 8];
        conn.read_exact(&mut b)?;
        seen.bulk_bytes = u64::from_be_bytes(b);
        conn.read_exact(&mut b)?;
        seen.bulk_us = u64::from_be_bytes(b);
    }
    seen.tcp.sort_unstable();
    seen.udp.sort_unstable();
    Ok(seen)
}
