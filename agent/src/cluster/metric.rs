//! The ComputingMetric of the member: CATS L0 as measured, L1 and L2 computed from it
//! (draft-ietf-cats-metric-definition: L1 normalised per category, L2 one integer score 0 to 10).

use cfn_api::cfn::{
    Accelerator, ComputingMetric, ComputingMetricSpec, ComputingMetricStatus, NormalisedMetrics, RawCompute,
    RawMetrics, SiteRtt,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::member::{Context, is_conflict, until_ok};
use super::probe;

/// What the inventory says of the member's compute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Compute {
    /// Service time of one request on an idle node, milliseconds.
    pub service_time: f64,
    /// Requested share of the CPU, percent.
    pub utilization: f64,
    /// Accelerators.
    pub accelerators: Vec<Accelerator>,
}

/// The round trip at which communication is worth half the marks, milliseconds. Ours: the draft leaves the
/// normalisation to the operator.
const HALF_MARKS_RTT: f64 = 20.0;

/// L0 to L1 to L2. 10 is best: an idle cluster with no distance to anybody.
#[must_use]
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "0 to 10")]
pub fn status(compute: &Compute, rtt: Vec<SiteRtt>) -> ComputingMetricStatus {
    let reachable: Vec<f64> = rtt.iter().filter(|r| !r.lost).map(|r| r.milliseconds).collect();
    let mean = reachable.iter().sum::<f64>() / (reachable.len().max(1) as f64);
    let communication = if reachable.is_empty() && !rtt.is_empty() {
        0.0
    } else {
        10.0 * HALF_MARKS_RTT / (HALF_MARKS_RTT + mean)
    };
    let computing = 10.0 * (1.0 - compute.utilization.clamp(0.0, 100.0) / 100.0);
    ComputingMetricStatus {
        observed_at: None,
        l0: RawMetrics {
            bandwidth: Vec::new(),
            rtt,
            compute: RawCompute {
                service_time_milliseconds: compute.service_time,
                utilization_percent: round(compute.utilization),
            },
        },
        l1: NormalisedMetrics {
            compute_norm: round(computing),
            communication_norm: round(communication),
        },
        l2: ((computing + communication) / 2.0).round() as i32,
        rates: None,
        accelerators: compute.accelerators.clone(),
    }
}

fn round(x: f64) -> f64 {
    (x * 1000.0).round() / 1000.0
}

/// Probes the other sites and writes the metric once per window, and at once when the first round trips are known.
pub async fn run(ctx: &Context) {
    let o = &ctx.options;
    let api: Api<ComputingMetric> = Api::all(ctx.hub.clone());
    let object = ComputingMetric {
        metadata: ObjectMeta {
            name: Some(o.cluster.clone()),
            ..ObjectMeta::default()
        },
        spec: ComputingMetricSpec {
            cluster: o.cluster.clone(),
            site: o.site.clone(),
        },
        status: None,
    };
    let create = async {
        until_ok("creating the metric", || async {
            match api.create(&PostParams::default(), &object).await {
                Err(e) if !is_conflict(&e) => Err(e),
                _ => Ok(()),
            }
        })
        .await;
    };
    let prober = probe::Prober::new(ctx);
    let write = async {
        create.await;
        let mut inventory = ctx.inventory.subscribe();
        let _ = inventory.wait_for(Option::is_some).await;
        prober.first_round().await;
        let mut tick = interval_at(Instant::now(), o.timers.metric_window);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => {}
                // Capacity or accelerators changed: tell at once.
                _ = inventory.changed() => {}
            }
            let compute = ctx.inventory.borrow().clone().unwrap_or_default();
            let mut status = status(&compute, prober.round_trips());
            status.observed_at = Some(Time(o.clock.now()));
            let patch = json!({"status": status});
            if let Err(e) = api
                .patch_status(&o.cluster, &PatchParams::default(), &Patch::Merge(patch))
                .await
            {
                tracing::debug!("metric of {}: {e}", o.cluster);
                tick.reset_after(o.timers.metric_window / 10);
            }
        }
    };
    tokio::select! {
        biased;
        () = prober.run() => {}
        () = write => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores() {
        let site = |ms, lost| SiteRtt {
            site: "s".into(),
            milliseconds: ms,
            variation: 0.0,
            samples: 9,
            lost,
        };
        for (utilization, rtt, l2) in [
            (0.0, vec![], 10),
            (0.0, vec![site(0.0, false)], 10),
            (0.0, vec![site(20.0, false)], 8),
            (100.0, vec![site(20.0, false)], 3),
            (100.0, vec![site(20.0, true)], 0),
            (50.0, vec![site(60.0, false)], 4),
        ] {
            let c = Compute {
                utilization,
                ..Compute::default()
            };
            assert_eq!(status(&c, rtt.clone()).l2, l2, "{utilization} {rtt:?}");
        }
    }
}
