//! MQTT 3.1.1 over [`cfn_net::Net`]: a broker small enough to live inside a service, and a client.
//!
//! Packets are read and written by rumqttc's codec; everything else is ours, because it must run on one thread, on
//! virtual time and on streams in memory. Any MQTT 3.1.1 client can connect (mosquitto, rumqttc, paho).
//!
//! Supported: QoS 0 and 1 both ways, QoS 2 from publishers (subscriptions are granted at most QoS 1, as [MQTT-3.8.4-6]
//! allows), retained messages, `+` and `#`, keep-alive, clean and kept sessions (queue of [`broker::KEPT_MESSAGES`]), last will, take-over
//! of a client id. Not supported: authentication, TLS, MQTT 5.

pub mod broker;
pub mod client;
pub mod filter;
pub mod server;

pub use broker::Broker;
pub use client::{Client, ClientError, ConnectOptions};
pub use rumqttc::mqttbytes::QoS;
pub use server::{BrokerHandle, Bus, Message};

use cfn_net::Stream;
use rumqttc::mqttbytes::v4::Codec;
use tokio::io::{ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite};

/// Largest packet taken or sent, bytes.
pub const MAX_PACKET: usize = 8 * 1024 * 1024;

pub(crate) type Reader = FramedRead<ReadHalf<Stream>, Codec>;
pub(crate) type Writer = FramedWrite<WriteHalf<Stream>, Codec>;

/// A stream as packets, each way.
pub(crate) fn packets(stream: Stream) -> (Reader, Writer) {
    let codec = || Codec {
        max_incoming_size: MAX_PACKET,
        max_outgoing_size: MAX_PACKET,
    };
    let (r, w) = tokio::io::split(stream);
    (FramedRead::new(r, codec()), FramedWrite::new(w, codec()))
}
