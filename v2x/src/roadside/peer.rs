//! Connections between edges: one out per peer, kept; those that come in only speak.

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_net::{Listener, Net, Stream};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::frame::{self, Frame};

/// Bound for a connection to a peer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Bound for a frame that does not leave.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to every peer.
pub struct Peers {
    queues: BTreeMap<String, mpsc::UnboundedSender<Frame>>,
}

impl Peers {
    /// A task per peer (site -> host and port) that connects when there is something to say.
    #[must_use]
    pub fn start(net: &Net, host: &str, peers: &BTreeMap<String, (String, u16)>, tasks: &mut JoinSet<()>) -> Self {
        let mut queues = BTreeMap::new();
        for (site, (to, port)) in peers {
            let (tx, rx) = mpsc::unbounded_channel();
            tasks.spawn(speak(net.clone(), host.to_owned(), to.clone(), *port, rx));
            queues.insert(site.clone(), tx);
        }
        Self { queues }
    }

    /// Sends a frame to a site, if it can be reached. What cannot be sent is dropped: the service's timers see to it.
    pub fn send(&self, to: &str, f: Frame) {
        if let Some(q) = self.queues.get(to) {
            // the task has ended: so has the service
            let _ = q.send(f);
        }
    }
}

async fn speak(net: Net, host: String, to: String, port: u16, mut rx: mpsc::UnboundedReceiver<Frame>) {
    let mut stream: Option<Stream> = None;
    loop {
        let frame = tokio::select! {
            biased;
            f = rx.recv() => match f { Some(f) => f, None => return },
            () = ended(&mut stream) => {
                stream = None;
                continue;
            }
        };
        // once again on a new connection, when the old one turns out to be dead
        for _ in 0..2 {
            if stream.is_none() {
                stream = match timeout(CONNECT_TIMEOUT, net.connect(&host, &to, port)).await {
                    Ok(Ok(s)) => Some(s),
                    _ => None,
                };
            }
            let Some(s) = stream.as_mut() else {
                // unreachable: what is queued would be old when it arrives
                while rx.try_recv().is_ok() {}
                break;
            };
            match timeout(WRITE_TIMEOUT, frame::write(s, &frame)).await {
                Ok(Ok(())) => break,
                _ => stream = None,
            }
        }
    }
}

/// Resolves when the other side has closed the connection. Peers never send on it.
async fn ended(stream: &mut Option<Stream>) {
    match stream {
        Some(s) => {
            let mut b = [0_u8; 1];
            while s.read(&mut b).await.is_ok_and(|n| n > 0) {}
        }
        None => std::future::pending().await,
    }
}

/// Accepts peers and hands on their frames, until dropped.
pub async fn listen(mut listener: Listener, frames: mpsc::UnboundedSender<Frame>) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = tasks.join_next() => {}
            s = listener.accept() => match s {
                Ok(s) => {
                    let frames = frames.clone();
                    tasks.spawn(async move {
                        let mut s = tokio::io::BufReader::new(s);
                        while let Ok(Some(f)) = frame::read(&mut s).await {
                            if frames.send(f).is_err() {
                                return;
                            }
                        }
                    });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
}
