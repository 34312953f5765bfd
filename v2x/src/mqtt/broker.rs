//! The broker's state, without sockets or time: packets in, packets out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, LastWill, Packet, PubAck, PubComp, PubRec, Publish, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use rumqttc::mqttbytes::{Protocol, QoS};

use super::filter::{matches, valid_filter, valid_topic};

/// A connection, numbered by who accepted it. Numbers are not used twice.
pub type Conn = u64;

/// Messages kept for a session whose client is away.
pub const KEPT_MESSAGES: usize = 1000;

/// What the shell must do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this packet on that connection.
    Send(Conn, Packet),
    /// Close that connection (after what was sent before).
    Close(Conn),
    /// A message that came in, for the service the broker lives in: client id and message.
    Deliver(String, Publish),
}

#[derive(Default)]
struct Session {
    conn: Option<Conn>,
    clean: bool,
    filters: BTreeMap<String, QoS>,
    /// Those of them that have wildcards.
    wild: BTreeSet<String>,
    will: Option<LastWill>,
    /// QoS 1 messages sent and not acknowledged, by packet id.
    inflight: BTreeMap<u16, Publish>,
    /// For a client that is away.
    queue: VecDeque<Publish>,
    /// QoS 2 messages received and not yet released.
    received: BTreeSet<u16>,
    next_id: u16,
}

impl Session {
    fn packet_id(&mut self) -> Option<u16> {
        for _ in 0..=u16::MAX {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !self.inflight.contains_key(&self.next_id) {
                return Some(self.next_id);
            }
        }
        None
    }

    /// QoS at which this session wants a topic. Overlapping filters: one copy at the highest ([MQTT-3.3.5-1]).
    fn granted(&self, topic: &str) -> Option<u8> {
        // every message asks every session: a filter without wildcards is looked up, not matched
        let exact = self.filters.get(topic);
        let wild = self
            .wild
            .iter()
            .filter(|f| matches(topic, f))
            .filter_map(|f| self.filters.get(f));
        exact.into_iter().chain(wild).map(|q| *q as u8).max()
    }

    /// Sends a message to this session's client, or keeps it for when the client comes back.
    fn push(&mut self, mut p: Publish, out: &mut Vec<Output>) {
        p.dup = false;
        p.pkid = 0;
        let Some(conn) = self.conn else {
            if !self.clean && p.qos != QoS::AtMostOnce {
                if self.queue.len() >= KEPT_MESSAGES {
                    self.queue.pop_front();
                }
                self.queue.push_back(p);
            }
            return;
        };
        if p.qos != QoS::AtMostOnce {
            // 65535 unacknowledged messages: the client is not listening
            let Some(id) = self.packet_id() else {
                return out.push(Output::Close(conn));
            };
            p.pkid = id;
            self.inflight.insert(id, p.clone());
        }
        out.push(Output::Send(conn, Packet::Publish(p)));
    }
}

/// The state of a broker.
#[derive(Default)]
pub struct Broker {
    sessions: BTreeMap<String, Session>,
    clients: BTreeMap<Conn, String>,
    retained: BTreeMap<String, Publish>,
    /// What the service around the broker listens to.
    local: Vec<String>,
    unnamed: u64,
}

