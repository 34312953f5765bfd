//! The way between two sites as data: what a shaper of real packets needs to do on it what this network does to bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::LatencyDistribution;
use crate::network::Net;
use crate::route::Route;
use crate::seed::Seed;
use crate::shape::{self, Draws};

/// How traffic of one site gets to another, cuts considered.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// The same site: at once.
    Within,
    /// Not at all: there is no link, or it is cut, or it loses everything.
    Blocked,
    /// Over links, in this order.
    Over(Vec<Hop>),
}

/// One link in the direction that is travelled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hop {
    /// One-way latency, milliseconds.
    pub latency: f64,
    /// Milliseconds; its meaning is the distribution's, see [`crate::LinkSpec::latency_variation`].
    pub latency_variation: f64,
    /// How the latency varies.
    pub latency_distribution: LatencyDistribution,
    /// Packets lost, percent.
    pub packet_loss: f64,
    /// Mbit/s; 0 is unlimited.
    pub rate: f64,
}

impl Hop {
    /// How long `bytes` take to be sent.
    #[must_use]
    pub fn transmission(&self, bytes: usize) -> Duration {
        shape::transmission(bytes, self.rate)
    }
}

/// Draws from a named random stream of a seed.
pub struct Dice(Draws);

impl Dice {
    /// The stream `name` of `seed`.
    #[must_use]
    pub fn new(seed: Seed, name: &str) -> Self {
        Self(Draws::new(seed, name.to_owned()))
    }

    /// One packet's latency on `hop`, as [`crate::LinkSpec`] has it.
    pub fn latency(&mut self, hop: &Hop) -> Duration {
        shape::delay(
            hop.latency,
            hop.latency_variation,
            hop.latency_distribution,
            &mut self.0,
        )
    }

    /// Whether `hop` loses a packet.
    pub fn lost(&mut self, hop: &Hop) -> bool {
        hop.packet_loss > 0.0 && self.0.unit() * 100.0 < hop.packet_loss
    }
}

impl Net {
    /// How traffic gets from one site to another now.
    #[must_use]
    pub fn way(&self, from_site: &str, to_site: &str) -> Way {
        let mut state = self.state();
        match &*state.topology.route(from_site, to_site) {
            Route::Direct => Way::Within,
            Route::Blocked => Way::Blocked,
            Route::Over(hops) => Way::Over(hops.iter().map(|h| state.topology.hop(*h)).collect()),
        }
    }

    /// Whether the way from one site to another uses the link between `a_site` and `b_site`, or is between just
    /// these: whose connections [`Net::reset`] resets.
    #[must_use]
    pub fn crosses(&self, from_site: &str, to_site: &str, a_site: &str, b_site: &str) -> bool {
        self.state().topology.crosses(from_site, to_site, a_site, b_site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkSpec;
    use crate::network::Transport;

    #[test]
    fn a_way_has_its_links_in_the_direction_of_travel() {
        let net = Net::new(Transport::Memory, Seed(1));
        let spec = |latency, throughput_ul, throughput_dl| LinkSpec {
            latency,
            throughput_ul,
            throughput_dl,
            packet_loss: 1.0,
            ..LinkSpec::default()
        };
        net.set_link("a", "b", spec(5.0, 100.0, 200.0));
        net.set_link("b", "c", spec(7.0, 0.0, 50.0));
        let hop = |latency, rate| Hop {
            latency,
            rate,
            packet_loss: 1.0,
            ..Hop::default()
        };
        assert_eq!(net.way("a", "c"), Way::Over(vec![hop(5.0, 100.0), hop(7.0, 0.0)]));
        assert_eq!(net.way("c", "a"), Way::Over(vec![hop(7.0, 50.0), hop(5.0, 200.0)]));
        assert_eq!(net.way("a", "a"), Way::Within);
        assert_eq!(net.way("a", "x"), Way::Blocked);
        net.cut_one_way("a", "b");
        assert_eq!(net.way("a", "c"), Way::Blocked);
        assert!(matches!(net.way("c", "a"), Way::Over(_)));
        assert!(net.crosses("c", "a", "a", "b") && !net.crosses("b", "c", "a", "b"));
    }

    #[test]
    fn dice_lose_the_share_that_is_asked_for() {
        let (mut dice, hop) = (
            Dice::new(Seed(7), "loss"),
            Hop {
                packet_loss: 5.0,
                ..Hop::default()
            },
        );
        let lost = (0..20_000).filter(|_| dice.lost(&hop)).count();
        assert!((850..1150).contains(&lost), "{lost} of 20000");
        assert!(!dice.lost(&Hop::default()));
    }
}
