//! The shaper of one network namespace: takes configs, keeps the queues and tables as they say.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use cfn_net::Seed;
use serde::{Deserialize, Serialize};

use super::engine::{Assignment, Counts, Engine};
use super::tables::{self, Tables, Way};
use super::{Rule, ShapeConfig};

/// Our queues' numbers begin here: away from those that others count from zero.
const FIRST_QUEUE: u16 = 7000;

/// What a shaper does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// How packets are held: `nfqueue`.
    pub by: String,
    /// How the thread that holds them is scheduled.
    pub priority: String,
    /// The program that changes tables.
    pub tables: String,
    /// What it was told.
    pub config: ShapeConfig,
    /// What happened, by rule.
    pub counts: BTreeMap<String, Counts>,
}

/// A shaper.
pub(crate) struct Shaper {
    engine: Engine,
    tables: Tables,
    config: ShapeConfig,
    /// The queue of each rule, kept while the shaper lives.
    queues: BTreeMap<String, u16>,
}

/// Which sites' connections are to be reset by going from one config to another: a rule that is new resets nothing.
fn to_reset(before: &ShapeConfig, after: &ShapeConfig) -> Vec<Way> {
    after
        .rules
        .iter()
        .filter(|r| before.rules.iter().any(|b| b.key() == r.key() && b.resets < r.resets))
        .flat_map(Rule::ways)
        .collect()
}

/// A queue for every rule that holds packets: the one that it had, or the next free one.
fn assign(config: &ShapeConfig, queues: &mut BTreeMap<String, u16>) -> Vec<Assignment> {
    config
        .rules
        .iter()
        .filter(|r| r.shapes() && !r.cut)
        .map(|r| {
            let next = queues.values().max().map_or(FIRST_QUEUE, |q| q + 1);
            Assignment {
                queue: *queues.entry(r.key()).or_insert(next),
                seed: Seed(config.seed),
                rule: r.clone(),
            }
        })
        .collect()
}

impl Shaper {
    /// A shaper that shapes nothing yet.
    pub(crate) fn open(interface: &str) -> io::Result<Self> {
        let doing = |what: &'static str| move |e: io::Error| io::Error::new(e.kind(), format!("{what}: {e}"));
        Ok(Self {
            engine: Engine::start().map_err(doing("nfnetlink_queue"))?,
            tables: Tables::open(interface).map_err(doing("iptables"))?,
            config: ShapeConfig::default(),
            queues: BTreeMap::new(),
        })
    }

    /// Does as `config` says from now on; which connections are to be reset (see [`Shaper::resets`]).
    pub(crate) fn set(&mut self, config: ShapeConfig) -> io::Result<Vec<Way>> {
        let assignments = assign(&config, &mut self.queues);
        let keep: Vec<u16> = assignments.iter().map(|a| a.queue).collect();
        let queued: Vec<(&Rule, Option<u16>)> = config
            .rules
            .iter()
            .map(|r| {
                let a = assignments.iter().find(|a| a.rule.key() == r.key());
                (r, a.map(|a| a.queue))
            })
            .collect();
        // Served before packets are sent there, and no longer only when none are.
        self.engine.serve(assignments.clone())?;
        self.tables.set(&queued)?;
        self.engine.keep(keep)?;
        let resets = to_reset(&self.config, &config);
        self.config = config;
        Ok(resets)
    }

    /// How long connections are reset.
    pub(crate) fn reset_time(&self) -> Duration {
        self.tables.reset_time()
    }

    /// Resets connections with these addresses, or (none) ends doing so: segments are answered with a reset in between.
    pub(crate) fn resets(&self, ways: &[Way]) -> io::Result<()> {
        self.tables.set_resets(ways)?;
        tables::reset_sockets(ways);
        Ok(())
    }

    /// What it does.
    pub(crate) fn seen(&self) -> io::Result<Seen> {
        let by_queue = self.engine.count()?;
        let counts = self
            .queues
            .iter()
            .filter_map(|(site, q)| Some((site.clone(), by_queue.get(q)?.clone())))
            .collect();
        Ok(Seen {
            by: "nfqueue".into(),
            priority: self.engine.priority.clone(),
            tables: self.tables.program().into(),
            config: self.config.clone(),
            counts,
        })
    }

    /// Leaves the network namespace as it was.
    pub(crate) fn close(self) {
        self.tables.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Cidr;
    use cfn_net::way::Hop;

    fn rule(site: &str, latency: f64) -> Rule {
        Rule {
            site: site.into(),
            from: vec![Cidr::new([10, 0, 0, site.as_bytes()[0]].into(), 32)],
            hops: vec![Hop {
                latency,
                ..Hop::default()
            }],
            ..Rule::default()
        }
    }

    fn config(rules: Vec<Rule>) -> ShapeConfig {
        ShapeConfig { seed: 1, rules }
    }

    #[test]
    fn sites_keep_their_queues() {
        let mut queues = BTreeMap::new();
        let mut cut = rule("c", 3.0);
        cut.cut = true;
        let numbers = |c: &ShapeConfig, queues: &mut BTreeMap<String, u16>| -> Vec<(String, u16)> {
            assign(c, queues).into_iter().map(|a| (a.rule.site, a.queue)).collect()
        };
        let first = numbers(&config(vec![rule("a", 1.0), rule("b", 0.0), cut.clone()]), &mut queues);
        assert_eq!(first, [("a".into(), 7000)]);
        cut.cut = false;
        let then = numbers(&config(vec![cut, rule("a", 2.0)]), &mut queues);
        assert_eq!(then, [("c".into(), 7001), ("a".into(), 7000)]);
    }

    #[test]
    fn rules_for_different_addresses_of_the_host_have_queues_of_their_own() {
        let to = |address: &str| Rule {
            to: vec![address.parse().unwrap()],
            ..rule("a", 1.0)
        };
        let mut queues = BTreeMap::new();
        let all = assign(&config(vec![to("10.1.0.1"), to("10.2.0.1")]), &mut queues);
        assert_eq!((all[0].queue, all[1].queue), (7000, 7001));
    }

    #[test]
    fn what_was_reset_once_more_is_reset() {
        let with = |site: &str, resets| Rule {
            resets,
            ..rule(site, 1.0)
        };
        let before = config(vec![with("a", 1), with("b", 1)]);
        let after = config(vec![with("a", 2), with("b", 1), with("c", 5)]);
        assert_eq!(to_reset(&before, &after), [(rule("a", 1.0).from[0], None)]);
        assert!(to_reset(&ShapeConfig::default(), &after).is_empty());
    }
}