impl Broker {
    /// A broker whose service listens to these filters.
    #[must_use]
    pub fn new(local: &[&str]) -> Self {
        Self {
            local: local.iter().map(|s| (*s).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Clients that are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.clients.len()
    }

    /// The first packet of a connection.
    pub fn connect(&mut self, conn: Conn, c: Connect) -> Vec<Output> {
        let mut out = Vec::new();
        let refuse = |code| {
            vec![
                Output::Send(conn, ConnAck::new(code, false).into_packet()),
                Output::Close(conn),
            ]
        };
        if c.protocol != Protocol::V4 {
            return refuse(ConnectReturnCode::RefusedProtocolVersion);
        }
        if c.client_id.is_empty() && !c.clean_session {
            // [MQTT-3.1.3-8]
            return refuse(ConnectReturnCode::BadClientId);
        }
        if c.last_will.as_ref().is_some_and(|w| !valid_topic(&w.topic)) {
            return vec![Output::Close(conn)];
        }
        let id = if c.client_id.is_empty() {
            self.unnamed += 1;
            format!("unnamed-{}", self.unnamed)
        } else {
            c.client_id
        };
        // the same client id again: the older connection goes, with its will ([MQTT-3.1.4-2])
        if let Some(old) = self.sessions.get(&id).and_then(|s| s.conn) {
            out.extend(self.closed(old));
            out.push(Output::Close(old));
        }
        if c.clean_session {
            self.sessions.remove(&id);
        }
        let present = self.sessions.contains_key(&id);
        let s = self.sessions.entry(id.clone()).or_default();
        s.conn = Some(conn);
        s.clean = c.clean_session;
        s.will = c.last_will;
        self.clients.insert(conn, id);
        out.push(Output::Send(
            conn,
            ConnAck::new(ConnectReturnCode::Success, present).into_packet(),
        ));
        for p in s.inflight.values() {
            out.push(Output::Send(conn, Packet::Publish(Publish { dup: true, ..p.clone() })));
        }
        for p in std::mem::take(&mut s.queue) {
            s.push(p, &mut out);
        }
        out
    }

    /// Any later packet.
    pub fn packet(&mut self, conn: Conn, packet: Packet) -> Vec<Output> {
        let Some(id) = self.clients.get(&conn).cloned() else {
            return vec![Output::Close(conn)];
        };
        match packet {
            Packet::Publish(p) => self.publish_from(conn, &id, p),
            Packet::PubAck(a) => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    s.inflight.remove(&a.pkid);
                }
                Vec::new()
            }
            Packet::PubRel(r) => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    s.received.remove(&r.pkid);
                }
                vec![Output::Send(conn, Packet::PubComp(PubComp::new(r.pkid)))]
            }
            Packet::Subscribe(s) => self.subscribe(conn, &id, s),
            Packet::Unsubscribe(u) => self.unsubscribe(conn, &id, &u),
            Packet::PingReq => vec![Output::Send(conn, Packet::PingResp)],
            Packet::Disconnect => {
                if let Some(s) = self.sessions.get_mut(&id) {
                    s.will = None;
                }
                let mut out = self.closed(conn);
                out.push(Output::Close(conn));
                out
            }
            // a second CONNECT, or what only a server sends: a violation closes the connection ([MQTT-4.8.0-1])
            _ => {
                let mut out = self.closed(conn);
                out.push(Output::Close(conn));
                out
            }
        }
    }

    /// The connection is gone. Its will, if it did not say good-bye, is published.
    pub fn closed(&mut self, conn: Conn) -> Vec<Output> {
        let Some(id) = self.clients.remove(&conn) else {
            return Vec::new();
        };
        let Some(s) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        s.conn = None;
        let will = s.will.take();
        if s.clean {
            self.sessions.remove(&id);
        }
        match will {
            Some(w) => {
                let p = Publish {
                    dup: false,
                    qos: w.qos,
                    retain: w.retain,
                    topic: w.topic,
                    pkid: 0,
                    payload: w.message,
                };
                self.route(&id, p)
            }
            None => Vec::new(),
        }
    }

    /// A message of the service itself.
    pub fn publish(&mut self, p: Publish) -> Vec<Output> {
        self.forward(p)
    }

    fn publish_from(&mut self, conn: Conn, id: &str, p: Publish) -> Vec<Output> {
        if !valid_topic(&p.topic) {
            let mut out = self.closed(conn);
            out.push(Output::Close(conn));
            return out;
        }
        let mut out = Vec::new();
        match p.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => out.push(Output::Send(conn, Packet::PubAck(PubAck::new(p.pkid)))),
            QoS::ExactlyOnce => {
                out.push(Output::Send(conn, Packet::PubRec(PubRec::new(p.pkid))));
                let first = self.sessions.get_mut(id).is_some_and(|s| s.received.insert(p.pkid));
                if !first {
                    return out;
                }
            }
        }
        out.extend(self.route(id, p));
        out
    }

    /// To the service and to all who listen.
    fn route(&mut self, from: &str, p: Publish) -> Vec<Output> {
        let mut out = Vec::new();
        if self.local.iter().any(|f| matches(&p.topic, f)) {
            out.push(Output::Deliver(from.to_owned(), p.clone()));
        }
        out.extend(self.forward(p));
        out
    }

    fn forward(&mut self, p: Publish) -> Vec<Output> {
        if p.retain {
            if p.payload.is_empty() {
                self.retained.remove(&p.topic);
            } else {
                self.retained.insert(p.topic.clone(), p.clone());
            }
        }
        let mut out = Vec::new();
        for s in self.sessions.values_mut() {
            if let Some(q) = s.granted(&p.topic) {
                s.push(
                    Publish {
                        retain: false,
                        qos: lower(p.qos, q),
                        ..p.clone()
                    },
                    &mut out,
                );
            }
        }
        out
    }

    fn subscribe(&mut self, conn: Conn, id: &str, sub: Subscribe) -> Vec<Output> {
        let Some(s) = self.sessions.get_mut(id) else {
            return Vec::new();
        };
        let mut codes = Vec::new();
        let mut retained = Vec::new();
        for f in sub.filters {
            if !valid_filter(&f.path) {
                codes.push(SubscribeReasonCode::Failure);
                continue;
            }
            let granted = lower(f.qos, QoS::AtLeastOnce as u8);
            codes.push(SubscribeReasonCode::Success(granted));
            for p in self.retained.values().filter(|p| matches(&p.topic, &f.path)) {
                retained.push(Publish {
                    retain: true,
                    qos: lower(p.qos, granted as u8),
                    ..p.clone()
                });
            }
            if f.path.contains(['+', '#']) {
                s.wild.insert(f.path.clone());
            }
            s.filters.insert(f.path, granted);
        }
        let mut out = vec![Output::Send(conn, Packet::SubAck(SubAck::new(sub.pkid, codes)))];
        for p in retained {
            s.push(p, &mut out);
        }
        out
    }

    fn unsubscribe(&mut self, conn: Conn, id: &str, u: &Unsubscribe) -> Vec<Output> {
        if let Some(s) = self.sessions.get_mut(id) {
            for t in &u.topics {
                s.filters.remove(t);
                s.wild.remove(t);
            }
        }
        vec![Output::Send(conn, Packet::UnsubAck(UnsubAck::new(u.pkid)))]
    }
}

