//! A small MQTT client for vehicles and sensors: no task of its own, dropping it closes the connection.

use std::collections::VecDeque;
use std::time::Duration;

use cfn_net::Net;
use futures::{SinkExt, StreamExt};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, ConnectReturnCode, LastWill, Packet, PubAck, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use tokio::time::{Instant, timeout};

use super::{Reader, Writer, packets};

/// How a client connects.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Client id.
    pub client_id: String,
    /// Keep-alive, whole seconds; 0 is none.
    pub keep_alive: u16,
    /// Forget the session when the connection ends.
    pub clean_session: bool,
    /// Last will.
    pub will: Option<LastWill>,
    /// Bound for connecting and for a blocked write.
    pub timeout: Duration,
}

impl ConnectOptions {
    /// Clean session, keep-alive 10 s, 1 s timeout.
    #[must_use]
    pub fn new(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            keep_alive: 10,
            clean_session: true,
            will: None,
            timeout: Duration::from_secs(1),
        }
    }
}

/// Why a client cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The network.
    #[error("network: {0}")]
    Io(#[from] std::io::Error),
    /// A packet could not be read or written.
    #[error("packet: {0}")]
    Packet(#[from] rumqttc::mqttbytes::Error),
    /// The broker refused the connection.
    #[error("broker refused: {0:?}")]
    Refused(ConnectReturnCode),
    /// The broker refused a subscription.
    #[error("broker refused the subscription to {0}")]
    Subscription(String),
    /// The broker said something that does not belong there.
    #[error("unexpected packet")]
    Unexpected,
    /// The connection has ended.
    #[error("the connection has ended")]
    Closed,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
}

/// A connected client.
pub struct Client {
    reader: Reader,
    writer: Writer,
    next_id: u16,
    keep_alive: Option<Duration>,
    timeout: Duration,
    last_sent: Instant,
    early: VecDeque<Publish>,
}

impl Client {
    /// Connects from a host of the network and waits for the broker's word.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn connect(net: &Net, from: &str, to: &str, port: u16, o: ConnectOptions) -> Result<Self, ClientError> {
        timeout(o.timeout, Self::open(net, from, to, port, &o))
            .await
            .unwrap_or(Err(ClientError::Timeout))
    }

    async fn open(net: &Net, from: &str, to: &str, port: u16, o: &ConnectOptions) -> Result<Self, ClientError> {
        let (mut reader, mut writer) = packets(net.connect(from, to, port).await?);
        let mut c = Connect::new(&o.client_id);
        c.keep_alive = o.keep_alive;
        c.clean_session = o.clean_session;
        c.last_will = o.will.clone();
        writer.send(Packet::Connect(c)).await?;
        match reader.next().await {
            Some(Ok(Packet::ConnAck(a))) if a.code == ConnectReturnCode::Success => {}
            Some(Ok(Packet::ConnAck(a))) => return Err(ClientError::Refused(a.code)),
            Some(Ok(_)) => return Err(ClientError::Unexpected),
            Some(Err(e)) => return Err(e.into()),
            None => return Err(ClientError::Closed),
        }
        Ok(Self {
            reader,
            writer,
            next_id: 0,
            keep_alive: (o.keep_alive > 0).then(|| Duration::from_secs(u64::from(o.keep_alive))),
            timeout: o.timeout,
            last_sent: Instant::now(),
            early: VecDeque::new(),
        })
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.next_id
    }

    async fn send(&mut self, p: Packet) -> Result<(), ClientError> {
        self.last_sent = Instant::now();
        match timeout(self.timeout, self.writer.send(p)).await {
            Ok(r) => Ok(r?),
            Err(_) => Err(ClientError::Timeout),
        }
    }

    /// Publishes; returns the packet id (0 for QoS 0) when it is on its way. The broker's PUBACK is not awaited.
    ///
    /// # Errors
    /// When the connection has ended or takes nothing.
    pub async fn publish(&mut self, topic: &str, payload: impl Into<Vec<u8>>, qos: QoS) -> Result<u16, ClientError> {
        let mut p = Publish::new(topic, qos, payload);
        if qos != QoS::AtMostOnce {
            p.pkid = self.id();
        }
        let id = p.pkid;
        self.send(Packet::Publish(p)).await?;
        Ok(id)
    }

    /// Subscribes and waits for the broker's word. Messages that come in between are kept for [`Client::recv`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn subscribe(&mut self, filters: &[String], qos: QoS) -> Result<(), ClientError> {
        let mut s = Subscribe::new_many(filters.iter().map(|f| SubscribeFilter::new(f.clone(), qos)));
        s.pkid = self.id();
        let id = s.pkid;
        self.send(Packet::Subscribe(s)).await?;
        let bound = self.timeout;
        let answer = async {
            loop {
                match self.packet().await? {
                    Packet::SubAck(a) if a.pkid == id => return Ok(a.return_codes),
                    Packet::Publish(p) => self.early.push_back(p),
                    _ => {}
                }
            }
        };
        let codes = timeout(bound, answer).await.unwrap_or(Err(ClientError::Timeout))?;
        match codes.iter().position(|c| *c == SubscribeReasonCode::Failure) {
            Some(i) => Err(ClientError::Subscription(filters.get(i).cloned().unwrap_or_default())),
            None => Ok(()),
        }
    }

    async fn packet(&mut self) -> Result<Packet, ClientError> {
        match self.reader.next().await {
            Some(Ok(Packet::Publish(p))) => {
                if p.qos == QoS::AtLeastOnce {
                    self.send(Packet::PubAck(PubAck::new(p.pkid))).await?;
                }
                Ok(Packet::Publish(p))
            }
            Some(Ok(p)) => Ok(p),
            Some(Err(e)) => Err(e.into()),
            None => Err(ClientError::Closed),
        }
    }

    /// The next message. Keeps the connection alive meanwhile. Cancel-safe but for the acknowledgement of a QoS 1 message
    /// to the broker, without which it is only sent again after a reconnect.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn recv(&mut self) -> Result<Publish, ClientError> {
        if let Some(p) = self.early.pop_front() {
            return Ok(p);
        }
        loop {
            let idle = self.keep_alive.map(|k| self.last_sent + k);
            let packet = tokio::select! {
                biased;
                p = self.reader.next() => match p { Some(p) => p?, None => return Err(ClientError::Closed) },
                () = sleep_until(idle) => {
                    self.send(Packet::PingReq).await?;
                    continue;
                }
            };
            if let Packet::Publish(p) = packet {
                if p.qos == QoS::AtLeastOnce {
                    // the message is handed on even if the acknowledgement is cut short
                    self.early.push_back(p.clone());
                    self.send(Packet::PubAck(PubAck::new(p.pkid))).await?;
                    self.early.pop_back();
                }
                return Ok(p);
            }
        }
    }

    /// Says good-bye: no last will.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn disconnect(mut self) -> Result<(), ClientError> {
        self.send(Packet::Disconnect).await
    }
}

async fn sleep_until(t: Option<Instant>) {
    match t {
        Some(t) => tokio::time::sleep_until(t).await,
        None => std::future::pending().await,
    }
}
