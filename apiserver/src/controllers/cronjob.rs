//! CronJobs: jobs at times (`pkg/controller/cronjob/cronjob_controllerv2.go`): schedule, time zone, suspension,
//! concurrency policy, starting deadline, history limits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde_json::{Value, json};

use super::manager::{Action, Controller, Now, Plan};
use super::object::{Object, between, owner_reference, stamp};
use super::replicaset::queue_owner;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;
use crate::status::Status;

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

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
        if let Some(schedule) = Schedule::parse(cron.text("/spec/schedule")) {
            let since = cron
                .time("/status/lastScheduleTime")
                .or(cron.time("/metadata/creationTimestamp"))
                .unwrap_or(now.wall);
            let since = match cron.int("/spec/startingDeadlineSeconds") {
                Some(d) => since.max(now.wall - d.max(0).seconds()),
                None => since,
            };
            if let Some(due) = schedule.last_between(since, now.wall, &zone) {
                match cron.text("/spec/concurrencyPolicy") {
                    "Forbid" if !active.is_empty() => {}
                    policy => {
                        if policy == "Replace" {
                            active.iter().for_each(|j| plan.delete(&gvr::JOBS, j));
                            list.clear();
                        }
                        let job = job_of(cron, due);
                        plan.push(Action::Event {
                            about: cron.clone(),
                            kind: "CronJob",
                            component: "cronjob-controller",
                            warning: false,
                            reason: "SuccessfulCreate",
                            message: format!("Created job {}", job.name()),
                        });
                        plan.create(&gvr::JOBS, cron.namespace(), job);
                        changed["status"]["lastScheduleTime"] = json!(stamp(due));
                    }
                }
            }
            if let Some(next) = schedule.next_after(now.wall, &zone) {
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

/// A schedule of five fields, as sets of bits (`robfig/cron`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Day and weekday are both said: either may hold.
    either: bool,
}

impl Schedule {
    /// `*/5 * * * *`, `@hourly`; `None`: it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            t => t,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return None;
        };
        const MONTHS: [&str; 12] = [
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ];
        const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
        let star = |f: &str| f.starts_with(['*', '?']);
        let mut week = bits(weekdays, 0, 7, &DAYS, 0)?;
        // Sunday is 0 and 7.
        week |= week >> 7;
        Some(Self {
            minutes: bits(minutes, 0, 59, &[], 0)?,
            hours: bits(hours, 0, 23, &[], 0)?,
            days: bits(days, 1, 31, &[], 0)?,
            months: bits(months, 1, 12, &MONTHS, 1)?,
            weekdays: week & 0x7f,
            either: !star(days) && !star(weekdays),
        })
    }

    fn day_fits(&self, d: &Zoned) -> bool {
        let has = |set: u64, n: i8| set >> n & 1 == 1;
        let (day, week) = (
            has(self.days, d.day()),
            has(self.weekdays, d.weekday().to_sunday_zero_offset()),
        );
        has(self.months, d.month()) && if self.either { day || week } else { day && week }
    }

    /// The first time after `t`, within five years. As time goes in the zone: what a clock skips in spring is skipped,
    /// and what it shows twice in autumn comes twice.
    pub(crate) fn next_after(&self, t: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = t.to_zoned(zone.clone());
        let minute = start.with().second(0).subsec_nanosecond(0).build().ok()?;
        let mut d = minute.checked_add(1.minute()).ok()?;
        while d.year() <= start.year() + 5 {
            if !self.day_fits(&d) {
                d = d.tomorrow().ok()?.start_of_day().ok()?;
            } else if self.hours >> d.hour() & 1 == 0 {
                d = d.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if self.minutes >> d.minute() & 1 == 0 {
                d = d.checked_add(1.minute()).ok()?;
            } else {
                return Some(d.timestamp());
            }
        }
        None
    }

    /// The last time after `since` and not after `now`; of very many only the last hundred are looked at.
    fn last_between(&self, since: Timestamp, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut last = None;
        let mut at = since;
        let mut seen = 0;
        while let Some(next) = self.next_after(at, zone).filter(|n| *n <= now) {
            (last, at, seen) = (Some(next), next, seen + 1);
            if seen == 100 {
                at = at.max(now - 3.hours());
            }
            if seen > 1000 {
                break;
            }
        }
        last
    }
}

fn bits(field: &str, low: u32, high: u32, names: &[&str], first: u32) -> Option<u64> {
    let number = |s: &str| -> Option<u32> {
        let lower = s.to_ascii_lowercase();
        match names.iter().position(|n| *n == lower) {
            Some(i) => Some(u32::try_from(i).ok()? + first),
            None => s.parse().ok(),
        }
    };
    let mut set = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((r, s)) => (r, s.parse().ok().filter(|n: &u32| *n > 0)?),
            None => (part, 1),
        };
        let (a, b) = match range {
            "*" | "?" => (low, high),
            r => match r.split_once('-') {
                Some((a, b)) => (number(a)?, number(b)?),
                None if part.contains('/') => (number(r)?, high),
                None => (number(r)?, number(r)?),
            },
        };
        if a < low || b > high || a > b {
            return None;
        }
        let mut n = a;
        while n <= b {
            set |= 1 << n;
            n += step;
        }
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_and_their_next_times() {
        let from: Timestamp = "2024-02-28T23:59:30Z".parse().unwrap();
        for (text, next) in [
            ("* * * * *", "2024-02-29T00:00:00Z"),
            ("*/15 * * * *", "2024-02-29T00:00:00Z"),
            ("30 4 1,15 * *", "2024-03-01T04:30:00Z"),
            ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
            ("0 12 * * mon-fri", "2024-02-29T12:00:00Z"),
            ("0 12 * * 7", "2024-03-03T12:00:00Z"),
            ("0 0 13 * fri", "2024-03-01T00:00:00Z"),
            ("@yearly", "2025-01-01T00:00:00Z"),
        ] {
            let s = Schedule::parse(text).unwrap();
            let t = s.next_after(from, &TimeZone::UTC).map(|t| t.to_string());
            assert_eq!(t.as_deref(), Some(next), "{text}");
        }
        for bad in ["", "* * * *", "60 * * * *", "a * * * *", "5-1 * * * *", "*/0 * * * *"] {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn schedules_go_by_the_clock_of_their_zone() {
        let next = |text: &str, zone: &str, from: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let t = Schedule::parse(text).unwrap().next_after(from.parse().unwrap(), &zone);
            t.unwrap().to_string()
        };
        let berlin = "Europe/Berlin";
        for (text, zone, from, wanted) in [
            ("0 9 * * *", berlin, "2024-01-15T00:00:00Z", "2024-01-15T08:00:00Z"),
            ("0 9 * * *", berlin, "2024-07-15T00:00:00Z", "2024-07-15T07:00:00Z"),
            (
                "0 0 * * *",
                "Asia/Kolkata",
                "2024-01-15T12:00:00Z",
                "2024-01-15T18:30:00Z",
            ),
            (
                "30 8 * * mon",
                "America/New_York",
                "2024-01-15T13:30:00Z",
                "2024-01-22T13:30:00Z",
            ),
            // Half past two is not there when clocks go forward.
            ("30 2 * * *", berlin, "2024-03-30T23:00:00Z", "2024-04-01T00:30:00Z"),
            // And there twice when they go back.
            ("30 2 * * *", berlin, "2024-10-27T00:00:00Z", "2024-10-27T00:30:00Z"),
            ("30 2 * * *", berlin, "2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"),
        ] {
            assert_eq!(next(text, zone, from), wanted, "{text} in {zone} after {from}");
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
