//! Jobs: pods that run to completion (`pkg/controller/job/job_controller.go`): parallelism, completions, back-off
//! limit, deadline, suspension, Indexed completion, time to live, success and failure policies, adoption.

mod policy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, between, selects_object, set_meta, stamp};
use super::pods;
use super::replicaset::{queue_owner, set_count};
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;
use policy::Meaning;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

#[derive(Default)]
pub(crate) struct Jobs {
    /// Per job UID: pods whose end has been counted (a pod may be gone afterwards).
    counted: BTreeMap<String, BTreeSet<String>>,
}

impl Controller for Jobs {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::JOBS {
            queue.insert(Key::of(&e.object));
            if e.kind == crate::local::EventKind::Deleted {
                self.counted.remove(e.object.uid());
            }
        } else if e.gvr == gvr::PODS {
            queue_owner(e, "Job", queue);
            if e.object.controller().is_none() && e.kind != crate::local::EventKind::Deleted {
                let jobs = world.list_in(&gvr::JOBS, e.object.namespace());
                queue.extend(
                    jobs.filter(|j| selects_object(j.at("/spec/selector"), &e.object))
                        .map(|j| Key::of(&j)),
                );
            }
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(job) = world.get(&gvr::JOBS, &key.ns, &key.name) else {
            return Plan::default();
        };
        let mut owned: Vec<_> = world.controlled(&gvr::PODS, job.uid()).collect();
        let mut claims = Plan::default();
        if is_finished(&job).is_none() {
            let loose: Vec<_> = world.loose(&gvr::PODS, &key.ns).collect();
            policy::claim(&job, &mut owned, &loose, &mut claims);
        }
        let counted = self.counted.entry(job.uid().to_owned()).or_default();
        let mut plan = reconcile(&job, &owned, counted, now);
        plan.actions.append(&mut claims.actions);
        plan
    }
}

fn is_finished(job: &Value) -> Option<&Value> {
    ["Complete", "Failed"]
        .into_iter()
        .find_map(|t| job.condition(t).filter(|c| c["status"] == "True"))
}

