//! CronJobs: jobs at times (`pkg/controller/cronjob/cronjob_controllerv2.go`): schedule, time zone, suspension,
//! concurrency policy, starting deadline, history limits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, between, owner_reference, stamp};
use super::replicaset::queue_owner;
use super::world::{Key, World, gvr};
use crate::cron::Schedule;
use crate::local::WatchEvent;
use crate::status::Status;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// More missed times than that are told of.
const MANY: i64 = 100;

pub(crate) struct CronJobs;

impl Controller for CronJobs {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::CRON_JOBS {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::JOBS {
            queue_owner(e, "CronJob", queue);
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let Some(cron) = world.get(&gvr::CRON_JOBS, &key.ns, &key.name) else {
            return Plan::default();
        };
        let jobs: Vec<_> = world.controlled(&gvr::JOBS, cron.uid()).collect();
        reconcile(&cron, &jobs, now)
    }

    fn refused(&mut self, _: &Key, _: &Action, why: &Status, _: &World, _: Now) -> Option<Plan> {
        // The job of that minute is there.
        (why.reason == "AlreadyExists").then(Plan::default)
    }
}

fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"]
        .iter()
        .any(|t| job.condition(t).is_some_and(|c| c["status"] == "True"))
}

fn reconcile(cron: &Arc<Value>, jobs: &[Arc<Value>], now: Now) -> Plan {
    let mut plan = Plan::default();
    if cron.deleting() {
        return plan;
    }
    trim(cron, jobs, &mut plan);
    let active: Vec<_> = jobs.iter().filter(|j| !is_finished(j)).collect();
    let mut changed = (**cron).clone();
    super::object::child(&mut changed, "status");
    let mut list: Vec<Value> = active.iter().map(|j| reference(j)).collect();
    let done = jobs.iter().filter_map(|j| j.time("/status/completionTime")).max();
    if let Some(t) = done {
        changed["status"]["lastSuccessfulTime"] = json!(stamp(t));
    }
    if !cron.flag("/spec/suspend") {
        let zone = TimeZone::get(cron.text("/spec/timeZone")).unwrap_or(TimeZone::UTC);
        if let Ok(schedule) = Schedule::parse(cron.text("/spec/schedule")) {
            let since = cron
                .time("/status/lastScheduleTime")
                .or(cron.time("/metadata/creationTimestamp"))
                .unwrap_or(now.wall);
            let in_time = match cron.int("/spec/startingDeadlineSeconds") {
                Some(d) => since.max(now.wall - d.max(0).seconds()),
                None => since,
            };
            let all = missed(&schedule, &zone, since, now.wall);
            let due = match in_time == since {
                true => all,
                false => missed(&schedule, &zone, in_time, now.wall),
            };
            if due.count > MANY {
                let message =
                    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
                plan.push(event(cron, true, "TooManyMissedTimes", message.to_owned()));
            }
            if let Some(due) = due.last {
                match cron.text("/spec/concurrencyPolicy") {
                    "Forbid" if !active.is_empty() => {}
                    policy => {
                        if policy == "Replace" {
                            active.iter().for_each(|j| plan.delete(&gvr::JOBS, j));
                            list.clear();
                        }
                        let job = job_of(cron, due);
                        let message = format!("Created job {}", job.name());
                        plan.push(event(cron, false, "SuccessfulCreate", message));
                        plan.create(&gvr::JOBS, cron.namespace(), job);
                        changed["status"]["lastScheduleTime"] = json!(stamp(due));
                    }
                }
            }
            // `nextScheduleTimeDuration`: counted from the last time, which matters to what comes every so often.
            let last = all.last.unwrap_or(if all.count == 0 { since } else { now.wall });
            if let Some(next) = schedule.next_after(last, &zone) {
                plan.after(between(now.wall, next) + Duration::from_millis(100));
            }
        }
    }
    match list.is_empty() {
        true => drop(changed["status"].as_object_mut().map(|s| s.remove("active"))),
        false => changed["status"]["active"] = json!(list),
    }
    if changed.get("status") != cron.get("status") && !(changed["status"] == json!({}) && cron.get("status").is_none())
    {
        plan.update_status(&gvr::CRON_JOBS, changed);
    }
    plan
}

fn event(cron: &Arc<Value>, warning: bool, reason: &'static str, message: String) -> Action {
    Action::Event {
        about: cron.clone(),
        kind: "CronJob",
        component: "cronjob-controller",
        warning,
        reason,
        message,
    }
}

fn reference(job: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "name": job.name(), "namespace": job.namespace(), "uid": job.uid(),
        "resourceVersion": job["metadata"]["resourceVersion"]})
}

