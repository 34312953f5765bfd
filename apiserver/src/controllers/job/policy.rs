//! Which failures of a job's pods count, and for what (`pod_failure_policy.go`, `backoff_utils.go`, `indexed_job_utils.go`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{ended_at, index};
use crate::controllers::manager::{Now, Plan};
use crate::controllers::object::{Object, adopted, between, selects_object, without_owners};
use crate::controllers::world::gvr;

/// How often a pod's index had failed before it.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";

/// What a failed pod means for its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is counted.
    Count,
    /// It is not.
    Ignore,
    /// Its index has failed for good.
    FailIndex,
    /// The job has failed, and why.
    FailJob(String),
}

/// What the first rule that a failed pod matches says; without one it counts.
pub(super) fn meaning(job: &Value, pod: &Value) -> Meaning {
    let rules = job.items("/spec/podFailurePolicy/rules").iter().enumerate();
    let found = rules
        .filter_map(|(i, rule)| Some((i, rule, matched(rule, pod)?)))
        .next();
    let Some((i, rule, what)) = found else {
        return Meaning::Count;
    };
    match rule.text("/action") {
        "Ignore" => Meaning::Ignore,
        "FailIndex" => Meaning::FailIndex,
        "FailJob" => Meaning::FailJob(format!("{what} matching FailJob rule at index {i}")),
        _ => Meaning::Count,
    }
}

/// What of a pod a rule matches, in words.
fn matched(rule: &Value, pod: &Value) -> Option<String> {
    let name = format!("{}/{}", pod.namespace(), pod.name());
    if let Some(codes) = rule.get("onExitCodes").filter(|c| c.is_object()) {
        let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"];
        let only = codes.text("/containerName");
        let values: BTreeSet<i64> = codes.items("/values").iter().filter_map(Value::as_i64).collect();
        for c in statuses
            .iter()
            .flat_map(|l| pod.items(l))
            .filter(|c| only.is_empty() || c.text("/name") == only)
        {
            let Some(code) = c.int("/state/terminated/exitCode").filter(|n| *n != 0) else {
                continue;
            };
            if values.contains(&code) == (codes.text("/operator") == "In") {
                return Some(format!(
                    "Container {} for pod {name} failed with exit code {code}",
                    c.text("/name")
                ));
            }
        }
        return None;
    }
    let mut patterns = rule.items("/onPodConditions").iter();
    patterns.find_map(|p| {
        let kind = p.text("/type");
        let is = pod.condition(kind)?.text("/status") == p.get("status").and_then(Value::as_str).unwrap_or("True");
        is.then(|| format!("Pod {name} has condition {kind}"))
    })
}

/// How often the index of a failed pod has failed with it.
pub(super) fn failures(pod: &Value) -> i64 {
    pod.annotation(FAILURES).and_then(|n| n.parse().ok()).unwrap_or(0) + 1
}

/// How long an index waits after its last failure, and how often it has failed.
pub(super) fn wait(owned: &[Arc<Value>], i: i64, now: Now) -> (Duration, i64) {
    let failed = owned
        .iter()
        .filter(|p| index(p) == Some(i) && p.text("/status/phase") == "Failed");
    let Some(last) = failed.max_by_key(|p| failures(p)) else {
        return (Duration::ZERO, 0);
    };
    let n = failures(last);
    let limit = Duration::from_secs(10 << (n - 1).clamp(0, 6)).min(Duration::from_secs(600));
    (
        ended_at(last).map_or(Duration::ZERO, |t| limit.saturating_sub(between(t, now.wall))),
        n,
    )
}

/// How a job with failed indexes ends: reason and message.
pub(super) fn end_of_indexes(job: &Value, done: usize, failed: usize) -> Option<(&'static str, &'static str)> {
    job.int("/spec/backoffLimitPerIndex")?;
    let all = usize::try_from(job.int("/spec/completions").unwrap_or(0)).unwrap_or(0);
    let most = job.int("/spec/maxFailedIndexes").and_then(|n| usize::try_from(n).ok());
    if most.is_some_and(|m| failed > m) {
        let text = "Job has exceeded the specified maximal number of failed indexes";
        return Some(("MaxFailedIndexesExceeded", text));
    }
    (failed > 0 && done + failed >= all).then_some(("FailedIndexes", "Job has failed indexes"))
}

/// Takes in pods that its selector matches and that nobody controls, and lets those go that it does not match.
pub(super) fn claim(job: &Arc<Value>, owned: &mut Vec<Arc<Value>>, loose: &[Arc<Value>], plan: &mut Plan) {
    let selector = job.at("/spec/selector");
    if selector.is_none() || job.deleting() {
        return;
    }
    owned.retain(|p| {
        let mine = p.deleting() || selects_object(selector, p);
        if !mine {
            plan.update(&gvr::PODS, without_owners(p, &[job.uid()]));
        }
        mine
    });
    for p in loose.iter().filter(|p| !p.deleting() && selects_object(selector, p)) {
        plan.update(&gvr::PODS, adopted(p, "batch/v1", "Job", job));
        owned.push(p.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn meanings() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {
            "conditions": [{"type": "DisruptionTarget", "status": "True"}],
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 42}}}]}});
        let exit = |operator: &str, action: &str| json!({"action": action, "onExitCodes": {"operator": operator, "values": [42]}});
        let disrupted =
            json!({"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]});
        let why = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0";
        for (rules, expected) in [
            (vec![], Meaning::Count),
            (vec![exit("In", "FailJob")], Meaning::FailJob(why.to_owned())),
            (vec![exit("NotIn", "FailJob")], Meaning::Count),
            (vec![exit("In", "FailIndex"), disrupted.clone()], Meaning::FailIndex),
            (vec![exit("NotIn", "FailIndex"), disrupted], Meaning::Ignore),
        ] {
            let job = json!({"spec": {"podFailurePolicy": {"rules": rules}}});
            assert_eq!(meaning(&job, &pod), expected, "{rules:?}");
        }
    }

    #[test]
    fn ends() {
        let job = json!({"spec": {"completions": 4, "backoffLimitPerIndex": 0, "maxFailedIndexes": 2}});
        for (done, failed, expected) in [
            (4, 0, None),
            (2, 1, None),
            (2, 2, Some("FailedIndexes")),
            (0, 3, Some("MaxFailedIndexesExceeded")),
        ] {
            assert_eq!(end_of_indexes(&job, done, failed).map(|e| e.0), expected);
        }
        assert_eq!(end_of_indexes(&json!({"spec": {"completions": 1}}), 0, 1), None);
    }
}
