//! Latency probes: a responder at every site, and a prober that keeps a smoothed round trip per site (RFC 6298's
//! estimator: 1/8 of a new sample, 1/4 of its deviation; a sample is the median of the last nine round trips).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cfn_api::cfn::SiteRtt;
use cfn_api::names::{CFN_NAMESPACE, PROBE_TARGETS};
use cfn_net::{Net, Stream};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::runtime::watcher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::member::Context;

/// Port of the responders.
pub const PORT: u16 = 7946;
/// Size of a probe and its echo: a sequence number, padded to the size of a small request.
const PROBE_BYTES: usize = 64;

/// Answers probes at `host` until cancelled: what comes is sent back.
///
/// # Errors
/// When the port is taken.
pub async fn respond(net: Net, host: &str, cancel: CancellationToken) -> io::Result<()> {
    let mut listener = net.listen(host, PORT).await?;
    let tasks = TaskTracker::new();
    loop {
        let mut stream = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            s = listener.accept() => match s {
                Ok(s) => s,
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(_) => continue,
            },
        };
        let cancel = cancel.clone();
        tasks.spawn(async move {
            let echo = async {
                let mut buf = [0; PROBE_BYTES];
                while stream.read_exact(&mut buf).await.is_ok() {
                    if stream.write_all(&buf).await.is_err() || stream.flush().await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => {}
                () = echo => {}
            }
        });
    }
}

/// As [`respond`], with the host by value (for spawning).
///
/// # Errors
/// As [`respond`].
pub async fn respond_at(net: Net, host: String, cancel: CancellationToken) -> io::Result<()> {
    respond(net, &host, cancel).await
}

/// So many of the last samples are looked at for their median.
const WINDOW: usize = 9;

/// The median of the last samples: one that was late because this machine was busy, not the network, counts for
/// little.
#[derive(Debug, Clone, Default)]
struct Recent(VecDeque<f64>);

impl Recent {
    /// With one more sample.
    fn median(&mut self, sample: f64) -> f64 {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(sample);
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() - 1) / 2]
    }
}

/// A smoothed round trip.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Milliseconds.
    pub mean: f64,
    /// Mean deviation, milliseconds.
    pub deviation: f64,
    /// Samples so far.
    pub samples: u64,
}

impl Estimate {
    /// With one more sample (milliseconds).
    #[must_use]
    pub fn with(self, sample: f64) -> Self {
        if self.samples == 0 {
            return Self {
                mean: sample,
                deviation: sample / 2.0,
                samples: 1,
            };
        }
        Self {
            deviation: self.deviation + ((self.mean - sample).abs() - self.deviation) / 4.0,
            mean: self.mean + (sample - self.mean) / 8.0,
            samples: self.samples + 1,
        }
    }
}

/// Probes every site that the hub's ConfigMap names.
pub struct Prober<'a> {
    ctx: &'a Context,
    state: Mutex<BTreeMap<String, (Estimate, bool)>>,
    targets: watch::Sender<Option<BTreeMap<String, String>>>,
    rounds: watch::Sender<u64>,
}

impl<'a> Prober<'a> {
    /// A prober that has not begun.
    #[must_use]
    pub fn new(ctx: &'a Context) -> Self {
        Self {
            ctx,
            state: Mutex::default(),
            targets: watch::Sender::new(None),
            rounds: watch::Sender::new(0),
        }
    }