fn reconcile(job: &Arc<Value>, owned: &[Arc<Value>], counted: &mut BTreeSet<String>, now: Now) -> Plan {
    let mut plan = Plan::default();
    if let Some(end) = is_finished(job) {
        if let (Some(ttl), Some(t)) = (
            job.int("/spec/ttlSecondsAfterFinished"),
            end.time("/lastTransitionTime"),
        ) {
            let left = Duration::from_secs(ttl.unsigned_abs()).saturating_sub(between(t, now.wall));
            if left.is_zero() {
                plan.delete(&gvr::JOBS, job);
            } else {
                plan.after(left);
            }
        }
        return plan;
    }
    if job.deleting() {
        return plan;
    }
    let indexed = job.text("/spec/completionMode") == "Indexed";
    let active: Vec<_> = owned.iter().filter(|p| pods::is_active(p)).cloned().collect();
    let (mut succeeded, mut failed) = (
        job.int("/status/succeeded").unwrap_or(0),
        job.int("/status/failed").unwrap_or(0),
    );
    let mut done: BTreeSet<i64> = parse_indexes(job.text("/status/completedIndexes"));
    let per_index = job.int("/spec/backoffLimitPerIndex").filter(|_| indexed);
    let mut lost: BTreeSet<i64> = parse_indexes(job.text("/status/failedIndexes"));
    let mut fatal = None;
    for p in owned {
        let over = pods::is_ended(p) || (p.deleting() && p.text("/spec/nodeName").is_empty());
        if !over || !counted.insert(p.uid().to_owned()) {
            continue;
        }
        match p.text("/status/phase") {
            "Succeeded" if indexed => {
                done.extend(index(p));
            }
            "Succeeded" => succeeded += 1,
            _ => {
                let meaning = policy::meaning(job, p);
                failed += i64::from(meaning != Meaning::Ignore);
                let out = per_index.is_some_and(|limit| policy::failures(p) > limit);
                match meaning {
                    Meaning::FailJob(why) => fatal = fatal.or(Some(why)),
                    Meaning::FailIndex => lost.extend(index(p)),
                    Meaning::Count if out => lost.extend(index(p)),
                    Meaning::Count | Meaning::Ignore => {}
                }
            }
        }
    }
    if indexed {
        succeeded = i64::try_from(done.len()).unwrap_or(i64::MAX);
    }
    let completions = job.int("/spec/completions");
    let limit = job.int("/spec/backoffLimit").unwrap_or(6);
    let suspended = job.flag("/spec/suspend");
    let started = job.time("/status/startTime").unwrap_or(now.wall);
    let deadline = job
        .int("/spec/activeDeadlineSeconds")
        .map(|s| Duration::from_secs(s.unsigned_abs()));
    let restarts: i64 = active.iter().map(|p| pods::restarts(p)).sum();
    let late = deadline.is_some_and(|d| between(started, now.wall) >= d);
    let broken = failed
        + if job.text("/spec/template/spec/restartPolicy") == "OnFailure" {
            restarts
        } else {
            0
        }
        > limit;
    let complete = match completions {
        Some(c) => succeeded >= c,
        // A work queue: one success and nobody left.
        None => succeeded > 0 && active.is_empty(),
    };
    let mut changed = (**job).clone();
    super::object::child(&mut changed, "status");
    let mut end = None;
    let matched = success_rule(job, &done).map(|i| format!("Matched rules at index {i}"));
    let of_indexes = policy::end_of_indexes(job, done.len(), lost.len());
    if let Some(m) = &fatal {
        end = Some((
            "Failed",
            "FailureTarget",
            "PodFailurePolicy",
            m.as_str(),
            "PodFailurePolicy",
            m.as_str(),
        ));
    } else if let Some((reason, m)) = of_indexes {
        end = Some(("Failed", "FailureTarget", reason, m, reason, m));
    } else if let Some(m) = matched.as_deref().filter(|_| !late && !broken) {
        end = Some((
            "Complete",
            "SuccessCriteriaMet",
            "SuccessPolicy",
            m,
            "Completed",
            "Job completed",
        ));
    } else if complete {
        let m = "Reached expected number of succeeded pods";
        end = Some((
            "Complete",
            "SuccessCriteriaMet",
            "CompletionsReached",
            m,
            "Completed",
            "Job completed",
        ));
    } else if late && !suspended {
        let m = "Job was active longer than specified deadline";
        end = Some(("Failed", "FailureTarget", "DeadlineExceeded", m, "DeadlineExceeded", m));
    } else if broken {
        let m = "Job has reached the specified backoff limit";
        end = Some((
            "Failed",
            "FailureTarget",
            "BackoffLimitExceeded",
            m,
            "BackoffLimitExceeded",
            m,
        ));
    }
    let mut running = active.clone();
    if end.is_some() || suspended {
        for p in &active {
            plan.delete(&gvr::PODS, p);
        }
        running.clear();
    } else {
        work(
            job,
            &active,
            owned,
            (&done, &lost),
            (succeeded, failed),
            indexed,
            now,
            &mut plan,
        );
        if let Some(d) = deadline {
            plan.after(d.saturating_sub(between(started, now.wall)));
        }
    }
    let s = &mut changed["status"];
    let ready = running.iter().filter(|p| pods::is_ready(p)).count();
    set_count(s, "active", running.len(), false);
    set_count(s, "succeeded", usize::try_from(succeeded).unwrap_or(0), false);
    set_count(s, "failed", usize::try_from(failed).unwrap_or(0), false);
    s["ready"] = json!(ready);
    s["terminating"] = json!(owned.iter().filter(|p| p.deleting() && !pods::is_ended(p)).count());
    if indexed && !done.is_empty() {
        s["completedIndexes"] = json!(format_indexes(&done));
    }
    if per_index.is_some() {
        s["failedIndexes"] = json!(format_indexes(&lost));
    }
    if !suspended && s.get("startTime").is_none_or(Value::is_null) {
        s["startTime"] = json!(stamp(now.wall));
    }
    if let Some((kind, before, reason, message, event, text)) = end {
        for k in [before, kind] {
            super::object::set_condition(&mut changed, k, "True", reason, message, now.wall);
        }
        if let Some(l) = changed.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
            for c in l.iter_mut().filter(|c| c.get("lastProbeTime").is_none()) {
                c["lastProbeTime"] = json!(stamp(now.wall));
            }
        }
        if kind == "Complete" {
            changed["status"]["completionTime"] = json!(stamp(now.wall));
        }
        let event = if kind == "Complete" { "Completed" } else { event };
        plan.push(Action::Event {
            about: job.clone(),
            kind: "Job",
            component: "job-controller",
            warning: kind == "Failed",
            reason: event,
            message: text.to_owned(),
        });
    }
    if changed.get("status") != job.get("status") {
        // The count goes first: what is counted must not be lost with its pod.
        plan.actions.insert(
            0,
            Action::UpdateStatus {
                gvr: gvr::JOBS.clone(),
                object: changed,
            },
        );
    }
    plan
}

