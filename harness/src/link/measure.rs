//! Configured against seen: what a link between two hosts in containers really does, by ordinary TCP and UDP.

use std::fmt::Write as _;

use cfn_net::link::LatencyDistribution;
use cfn_net::way::Hop;
use serde::{Deserialize, Serialize};

pub use super::pair::Means;
use super::pair::{self, Host, Pair};
use super::probe::{self, Amount};
use super::{Rule, ShapeConfig};
use crate::lane::LaneError;
use crate::lane::docker::engine::Engine;

/// A link to be measured: the same both ways.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Case {
    /// What is configured, in a few words.
    pub name: String,
    /// The links on the way; empty: not shaped.
    pub hops: Vec<Hop>,
}

/// What was seen of a case. Times in milliseconds, one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// What was configured.
    pub case: Case,
    /// Half a round trip over TCP: median.
    pub tcp_p50: f64,
    /// The same, of 100 the 99th.
    pub tcp_p99: f64,
    /// A datagram's way there: median.
    pub udp_p50: f64,
    /// The same, of 100 the 99th.
    pub udp_p99: f64,
    /// Datagrams that did not arrive, percent.
    pub loss: f64,
    /// Bytes that TCP brought over, Mbit/s.
    pub throughput: f64,
    /// How late the far shaper let packets go, milliseconds: median and 99th of 100 (none: it held none).
    pub late: Option<[f64; 2]>,
}

/// A measurement of all cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// How packets were held.
    pub by: String,
    /// How the thread that held them was scheduled.
    pub priority: String,
    /// One for each case.
    pub figures: Vec<Figures>,
}

/// The cases of the table in docs/links.md.
#[must_use]
pub fn cases() -> Vec<Case> {
    let hop = |latency: f64| Hop {
        latency,
        ..Hop::default()
    };
    let varied = |latency, latency_variation, latency_distribution| Hop {
        latency,
        latency_variation,
        latency_distribution,
        ..Hop::default()
    };
    let case = |name: &str, hops: &[Hop]| Case {
        name: name.into(),
        hops: hops.to_vec(),
    };
    use LatencyDistribution as D;
    vec![
        case("no link", &[]),
        case("0.1 ms", &[hop(0.1)]),
        case("1 ms", &[hop(1.0)]),
        case("9 ms", &[hop(9.0)]),
        case("25 ms", &[hop(25.0)]),
        case("4 ms + 5 ms", &[hop(4.0), hop(5.0)]),
        case("20 ms, 2 ms Normal", &[varied(20.0, 2.0, D::Normal)]),
        case("20 ms, 5 ms Uniform", &[varied(20.0, 5.0, D::Uniform)]),
        case("20 ms, 2 ms Pareto", &[varied(20.0, 2.0, D::Pareto)]),
        case("20 ms, 2 ms Paretonormal", &[varied(20.0, 2.0, D::Paretonormal)]),
        case(
            "5 ms, 1 % lost",
            &[Hop {
                packet_loss: 1.0,
                ..hop(5.0)
            }],
        ),
        case(
            "5 ms, 5 % lost",
            &[Hop {
                packet_loss: 5.0,
                ..hop(5.0)
            }],
        ),
        case("5 ms, 20 Mbit/s", &[Hop { rate: 20.0, ..hop(5.0) }]),
        case(
            "5 ms, 100 Mbit/s",
            &[Hop {
                rate: 100.0,
                ..hop(5.0)
            }],
        ),
        case(
            "5 ms, 1000 Mbit/s",
            &[Hop {
                rate: 1000.0,
                ..hop(5.0)
            }],
        ),
    ]
}

/// Measures `cases` between two containers, one after the other; `progress` hears of each as it begins.
///
/// # Errors
/// The daemon refuses, the image is not there, or the link cannot be shaped.
pub async fn measure(
    engine: Engine,
    means: Means,
    cases: &[Case],
    amount: Amount,
    progress: impl Fn(&Case),
) -> Result<Measurement, LaneError> {
    let pair = Pair::up(engine, means).await?;
    let result = all(&pair, cases, amount, progress).await;
    pair.down().await;
    result
}

