//! What a link does to bytes, as functions from numbers to numbers: latency drawn, transmission queued, loss turned
//! into the delay of sending again.

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::link::{LatencyDistribution, LinkSpec};
use crate::seed::Seed;

/// Payload of a TCP segment on Ethernet: 1500 less 40 of headers.
pub(crate) const SEGMENT: usize = 1460;
/// Least retransmission timeout: Linux' `TCP_RTO_MIN` (RFC 6298, 2.4, would have one second).
const RTO_MIN: Duration = Duration::from_millis(200);
/// Most, by doubling: RFC 6298, 2.5.
const RTO_MAX: Duration = Duration::from_secs(60);
/// The first timeout of a handshake, when no round trip has been measured: RFC 6298, 2.1.
pub(crate) const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Linux' `tcp_retries2`: how often one segment is sent again.
const RETRIES: u32 = 15;
/// netem's tables end at four standard deviations (iproute2, `netem/`: 32767 / 8192).
const TABLE_END: f64 = 4.0;

/// A random stream, made at its first draw: most links need none.
pub(crate) struct Draws {
    seed: Seed,
    name: String,
    rng: Option<ChaCha8Rng>,
}

impl Draws {
    pub(crate) fn new(seed: Seed, name: String) -> Self {
        Self { seed, name, rng: None }
    }

    /// Even in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        let Self { seed, name, rng } = self;
        rng.get_or_insert_with(|| seed.rng(name)).random()
    }
}

/// Milliseconds as a duration, to the nanosecond; what is negative or no number is none.
pub(crate) fn millis(ms: f64) -> Duration {
    if ms > 0.0 {
        Duration::from_nanos((ms * 1e6).round() as u64)
    } else {
        Duration::ZERO
    }
}

/// One crossing's latency: `latency` plus `latencyVariation` times a draw from the distribution with mean 0, as
/// netem's `tabledist` does (`net/sched/sch_netem.c`); never negative.
pub(crate) fn latency(spec: &LinkSpec, draws: &mut Draws) -> Duration {
    delay(spec.latency, spec.latency_variation, spec.latency_distribution, draws)
}

/// [`latency`] from its parts, milliseconds.
pub(crate) fn delay(latency: f64, variation: f64, distribution: LatencyDistribution, draws: &mut Draws) -> Duration {
    // Not a number counts as none, too.
    if variation.is_nan() || variation <= 0.0 {
        return millis(latency);
    }
    let x = match distribution {
        LatencyDistribution::Uniform => 2.0 * draws.unit() - 1.0,
        LatencyDistribution::Normal => normal(draws),
        LatencyDistribution::Pareto => pareto(draws),
        // iproute2, `netem/paretonormal.c`: a quarter of one plus three quarters of the other, drawn each.
        LatencyDistribution::Paretonormal => 0.25 * normal(draws) + 0.75 * pareto(draws),
    };
    millis(latency + variation * x.clamp(-TABLE_END, TABLE_END))
}

/// Standard normal (Box and Muller).
fn normal(draws: &mut Draws) -> f64 {
    let (u, v) = (1.0 - draws.unit(), draws.unit());
    (-2.0 * u.ln()).sqrt() * (TAU * v).cos()
}

/// Pareto with shape 3 and scale 1, less its mean of 1.5: iproute2, `netem/pareto.c`.
fn pareto(draws: &mut Draws) -> f64 {
    (1.0 - draws.unit()).powf(-1.0 / 3.0) - 1.5
}

/// The time that `bytes` take on a line of `mbps` (0 or less: unlimited).
pub(crate) fn transmission(bytes: usize, mbps: f64) -> Duration {
    if mbps > 0.0 {
        Duration::from_nanos((bytes as f64 * 8000.0 / mbps).round() as u64)
    } else {
        Duration::ZERO
    }
}

/// The delay by loss of a write of `bytes`: each segment is lost with `loss` (0..1) and sent again after the
/// retransmission timeout, doubled each time (RFC 6298, 5.5); the write is complete with its last segment.
/// `first` is the timeout, from [`timeout`] or [`RTO_INITIAL`].
pub(crate) fn retransmission(bytes: usize, loss: f64, first: Duration, draws: &mut Draws) -> Duration {
    let mut worst = Duration::ZERO;
    if loss > 0.0 {
        for _ in 0..bytes.div_ceil(SEGMENT).max(1) {
            let (mut delay, mut rto) = (Duration::ZERO, first);
            for _ in 0..RETRIES {
                if draws.unit() >= loss {
                    break;
                }
                delay += rto;
                rto = (rto * 2).min(RTO_MAX);
            }
            worst = worst.max(delay);
        }
    }
    worst
}

/// The retransmission timeout of a path whose round trip is `rtt`.
pub(crate) fn timeout(rtt: Duration) -> Duration {
    (rtt * 2).max(RTO_MIN)
}

/// Packets that wait before a line; a datagram that comes beyond is lost (`txqueuelen`, netem's `limit`).
const QUEUE: usize = 1000;

