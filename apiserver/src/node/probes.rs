//! Probes of interpreted containers (`pkg/kubelet/prober`).

use std::time::Duration;

use serde_json::Value;

use super::lifecycle;
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

    /// Waits until the container's first look is due.
    async fn delay(&self) {
        tokio::time::sleep(Duration::from_secs(self.number("/initialDelaySeconds", 0))).await;
    }

    async fn period(&self) {
        tokio::time::sleep(Duration::from_secs(self.number("/periodSeconds", 10).max(1))).await;
    }

    /// Looks once. Of what cannot be looked at nothing is said.
    async fn look(&self) -> Option<bool> {
        let limit = Duration::from_secs(self.number("/timeoutSeconds", 1).max(1));
        let act = lifecycle::act(self.ctx, self.container, self.process, self.spec);
        tokio::time::timeout(limit, act).await.unwrap_or(Some(false))
    }

    /// Looks until it has been so `count` times in a row.
    async fn until(&self, is: bool, count: u64) {
        let mut in_a_row = 0;
        loop {
            match self.look().await {
                Some(found) if found == is => in_a_row += 1,
                Some(_) => in_a_row = 0,
                None => {}
            }
            if in_a_row >= count.max(1) {
                return;
            }
            self.period().await;
        }
    }
}

/// Probes a container for as long as it runs and says whether it is ready. Returns when it was told to end because a
/// probe failed and has not ended in its grace period: its exit code.
pub(crate) async fn watch(ctx: &WorkloadContext, container: &Value, process: &Process) -> i32 {
    let probe = |kind| Probe::of(ctx, container, kind, process);
    if let Some(p) = probe("startupProbe") {
        p.delay().await;
        tokio::select! {
            biased;
            () = p.until(true, 1) => {}
            () = p.until(false, p.number("/failureThreshold", 3)) => return end(ctx, p.spec).await,
        }
    }
    let readiness = async {
        let Some(p) = probe("readinessProbe") else {
            let _ = ctx.ready.send(true);
            return std::future::pending::<()>().await;
        };
        p.delay().await;
        loop {
            p.until(true, p.number("/successThreshold", 1)).await;
            let _ = ctx.ready.send(true);
            p.until(false, p.number("/failureThreshold", 3)).await;
            let _ = ctx.ready.send(false);
        }
    };
    let liveness = async {
        let Some(p) = probe("livenessProbe") else {
            return std::future::pending().await;
        };
        p.delay().await;
        p.until(false, p.number("/failureThreshold", 3)).await;
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
