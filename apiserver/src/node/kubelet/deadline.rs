//! Pods that may only run for so long (`pkg/kubelet/active_deadline.go`).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Kubelet, Pod, soonest};
use crate::controllers::object::{Object, between};

/// The status of a pod that ran for longer than it may.
pub(super) fn mark(status: &mut Value) {
    status["phase"] = json!("Failed");
    status["reason"] = json!("DeadlineExceeded");
    status["message"] = json!("Pod was active on the node longer than the specified deadline");
}

impl Kubelet {
    /// Whether a pod has run for as long as it may; if not, it is looked at again then.
    pub(super) fn is_past_deadline(&self, pod: &Pod, next: &mut Option<Instant>) -> bool {
        let Some(seconds) = pod.object.int("/spec/activeDeadlineSeconds") else {
            return false;
        };
        if pod
            .sent
            .as_ref()
            .is_some_and(|s| matches!(s.text("/status/phase"), "Succeeded" | "Failed"))
        {
            return pod
                .sent
                .as_ref()
                .is_some_and(|s| s.text("/status/reason") == "DeadlineExceeded");
        }
        let limit = std::time::Duration::from_secs(seconds.unsigned_abs());
        let left = limit.saturating_sub(between(pod.started, self.o.clock.now()));
        if left.is_zero() {
            return true;
        }
        soonest(next, Instant::now() + left);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_ran_too_long_has_failed() {
        let mut status = json!({"phase": "Running"});
        mark(&mut status);
        assert_eq!(status["phase"], "Failed");
        assert_eq!(status["reason"], "DeadlineExceeded");
    }
}
