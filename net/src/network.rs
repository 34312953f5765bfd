//! The network of a testbed: hosts at sites, links between sites, the same over TCP on loopback and in memory; and
//! without any of that, the network that this machine is in.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::conn::Conn;
use crate::datagram::Inbox;
use crate::link::LinkSpec;
pub use crate::listener::Listener;
use crate::listener::{Endpoint, Kind};
use crate::route::{Hop, Route, Topology};
use crate::seed::Seed;
use crate::shape::{Draws, RTO_INITIAL};
use crate::stream::Stream;
use crate::timer;

/// The ports of those who ask for none (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Sockets on loopback (TLS where the protocol has it).
    Tcp,
    /// Pipes in memory: no socket, no thread, no TLS. In a runtime whose clock is paused, time is virtual and exact
    /// to the nanosecond; in any other, real (see [`crate::timer`]).
    Memory,
    /// Sockets in the network that this machine is in (TLS where the protocol has it). Hosts are addresses or names
    /// that the resolver knows ([`Net::set_address`], [`Net::set_source`]); links and faults of a [`Net`] do nothing.
    Host,
}

/// The network that every component of a testbed connects and listens through. Cheap to clone.
///
/// A host is a name at a site. Connections within a site are plain; between sites they cross the links of the way
/// with least latency, each of which delays, queues and loses as its [`LinkSpec`] says, at the time the bytes are
/// written: links may change, and hosts move, under living connections. The order of bytes never changes.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    seed: Seed,
    /// Counts the changes of what routes depend on.
    generation: AtomicU64,
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    /// host -> site
    hosts: BTreeMap<String, String>,
    /// Hosts that are down.
    pub(crate) stopped: BTreeSet<String>,
    /// (host, port) -> where it listens
    pub(crate) listeners: BTreeMap<(String, u16), Endpoint>,
    /// (host, port) -> where datagrams are put
    pub(crate) sockets: BTreeMap<(String, u16), Inbox>,
    /// Counts sockets: names their random streams.
    pub(crate) last_socket: u64,
    /// host -> how often somebody there asked for any port: names the random streams
    any_ports: BTreeMap<String, u64>,
    pub(crate) topology: Topology,
    /// Of the host transport.
    pub(crate) addresses: crate::host::Addresses,
    /// Every living connection.
    conns: BTreeMap<u64, Weak<Conn>>,
    last_conn: u64,
    /// How often one host has connected to another: names the random streams.
    connects: BTreeMap<(String, String), u64>,
    /// The client's socket -> the connection, until the listener has accepted it.
    arriving: BTreeMap<SocketAddr, Weak<Conn>>,
}

impl Net {
    /// An empty network.
    #[must_use]
    pub fn new(transport: Transport, seed: Seed) -> Self {
        let inner = Inner {
            transport,
            seed,
            generation: AtomicU64::new(1),
            changed: Notify::new(),
            state: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What carries the bytes here.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.inner.transport
    }

    pub(crate) fn seed(&self) -> Seed {
        self.inner.seed
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    /// Changes something that routes depend on: connections and those who wait to connect follow.
    pub(crate) fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let out = f(&mut state);
        state.topology.forget_routes();
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        let conns = state.living();
        drop(state);
        conns.iter().for_each(|c| c.refresh());
        self.tell_waiting();
        out
    }

    /// Puts `host` at `site`; a host that is there already moves, and its connections follow. No address is needed:
    /// a host is a name.
    pub fn add_host(&self, host: &str, site: &str) {
        match self.site_of(host) {
            Some(s) if s == site => {}
            Some(_) => {
                self.change(|s| s.hosts.insert(host.to_owned(), site.to_owned()));
            }
            // Nobody's route depends on a host that was not there.
            None => {
                self.state().hosts.insert(host.to_owned(), site.to_owned());
            }
        }
    }

    /// Takes `host` away: its connections are reset, and nobody can connect to it.
    pub fn remove_host(&self, host: &str) {
        self.kill(|_, c| c.to == host || c.from.as_deref() == Some(host));
        self.state().stopped.remove(host);
        self.state().hosts.remove(host);
        self.state().any_ports.remove(host);
        self.tell_waiting();
    }

    /// Those who wait to connect look again.
    pub(crate) fn tell_waiting(&self) {
        self.inner.changed.notify_waiters();
    }

    /// The site of `host`.
    #[must_use]
    pub fn site_of(&self, host: &str) -> Option<String> {
        self.state().hosts.get(host).cloned()
    }

    /// Every host with its site.
    #[must_use]
    pub fn hosts(&self) -> BTreeMap<String, String> {
        self.state().hosts.clone()
    }

    /// Every site that has a host or a link.
    #[must_use]
    pub fn sites(&self) -> BTreeSet<String> {
        let state = self.state();
        let linked = state.topology.iter().flat_map(|l| [l.ends.0.clone(), l.ends.1.clone()]);
        state.hosts.values().cloned().chain(linked).collect()
    }

    /// Sets the link between two sites (both ways), replacing what was there. `throughputUl` is from `a` to `b`.
    pub fn set_link(&self, a: &str, b: &str, spec: LinkSpec) {
        self.change(|s| s.topology.set(a, b, spec));
    }

    /// Changes the link between two sites, as it was set; false when there is none.
    pub fn update_link(&self, a: &str, b: &str, f: impl FnOnce(&mut LinkSpec)) -> bool {
        self.change(|s| s.topology.get_mut(a, b).map(f).is_some())
    }

    /// Takes the link between two sites away; false when there is none.
    pub fn remove_link(&self, a: &str, b: &str) -> bool {
        self.change(|s| s.topology.remove(a, b))
    }

    /// Every link: first site, second site, what it does.
    #[must_use]
    pub fn links(&self) -> Vec<(String, String, LinkSpec)> {
        self.state()
            .topology
            .iter()
            .map(|l| (l.ends.0.clone(), l.ends.1.clone(), l.spec.clone()))
            .collect()
    }

    /// Payload bytes sent over each link: from its first site to its second, and back.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<(String, String), (u64, u64)> {
        self.state()
            .topology
            .iter()
            .map(|l| (l.ends.clone(), (l.bytes[0], l.bytes[1])))
            .collect()
    }

