//! Datagrams, as UDP has them: each one crosses the links of its way by itself, queues on them with everything else, is
//! late as they are and lost with their loss; nothing is sent again. They never leave the process: there is no socket of
//! the operating system.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::network::{Net, Transport};
use crate::route::Route;
use crate::shape::Draws;
use crate::timer;

/// The largest payload: 65535 less the headers of IPv4 and UDP.
const LARGEST: usize = 65_507;
/// Datagrams that wait to be read; what comes beyond is lost, as with a full receive buffer (`net.core.rmem_default`
/// holds some 250 small ones).
const WAITING: usize = 256;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The host and port that sent it.
    pub from: (String, u16),
    /// Its payload.
    pub data: Vec<u8>,
}

/// Where what comes for a socket is put; an error is what ICMP said of something it sent.
pub(crate) type Inbox = mpsc::Sender<io::Result<Datagram>>;

/// A socket at one `(host, port)`; dropping it closes the port.
pub struct DatagramSocket {
    net: Net,
    key: (String, u16),
    came: mpsc::Receiver<io::Result<Datagram>>,
    draws: Mutex<Draws>,
}

impl Net {
    /// A socket for datagrams at `host:port`; port 0 picks a free one. Ports of datagrams are not those of connections.
    ///
    /// # Errors
    /// `AddrInUse` when there is one already, `Unsupported` on the host transport.
    pub fn bind(&self, host: &str, port: u16) -> io::Result<DatagramSocket> {
        if self.transport() == Transport::Host {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "no datagrams on the host transport",
            ));
        }
        let (inbox, came) = mpsc::channel(WAITING);
        let mut state = self.state();
        let port = match port {
            0 => state.ephemeral(host, self.seed(), |s, key| !s.sockets.contains_key(key)),
            p => Some(p).filter(|p| !state.sockets.contains_key(&(host.to_owned(), *p))),
        };
        let port =
            port.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {host} is free")))?;
        let key = (host.to_owned(), port);
        state.sockets.insert(key.clone(), inbox);
        state.last_socket += 1;
        let name = format!("net datagrams {host} {}", state.last_socket);
        drop(state);
        Ok(DatagramSocket {
            net: self.clone(),
            key,
            came,
            draws: Mutex::new(Draws::new(self.seed(), name)),
        })
    }

    /// Whether a socket for datagrams is at `host:port`.
    #[must_use]
    pub fn is_bound(&self, host: &str, port: u16) -> bool {
        self.state().sockets.contains_key(&(host.to_owned(), port))
    }

    /// Puts a datagram where it is for, or tells the sender that nobody is there.
    fn deliver(&self, from: (String, u16), to: &(String, u16), data: Vec<u8>, back: Option<Duration>) {
        let state = self.state();
        if state.stopped.contains(&to.0) {
            return;
        }
        if let Some(inbox) = state.sockets.get(to).cloned() {
            drop(state);
            // A full buffer loses what comes.
            let _ = inbox.try_send(Ok(Datagram { from, data }));
            timer::note_activity();
            return;
        }
        drop(state);
        let (net, refused) = (self.clone(), io::Error::from(io::ErrorKind::ConnectionRefused));
        let tell = move |refused| {
            let inbox = net.state().sockets.get(&from).cloned();
            if let Some(inbox) = inbox {
                let _ = inbox.try_send(Err(refused));
                timer::note_activity();
            }
        };
        match back {
            None => {}
            Some(Duration::ZERO) => tell(refused),
            Some(late) => {
                let at = Instant::now() + late;
                tokio::spawn(async move {
                    timer::sleep_until(at).await;
                    tell(refused);
                });
            }
        }
    }
}