async fn all(pair: &Pair, cases: &[Case], amount: Amount, progress: impl Fn(&Case)) -> Result<Measurement, LaneError> {
    let mut out = Measurement {
        by: String::new(),
        priority: String::new(),
        figures: Vec::new(),
    };
    for case in cases {
        progress(case);
        for host in [Host::Near, Host::Far] {
            let seen = pair.set(host, &config(pair, host, case)).await?;
            (out.by, out.priority) = (seen.by, seen.priority);
        }
        let seen = pair.measure(amount).await?;
        let shaper = pair.show(Host::Far).await?;
        let late = shaper
            .counts
            .get("near")
            .map(|c| [c.late_p50, c.late_p99].map(|us| us as f64 / 1e3));
        out.figures.push(figures(case, &seen, late));
    }
    Ok(out)
}

/// What the shaper of one of the two is told.
fn config(pair: &Pair, host: Host, case: &Case) -> ShapeConfig {
    let other = if host == Host::Near { "far" } else { "near" };
    ShapeConfig {
        seed: host as u64,
        rules: vec![Rule {
            site: other.into(),
            from: pair::sites(pair).remove(other).unwrap_or_default(),
            hops: case.hops.clone(),
            ..Rule::default()
        }],
    }
}

/// What so many samples come to.
fn figures(case: &Case, seen: &probe::Seen, late: Option<[f64; 2]>) -> Figures {
    let ms = |all: &[u32], share: f64| percentile(all, share).map_or(f64::NAN, |us| f64::from(us) / 1e3);
    let lost = f64::from(seen.sent) - seen.udp.len() as f64;
    Figures {
        case: case.clone(),
        tcp_p50: ms(&seen.tcp, 0.5),
        tcp_p99: ms(&seen.tcp, 0.99),
        udp_p50: ms(&seen.udp, 0.5),
        udp_p99: ms(&seen.udp, 0.99),
        loss: if seen.sent > 0 {
            lost / f64::from(seen.sent) * 100.0
        } else {
            0.0
        },
        throughput: if seen.bulk_us > 0 {
            seen.bulk_bytes as f64 * 8.0 / seen.bulk_us as f64
        } else {
            0.0
        },
        late,
    }
}

/// The smallest sample that at least `share` of all do not exceed (nearest rank).
fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// As a table of Markdown, which is also what docs/links.md has.
#[must_use]
pub fn table(m: &Measurement) -> String {
    let mut out = String::from(
        "| configured, each way | TCP p50 | TCP p99 | UDP p50 | UDP p99 | lost | TCP Mbit/s | late p50 | late p99 |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for f in &m.figures {
        let late = f
            .late
            .map_or(["-".into(), "-".into()], |l| l.map(|x| format!("{x:.3}")));
        let _ = writeln!(
            out,
            "| {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.2} % | {:.1} | {} | {} |",
            f.case.name, f.tcp_p50, f.tcp_p99, f.udp_p50, f.udp_p99, f.loss, f.throughput, late[0], late[1]
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_made_of_samples() {
        let seen = probe::Seen {
            tcp: (1..=100).map(|n| n * 100).collect(),
            udp: vec![9000, 9100, 9900],
            sent: 4,
            bulk_bytes: 2_500_000,
            bulk_us: 1_000_000,
        };
        let case = &cases()[3];
        let f = figures(case, &seen, Some([0.02, 0.2]));
        assert_eq!((f.tcp_p50, f.tcp_p99), (5.0, 9.9));
        assert_eq!((f.udp_p50, f.udp_p99), (9.1, 9.9));
        assert_eq!((f.loss, f.throughput), (25.0, 20.0));
        let nothing = figures(case, &probe::Seen::default(), None);
        assert!(nothing.udp_p50.is_nan() && nothing.loss == 0.0);
        let m = Measurement {
            by: "nfqueue".into(),
            priority: "real-time".into(),
            figures: vec![f],
        };
        assert!(table(&m).contains("| 9 ms | 5.000 | 9.900 | 9.100 | 9.900 | 25.00 % | 20.0 | 0.020 | 0.200 |"));
    }
}
