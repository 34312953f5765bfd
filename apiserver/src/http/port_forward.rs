//! Ports of a pod over a WebSocket (`kubelet/pkg/cri/streaming/portforward`, `v4.channel.k8s.io`): two channels for each,
//! its data and what went wrong with it; both begin with the port's number. kubectl speaks SPDY within a WebSocket
//! instead, which is not spoken here.

use std::sync::Arc;

use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
/// Bytes of a message.
const SIZE: usize = 32 * 1024;
/// Ports of one connection: each has two channels, and a channel is a byte.
const MOST_PORTS: usize = 127;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = Arc<Mutex<SplitSink<Socket, Message>>>;

/// A port and the way to it.
pub(super) type Port = (u16, Option<Forwarding>);

async fn send(to: &Sink, channel: u8, data: &[u8]) -> bool {
    let message = Message::binary([&[channel], data].concat());
    to.lock().await.send(message).await.is_ok()
}

/// Carries one port's data, until either end is done.
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
    let (mut read, mut write) = tokio::io::split(stream);
    let to_pod = async {
        while let Some(d) = from_client.recv().await {
            if write.write_all(&d).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    };
    let to_client = async {
        let mut buffer = vec![0; SIZE];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if !send(&sink, data, &buffer[..n]).await {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = to_pod => {}
        () = to_client => {}
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