    /// The sites on the way between two sites, both included, cut or not; none without links.
    #[must_use]
    pub fn path(&self, from_site: &str, to_site: &str) -> Option<Vec<String>> {
        let state = self.state();
        let path = state.topology.path(from_site, to_site)?;
        Some(state.topology.sites_on(from_site, &path))
    }

    /// Whether bytes get from one host to another now.
    #[must_use]
    pub fn reachable(&self, from_host: &str, to_host: &str) -> bool {
        !self.state().stopped.contains(from_host)
            && !self.state().stopped.contains(to_host)
            && *self.route(from_host, to_host).0 != Route::Blocked
    }

    /// The route between two hosts now, and the generation it is of.
    pub(crate) fn route(&self, from: &str, to: &str) -> (Arc<Route>, u64) {
        let mut state = self.state();
        let route = match (state.hosts.get(from).cloned(), state.hosts.get(to).cloned()) {
            (Some(a), Some(b)) => state.topology.route(&a, &b),
            _ => Arc::new(Route::Blocked),
        };
        (route, self.generation())
    }

    pub(crate) fn cross(&self, hops: &[Hop], bytes: usize, now: Instant, draws: &mut Draws) -> Instant {
        self.state().topology.cross(hops, bytes, now, None, draws)
    }

    /// How late a datagram is that is sent now; `None`: it does not arrive.
    pub(crate) fn pass(&self, route: &Route, bytes: usize, now: Instant, draws: &mut Draws) -> Option<Duration> {
        match route {
            Route::Direct => Some(Duration::ZERO),
            Route::Blocked => None,
            Route::Over(hops) => {
                let there = self.state().topology.pass(hops, bytes, now, draws)?;
                Some(there.duration_since(now))
            }
        }
    }

    pub(crate) fn count_and_tell_limited(&self, hops: &[Hop], bytes: usize) -> bool {
        let mut state = self.state();
        state.topology.count(hops, bytes);
        state.topology.limited(hops)
    }

    /// Ends the connections that `f` picks.
    pub(crate) fn kill(&self, f: impl Fn(&State, &Conn) -> bool) {
        let state = self.state();
        // All are kept alive until the lock is free: a connection's end takes it.
        let conns = state.living();
        let picked: Vec<bool> = conns.iter().map(|c| f(&state, c)).collect();
        drop(state);
        conns.iter().zip(picked).filter(|(_, p)| *p).for_each(|(c, _)| c.kill());
    }

    pub(crate) fn forget(&self, conn: u64, socket: Option<&SocketAddr>) {
        let mut state = self.state();
        state.conns.remove(&conn);
        if let Some(s) = socket
            && state.arriving.get(s).is_some_and(|c| c.strong_count() == 0)
        {
            state.arriving.remove(s);
        }
    }