fn lower(a: QoS, b: u8) -> QoS {
    match (a as u8).min(b) {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

trait IntoPacket {
    fn into_packet(self) -> Packet;
}

impl IntoPacket for ConnAck {
    fn into_packet(self) -> Packet {
        Packet::ConnAck(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(b: &mut Broker, conn: Conn, id: &str, clean: bool) -> Vec<Output> {
        let mut c = Connect::new(id);
        c.clean_session = clean;
        b.connect(conn, c)
    }

    fn subscribe(b: &mut Broker, conn: Conn, filter: &str, qos: QoS) -> Vec<Output> {
        let mut s = Subscribe::new(filter, qos);
        s.pkid = 9;
        b.packet(conn, Packet::Subscribe(s))
    }

    fn publish(b: &mut Broker, conn: Conn, topic: &str, qos: QoS, payload: &str) -> Vec<Output> {
        let mut p = Publish::new(topic, qos, payload);
        p.pkid = 7;
        b.packet(conn, Packet::Publish(p))
    }

    fn payloads(out: &[Output], conn: Conn) -> Vec<(String, bool, bool)> {
        out.iter()
            .filter_map(|o| match o {
                Output::Send(c, Packet::Publish(p)) if *c == conn => {
                    Some((String::from_utf8(p.payload.to_vec()).unwrap(), p.retain, p.dup))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_kept_session_gets_what_it_missed() {
        let mut b = Broker::default();
        connect(&mut b, 1, "kept", false);
        subscribe(&mut b, 1, "t/+", QoS::AtLeastOnce);
        connect(&mut b, 2, "pub", true);
        let out = publish(&mut b, 2, "t/1", QoS::AtLeastOnce, "one");
        assert_eq!(payloads(&out, 1), [("one".to_owned(), false, false)]);
        b.closed(1);
        publish(&mut b, 2, "t/1", QoS::AtLeastOnce, "two");
        publish(&mut b, 2, "t/1", QoS::AtMostOnce, "lost");
        let out = connect(&mut b, 3, "kept", false);
        assert!(matches!(&out[0], Output::Send(3, Packet::ConnAck(a)) if a.session_present));
        // the unacknowledged one again, as a duplicate, then the missed one
        assert_eq!(
            payloads(&out, 3),
            [("one".to_owned(), false, true), ("two".to_owned(), false, false)]
        );
    }

    #[test]
    fn retained_messages_and_their_removal() {
        let mut b = Broker::default();
        connect(&mut b, 1, "a", true);
        let mut p = Publish::new("r/1", QoS::AtMostOnce, "v");
        p.retain = true;
        b.packet(1, Packet::Publish(p.clone()));
        let out = subscribe(&mut b, 1, "r/#", QoS::AtMostOnce);
        assert_eq!(payloads(&out, 1), [("v".to_owned(), true, false)]);
        p.payload = bytes::Bytes::new();
        b.packet(1, Packet::Publish(p));
        assert_eq!(payloads(&subscribe(&mut b, 1, "r/#", QoS::AtMostOnce), 1), []);
    }

    #[test]
    fn wills_takeover_and_violations() {
        let mut b = Broker::new(&["will"]);
        let mut c = Connect::new("x");
        c.last_will = Some(LastWill::new("will", "gone", QoS::AtMostOnce, false));
        b.connect(1, c.clone());
        // taken over: the will is published, the old connection closed
        let out = b.connect(2, c.clone());
        assert!(matches!(&out[0], Output::Deliver(id, p) if id == "x" && p.topic == "will"));
        assert_eq!(out[1], Output::Close(1));
        // a good-bye has no will
        let out = b.packet(2, Packet::Disconnect);
        assert_eq!(out, [Output::Close(2)]);
        b.connect(3, c);
        assert_eq!(
            publish(&mut b, 3, "a/#", QoS::AtMostOnce, "x").last(),
            Some(&Output::Close(3))
        );
        assert_eq!(b.connected(), 0);
        assert_eq!(b.packet(3, Packet::PingReq), [Output::Close(3)]);
        let mut anonymous = Connect::new("");
        anonymous.clean_session = false;
        let out = b.connect(4, anonymous);
        assert!(matches!(&out[0], Output::Send(4, Packet::ConnAck(a)) if a.code == ConnectReturnCode::BadClientId));
    }

    #[test]
    fn qos_2_from_a_publisher_is_delivered_once_and_overlaps_give_one_copy() {
        let mut b = Broker::new(&["t"]);
        connect(&mut b, 1, "a", true);
        subscribe(&mut b, 1, "#", QoS::AtMostOnce);
        subscribe(&mut b, 1, "t", QoS::ExactlyOnce);
        let delivered = |out: &[Output]| out.iter().filter(|o| matches!(o, Output::Deliver(..))).count();
        let out = publish(&mut b, 1, "t", QoS::ExactlyOnce, "x");
        assert_eq!((delivered(&out), payloads(&out, 1).len()), (1, 1));
        let out = publish(&mut b, 1, "t", QoS::ExactlyOnce, "x");
        assert_eq!((delivered(&out), payloads(&out, 1).len()), (0, 0));
        let rel = Packet::PubRel(rumqttc::mqttbytes::v4::PubRel::new(7));
        assert!(matches!(b.packet(1, rel)[0], Output::Send(1, Packet::PubComp(_))));
        assert_eq!(delivered(&publish(&mut b, 1, "t", QoS::ExactlyOnce, "y")), 1);
    }
}
