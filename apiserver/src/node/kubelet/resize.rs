//! Resizing pods in place (`pkg/kubelet/allocation`, `computePodResizeAction` of `pkg/kubelet/kuberuntime`): what a pod
//! asks for is allocated when the node has room for it, and actuated in its containers after that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cfn_cel::quantity::Quantity;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Kubelet, Pod, soonest};
use crate::controllers::object::Object;
use crate::defaults::RESIZABLE;
use crate::node::heartbeat;
use crate::node::runtime::{Doing, View};
use crate::node::status::Named;

/// How long a resize is in progress.
const ACTUATION: Duration = Duration::from_millis(200);

/// The resources of a pod's containers: what was allocated, and what they run with.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    pub(crate) allocated: BTreeMap<String, Value>,
    pub(crate) actual: BTreeMap<String, Value>,
    /// Since when a resize is in progress.
    pub(crate) began: Option<Instant>,
    /// Why one waits.
    pub(crate) deferred: Option<String>,
    /// Containers that end to be started with other resources.
    restarting: BTreeSet<String>,
}

fn all(pod: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["/spec/initContainers", "/spec/containers"];
    lists.into_iter().flat_map(|l| pod.items(l))
}

fn asked(container: &Value) -> Value {
    container.get("resources").cloned().unwrap_or_else(|| json!({}))
}