    /// The connection that a client's socket belongs to: the testbed's, or one from outside.
    pub(crate) fn arrived(&self, host: &str, client: SocketAddr) -> Arc<Conn> {
        let known = self.state().arriving.remove(&client).and_then(|c| c.upgrade());
        known.unwrap_or_else(|| {
            let conn = self.new_conn(None, host);
            self.establish(&conn);
            conn
        })
    }

    pub(crate) fn new_conn(&self, from: Option<&str>, to: &str) -> Arc<Conn> {
        let mut state = self.state();
        state.last_conn += 1;
        let id = state.last_conn;
        let draws = from.map(|from| {
            let n = state.connects.entry((from.to_owned(), to.to_owned())).or_default();
            *n += 1;
            let name = |way| format!("net {from} {to} {n} {way}");
            [
                Draws::new(self.inner.seed, name("up")),
                Draws::new(self.inner.seed, name("down")),
            ]
        });
        drop(state);
        Conn::new(id, from.map(str::to_owned), to.to_owned(), self.clone(), draws)
    }

    /// From here on faults see the connection.
    pub(crate) fn establish(&self, conn: &Arc<Conn>) {
        self.state().conns.insert(conn.id, Arc::downgrade(conn));
    }

    /// Listens at `host:port`. Port 0 picks a free one (see [`Listener::port`]). On TCP the socket is on loopback,
    /// wherever the operating system has room; [`Net::socket_addr`] tells. On the host transport it is at the host's
    /// address ([`Net::set_address`], or everywhere) and that very port.
    ///
    /// # Errors
    /// `AddrInUse` when something of this network listens there; whatever the operating system says otherwise.
    pub async fn listen(&self, host: &str, port: u16) -> io::Result<Listener> {
        let socket = match self.inner.transport {
            Transport::Host => SocketAddr::new(self.listening_address(host), port),
            Transport::Tcp | Transport::Memory => SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        self.listen_on(host, port, socket).await
    }

    /// As [`Net::listen`], with the socket of the TCP and the host transport at `socket` (what a user asked for by `--listen`).
    ///
    /// # Errors
    /// As [`Net::listen`].
    pub async fn listen_on(&self, host: &str, port: u16, socket: SocketAddr) -> io::Result<Listener> {
        let real = self.inner.transport == Transport::Host;
        let port = match port {
            0 if !real => {
                let found = self
                    .state()
                    .ephemeral(host, self.seed(), |s, key| !s.listeners.contains_key(key));
                let none = || io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {host} is free"));
                found.ok_or_else(none)?
            }
            p => p,
        };
        let mut key = (host.to_owned(), port);
        let taken = || io::Error::new(io::ErrorKind::AddrInUse, format!("{host}:{port} is taken"));
        if self.state().listeners.contains_key(&key) {
            return Err(taken());
        }
        let (endpoint, kind) = match self.inner.transport {
            Transport::Tcp | Transport::Host => {
                #[allow(clippy::disallowed_methods, reason = "this is the seam the ban points to")]
                let l = tokio::net::TcpListener::bind(socket).await?;
                let at = l.local_addr()?;
                if real {
                    key.1 = at.port();
                }
                (Endpoint::Tcp(at), Kind::Tcp(l))
            }
            Transport::Memory => {
                let (tx, rx) = mpsc::unbounded_channel();
                (Endpoint::Memory(tx), Kind::Memory(rx))
            }
        };
        let mut state = self.state();
        if state.listeners.contains_key(&key) {
            return Err(taken());
        }
        state.listeners.insert(key.clone(), endpoint);
        drop(state);
        Ok(Listener::new(self.clone(), key, kind))
    }

    /// Whether something of this network listens at `host:port`.
    #[must_use]
    pub fn listens(&self, host: &str, port: u16) -> bool {
        self.state().listeners.contains_key(&(host.to_owned(), port))
    }

    /// The real socket behind `host:port`, for programs outside (none on the memory transport).
    #[must_use]
    pub fn socket_addr(&self, host: &str, port: u16) -> Option<SocketAddr> {
        match self.state().listeners.get(&(host.to_owned(), port)) {
            Some(Endpoint::Tcp(a)) => Some(*a),
            _ => None,
        }
    }

    /// Connects from `from` (a host) to `to:port`; the stream crosses the links between their sites. Between sites
    /// it takes a round trip (the handshake), and while there is no way (no link, or cut) it waits without end, as a
    /// SYN that is sent again and again: bound it by a timeout. So it does on the host transport while nobody answers.
    ///
    /// # Errors
    /// `NotFound` when a host is unknown, `ConnectionRefused` when nothing listens there or one of them is stopped.
    pub async fn connect(&self, from: &str, to: &str, port: u16) -> io::Result<Stream> {
        if self.inner.transport == Transport::Host {
            return self.dial(from, to, port).await;
        }
        let conn = self.new_conn(Some(from), to);
        loop {
            let mut changed = std::pin::pin!(self.inner.changed.notified());
            changed.as_mut().enable();
            let (way, back) = self.both_ways(from, to)?;
            if *way == Route::Blocked || *back == Route::Blocked {
                changed.await;
                continue;
            }
            let there = self.handshake(&conn, &way, &back);
            if there > Instant::now() {
                timer::sleep_until(there).await;
                let (way, back) = self.both_ways(from, to)?;
                if *way == Route::Blocked || *back == Route::Blocked {
                    continue;
                }
            }
            return self.join(conn, to, port, *way == Route::Direct).await;
        }
    }

    fn both_ways(&self, from: &str, to: &str) -> io::Result<(Arc<Route>, Arc<Route>)> {
        {
            let state = self.state();
            for host in [from, to] {
                if !state.hosts.contains_key(host) {
                    return Err(io::Error::new(io::ErrorKind::NotFound, format!("unknown host {host}")));
                }
                if state.stopped.contains(host) {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionRefused,
                        format!("{host} is stopped"),
                    ));
                }
            }
        }
        Ok((self.route(from, to).0, self.route(to, from).0))
    }

    /// When the answer to a SYN sent now is back.
    fn handshake(&self, conn: &Conn, way: &Route, back: &Route) -> Instant {
        let now = Instant::now();
        let (Route::Over(way), Route::Over(back)) = (way, back) else {
            return now;
        };
        let first: Option<Duration> = Some(RTO_INITIAL);
        conn.with_draws(|[up, down]| {
            let there = self.state().topology.cross(way, 0, now, first, up);
            self.state().topology.cross(back, 0, there, first, down)
        })
        .unwrap_or(now)
    }

    /// Brings the two ends together.
    async fn join(&self, conn: Arc<Conn>, to: &str, port: u16, direct: bool) -> io::Result<Stream> {
        let endpoint = self.state().listeners.get(&(to.to_owned(), port)).cloned();
        match endpoint {
            Some(Endpoint::Tcp(addr)) => {
                let socket = if addr.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                // Bound first, so that the listener knows whose it is whenever it accepts.
                let any = if addr.is_ipv4() {
                    [127, 0, 0, 1].into()
                } else {
                    std::net::Ipv6Addr::LOCALHOST.into()
                };
                socket.bind(SocketAddr::new(any, 0))?;
                let local = socket.local_addr()?;
                let _ = conn.socket.set(local);
                self.establish(&conn);
                self.state().arriving.insert(local, Arc::downgrade(&conn));
                let s = socket.connect(addr).await?;
                s.set_nodelay(true)?;
                // Known as within its site; a move since then is seen at the first use.
                Ok(if direct {
                    Stream::socket(conn, true, s)
                } else {
                    Stream::over_links(conn, s)
                })
            }
            Some(Endpoint::Memory(tx)) => {
                conn.queued();
                self.establish(&conn);
                tx.send(Stream::queue(conn.clone(), 1)).map_err(|_| refused(to, port))?;
                timer::note_activity();
                Ok(Stream::queue(conn, 0))
            }
            None => Err(refused(to, port)),
        }
    }
}