/// The first rule of an indexed job's success policy that its succeeded indexes fulfil (`success_policy.go`).
fn success_rule(job: &Value, done: &BTreeSet<i64>) -> Option<usize> {
    let rules = job.at("/spec/successPolicy/rules")?.as_array()?;
    let completions = job.int("/spec/completions").unwrap_or(0);
    rules.iter().position(|rule| {
        let count = rule.int("/succeededCount").and_then(|n| usize::try_from(n).ok());
        match (rule.text("/succeededIndexes"), count) {
            ("", count) => count.is_some_and(|n| done.len() >= n),
            (indexes, count) => {
                let mut wanted = parse_indexes(indexes);
                wanted.retain(|i| *i < completions);
                done.intersection(&wanted).count() >= count.unwrap_or(wanted.len())
            }
        }
    })
}

/// Creates or deletes pods towards the wanted parallelism.
#[allow(clippy::too_many_arguments, reason = "the state of a job")]
fn work(
    job: &Arc<Value>,
    active: &[Arc<Value>],
    owned: &[Arc<Value>],
    (done, lost): (&BTreeSet<i64>, &BTreeSet<i64>),
    (succeeded, failed): (i64, i64),
    indexed: bool,
    now: Now,
    plan: &mut Plan,
) {
    let parallelism = job.int("/spec/parallelism").unwrap_or(1);
    let have = i64::try_from(active.len()).unwrap_or(i64::MAX);
    let wanted = match job.int("/spec/completions") {
        Some(c) => (c - succeeded - i64::try_from(lost.len()).unwrap_or(0))
            .min(parallelism)
            .max(0),
        None if succeeded > 0 => have.min(parallelism),
        None => parallelism,
    };
    if have > wanted {
        let mut order = active.to_vec();
        pods::order_for_deletion(&mut order, &BTreeMap::new(), now.wall);
        for p in order.iter().take(usize::try_from(have - wanted).unwrap_or(0)) {
            plan.delete(&gvr::PODS, p);
        }
        return;
    }
    if have == wanted {
        return;
    }
    // After a failure: 10 s doubling to 10 min before the next pod (DefaultJobPodFailureBackOff).
    let per_index = indexed && job.int("/spec/backoffLimitPerIndex").is_some();
    if failed > 0 && !per_index {
        let ended = |p: &&Arc<Value>| p.text("/status/phase") == "Failed";
        let last = owned.iter().filter(ended).filter_map(|p| ended_at(p)).max();
        let d = Duration::from_secs(10 << (failed - 1).clamp(0, 6)).min(Duration::from_secs(600));
        let left = last.map_or(Duration::ZERO, |t| d.saturating_sub(between(t, now.wall)));
        if !left.is_zero() {
            plan.after(left);
            return;
        }
    }
    let template = job.at("/spec/template").cloned().unwrap_or_default();
    let taken: BTreeSet<i64> = active.iter().filter_map(|p| index(p)).collect();
    let free = (0..job.int("/spec/completions").unwrap_or(0)).filter(|i| !taken.contains(i) && !done.contains(i));
    let mut waits = Vec::new();
    let free: Vec<i64> = free
        .filter(|i| {
            // Each index waits after its own failures.
            let wait = if per_index {
                policy::wait(owned, *i, now).0
            } else {
                Duration::ZERO
            };
            waits.push(wait);
            !lost.contains(i) && wait.is_zero()
        })
        .collect();
    if let Some(w) = waits.into_iter().filter(|w| !w.is_zero()).min() {
        plan.after(w);
    }
    let mut free = free.into_iter().take(usize::try_from(wanted - have).unwrap_or(0));
    for _ in 0..wanted - have {
        let mut pod = pods::from_template(&template, "batch/v1", "Job", job);
        if indexed {
            let Some(i) = free.next() else { return };
            let text = i.to_string();
            set_meta(&mut pod, "annotations", INDEX, &text);
            set_meta(&mut pod, "labels", INDEX, &text);
            pod["metadata"]["generateName"] = json!(format!("{}-{i}-", job.name()));
            pod["spec"]["hostname"] = json!(format!("{}-{i}", job.name()));
            if per_index {
                let failures = policy::wait(owned, i, now).1;
                set_meta(&mut pod, "annotations", policy::FAILURES, &failures.to_string());
            }
            pods::set_env(&mut pod, "JOB_COMPLETION_INDEX", &text);
        }
        plan.create(&gvr::PODS, job.namespace(), pod);
    }
}

