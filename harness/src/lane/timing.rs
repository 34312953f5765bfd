//! A profile's timers as each component wants them.

use std::time::Duration;

use cfn_agent::cluster::AgentTimers;
use cfn_scheduler::controllers::Timers as SchedulerTimers;

use crate::timers::Timers;

/// The scheduler's.
#[must_use]
pub fn scheduler(t: &Timers) -> SchedulerTimers {
    SchedulerTimers {
        cluster_monitor_period: t.of("clusterMonitorPeriod"),
        cluster_monitor_grace_period: t.of("clusterMonitorGracePeriod"),
        cluster_failure_threshold: t.of("clusterFailureThreshold"),
        cluster_success_threshold: t.of("clusterSuccessThreshold"),
        failover_eviction_timeout: t.of("failoverEvictionTimeout"),
        default_not_ready_toleration_seconds: t.seconds("defaultNotReadyToleration"),
        default_unreachable_toleration_seconds: t.seconds("defaultNotReadyToleration"),
        graceful_eviction_timeout: t.of("gracefulEvictionTimeout"),
        cluster_leave_timeout: t.of("clusterLeaveTimeout"),
        failover: t.gates.failover,
        policy_preemption: t.gates.policy_preemption,
        descheduler: t.gates.descheduler.map(|d| d.0),
        ..SchedulerTimers::default()
    }
}

/// An agent's.
#[must_use]
pub fn agent(t: &Timers) -> AgentTimers {
    let lease = t.of("clusterLeaseDuration");
    AgentTimers {
        cluster_status_update_frequency: t.of("clusterStatusUpdateFrequency"),
        cluster_lease_duration: lease,
        cluster_lease_renew_interval_fraction: t.of("clusterLeaseRenewInterval").as_secs_f64() / lease.as_secs_f64(),
        probe_interval: t.of("probePeriod"),
        probe_timeout: (t.of("probePeriod") * 3).max(Duration::from_millis(500)),
        metric_window: t.of("metricsWindow"),
        scheduler_estimator: t.gates.scheduler_estimator,
    }
}