impl State {
    /// A port of `host` for who asks for none: the first that is free from anywhere in the range on (Linux'
    /// `inet_csk_find_open_port` and `udp_lib_get_port` begin at random, too).
    pub(crate) fn ephemeral(
        &mut self,
        host: &str,
        seed: Seed,
        is_free: impl Fn(&Self, &(String, u16)) -> bool,
    ) -> Option<u16> {
        let (first, last) = (*EPHEMERAL.start(), *EPHEMERAL.end());
        let room = u32::from(last - first) + 1;
        let nth = self.any_ports.entry(host.to_owned()).or_default();
        *nth += 1;
        let mut draws = Draws::new(seed, format!("net port {host} {nth}"));
        let from = (draws.unit() * f64::from(room)) as u32;
        let mut key = (host.to_owned(), 0);
        let mut all = (0..room).map(|i| first + ((from + i) % room) as u16);
        all.find(|p| {
            key.1 = *p;
            is_free(self, &key)
        })
    }

    fn living(&self) -> Vec<Arc<Conn>> {
        self.conns.values().filter_map(Weak::upgrade).collect()
    }

    pub(crate) fn site(&self, host: &str) -> Option<&str> {
        self.hosts.get(host).map(String::as_str)
    }
}

fn refused(to: &str, port: u16) -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        format!("nothing listens at {to}:{port}"),
    )
}