/// Deletes finished jobs beyond the limits of history, oldest first.
fn trim(cron: &Value, jobs: &[Arc<Value>], plan: &mut Plan) {
    for (field, kind, default) in [
        ("/spec/successfulJobsHistoryLimit", "Complete", 3),
        ("/spec/failedJobsHistoryLimit", "Failed", 1),
    ] {
        let mut ended: Vec<_> = jobs
            .iter()
            .filter(|j| j.condition(kind).is_some_and(|c| c["status"] == "True") && !j.deleting())
            .collect();
        ended.sort_by_key(|j| (j.time("/status/startTime"), j.name().to_owned()));
        let keep = usize::try_from(cron.int(field).unwrap_or(default)).unwrap_or(0);
        for j in ended.iter().take(ended.len().saturating_sub(keep)) {
            plan.delete(&gvr::JOBS, j);
        }
    }
}

fn job_of(cron: &Value, due: Timestamp) -> Value {
    let template = &cron["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].clone();
    if !annotations.is_object() {
        annotations = json!({});
    }
    annotations[SCHEDULED] = json!(stamp(due));
    let mut meta = json!({"name": format!("{}-{}", cron.name(), due.as_second() / 60), "namespace": cron.namespace(),
        "annotations": annotations, "ownerReferences": [owner_reference("batch/v1", "CronJob", cron)]});
    if template["metadata"]["labels"].is_object() {
        meta["labels"] = template["metadata"]["labels"].clone();
    }
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": template["spec"]})
}

/// The times of a schedule that went by (`mostRecentScheduleTime`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missed {
    /// The last of them.
    last: Option<Timestamp>,
    /// About how many there are.
    count: i64,
}

/// The times after `since` and not after `now`. How many there are is told from how far the first two are apart, so that
/// they need not all be found.
fn missed(schedule: &Schedule, zone: &TimeZone, since: Timestamp, now: Timestamp) -> Missed {
    let next = |t: Timestamp| schedule.next_after(t, zone);
    let Some(first) = next(since).filter(|first| *first <= now) else {
        return Missed { last: None, count: 0 };
    };
    let Some(second) = next(first).filter(|second| *second <= now) else {
        return Missed {
            last: Some(first),
            count: 0,
        };
    };
    let seconds = (second.as_second() - first.as_second()).max(1);
    let count = (now.as_second() - first.as_second()) / seconds + 1;
    let from = Timestamp::from_second(first.as_second() + (count - 2) * seconds).unwrap_or(first);
    let times = std::iter::successors(next(from), |t| next(*t)).take_while(|t| *t <= now);
    Missed {
        last: times.last(),
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_counted_without_looking_at_all_of_it() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        for (schedule, since, now, last, count) in [
            ("0 * * * *", "2024-01-01T00:30:00Z", "2024-01-01T00:59:59Z", None, 0),
            (
                "0 * * * *",
                "2024-01-01T00:30:00Z",
                "2024-01-01T01:00:00Z",
                Some("2024-01-01T01:00:00Z"),
                0,
            ),
            (
                "0 * * * *",
                "2024-01-01T00:30:00Z",
                "2024-01-01T03:10:00Z",
                Some("2024-01-01T03:00:00Z"),
                3,
            ),
            (
                "* * * * *",
                "2004-01-01T00:00:00Z",
                "2024-01-01T00:00:30Z",
                Some("2024-01-01T00:00:00Z"),
                10_519_200,
            ),
            // From when it began, not from when somebody looks.
            (
                "@every 90s",
                "2024-01-01T00:00:10Z",
                "2024-01-01T00:05:00Z",
                Some("2024-01-01T00:04:40Z"),
                3,
            ),
            ("0 0 31 2 *", "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z", None, 0),
        ] {
            let told = missed(&Schedule::parse(schedule).unwrap(), &TimeZone::UTC, at(since), at(now));
            let last = last.map(at);
            assert_eq!(told, Missed { last, count }, "{schedule} {now}");
        }
    }

    #[tokio::test]
    async fn a_job_is_made_when_it_is_due() {
        let now = Now {
            wall: "2024-01-01T00:05:01Z".parse().unwrap(),
            tick: tokio::time::Instant::now(),
        };
        let cron = |extra: Value| {
            let mut v = json!({"metadata": {"name": "c", "namespace": "d", "uid": "u", "creationTimestamp": "2024-01-01T00:00:30Z"},
                "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {}}}});
            for (k, x) in extra.as_object().into_iter().flatten() {
                v["spec"][k] = x.clone();
            }
            Arc::new(v)
        };
        let running = Arc::new(json!({"metadata": {"name": "j", "namespace": "d", "uid": "j"}}));
        for (spec, jobs, made) in [
            (json!({}), vec![], 1),
            (json!({"suspend": true}), vec![], 0),
            (json!({"concurrencyPolicy": "Forbid"}), vec![running.clone()], 0),
            (json!({"concurrencyPolicy": "Allow"}), vec![running], 1),
        ] {
            let plan = reconcile(&cron(spec.clone()), &jobs, now);
            let n = plan
                .actions
                .iter()
                .filter(|a| matches!(a, Action::Create { .. }))
                .count();
            assert_eq!(n, made, "{spec}");
        }
    }
}