/// Whether two amounts are the same, however they are written.
fn same(a: &Value, b: &Value) -> bool {
    match (Quantity::from_value(a), Quantity::from_value(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// Which of processor and memory differ.
fn changed(a: &Value, b: &Value) -> Vec<&'static str> {
    let differs = |name: &str| ["requests", "limits"].iter().any(|l| !same(&a[*l][name], &b[*l][name]));
    RESIZABLE.into_iter().filter(|name| differs(name)).collect()
}

impl Resources {
    /// Of a pod that this kubelet sees for the first time: what was reported of it, else what it asks for.
    pub(crate) fn of(pod: &Value) -> Self {
        let mut of = Self::default();
        let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
        let reported: Vec<&Value> = lists.iter().flat_map(|l| pod.items(l)).collect();
        for c in all(pod) {
            let name = c.name_of().to_owned();
            let served = reported
                .iter()
                .find(|s| s.name_of() == name && s.get("resources").is_some());
            let actual = served.map_or_else(|| asked(c), |s| s["resources"].clone());
            let mut allocated = actual.clone();
            if let Some(requests) = served.and_then(|s| s.get("allocatedResources")) {
                allocated["requests"] = requests.clone();
            }
            of.allocated.insert(name.clone(), allocated);
            of.actual.insert(name, actual);
        }
        of
    }

    /// What a container has: what it runs with, or what is allocated where it does not run.
    pub(crate) fn shown(&self, container: &str, runs: bool) -> Option<(&Value, Option<&Value>)> {
        let allocated = self.allocated.get(container)?;
        let has = match runs {
            true => self.actual.get(container).unwrap_or(allocated),
            false => allocated,
        };
        Some((
            has,
            allocated
                .get("requests")
                .filter(|r| r.as_object().is_some_and(|m| !m.is_empty())),
        ))
    }

    /// Whether a container ended to be started again at once.
    pub(super) fn take_restart(&mut self, container: &str) -> bool {
        self.restarting.remove(container)
    }

    /// A container starts with what is allocated.
    pub(super) fn started(&mut self, container: &str) {
        if let Some(allocated) = self.allocated.get(container) {
            self.actual.insert(container.to_owned(), allocated.clone());
        }
    }

    /// The sum of what is allocated of one resource.
    fn sum(&self, pod: &Value, resource: &str) -> Quantity {
        let mut spec = pod.get("spec").cloned().unwrap_or_default();
        for which in ["containers", "initContainers"] {
            for c in spec.get_mut(which).and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(allocated) = self.allocated.get(c.name_of()) {
                    c["resources"] = allocated.clone();
                }
            }
        }
        let all = crate::registry::pod_amounts(&spec, "requests");
        all.get(resource).copied().unwrap_or_default()
    }
}

impl Kubelet {
    /// Takes a pod nearer to the resources that it asks for.
    pub(super) fn resize(&self, uid: &str, pod: &mut Pod, views: &BTreeMap<String, View>, next: &mut Option<Instant>) {
        let object = pod.object.clone();
        let resources = &mut pod.resources;
        let wanted = |r: &Resources| {
            all(&object).any(|c| {
                r.allocated
                    .get(c.name_of())
                    .is_none_or(|has| !changed(has, &asked(c)).is_empty())
            })
        };
        if !wanted(resources) {
            resources.deferred = None;
        } else if let Some(why) = self.no_room(uid, &object, &pod.resources) {
            pod.resources.deferred = Some(why);
            // Room may come by itself: others end.
            soonest(next, Instant::now() + Duration::from_secs(1));
        } else {
            let resources = &mut pod.resources;
            resources.deferred = None;
            resources.began = Some(Instant::now());
            for c in all(&object) {
                resources.allocated.insert(c.name_of().to_owned(), asked(c));
            }
        }
        self.actuate(uid, pod, views, next);
    }

    fn actuate(&self, uid: &str, pod: &mut Pod, views: &BTreeMap<String, View>, next: &mut Option<Instant>) {
        let object = pod.object.clone();
        let resources = &mut pod.resources;
        let mut left = false;
        for c in all(&object) {
            let name = c.name_of();
            let (Some(allocated), Some(actual)) = (resources.allocated.get(name), resources.actual.get(name)) else {
                continue;
            };
            let differ = changed(allocated, actual);
            if differ.is_empty() {
                continue;
            }
            let runs = views
                .get(name)
                .is_some_and(|v| matches!(v.doing, Doing::Running { .. }));
            if !runs {
                // It is started with what is allocated.
                left |= resources.restarting.contains(name);
                continue;
            }
            if let Some(began) = resources.began.filter(|b| *b + ACTUATION > Instant::now()) {
                left = true;
                soonest(next, began + ACTUATION);
                continue;
            }
            let restart = c
                .items("/resizePolicy")
                .iter()
                .any(|p| differ.contains(&p.text("/resourceName")) && p.text("/restartPolicy") == "RestartContainer");
            if restart {
                left = true;
                resources.restarting.insert(name.to_owned());
                self.runtime.kill(uid, name);
                continue;
            }
            let allocated = allocated.clone();
            self.runtime.set_limits(uid, name, &allocated);
            resources.actual.insert(name.to_owned(), allocated);
        }
        if !left && resources.restarting.is_empty() {
            resources.began = None;
        }
    }

    /// Why a node has no room for what a pod asks for now (`InsufficientResourceError`).
    fn no_room(&self, uid: &str, pod: &Value, resources: &Resources) -> Option<String> {
        let mut proposed = Resources::default();
        for c in all(pod) {
            proposed.allocated.insert(c.name_of().to_owned(), asked(c));
        }
        RESIZABLE.into_iter().find_map(|resource| {
            let (asks, has) = (proposed.sum(pod, resource), resources.sum(pod, resource));
            let others = self.pods.iter().filter(|(other, p)| *other != uid && !p.finished);
            let used = others.fold(Quantity::default(), |sum, (_, p)| {
                sum + p.resources.sum(&p.object, resource)
            });
            let room = heartbeat::has(&self.o.capacity, resource).and_then(|q| Quantity::parse(q).ok());
            let room = room.unwrap_or_default();
            if asks <= has || used + asks <= room {
                return None;
            }
            let number = |q: Quantity| if resource == "cpu" { q.milli_value() } else { q.value() };
            let (asks, used, room) = (number(asks), number(used), number(room));
            Some(format!(
                "Node didn't have enough resource: {resource}, requested: {asks}, used: {used}, capacity: {room}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reported_is_what_a_container_has() {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "2"}}}, {"name": "b"}]},
            "status": {"containerStatuses": [{"name": "a", "resources": {"requests": {"cpu": "1"}},
                "allocatedResources": {"cpu": "1500m"}}]}});
        let r = Resources::of(&pod);
        assert_eq!(r.shown("a", true).unwrap().0["requests"]["cpu"], "1");
        assert_eq!(r.shown("a", false).unwrap().0["requests"]["cpu"], "1500m");
        assert_eq!(r.shown("b", true).unwrap(), (&json!({}), None));
        assert_eq!(r.sum(&pod, "cpu"), Quantity::parse("1.5").unwrap());
    }

    #[test]
    fn equal_amounts_are_no_change() {
        let of = |cpu: &str| json!({"requests": {"cpu": cpu, "memory": "1Gi"}});
        assert!(changed(&of("1"), &of("1000m")).is_empty());
        assert_eq!(changed(&of("1"), &of("2")), ["cpu"]);
        assert_eq!(changed(&of("1"), &json!({})), ["cpu", "memory"]);
    }
}
