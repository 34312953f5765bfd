//! The broker on a port: a task per connection, one state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::{Listener, Stream};
use futures::{SinkExt, StreamExt};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Packet, Publish};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, Conn, Output};
use super::packets;

/// A connection must say CONNECT within this.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that may wait for a slow connection before it is closed.
pub const OUTBOX: usize = 10_000;

/// A message that came in.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Client that published it.
    pub client: String,
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Bytes,
}

/// What a service needs of a broker: to say something. (It hears through the channel it gave.) The embedded broker is
/// one; a client of a broker elsewhere could be another.
pub trait Bus: Send + Sync {
    /// Publishes a message, not retained.
    fn publish(&self, topic: &str, payload: Vec<u8>, qos: QoS);
}

/// The broker, shared by its connections and its service.
#[derive(Clone)]
pub struct BrokerHandle {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    inbox: mpsc::UnboundedSender<Message>,
}

struct State {
    broker: Broker,
    outboxes: BTreeMap<Conn, mpsc::Sender<Packet>>,
    next: Conn,
}

impl BrokerHandle {
    /// A broker whose service hears what matches `filters` on the channel.
    #[must_use]
    pub fn new(filters: &[&str]) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (inbox, rx) = mpsc::unbounded_channel();
        let state = State {
            broker: Broker::new(filters),
            outboxes: BTreeMap::new(),
            next: 0,
        };
        (
            Self {
                shared: Arc::new(Shared {
                    state: Mutex::new(state),
                    inbox,
                }),
            },
            rx,
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Clients that are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.state().broker.connected()
    }

    /// Serves a listener until cancelled. Dropping the future ends every connection.
    pub async fn serve(&self, mut listener: Listener, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                Some(_) = tasks.join_next() => {}
                s = listener.accept() => match s {
                    Ok(s) => { tasks.spawn(self.clone().connection(s)); }
                    Err(e) => {
                        tracing::warn!(error = %e, "accept failed");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn connection(self, stream: Stream) {
        let (mut reader, mut writer) = packets(stream);
        let Ok(Some(Ok(Packet::Connect(connect)))) = timeout(CONNECT_TIMEOUT, reader.next()).await else {
            return;
        };
        // one and a half times the keep-alive without a packet: gone ([MQTT-3.1.2-24])
        let patience = match connect.keep_alive {
            0 => Duration::from_secs(u64::from(u32::MAX)),
            k => Duration::from_millis(u64::from(k) * 1500),
        };
        let (tx, mut outbox) = mpsc::channel(OUTBOX);
        let conn = {
            let mut s = self.state();
            s.next += 1;
            let conn = s.next;
            s.outboxes.insert(conn, tx);
            let out = s.broker.connect(conn, connect);
            self.perform(&mut s, out);
            conn
        };
        let read = async {
            while let Ok(Some(Ok(packet))) = timeout(patience, reader.next()).await {
                let open = {
                    let mut s = self.state();
                    let out = s.broker.packet(conn, packet);
                    self.perform(&mut s, out);
                    s.outboxes.contains_key(&conn)
                };
                if !open {
                    // the broker closed it: the writer ends when it has sent what is left
                    return std::future::pending().await;
                }
            }
        };
        let write = async {
            while let Some(p) = outbox.recv().await {
                if writer.feed(p).await.is_err() {
                    return;
                }
                while let Ok(p) = outbox.try_recv() {
                    if writer.feed(p).await.is_err() {
                        return;
                    }
                }
                if SinkExt::<Packet>::flush(&mut writer).await.is_err() {
                    return;
                }
            }
            // the last bytes leave before the connection does
            let _ = SinkExt::<Packet>::close(&mut writer).await;
        };
        tokio::select! {
            biased;
            () = read => {}
            () = write => {}
        }
        let mut s = self.state();
        s.outboxes.remove(&conn);
        let out = s.broker.closed(conn);
        self.perform(&mut s, out);
    }

    /// Does what the state machine asks for. A connection that cannot keep up is closed, and its will published.
    fn perform(&self, s: &mut State, out: Vec<Output>) {
        let mut todo = std::collections::VecDeque::from(out);
        while let Some(o) = todo.pop_front() {
            match o {
                Output::Send(conn, packet) => {
                    let full = s.outboxes.get(&conn).is_some_and(|o| o.try_send(packet).is_err());
                    if full {
                        s.outboxes.remove(&conn);
                        todo.extend(s.broker.closed(conn));
                    }
                }
                Output::Close(conn) => {
                    s.outboxes.remove(&conn);
                }
                Output::Deliver(client, p) => {
                    // nobody listens any more: the service is ending
                    let _ = self.shared.inbox.send(Message {
                        client,
                        topic: p.topic,
                        payload: p.payload,
                    });
                }
            }
        }
    }
}

impl Bus for BrokerHandle {
    fn publish(&self, topic: &str, payload: Vec<u8>, qos: QoS) {
        let mut s = self.state();
        let out = s.broker.publish(Publish::from_bytes(topic, qos, Bytes::from(payload)));
        self.perform(&mut s, out);
    }
}
