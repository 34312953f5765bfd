//! What a shaper is told: JSON, by `cfn link set`.

use std::time::Duration;

use cfn_net::way::{Dice, Hop};
use serde::{Deserialize, Serialize};

use super::Cidr;

/// What arrives at one host, by where it comes from. What no rule names is not shaped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShapeConfig {
    /// Where randomness comes from: the run's seed and the host's name.
    pub seed: u64,
    /// One for each other site.
    pub rules: Vec<Rule>,
}

/// What happens to packets from one site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rule {
    /// The site's name: with `to` it identifies the rule when the config changes.
    pub site: String,
    /// Its source addresses: hosts and pods.
    pub from: Vec<Cidr>,
    /// Only what goes to these of the host's addresses; empty: all. For who has addresses at several sites.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<Cidr>,
    /// The links on the way, each of which delays, rates and loses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
    /// Nothing passes, of new connections and old.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// How often connections with the site were reset: when it grows, those that are there are reset.
    #[serde(skip_serializing_if = "is_zero")]
    pub resets: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Rule {
    /// What identifies it: `site`, or `site to 10.7.2.0/24`.
    #[must_use]
    pub fn key(&self) -> String {
        if self.to.is_empty() {
            return self.site.clone();
        }
        let to: Vec<String> = self.to.iter().map(ToString::to_string).collect();
        format!("{} to {}", self.site, to.join(","))
    }

    /// Each source with each destination; none: any.
    pub fn ways(&self) -> impl Iterator<Item = (Cidr, Option<Cidr>)> {
        let to: Vec<Option<Cidr>> = if self.to.is_empty() {
            vec![None]
        } else {
            self.to.iter().copied().map(Some).collect()
        };
        self.from
            .iter()
            .flat_map(move |f| to.clone().into_iter().map(move |t| (*f, t)))
    }

    /// Whether packets need to be held at all.
    #[must_use]
    pub fn shapes(&self) -> bool {
        self.hops
            .iter()
            .any(|h| h.latency > 0.0 || h.latency_variation > 0.0 || h.packet_loss > 0.0 || h.rate > 0.0)
    }

    /// Least rate of the links, Mbit/s; none when unlimited.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        self.hops
            .iter()
            .map(|h| h.rate)
            .filter(|r| *r > 0.0)
            .min_by(f64::total_cmp)
    }

    /// Mean one-way latency, milliseconds.
    #[must_use]
    pub fn latency(&self) -> f64 {
        self.hops.iter().map(|h| h.latency).sum()
    }

    /// The share of packets that get lost on any of the links, percent.
    #[must_use]
    pub fn packet_loss(&self) -> f64 {
        let arrive: f64 = self
            .hops
            .iter()
            .map(|h| 1.0 - (h.packet_loss / 100.0).clamp(0.0, 1.0))
            .product();
        (1.0 - arrive) * 100.0
    }

    /// Whether any link loses packets.
    #[must_use]
    pub fn loses(&self) -> bool {
        self.hops.iter().any(|h| h.packet_loss > 0.0)
    }
}

/// The lines of a rule: until when each is busy, from some start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    busy: Vec<Duration>,
    /// When the last packet leaves: no packet overtakes another.
    last: Duration,
}

/// How much may wait for a line: what comes on top of that is dropped, as at the tail of a router's buffer. Between
/// the 100 ms of a classic router's buffer (one round trip, RFC 3439) and what radio bearers hold.
pub const BUFFER: Duration = Duration::from_millis(200);

