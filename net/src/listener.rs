//! Where connections arrive.

use std::io;
use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::network::{Net, Transport};
use crate::stream::Stream;

/// Accepts connections at one `(host, port)`; dropping it closes the port.
pub struct Listener {
    net: Net,
    key: (String, u16),
    kind: Kind,
}

/// How to reach a listener.
#[derive(Clone)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Memory(mpsc::UnboundedSender<Stream>),
}

pub(crate) enum Kind {
    Tcp(tokio::net::TcpListener),
    Memory(mpsc::UnboundedReceiver<Stream>),
}

impl Listener {
    pub(crate) fn new(net: Net, key: (String, u16), kind: Kind) -> Self {
        Self { net, key, kind }
    }

    /// The port (of the testbed's network, not of the socket).
    #[must_use]
    pub fn port(&self) -> u16 {
        self.key.1
    }

    /// What carries the bytes here.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.net.transport()
    }

    /// The next connection. Cancel-safe.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub async fn accept(&mut self) -> io::Result<Stream> {
        match &mut self.kind {
            Kind::Tcp(l) => loop {
                let (s, client) = l.accept().await?;
                let conn = self.net.arrived(&self.key.0, client);
                if self.net.state().stopped.contains(&self.key.0) {
                    // From outside: the testbed's own are refused before.
                    let _ = s.set_zero_linger();
                    continue;
                }
                if self.net.transport() == Transport::Host {
                    crate::host::tune(&s)?;
                } else {
                    s.set_nodelay(true)?;
                }
                return Ok(Stream::socket(conn, false, s));
            },
            Kind::Memory(rx) => match rx.recv().await {
                Some(s) => Ok(s),
                None => Err(io::Error::new(io::ErrorKind::BrokenPipe, "listener is closed")),
            },
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.net.state().listeners.remove(&self.key);
    }
}
