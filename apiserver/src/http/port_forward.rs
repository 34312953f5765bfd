//! Ports of a pod over a WebSocket (`kubelet/pkg/cri/streaming/portforward`, `v4.channel.k8s.io`): two channels for each,
//! its data and what went wrong with it; both begin with the port's number. kubectl speaks SPDY within a WebSocket
//! instead, which is not spoken here.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::streams::Offer;
use super::{Answer, Incoming};
use crate::local::Forwarding;
use crate::status::Status;

/// The protocols, all with bytes as they are.
const PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];
/// Messages on their way to a port that does not take them.
const WAITING: usize = 64;
/// How long one direction goes on after the other has ended (containerd's `portForward`, as socat does).
const LINGER: Duration = Duration::from_millis(100);
/// Bytes of a message.
const SIZE: usize = 32 * 1024;
/// Ports of one connection: each has two channels, and a channel is a byte.
const MOST_PORTS: usize = 127;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = Arc<Mutex<SplitSink<Socket, Message>>>;

/// A port and the way to it.
pub(super) type Port = (u16, Option<Forwarding>);

async fn send<K>(to: &Mutex<K>, channel: u8, data: &[u8]) -> bool
where
    K: futures::Sink<Message> + Unpin,
{
    let message = Message::binary([&[channel], data].concat());
    to.lock().await.send(message).await.is_ok()
}

/// Carries one port's data, until both ends are done, or one is and the other says nothing for [`LINGER`].
async fn carry(i: u8, port: Port, pod: String, sink: Sink, mut from_client: mpsc::Receiver<Vec<u8>>) {
    let (number, way) = port;
    let (data, error) = (2 * i, 2 * i + 1);
    for channel in [data, error] {
        send(&sink, channel, &number.to_le_bytes()).await;
    }
    let connected = match way {
        Some(way) => way.await.map_err(|e| e.to_string()),
        None => Err("the pod does not run".to_owned()),
    };
    let stream = match connected {
        Ok(s) => s,
        Err(why) => {
            let why = format!("error forwarding port {number} to pod {pod}: {why}");
            send(&sink, error, why.as_bytes()).await;
            return;
        }
    };
    join(stream, &mut from_client, &sink, data).await;
}

/// Joins a stream with what a client says, and is told on a channel. Of an end of either the other side hears.
async fn join<S, K>(stream: S, from_client: &mut mpsc::Receiver<Vec<u8>>, sink: &Mutex<K>, channel: u8)
where
    S: AsyncRead + AsyncWrite,
    K: futures::Sink<Message> + Unpin,
{
    let (mut read, mut write) = tokio::io::split(stream);
    let to_pod = async {
        while let Some(d) = from_client.recv().await {
            if write.write_all(&d).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        // The pod may have something to say to all that it was told.
        let _ = write.shutdown().await;
    };
    let to_client = async {
        let mut buffer = vec![0; SIZE];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if !send(sink, channel, &buffer[..n]).await {
                return;
            }
        }
    };
    tokio::pin!(to_pod, to_client);
    // Who is late after the other's end is cut off: there is no telling an end of one direction to the client, which would
    // wait for ever.
    tokio::select! {
        biased;
        () = &mut to_pod => drop(tokio::time::timeout(LINGER, to_client).await),
        () = &mut to_client => drop(tokio::time::timeout(LINGER, to_pod).await),
    }
}

/// Forwards ports of a pod for as long as the client wants.
pub(super) fn serve(r: &Incoming, pod: String, ports: Vec<Port>) -> Result<Answer, Status> {
    if ports.len() > MOST_PORTS {
        let why = format!(
            "{} ports are asked for, and one connection carries at most {MOST_PORTS}",
            ports.len()
        );
        return Err(Status::bad_request(why));
    }
    let offer = Offer::of(r, &PROTOCOLS)?;
    Ok(offer.accept(move |socket| async move {
        let (sink, mut frames) = socket.split();
        let sink: Sink = Arc::new(Mutex::new(sink));
        let (mut carriers, mut inputs) = (JoinSet::new(), Vec::new());
        for (i, port) in (0_u8..).zip(ports) {
            let (tell, told) = mpsc::channel(WAITING);
            inputs.push(tell);
            carriers.spawn(carry(i, port, pod.clone(), sink.clone(), told));
        }
        let read = async {
            while let Some(Ok(m)) = frames.next().await {
                let Message::Binary(b) = m else {
                    if m.is_close() {
                        return;
                    }
                    continue;
                };
                // What is said on a channel for errors is for nobody.
                let Some((channel, d)) = b.split_first().filter(|(c, d)| *c % 2 == 0 && !d.is_empty()) else {
                    continue;
                };
                if let Some(input) = inputs.get(usize::from(channel / 2)) {
                    // A port that has ended takes no more.
                    let _ = input.send(d.to_vec()).await;
                }
            }
        };
        let ended = async { while carriers.join_next().await.is_some() {} };
        tokio::select! {
            biased;
            () = read => {}
            () = ended => {}
        }
        let _ = sink.lock().await.close().await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client is told of a pod that does `pod` with its end of the connection.
    async fn told<F>(said: &[&str], pod: impl FnOnce(tokio::io::DuplexStream) -> F) -> String
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (here, there) = tokio::io::duplex(64);
        let (tell, mut from_client) = mpsc::channel(WAITING);
        tokio::spawn(pod(there));
        for s in said {
            tell.send(s.as_bytes().to_vec()).await.unwrap();
        }
        drop(tell);
        let sink: Mutex<Vec<Message>> = Mutex::default();
        join(here, &mut from_client, &sink, 4).await;
        let all = sink.into_inner().into_iter().map(Message::into_data);
        let all: Vec<u8> = all
            .flat_map(|m| {
                assert_eq!(m[0], 4);
                m[1..].to_vec()
            })
            .collect();
        String::from_utf8(all).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_said_all_still_hears_the_answer() {
        let echo = async |mut s: tokio::io::DuplexStream| {
            let mut all = Vec::new();
            // Only the end of what it is told has it answer.
            s.read_to_end(&mut all).await.unwrap();
            s.write_all(&all).await.unwrap();
        };
        assert_eq!(told(&["a", "bc"], |s| async move { echo(s).await }).await, "abc");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_does_not_hold_the_other() {
        let mute = |s: tokio::io::DuplexStream| async move {
            std::future::pending::<()>().await;
            drop(s);
        };
        let begun = tokio::time::Instant::now();
        assert_eq!(told(&["a"], mute).await, "");
        assert_eq!(begun.elapsed(), LINGER);
    }
}
