//! Probes of interpreted containers (`pkg/kubelet/prober`).

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use super::lifecycle::{self, Purpose};
use super::shell::Process;
use super::workload::WorkloadContext;
use crate::controllers::object::Object;

/// Exit code of a container that did not end in its grace period (128 + SIGKILL).
const KILLED: i32 = 137;

/// One probe of a container.
struct Probe<'a> {
    ctx: &'a WorkloadContext,
    container: &'a Value,
    spec: &'a Value,
    process: &'a Process,
}

impl<'a> Probe<'a> {
    fn of(ctx: &'a WorkloadContext, container: &'a Value, kind: &str, process: &'a Process) -> Option<Self> {
        let spec = container.get(kind).filter(|p| p.is_object())?;
        Some(Self {
            ctx,
            container,
            spec,
            process,
        })
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        self.spec
            .int(key)
            .and_then(|n| u64::try_from(n).ok())
            .unwrap_or(default)
    }

    fn seconds(&self, key: &str, default: u64) -> Duration {
        Duration::from_secs(self.number(key, default))
    }

    /// Looks once. Of what cannot be looked at nothing is said.
    async fn look(&self) -> Option<bool> {
        let limit = self.seconds("/timeoutSeconds", 1).max(Duration::from_secs(1));
        let act = lifecycle::act(self.ctx, self.container, self.process, self.spec, Purpose::Probe);
        tokio::time::timeout(limit, act).await.unwrap_or(Some(false))
    }

    /// Looks at each tick of its period since the container began, but for those of its initial delay; `settled` is told
    /// what was found as often in a row as the threshold asks, until it answers that this is enough.
    async fn work(&self, began: Instant, mut settled: impl FnMut(bool) -> bool) {
        let period = self.seconds("/periodSeconds", 10).max(Duration::from_secs(1));
        let mut ticks = tokio::time::interval_at(
            began + first_tick(self.seconds("/initialDelaySeconds", 0), period),
            period,
        );
        // Go's tickers drop the ticks that nobody waits for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut last, mut in_a_row) = (None, 0);
        loop {
            ticks.tick().await;
            let Some(found) = self.look().await else { continue };
            in_a_row = if last == Some(found) { in_a_row + 1 } else { 1 };
            last = Some(found);
            let threshold = match found {
                true => self.number("/successThreshold", 1),
                false => self.number("/failureThreshold", 3),
            };
            if in_a_row >= threshold.max(1) && settled(found) {
                return;
            }
        }
    }
}

/// The first tick at which a container has run for as long as it may before it is looked at.
fn first_tick(delay: Duration, period: Duration) -> Duration {
    let ticks = delay.as_nanos().div_ceil(period.as_nanos().max(1));
    period * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Probes a container for as long as it runs and says whether it is ready. Returns when it was told to end because a
/// probe failed and has not ended in its grace period: its exit code.
pub(crate) async fn watch(ctx: &WorkloadContext, container: &Value, process: &Process) -> i32 {
    let probe = |kind| Probe::of(ctx, container, kind, process);
    let began = Instant::now();
    if let Some(p) = probe("startupProbe") {
        let mut up = false;
        p.work(began, |found| {
            up = found;
            true
        })
        .await;
        if !up {
            return end(ctx, p.spec).await;
        }
        (ctx.started)();
    }
    let say = |is: bool| {
        ctx.ready.send_if_modified(|ready| std::mem::replace(ready, is) != is);
    };
    let readiness = async {
        match probe("readinessProbe") {
            Some(p) => {
                p.work(began, |found| {
                    say(found);
                    false
                })
                .await;
            }
            None => say(true),
        }
        std::future::pending::<()>().await;
    };
    let liveness = async {
        let Some(p) = probe("livenessProbe") else {
            return std::future::pending().await;
        };
        // Who is asked to end is not looked at any more.
        tokio::select! {
            biased;
            () = ctx.cancel.cancelled() => return std::future::pending().await,
            () = p.work(began, |alive| !alive) => {}
        }
        end(ctx, p.spec).await
    };
    tokio::select! {
        biased;
        code = liveness => code,
        () = readiness => 0,
    }
}

/// Ends a container whose probe (or hook) failed; `spec` may have a grace period of its own.
pub(crate) async fn end(ctx: &WorkloadContext, spec: &Value) -> i32 {
    let _ = ctx.ready.send(false);
    ctx.cancel.cancel();
    let of_pod = ctx.pod.int("/spec/terminationGracePeriodSeconds").unwrap_or(30);
    let grace = spec.int("/terminationGracePeriodSeconds").unwrap_or(of_pod);
    tokio::time::sleep(Duration::from_secs(grace.unsigned_abs())).await;
    KILLED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_is_at_a_tick() {
        for (delay, period, expected) in [(0, 10, 0), (5, 10, 10), (10, 10, 10), (15, 10, 20), (5, 1, 5)] {
            let seconds = Duration::from_secs;
            assert_eq!(
                first_tick(seconds(delay), seconds(period)),
                seconds(expected),
                "{delay} {period}"
            );
        }
    }
}
