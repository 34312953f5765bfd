//! One end of a connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::conn::{Conn, Read};
use crate::timer::{self, Sleep};

/// A byte stream between two hosts of the testbed, shaped by the links between their sites; made by
/// [`Net::connect`](crate::Net::connect) and [`Listener::accept`](crate::Listener::accept). A reset (by a fault, or
/// of the socket) is the error `ConnectionReset` on both ends. Dropping it closes it.
pub struct Stream {
    conn: Arc<Conn>,
    end: End,
}

enum End {
    /// The end of two queues: 0 is the client's, 1 the other. `due` waits for the next bytes.
    Queue { side: usize, due: Option<Sleep> },
    /// A socket: the client's while the server is at the same site, or the server's. None only while it is being
    /// replaced.
    Socket { client: bool, socket: Option<TcpStream> },
}

impl Stream {
    pub(crate) fn queue(conn: Arc<Conn>, side: usize) -> Self {
        Self {
            conn,
            end: End::Queue { side, due: None },
        }
    }

    pub(crate) fn socket(conn: Arc<Conn>, client: bool, socket: TcpStream) -> Self {
        Self {
            conn,
            end: End::Socket {
                client,
                socket: Some(socket),
            },
        }
    }

    /// The host that connected; none when a program outside the testbed did.
    #[must_use]
    pub fn client_host(&self) -> Option<&str> {
        self.conn.from.as_deref()
    }

    /// The host that was connected to.
    #[must_use]
    pub fn server_host(&self) -> &str {
        &self.conn.to
    }

    /// Who connected: the host, or the address of a program outside the testbed where a socket tells it.
    #[must_use]
    pub fn peer(&self) -> Option<String> {
        match (self.client_host(), &self.end) {
            (Some(host), _) => Some(host.to_owned()),
            (
                None,
                End::Socket {
                    client: false,
                    socket: Some(socket),
                },
            ) => {
                let at = socket.peer_addr().ok()?;
                Some(at.ip().to_canonical().to_string())
            }
            (None, _) => None,
        }
    }

    /// From now on, dropping it takes back what has not arrived, where it is a socket (`SO_LINGER` of 0). Else the
    /// kernel goes on sending after the program has given up: over a link that was cut, a request that its sender made
    /// anew since arrives when the link is back, and what it writes is old.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn drop_undelivered(&self) -> io::Result<()> {
        match &self.end {
            End::Socket {
                socket: Some(socket), ..
            } => socket.set_zero_linger(),
            _ => Ok(()),
        }
    }

    /// A client's bare socket whose host, or the server's, has moved to another site gets links between.
    fn follow(&mut self) {
        if let End::Socket { client: true, socket } = &mut self.end
            && self.conn.left_site()
            && let Some(socket) = socket.take()
        {
            self.end = over_links(&self.conn, socket);
        }
    }

    /// Registers for a reset (or a change of site) beside what the socket waits for.
    fn socket_pending(&self, client: bool, writer: bool, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.conn.wait(if client { 0 } else { 2 }, writer, cx);
        if self.conn.is_dead() {
            return self.reset();
        }
        if client && self.conn.unseen() {
            // The network changed while this was being polled.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn reset(&self) -> Poll<io::Result<()>> {
        if let End::Socket { socket: Some(s), .. } = &self.end {
            // A program outside shall see a reset, not an end of stream.
            let _ = s.set_zero_linger();
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }
}

/// Puts the links' queues before a socket, and a task that copies between.
fn over_links(conn: &Arc<Conn>, mut socket: TcpStream) -> End {
    conn.queued();
    let mut far = Stream::queue(conn.clone(), 1);
    tokio::spawn(async move {
        if tokio::io::copy_bidirectional_with_sizes(&mut far, &mut socket, 64 * 1024, 64 * 1024)
            .await
            .is_err()
        {
            let _ = socket.set_zero_linger();
            far.conn.kill();
        }
    });
    End::Queue { side: 0, due: None }
}

impl Stream {
    /// A client's stream over links to `socket`.
    pub(crate) fn over_links(conn: Arc<Conn>, socket: TcpStream) -> Self {
        let end = over_links(&conn, socket);
        Self { conn, end }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.conn.is_dead() {
            return this.reset();
        }
        this.follow();
        let client = match &mut this.end {
            End::Queue { side, due } => loop {
                match this.conn.poll_read(1 - *side, buf, cx)? {
                    Read::Done => {
                        *due = None;
                        return Poll::Ready(Ok(()));
                    }
                    Read::Nothing => {
                        *due = None;
                        return Poll::Pending;
                    }
                    Read::At(at) => {
                        let sleep = match due {
                            Some(s) if s.deadline() == at => s,
                            _ => due.insert(timer::sleep_until(at)),
                        };
                        ready!(Pin::new(sleep).poll(cx));
                        *due = None;
                    }
                }
            },
            End::Socket {
                client,
                socket: Some(s),
            } => match Pin::new(s).poll_read(cx, buf) {
                Poll::Pending => *client,
                done => return done,
            },
            End::Socket { socket: None, .. } => return this.reset(),
        };
        this.socket_pending(client, false, cx)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.conn.is_dead() {
            return this.reset().map_ok(|()| 0);
        }
        this.follow();
        let client = match &mut this.end {
            End::Queue { side, .. } => return this.conn.poll_write(*side, data, cx),
            End::Socket {
                client,
                socket: Some(s),
            } => match Pin::new(s).poll_write(cx, data) {
                Poll::Pending => *client,
                done => return done,
            },
            End::Socket { socket: None, .. } => return this.reset().map_ok(|()| 0),
        };
        this.socket_pending(client, true, cx).map_ok(|()| 0)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.end {
            End::Socket { socket: Some(s), .. } => Pin::new(s).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.conn.is_dead() {
            return this.reset();
        }
        this.follow();
        match &mut this.end {
            End::Queue { side, .. } => {
                this.conn.end(*side);
                Poll::Ready(Ok(()))
            }
            End::Socket { socket: Some(s), .. } => Pin::new(s).poll_shutdown(cx),
            End::Socket { socket: None, .. } => this.reset(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        match &self.end {
            End::Queue { side, .. } => {
                self.conn.end(*side);
                self.conn.deaf(1 - side);
            }
            End::Socket { .. } if self.conn.is_dead() => {
                let _ = self.reset();
            }
            End::Socket { .. } => {}
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("from", &self.conn.from)
            .field("to", &self.conn.to)
            .finish_non_exhaustive()
    }
}