impl DatagramSocket {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.key.1
    }

    /// Sends a datagram to `host:port`. That it is sent says nothing of whether it comes.
    ///
    /// # Errors
    /// `NotFound` when the host is unknown, `NetworkDown` when this one is stopped, `InvalidInput` when it is too large.
    pub fn send(&self, host: &str, port: u16, data: &[u8]) -> io::Result<()> {
        if data.len() > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "Message too long"));
        }
        let unknown = |host: &str| io::Error::new(io::ErrorKind::NotFound, format!("unknown host {host}"));
        for name in [&self.key.0, host] {
            self.net.site_of(name).ok_or_else(|| unknown(name))?;
        }
        if self.net.state().stopped.contains(&self.key.0) {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        let now = Instant::now();
        let (way, back) = (self.net.route(&self.key.0, host).0, self.net.route(host, &self.key.0).0);
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        let mut late = |route: &Route, bytes: usize| self.net.pass(route, bytes, now, &mut draws);
        let Some(there_after) = late(&way, data.len()) else {
            return Ok(());
        };
        let back = late(&back, 0);
        drop(draws);
        let (net, from, to, data) = (
            self.net.clone(),
            self.key.clone(),
            (host.to_owned(), port),
            data.to_vec(),
        );
        if there_after.is_zero() {
            net.deliver(from, &to, data, back);
            return Ok(());
        }
        tokio::spawn(async move {
            timer::sleep_until(now + there_after).await;
            net.deliver(from, &to, data, back);
        });
        Ok(())
    }

    /// The next datagram. Cancel-safe.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody was where an earlier one was sent to.
    pub async fn recv(&mut self) -> io::Result<Datagram> {
        match self.came.recv().await {
            Some(d) => d,
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for DatagramSocket {
    fn drop(&mut self) {
        self.net.state().sockets.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSpec;
    use crate::seed::Seed;

    fn net(packet_loss: f64) -> Net {
        let net = Net::new(Transport::Memory, Seed(1));
        let spec = LinkSpec {
            latency: 10.0,
            packet_loss,
            ..LinkSpec::default()
        };
        net.set_link("a", "b", spec);
        for (host, site) in [("one", "a"), ("two", "a"), ("far", "b")] {
            net.add_host(host, site);
        }
        net
    }

    #[tokio::test(start_paused = true)]
    async fn there_and_back() {
        let net = net(0.0);
        let mut client = net.bind("one", 0).unwrap();
        for (host, millis) in [("two", 0), ("far", 20)] {
            let mut server = net.bind(host, 53).unwrap();
            assert_eq!(
                net.bind(host, 53).err().map(|e| e.kind()),
                Some(io::ErrorKind::AddrInUse)
            );
            let begun = Instant::now();
            client.send(host, 53, b"ping").unwrap();
            let d = server.recv().await.unwrap();
            assert_eq!((d.from.0.as_str(), d.data.as_slice()), ("one", b"ping".as_slice()));
            server.send(&d.from.0, d.from.1, b"pong").unwrap();
            assert_eq!(client.recv().await.unwrap().data, b"pong");
            assert_eq!(begun.elapsed().as_millis(), millis, "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_there_is_told_and_silence_is_not() {
        let net = net(0.0);
        let mut client = net.bind("one", 0).unwrap();
        client.send("far", 53, b"x").unwrap();
        assert_eq!(
            client.recv().await.unwrap_err().kind(),
            io::ErrorKind::ConnectionRefused
        );
        assert_eq!(
            client.send("nope", 53, b"x").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        net.cut("a", "b");
        client.send("far", 53, b"x").unwrap();
        let silent = tokio::time::timeout(Duration::from_secs(60), client.recv()).await;
        assert!(silent.is_err(), "what is cut off says nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_is_shared_and_full_when_too_much_waits() {
        let net = net(0.0);
        net.update_link("a", "b", |l| l.throughput_ul = 8.0);
        let (one, two) = (net.bind("one", 0).unwrap(), net.bind("two", 0).unwrap());
        let mut server = net.bind("far", 53).unwrap();
        let begun = Instant::now();
        // A millisecond each at 8 Mbit/s, whoever sends.
        for socket in [&one, &two, &one] {
            socket.send("far", 53, &[0; 1000]).unwrap();
        }
        for millis in [11, 12, 13] {
            server.recv().await.unwrap();
            assert_eq!(begun.elapsed().as_millis(), millis);
        }
        assert_eq!(net.counters()[&("a".to_owned(), "b".to_owned())], (3000, 0));
        // The queue before the line has an end: what comes beyond is lost.
        let sent = 3000;
        for _ in 0..sent {
            one.send("far", 53, &[0; 1000]).unwrap();
        }
        let passed = net.counters()[&("a".to_owned(), "b".to_owned())].0 / 1000 - 3;
        assert!((900..1100).contains(&passed), "{passed} of {sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn ports_that_nobody_asks_for_are_of_the_ephemeral_range() {
        let net = net(0.0);
        let all: Vec<_> = (0..100).map(|_| net.bind("one", 0).unwrap()).collect();
        let mut ports: Vec<u16> = all.iter().map(DatagramSocket::port).collect();
        assert!(ports.iter().all(|p| (32_768..=60_999).contains(p)), "{ports:?}");
        let first = ports[0];
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), all.len(), "each has its own");
        drop(all);
        assert_ne!(
            net.bind("one", 0).unwrap().port(),
            first,
            "one that was left is not the next"
        );
        let listener = net.listen("one", 0).await.unwrap();
        assert!((32_768..=60_999).contains(&listener.port()));
    }

    #[tokio::test(start_paused = true)]
    async fn links_lose_datagrams() {
        let net = net(20.0);
        let client = net.bind("one", 0).unwrap();
        let mut server = net.bind("far", 53).unwrap();
        let mut came = 0;
        for _ in 0..500 {
            client.send("far", 53, b"x").unwrap();
            came += usize::from(
                tokio::time::timeout(Duration::from_secs(1), server.recv())
                    .await
                    .is_ok(),
            );
        }
        assert!((350..450).contains(&came), "{came} of 500");
    }
}
