//! Connections to edges: the current one, one made ahead, the way back; and what follows when one breaks.

use std::pin::Pin;

use rumqttc::mqttbytes::v4::Publish;
use tokio::time::Instant;

use super::{REDIAL, Vehicle};
use crate::mqtt::{Client, ClientError, ConnectOptions, QoS};
use crate::topics;
use crate::units::micros;

pub(super) struct Link {
    pub(super) edge: String,
    pub(super) client: Client,
    /// Next number to send on it.
    pub(super) next: u64,
}

type Dialing = Pin<Box<dyn Future<Output = Result<Client, ClientError>> + Send>>;

pub(super) struct Dial {
    pub(super) edge: String,
    /// It is to be the current connection (else one made ahead).
    pub(super) current: bool,
    pub(super) work: Dialing,
}

impl Vehicle {
    pub(super) fn start_dial(&mut self, edge: &str, current: bool) {
        let Some((host, port)) = self.o.map.endpoint(edge) else {
            return;
        };
        let (net, name) = (self.o.net.clone(), self.o.name.clone());
        let work = Box::pin(async move {
            let mut c = Client::connect(&net, &name, &host, port, ConnectOptions::new(&name)).await?;
            let filters = [topics::ack(&name), topics::warn(&name), topics::ctl(&name)];
            c.subscribe(&filters, QoS::AtLeastOnce).await?;
            Ok(c)
        });
        self.dial = Some(Dial {
            edge: edge.to_owned(),
            current,
            work,
        });
    }

    pub(super) async fn dialed(&mut self, r: Result<Client, ClientError>) {
        let Some(d) = self.dial.take() else { return };
        match r {
            Ok(client) if d.current => {
                self.current = Some(Link {
                    edge: d.edge,
                    client,
                    next: 0,
                });
                self.heard = Instant::now();
                self.rewind();
                self.flush().await;
            }
            Ok(client) => {
                self.ahead = Some(Link {
                    edge: d.edge,
                    client,
                    next: 0,
                })
            }
            Err(_) => {
                self.log.broken += 1;
                if d.current {
                    self.unreachable();
                }
            }
        }
    }

    /// The edge it turned to cannot be reached: back, or once more.
    fn unreachable(&mut self) {
        match self.served_by.clone() {
            Some(back) if back != self.edge => self.go_back(&back),
            _ => {
                // the edge that served it is gone; the one behind its cell may take over
                let attached = self.attached().to_owned();
                if attached != self.edge && !self.is_blocked(&attached) {
                    self.turn(&attached, micros(&self.o.clock));
                } else {
                    self.redial_at = Some(Instant::now() + REDIAL);
                }
            }
        }
    }

    pub(super) fn broken(&mut self) {
        self.log.broken += 1;
        self.current = None;
        if self.switching() {
            self.unreachable();
        } else {
            let edge = self.edge.clone();
            self.start_dial(&edge, true);
        }
    }

    /// No acknowledgement for too long.
    pub(super) fn unanswered(&mut self) {
        self.heard = Instant::now();
        self.broken();
    }
}

pub(super) async fn dialed(d: &mut Option<Dial>) -> Result<Client, ClientError> {
    match d {
        Some(d) => d.work.as_mut().await,
        None => std::future::pending().await,
    }
}

pub(super) async fn received(l: &mut Option<Link>) -> Result<Publish, ClientError> {
    match l {
        Some(l) => l.client.recv().await,
        None => std::future::pending().await,
    }
}