fn ended_at(pod: &Value) -> Option<jiff::Timestamp> {
    pod.items("/status/containerStatuses")
        .iter()
        .filter_map(|c| c.time("/state/terminated/finishedAt"))
        .max()
}

fn index(pod: &Value) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok()
}

/// `1,3-5,7` as numbers.
fn parse_indexes(s: &str) -> BTreeSet<i64> {
    let part = |p: &str| match p.split_once('-') {
        Some((a, b)) => Some(a.parse().ok()?..=b.parse().ok()?),
        None => p.parse().ok().map(|a: i64| a..=a),
    };
    s.split(',').filter_map(part).flatten().collect()
}

fn format_indexes(set: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for i in set {
        match runs.last_mut() {
            Some(r) if r.1 + 1 == *i => r.1 = *i,
            _ => runs.push((*i, *i)),
        }
    }
    let one = |(a, b): &(i64, i64)| match b - a {
        0 => a.to_string(),
        1 => format!("{a},{b}"),
        _ => format!("{a}-{b}"),
    };
    runs.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        let set = BTreeSet::from([1, 3, 4, 5, 7, 8]);
        assert_eq!(format_indexes(&set), "1,3-5,7,8");
        assert_eq!(parse_indexes("1,3-5,7,8"), set);
    }

    #[test]
    fn rules_of_success() {
        let done = BTreeSet::from([0, 2]);
        for (rule, met) in [
            (json!({"succeededCount": 2}), true),
            (json!({"succeededCount": 3}), false),
            (json!({"succeededIndexes": "0,2"}), true),
            (json!({"succeededIndexes": "0-2"}), false),
            (json!({"succeededIndexes": "0-2", "succeededCount": 2}), true),
            (json!({"succeededIndexes": "1,2", "succeededCount": 2}), false),
        ] {
            let job = json!({"spec": {"completions": 5, "successPolicy": {"rules": [{"succeededCount": 5}, rule]}}});
            assert_eq!(success_rule(&job, &done), met.then_some(1), "{rule}");
        }
        assert_eq!(success_rule(&json!({"spec": {}}), &done), None);
    }

    #[tokio::test]
    async fn table() {
        let now = Now {
            wall: jiff::Timestamp::UNIX_EPOCH,
            tick: tokio::time::Instant::now(),
        };
        let pod =
            |n: &str, phase: &str| Arc::new(json!({"metadata": {"name": n, "uid": n}, "status": {"phase": phase}}));
        // pods -> creates, condition
        for (pods, creates, condition) in [
            (vec![], 2, ""),
            (vec![pod("a", "Running")], 1, ""),
            (vec![pod("a", "Succeeded"), pod("b", "Succeeded")], 1, ""),
            (
                vec![pod("a", "Succeeded"), pod("b", "Succeeded"), pod("c", "Succeeded")],
                0,
                "Complete",
            ),
            (vec![pod("a", "Failed"), pod("b", "Failed")], 0, "Failed"),
        ] {
            let job = Arc::new(json!({"metadata": {"name": "j", "namespace": "d", "uid": "j"},
                "spec": {"parallelism": 2, "completions": 3, "backoffLimit": 1, "template": {"spec": {"restartPolicy": "Never"}}}}));
            let plan = reconcile(&job, &pods, &mut BTreeSet::new(), now);
            let made = plan
                .actions
                .iter()
                .filter(|a| matches!(a, Action::Create { .. }))
                .count();
            let status = plan.actions.iter().find_map(|a| match a {
                Action::UpdateStatus { object, .. } => Some(object.clone()),
                _ => None,
            });
            let end = status
                .as_ref()
                .and_then(|s| is_finished(s))
                .map_or("", |c| c.text("/type"))
                .to_owned();
            assert_eq!((made, end.as_str()), (creates, condition), "{pods:?}");
        }
    }
}
