//! Ranges of services are ready, and go only when no service has an address of theirs alone
//! (`pkg/controller/servicecidrs`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::manager::{Controller, Now, Plan};
use super::object::{Object, remove_finalizer, set_condition};
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};
use crate::registry::{MANAGED_BY, Range};

/// What a range waits by.
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// How long it is kept, for those who give out addresses to have heard that it goes.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) struct ServiceRanges;

fn address(object: &Value) -> Option<IpAddr> {
    let is_ours = object.label(MANAGED_BY.0) == Some(MANAGED_BY.1);
    object.name().parse().ok().filter(|_| is_ours)
}

/// Whether no address is left without a range when this one goes.
fn can_go(range: &Value, world: &World) -> bool {
    let all: Vec<Arc<Value>> = world.list(&gvr::SERVICE_RANGES).collect();
    let others = || all.iter().filter(|o| o.name() != range.name());
    let held = Range::all_of(range).all(|r| others().any(|o| Range::all_of(o).any(|other| other.covers(&r))));
    held || !world.list(&gvr::ADDRESSES).filter_map(|a| address(&a)).any(|a| {
        let has = |o: &Value| Range::all_of(o).any(|r| r.contains(a));
        has(range) && !others().any(|o| has(o))
    })
}

/// The range with a condition, if that is news.
fn said(range: &Value, holds: bool, reason: &str, message: &str, now: Now) -> Option<Value> {
    let mut new = range.clone();
    let status = if holds { "True" } else { "False" };
    if !set_condition(&mut new, "Ready", status, reason, message, now.wall) {
        return None;
    }
    for c in new["status"]["conditions"].as_array_mut().into_iter().flatten() {
        // Go's type always says it.
        if let Some(c) = c.as_object_mut() {
            c.entry("reason").or_insert_with(|| json!(""));
        }
    }
    Some(new)
}

impl Controller for ServiceRanges {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        let v = &*e.object;
        if e.gvr == gvr::SERVICE_RANGES {
            if e.kind != EventKind::Deleted {
                queue.insert(Key::of(v));
            }
            if e.kind == EventKind::Added {
                let meets = |o: &Arc<Value>| Range::all_of(o).any(|r| Range::all_of(v).any(|own| own.overlaps(&r)));
                queue.extend(world.list(&gvr::SERVICE_RANGES).filter(meets).map(|o| Key::of(&o)));
            }
        } else if e.gvr == gvr::ADDRESSES && e.kind != EventKind::Modified {
            let Some(address) = address(v) else { return };
            let waits = |o: &Arc<Value>| o.deleting() && Range::all_of(o).any(|r| r.contains(address));
            queue.extend(world.list(&gvr::SERVICE_RANGES).filter(waits).map(|o| Key::of(&o)));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(range) = world.get(&gvr::SERVICE_RANGES, "", &key.name) else {
            return plan;
        };
        if !range.deleting() {
            if range.has_finalizer(FINALIZER) {
                let new = said(&range, true, "", "Kubernetes Service CIDR is ready", now);
                new.into_iter()
                    .for_each(|v| plan.update_status(&gvr::SERVICE_RANGES, v));
            } else {
                let mut held = (*range).clone();
                let mut all = range.items("/metadata/finalizers").to_vec();
                all.push(json!(FINALIZER));
                held["metadata"]["finalizers"] = json!(all);
                // That it is written has it looked at again, for the status.
                plan.update(&gvr::SERVICE_RANGES, held);
            }
            return plan;
        }
        if !range.has_finalizer(FINALIZER) {
            return plan;
        }
        if !can_go(&range, world) {
            let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
            let new = said(&range, false, "Terminating", why, now);
            new.into_iter()
                .for_each(|v| plan.update_status(&gvr::SERVICE_RANGES, v));
            return plan;
        }
        let since = range.time("/metadata/deletionTimestamp").unwrap_or(now.wall);
        let left = GRACE.saturating_sub(Duration::try_from(now.wall.duration_since(since)).unwrap_or_default());
        if left.is_zero() {
            let mut free = (*range).clone();
            remove_finalizer(&mut free, FINALIZER);
            plan.update(&gvr::SERVICE_RANGES, free);
        } else {
            plan.after(left);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::super::manager::Action;
    use super::super::world::world_of;
    use super::*;
    use jiff::Timestamp;
    use tokio::time::Instant;

    fn range(name: &str, cidr: &str, deleted: Option<&str>) -> Value {
        let mut v =
            json!({"metadata": {"name": name, "uid": name, "finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]}});
        if let Some(at) = deleted {
            v["metadata"]["deletionTimestamp"] = json!(at);
        }
        v
    }

    fn given(address: &str) -> Value {
        json!({"metadata": {"name": address, "uid": address,
            "labels": {MANAGED_BY.0: MANAGED_BY.1}}})
    }

    #[test]
    fn a_range_goes_when_its_addresses_are_in_another() {
        const NOW: &str = "2026-01-01T00:00:20Z";
        const LONG_AGO: Option<&str> = Some("2026-01-01T00:00:00Z");
        const JUST: Option<&str> = Some("2026-01-01T00:00:15Z");
        let small = |deleted| range("small", "10.1.0.0/24", deleted);
        let wide = || range("wide", "10.1.0.0/16", None);
        let now = Now {
            wall: NOW.parse::<Timestamp>().unwrap(),
            tick: Instant::now(),
        };
        for (what, ranges, addresses, then) in [
            ("nobody has one", vec![small(LONG_AGO)], vec![], "goes"),
            ("the grace", vec![small(JUST)], vec![], "waits 5s"),
            (
                "somebody has one",
                vec![small(LONG_AGO)],
                vec![given("10.1.0.9")],
                "Terminating",
            ),
            (
                "somebody has one of another",
                vec![small(LONG_AGO)],
                vec![given("10.2.0.9")],
                "goes",
            ),
            (
                "all is in another",
                vec![small(LONG_AGO), wide()],
                vec![given("10.1.0.9")],
                "goes",
            ),
            (
                "what is had is in another",
                vec![small(LONG_AGO), range("part", "10.1.0.0/28", None)],
                vec![given("10.1.0.9")],
                "goes",
            ),
            ("it is not deleted", vec![small(None)], vec![given("10.1.0.9")], "Ready"),
        ] {
            let mut objects: Vec<_> = ranges.into_iter().map(|v| (&gvr::SERVICE_RANGES, v)).collect();
            objects.extend(addresses.into_iter().map(|v| (&gvr::ADDRESSES, v)));
            let plan = ServiceRanges.reconcile(&Key::new("", "small"), &world_of(&objects), now);
            let done = match plan.actions.as_slice() {
                [Action::Update { object, .. }] if !object.has_finalizer(FINALIZER) => "goes".to_owned(),
                [Action::UpdateStatus { object, .. }] => match object.text("/status/conditions/0/reason") {
                    "" => "Ready".to_owned(),
                    reason => reason.to_owned(),
                },
                [] => format!("waits {:?}", plan.again.unwrap()),
                other => panic!("{what}: {other:?}"),
            };
            assert_eq!(done, then, "{what}");
        }
    }
}