    /// What is known, by site.
    #[must_use]
    pub fn round_trips(&self) -> Vec<SiteRtt> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = |x: f64| (x * 1000.0).round() / 1000.0;
        state
            .iter()
            .map(|(site, (e, lost))| SiteRtt {
                site: site.clone(),
                milliseconds: round(e.mean),
                variation: round(e.deviation),
                samples: e.samples,
                lost: *lost,
            })
            .collect()
    }

    /// Returns once every site has answered or timed out once.
    pub async fn first_round(&self) {
        let mut targets = self.targets.subscribe();
        let known = targets
            .wait_for(Option::is_some)
            .await
            .map(|t| t.as_ref().map_or(0, BTreeMap::len))
            .unwrap_or(0);
        let mut rounds = self.rounds.subscribe();
        let _ = rounds.wait_for(|n| *n >= known as u64).await;
    }

    /// Follows the ConfigMap and probes, for ever.
    pub async fn run(&self) {
        tokio::select! {
            biased;
            () = self.follow() => {}
            () = self.probe_all() => {}
        }
    }

    async fn follow(&self) {
        let api: Api<ConfigMap> = Api::namespaced(self.ctx.hub.clone(), CFN_NAMESPACE);
        let config = watcher::Config::default().fields(&format!("metadata.name={PROBE_TARGETS}"));
        let mut events = std::pin::pin!(cfn_net::watch::watch(api, config));
        while let Some(event) = events.next().await {
            if let Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map)) = event {
                self.targets.send_replace(Some(map.data.unwrap_or_default()));
            }
        }
        std::future::pending().await
    }

    async fn probe_all(&self) {
        let mut changed = self.targets.subscribe();
        loop {
            let targets = changed.borrow_and_update().clone().unwrap_or_default();
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.retain(|site, _| targets.contains_key(site));
            }
            let mut probes: FuturesUnordered<_> = targets
                .iter()
                .map(|(site, address)| self.probe(site, address))
                .collect();
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = async { while probes.next().await.is_some() {} std::future::pending::<()>().await } => {}
            }
        }
    }

    async fn probe(&self, site: &str, address: &str) {
        let Some((host, port)) = address
            .rsplit_once(':')
            .and_then(|(h, p)| Some((h, p.parse::<u16>().ok()?)))
        else {
            tracing::warn!("probe target of site {site}: '{address}' is not host:port");
            self.rounds.send_modify(|n| *n += 1);
            return;
        };
        let timers = &self.ctx.options.timers;
        let mut recent = Recent::default();
        let mut connection: Option<Stream> = None;
        let mut sequence = 0_u64;
        loop {
            let beat = Instant::now() + timers.probe_interval;
            sequence += 1;
            let one = self.round_trip(&mut connection, host, port, sequence);
            let sample = tokio::time::timeout(timers.probe_timeout, one).await;
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let entry = state.entry(site.to_owned()).or_default();
                match sample {
                    Ok(Ok(rtt)) => *entry = (entry.0.with(recent.median(rtt.as_secs_f64() * 1000.0)), false),
                    _ => {
                        entry.1 = true;
                        connection = None;
                    }
                }
            }
            if sequence == 1 {
                self.rounds.send_modify(|n| *n += 1);
            }
            tokio::time::sleep_until(beat).await;
        }
    }

    /// One probe on the connection kept for it; connecting is not part of the round trip.
    async fn round_trip(&self, conn: &mut Option<Stream>, host: &str, port: u16, seq: u64) -> io::Result<Duration> {
        let o = &self.ctx.options;
        let mut stream = match conn.take() {
            Some(s) => s,
            None => o.net.connect(&o.host, host, port).await?,
        };
        let mut probe = [0; PROBE_BYTES];
        probe[..8].copy_from_slice(&seq.to_be_bytes());
        let sent = Instant::now();
        stream.write_all(&probe).await?;
        stream.flush().await?;
        let mut echo = [0; PROBE_BYTES];
        stream.read_exact(&mut echo).await?;
        let rtt = sent.elapsed();
        if echo != probe {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the echo is not the probe"));
        }
        *conn = Some(stream);
        Ok(rtt)
    }
}

#[cfg(test)]
mod tests {
    use super::Estimate;

    #[test]
    fn estimate_follows_a_step_and_ignores_a_spike() {
        let mut e = Estimate::default();
        for _ in 0..50 {
            e = e.with(10.0);
        }
        assert!((e.mean - 10.0).abs() < 1e-9);
        assert!(e.with(50.0).mean < 15.1);
        for _ in 0..60 {
            e = e.with(20.0);
        }
        assert!((e.mean - 20.0).abs() < 0.1, "{e:?}");
    }
}