/// One direction of a line: when it is busy. Bytes are booked before they arrive (a route's second link is booked
/// while they cross the first), so a later booking may take a gap before an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Busy spans, in order, not touching.
    busy: Vec<(Instant, Instant)>,
    /// Until when packets wait, and how many; those of one booking go together.
    waiting: VecDeque<(Instant, usize)>,
}

impl Line {
    /// Books `takes` for so many bytes at the first gap from `at` on; returns when the transmission ends. What is before
    /// `now` is forgotten.
    pub(crate) fn book(&mut self, at: Instant, takes: Duration, bytes: usize, now: Instant) -> Instant {
        if takes.is_zero() {
            return at;
        }
        let past = self.busy.iter().take_while(|(_, end)| *end < now).count();
        self.busy.drain(..past);
        while self.waiting.front().is_some_and(|(end, _)| *end <= now) {
            self.waiting.pop_front();
        }
        let (mut start, mut i) = (at, 0);
        while let Some((s, e)) = self.busy.get(i) {
            if start + takes <= *s {
                break;
            }
            start = start.max(*e);
            i += 1;
        }
        let end = start + takes;
        let joins_next = self.busy.get(i).is_some_and(|(s, _)| *s == end);
        let joins_last = i > 0 && self.busy[i - 1].1 == start;
        match (joins_last, joins_next) {
            (true, true) => {
                self.busy[i - 1].1 = self.busy[i].1;
                self.busy.remove(i);
            }
            (true, false) => self.busy[i - 1].1 = end,
            (false, true) => self.busy[i].0 = start,
            (false, false) => self.busy.insert(i, (start, end)),
        }
        self.waiting.push_back((end, bytes.div_ceil(SEGMENT).max(1)));
        end
    }

    /// As [`Line::book`], of one datagram; `None` and nothing booked when the queue is full when it comes.
    pub(crate) fn queue(&mut self, at: Instant, takes: Duration, bytes: usize, now: Instant) -> Option<Instant> {
        let waiting: usize = self.waiting.iter().filter(|(end, _)| *end > at).map(|(_, n)| n).sum();
        (waiting < QUEUE).then(|| self.book(at, takes, bytes, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(name: &str) -> Draws {
        Draws::new(Seed(7), name.to_owned())
    }

    #[test]
    fn latencies_have_the_mean_that_is_asked_for() {
        for (distribution, low, high) in [
            (LatencyDistribution::Normal, 0.0, 90.0),
            (LatencyDistribution::Uniform, 40.0, 60.0),
            // The tails are cut at four: least is latency + variation * (1 - 1.5).
            (LatencyDistribution::Pareto, 45.0, 90.0),
            (LatencyDistribution::Paretonormal, 0.0, 90.0),
        ] {
            let spec = LinkSpec {
                latency: 50.0,
                latency_variation: 10.0,
                latency_distribution: distribution,
                ..LinkSpec::default()
            };
            let mut d = draws("latency");
            let all: Vec<f64> = (0..20_000)
                .map(|_| latency(&spec, &mut d).as_secs_f64() * 1e3)
                .collect();
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            assert!((mean - 50.0).abs() < 0.5, "{distribution:?}: mean {mean}");
            assert!(all.iter().all(|x| (low..=high).contains(x)), "{distribution:?}");
        }
        let spec = LinkSpec {
            latency: 9.4,
            ..LinkSpec::default()
        };
        assert_eq!(latency(&spec, &mut draws("none")), Duration::from_micros(9400));
    }

    #[test]
    fn a_line_serves_one_after_the_other_and_uses_gaps() {
        let t0 = Instant::now();
        let ms = Duration::from_millis;
        let mut line = Line::default();
        assert_eq!(line.book(t0, ms(10), 1, t0), t0 + ms(10));
        assert_eq!(line.book(t0 + ms(50), ms(10), 1, t0), t0 + ms(60), "booked ahead");
        assert_eq!(
            line.book(t0 + ms(1), ms(10), 1, t0),
            t0 + ms(20),
            "before what is booked ahead"
        );
        assert_eq!(
            line.book(t0 + ms(15), ms(35), 1, t0),
            t0 + ms(95),
            "does not fit in between"
        );
        assert_eq!(line.book(t0 + ms(15), ms(30), 1, t0), t0 + ms(50), "fits exactly");
        assert_eq!(line.busy.len(), 1);
        assert_eq!(line.book(t0 + ms(200), ms(1), 1, t0 + ms(200)), t0 + ms(201));
        assert_eq!(line.busy.len(), 1, "the past is forgotten");
    }

    #[test]
    fn loss_delays_by_timeouts() {
        assert_eq!(
            retransmission(5000, 0.0, timeout(ms(10)), &mut draws("a")),
            Duration::ZERO
        );
        // Lost always: 0.2 * (2^n - 1) up to the ceiling; never less than one timeout.
        let d = retransmission(1, 1.0, timeout(ms(10)), &mut draws("a"));
        assert!(d > RTO_MAX, "{d:?}");
        let mut draws = draws("b");
        let lost = (0..10_000)
            .filter(|_| !retransmission(1, 0.05, timeout(ms(300)), &mut draws).is_zero())
            .count();
        assert!((400..600).contains(&lost), "{lost}");
        fn ms(n: u64) -> Duration {
            Duration::from_millis(n)
        }
    }
}