impl Lines {
    /// When a packet of `bytes` that arrives at `now` has passed all links; none when it is lost.
    pub fn pass(&mut self, rule: &Rule, bytes: usize, now: Duration, dice: &mut Dice) -> Option<Duration> {
        self.busy.resize(rule.hops.len(), Duration::ZERO);
        let mut at = now;
        for (hop, busy) in rule.hops.iter().zip(&mut self.busy) {
            if hop.rate > 0.0 {
                if busy.saturating_sub(at) > BUFFER {
                    return None;
                }
                *busy = at.max(*busy) + hop.transmission(bytes);
                at = *busy;
            }
            if dice.lost(hop) {
                return None;
            }
            at += dice.latency(hop);
        }
        self.last = self.last.max(at);
        Some(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_net::Seed;
    use cfn_net::link::LatencyDistribution;

    fn hop(latency: f64, rate: f64, packet_loss: f64) -> Hop {
        Hop {
            latency,
            rate,
            packet_loss,
            ..Hop::default()
        }
    }

    fn rule(hops: &[Hop]) -> Rule {
        Rule {
            hops: hops.to_vec(),
            ..Rule::default()
        }
    }

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn links_in_a_row_add_up() {
        let r = rule(&[hop(4.0, 0.0, 10.0), hop(5.0, 20.0, 50.0), hop(0.0, 10.0, 0.0)]);
        assert!((r.latency() - 9.0).abs() < 1e-9);
        assert!((r.packet_loss() - 55.0).abs() < 1e-9);
        assert_eq!(r.rate(), Some(10.0));
        assert!(r.shapes() && r.loses() && !rule(&[Hop::default()]).shapes());
    }

    #[test]
    fn packets_wait_for_the_line_and_never_overtake() {
        let mut dice = Dice::new(Seed(1), "x");
        // 1250 bytes at 10 Mbit/s are 1 ms.
        let r = rule(&[hop(5.0, 10.0, 0.0)]);
        let mut lines = Lines::default();
        let mut pass = |at| lines.pass(&r, 1250, at, &mut dice);
        assert_eq!(pass(Duration::ZERO), Some(6 * MS));
        assert_eq!(pass(Duration::ZERO), Some(7 * MS));
        assert_eq!(pass(10 * MS), Some(16 * MS));
        let full = (0..300).filter(|_| pass(10 * MS).is_none()).count();
        assert_eq!(full, 300 - 200, "the buffer holds 200 ms behind the one on the line");
    }

    #[test]
    fn order_is_kept_when_latency_falls_or_varies() {
        let mut dice = Dice::new(Seed(3), "x");
        let mut lines = Lines::default();
        let slow = lines.pass(&rule(&[hop(50.0, 0.0, 0.0)]), 100, Duration::ZERO, &mut dice);
        let fast = lines.pass(&rule(&[hop(1.0, 0.0, 0.0)]), 100, MS, &mut dice);
        assert_eq!((slow, fast), (Some(50 * MS), Some(50 * MS)));
        let mut wild = rule(&[hop(20.0, 0.0, 0.0)]);
        wild.hops[0].latency_variation = 10.0;
        wild.hops[0].latency_distribution = LatencyDistribution::Pareto;
        let mut last = Duration::ZERO;
        for i in 0..1000 {
            let at = lines.pass(&wild, 100, 60 * MS + i * MS, &mut dice).unwrap();
            assert!(at >= last);
            last = at;
        }
    }

    #[test]
    fn a_config_reads_back() {
        let text = r#"{"seed":7,"rules":[{"site":"edge","from":["10.7.2.0/24","10.7.128.0/24"],"hops":[{"latency":9.0,
            "latencyVariation":1.0,"latencyDistribution":"Pareto","packetLoss":0.5,"rate":100.0}],"resets":2},
            {"site":"cloud","from":["10.7.3.0/24"],"cut":true}]}"#;
        let c: ShapeConfig = serde_json::from_str(text).unwrap();
        assert_eq!(c.rules[0].hops[0].rate, 100.0);
        assert!(c.rules[1].cut && !c.rules[1].shapes());
        let again: ShapeConfig = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
        assert_eq!(c, again);
        assert!(serde_json::from_str::<ShapeConfig>(r#"{"rulez":[]}"#).is_err());
    }
}
