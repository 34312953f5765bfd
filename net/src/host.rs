//! The transport of real networks: sockets of this machine, addresses as they are, nothing emulated. What shapes,
//! cuts and resets is the network itself.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::conn::Conn;
use crate::network::Net;
use crate::stream::Stream;

/// How long the first attempt to connect may take: RFC 6298's initial retransmission timeout. Each further one has
/// twice that, up to [`LONGEST_ATTEMPT`]: the kernel's own retransmission backs off to minutes, which a component
/// that waits for a link to be mended need not.
const FIRST_ATTEMPT: Duration = Duration::from_secs(1);
/// See [`FIRST_ATTEMPT`].
const LONGEST_ATTEMPT: Duration = Duration::from_secs(4);
/// A silent connection is probed after, and every, so long; it is given up after [`USER_TIMEOUT`] without an answer.
/// Go's `net` package, and so every component of Kubernetes, probes after 15 s.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How long sent data may stay without acknowledgement (`TCP_USER_TIMEOUT`, RFC 5482). Kubernetes' clients notice a
/// dead peer after 30 s + 15 s (HTTP/2 pings); Linux alone after some 15 minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which names and sites have which addresses.
#[derive(Default)]
pub(crate) struct Addresses {
    /// host -> where it is reached
    hosts: BTreeMap<String, IpAddr>,
    /// site -> the address from which its hosts connect
    sources: BTreeMap<String, IpAddr>,
}

impl Net {
    /// On the host transport: `host` is reached at `address`, and listens there. Other names are addresses
    /// themselves, or the resolver knows them.
    pub fn set_address(&self, host: &str, address: IpAddr) {
        self.state().addresses.hosts.insert(host.to_owned(), address);
    }

    /// On the host transport: hosts at `site` connect from `address`, which must be this machine's. Without one the
    /// operating system chooses. Connections keep the address they were made from when their host moves.
    pub fn set_source(&self, site: &str, address: IpAddr) {
        self.state().addresses.sources.insert(site.to_owned(), address);
    }

    /// Where `host` listens on the host transport: at its address, or everywhere.
    pub(crate) fn listening_address(&self, host: &str) -> IpAddr {
        let state = self.state();
        let known = state.addresses.hosts.get(host).copied();
        known
            .or_else(|| host.parse().ok())
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let known = self.state().addresses.hosts.get(host).copied();
        if let Some(ip) = known.or_else(|| host.parse().ok()) {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }

    /// Connects for real: to each of the name's addresses, again and again while none answers.
    pub(crate) async fn dial(&self, from: &str, to: &str, port: u16) -> io::Result<Stream> {
        let conn = self.new_conn(Some(from), to);
        let mut patience = FIRST_ATTEMPT;
        loop {
            let source = {
                let state = self.state();
                let site = state.site(from);
                site.and_then(|s| state.addresses.sources.get(s)).copied()
            };
            let mut error = None;
            let mut silent = false;
            for to in self.resolve(to, port).await? {
                if source.is_some_and(|s| s.is_ipv4() != to.is_ipv4()) {
                    continue;
                }
                match tokio::time::timeout(patience, attempt(source, to)).await {
                    Ok(Ok(socket)) => return self.connected(conn, socket),
                    Ok(Err(e)) => error = Some(e),
                    Err(_) => silent = true,
                }
            }
            if !silent {
                let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no address of {to} can be used"));
                return Err(error.unwrap_or_else(unknown));
            }
            patience = (patience * 2).min(LONGEST_ATTEMPT);
        }
    }

    fn connected(&self, conn: std::sync::Arc<Conn>, socket: TcpStream) -> io::Result<Stream> {
        tune(&socket)?;
        self.establish(&conn);
        Ok(Stream::socket(conn, true, socket))
    }
}

async fn attempt(source: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(s) = source {
        socket.bind(SocketAddr::new(s, 0))?;
    }
    socket.connect(to).await
}

/// What every real connection has: no Nagle, and an end when the peer is gone.
pub(crate) fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let s = socket2::SockRef::from(socket);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    let keepalive = keepalive.with_interval(KEEPALIVE).with_retries(3);
    s.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    s.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}
