//! A pod's status from what its containers do (`pkg/kubelet/kubelet_pods.go`: getPhase, convertToAPIContainerStatuses;
//! `pkg/kubelet/status/generate.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::kubelet::resize::Resources;
use super::runtime::{Doing, Ended, View};
use crate::controllers::object::{Object, stamp};

/// Why a container that does not run waits.
pub(crate) type Waiting = (String, String);

/// What a status is made of.
pub(crate) struct Facts<'a> {
    pub pod: &'a Value,
    /// An object whose status is the one reported last (or the pod, when none was).
    pub old: &'a Value,
    pub views: &'a BTreeMap<String, View>,
    /// Waiting reasons of containers to be started.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// What containers have.
    pub resources: &'a Resources,
    pub pod_ip: Option<&'a str>,
    pub host_ip: &'a str,
    /// When the kubelet first saw the pod.
    pub started: Timestamp,
    pub now: Timestamp,
}

/// Whether an init container is a sidecar.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    container.text("/restartPolicy") == "Always"
}

/// Whether a container is a sidecar that must not end yet: something it is there for is alive.
pub(crate) fn outlives(pod: &Value, name: &str, alive: impl Fn(&str) -> bool) -> bool {
    let inits = pod.items("/spec/initContainers");
    let Some(at) = inits.iter().position(|c| c.name_of() == name && is_sidecar(c)) else {
        return false;
    };
    let later = inits[at + 1..].iter().chain(pod.items("/spec/containers"));
    later.into_iter().any(|c| alive(c.name_of()))
}

/// The phase of a pod.
pub(crate) fn phase(pod: &Value, views: &BTreeMap<String, View>) -> &'static str {
    let policy = pod.text("/spec/restartPolicy");
    let code = |c: &Value| match views.get(c.name_of()).map(|v| &v.doing) {
        Some(Doing::Exited(e)) => Some(e.code),
        _ => None,
    };
    for c in pod.items("/spec/initContainers").iter().filter(|c| !is_sidecar(c)) {
        match code(c) {
            Some(0) => {}
            Some(_) if policy == "Never" => return "Failed",
            _ => return "Pending",
        }
    }
    let containers = pod.items("/spec/containers");
    let (mut running, mut waiting, mut stopped, mut ok) = (0, 0, 0, 0);
    for c in containers {
        match views.get(c.name_of()).map(|v| &v.doing) {
            None => waiting += 1,
            Some(Doing::Running { .. }) => running += 1,
            Some(Doing::Exited(e)) => {
                stopped += 1;
                ok += usize::from(e.code == 0);
            }
        }
    }
    if waiting > 0 {
        return "Pending";
    }
    match (running, policy) {
        (1.., _) => "Running",
        (0, "Never") if stopped > 0 => {
            if ok == stopped {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        (0, "OnFailure") if stopped > 0 && ok == stopped => "Succeeded",
        // Between two runs of its containers.
        _ if stopped > 0 => "Running",
        _ => "Pending",
    }
}

/// Names of containers.
pub(crate) trait Named {
    /// `name`.
    fn name_of(&self) -> &str;
}

impl Named for Value {
    fn name_of(&self) -> &str {
        self.text("/name")
    }
}

fn terminated(e: &Ended) -> Value {
    let mut t = json!({"exitCode": e.code, "reason": e.reason, "startedAt": stamp(e.started),
        "finishedAt": stamp(e.finished), "containerID": e.id});
    if !e.message.is_empty() {
        t["message"] = json!(e.message);
    }
    json!({"terminated": t})
}

fn container_status(f: &Facts<'_>, c: &Value, init: bool) -> Value {
    let name = c.name_of();
    let waiting = f.waiting.get(name);
    let why = |default: &str| {
        let (reason, message) = waiting.map_or((default, ""), |(r, m)| (r.as_str(), m.as_str()));
        let mut w = json!({"reason": reason});
        if !message.is_empty() {
            w["message"] = json!(message);
        }
        json!({"waiting": w})
    };
    let first = if f.pod.items("/spec/initContainers").is_empty() {
        "ContainerCreating"
    } else {
        "PodInitializing"
    };
    let Some(v) = f.views.get(name) else {
        return json!({"name": name, "image": c["image"], "imageID": "", "restartCount": 0, "ready": false, "started": false,
            "state": why(first), "lastState": {}});
    };
    let mut ready = false;
    let mut started = false;
    let (state, last) = match &v.doing {
        Doing::Running { started: at, ready: is } => {
            ready = *is;
            started = v.up;
            (
                json!({"running": {"startedAt": stamp(*at)}}),
                v.last.as_ref().map(terminated),
            )
        }
        // Between two runs the last state is the one just ended.
        Doing::Exited(e) if waiting.is_some() => (why(first), Some(terminated(e))),
        Doing::Exited(e) => {
            ready = init && e.code == 0;
            (terminated(e), v.last.as_ref().map(terminated))
        }
    };
    let image_id = format!(
        "{}@sha256:{:064x}",
        v.image,
        v.image
            .bytes()
            .fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(b)))
    );
    let mut status = json!({"name": name, "image": v.image, "imageID": image_id, "containerID": v.id,
        "restartCount": v.restarts, "ready": ready, "started": started, "state": state,
        "lastState": last.unwrap_or_else(|| json!({}))});
    if let Some((has, allocated)) = f.resources.shown(name, matches!(v.doing, Doing::Running { .. })) {
        status["resources"] = has.clone();
        if let Some(allocated) = allocated {
            status["allocatedResources"] = allocated.clone();
        }
    }
    status
}

/// Conditions of a resize: one that waits for room, one that is being made. What is over is taken away.
fn resize_conditions(f: &Facts<'_>, conditions: &mut Vec<Value>) {
    let deferred = f.resources.deferred.as_deref().map(|why| ("Deferred", why));
    for (kind, is) in [
        ("PodResizePending", deferred),
        ("PodResizeInProgress", f.resources.began.map(|_| ("", ""))),
    ] {
        let Some((reason, message)) = is else {
            if f.pod.condition(kind).is_some() {
                conditions.push(json!({"$patch": "delete", "type": kind}));
            }
            continue;
        };
        let old = f.old.condition(kind).filter(|c| c["status"] == "True");
        let since = old
            .and_then(|c| c["lastTransitionTime"].as_str())
            .map_or_else(|| stamp(f.now), str::to_owned);
        let mut c = json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": since});
        for (key, text) in [("reason", reason), ("message", message)] {
            if !text.is_empty() {
                c[key] = json!(text);
            }
        }
        if let Some(g) = f.pod.int("/metadata/generation") {
            c["observedGeneration"] = json!(g);
        }
        conditions.push(c);
    }
}

/// The status the kubelet reports. Conditions keep their transition times from the pod's old status.
pub(crate) fn status(f: &Facts<'_>) -> Value {
    let phase = phase(f.pod, f.views);
    let ended = matches!(phase, "Succeeded" | "Failed");
    let mains: Vec<Value> = f
        .pod
        .items("/spec/containers")
        .iter()
        .map(|c| container_status(f, c, false))
        .collect();
    let inits: Vec<Value> = f
        .pod
        .items("/spec/initContainers")
        .iter()
        .map(|c| container_status(f, c, true))
        .collect();
    let unready: Vec<&str> = mains
        .iter()
        .filter(|c| !c.flag("/ready"))
        .map(|c| c.text("/name"))
        .collect();
    let pairs = f.pod.items("/spec/initContainers").iter().zip(&inits);
    let incomplete: Vec<&str> = pairs
        .filter(|(c, s)| match is_sidecar(c) {
            true => !s.flag("/started"),
            false => s.int("/state/terminated/exitCode") != Some(0),
        })
        .map(|(c, _)| c.name_of())
        .collect();
    let initialized = incomplete.is_empty();
    let gates = f.pod.items("/spec/readinessGates").iter().all(|g| {
        f.pod
            .condition(g.text("/conditionType"))
            .is_some_and(|c| c["status"] == "True")
    });
    let (ready, reason, message) = match phase {
        "Succeeded" => (false, "PodCompleted", String::new()),
        "Failed" => (false, "PodFailed", String::new()),
        _ if !unready.is_empty() => (
            false,
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        ),
        _ => (true, "", String::new()),
    };
    let has_ip = f.pod_ip.is_some() && !ended;
    let mut conditions = Vec::new();
    let mut add = |kind: &str, is: bool, reason: &str, message: &str| {
        let status = if is { "True" } else { "False" };
        let old = f.old.condition(kind).filter(|c| c["status"] == status);
        let since = old
            .and_then(|c| c["lastTransitionTime"].as_str())
            .map_or_else(|| stamp(f.now), str::to_owned);
        let mut c = json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since});
        if let Some(g) = f.pod.int("/metadata/generation") {
            c["observedGeneration"] = json!(g);
        }
        // A merge must take an old reason away.
        for (key, text) in [("reason", reason), ("message", message)] {
            let had = [f.pod, f.old]
                .iter()
                .any(|o| o.condition(kind).is_some_and(|c| c.get(key).is_some()));
            match text {
                "" if had => c[key] = Value::Null,
                "" => {}
                t => c[key] = json!(t),
            }
        }
        conditions.push(c);
    };
    add("PodReadyToStartContainers", has_ip, "", "");
    match (initialized, phase) {
        (true, "Succeeded") => add("Initialized", true, "PodCompleted", ""),
        (true, _) => add("Initialized", true, "", ""),
        (false, _) => add(
            "Initialized",
            false,
            "ContainersNotInitialized",
            &format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        ),
    }
    match ready && !gates {
        true => add(
            "Ready",
            false,
            "ReadinessGatesNotReady",
            "corresponding condition of pod readiness gate does not exist or is not True",
        ),
        false => add("Ready", ready, reason, &message),
    }
    add("ContainersReady", ready, reason, &message);
    resize_conditions(f, &mut conditions);
    let mut s = json!({"phase": phase, "conditions": conditions, "hostIP": f.host_ip, "hostIPs": [{"ip": f.host_ip}],
        "startTime": stamp(f.started), "containerStatuses": mains});
    if !inits.is_empty() {
        s["initContainerStatuses"] = json!(inits);
    }
    let ephemeral = f.pod.items("/spec/ephemeralContainers");
    if !ephemeral.is_empty() {
        let all: Vec<Value> = ephemeral.iter().map(|c| container_status(f, c, false)).collect();
        s["ephemeralContainerStatuses"] = json!(all);
    }
    if let Some(g) = f.pod.int("/metadata/generation") {
        s["observedGeneration"] = json!(g);
    }
    if let Some(ip) = f.pod_ip {
        s["podIP"] = json!(ip);
        s["podIPs"] = json!([{"ip": ip}]);
    }
    s
}

/// Whether the pod's status, as the API server has it, says something else than `wanted` in what a kubelet owns.
pub(crate) fn differs(pod: &Value, wanted: &Value) -> bool {
    let keys = [
        "phase",
        "podIP",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
        "reason",
        "observedGeneration",
    ];
    let blank = |v: Option<&Value>| v.map(without_nulls).filter(|v| !v.is_null());
    keys.iter()
        .any(|k| blank(pod.get("status").and_then(|s| s.get(k))) != blank(wanted.get(k)))
        || wanted.items("/conditions").iter().any(|c| {
            pod.condition(c.text("/type"))
                .is_none_or(|h| h["status"] != c["status"] || h.text("/reason") != c.text("/reason"))
        })
}

/// Empty objects and nulls do not survive every server: they are not compared.
fn without_nulls(v: &Value) -> Value {
    match v {
        Value::Object(m) => Value::Object(
            m.iter()
                .map(|(k, v)| (k.clone(), without_nulls(v)))
                .filter(|(_, v)| !v.is_null() && v.as_object().is_none_or(|m| !m.is_empty()) && v != "")
                .collect(),
        ),
        Value::Array(l) => Value::Array(l.iter().map(without_nulls).collect()),
        v => v.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn view(doing: Doing) -> View {
        View {
            id: "cfn://1".into(),
            image: "i".into(),
            restarts: 0,
            doing,
            last: None,
            builtin: false,
            up: true,
            stopping: false,
            since: Instant::now(),
        }
    }

    fn exited(code: i32) -> Doing {
        let t = Timestamp::UNIX_EPOCH;
        Doing::Exited(Ended {
            code,
            reason: "Completed",
            started: t,
            finished: t,
            id: "cfn://1".into(),
            message: String::new(),
        })
    }

    #[test]
    fn sidecars_end_last() {
        let pod = json!({"spec": {"initContainers": [{"name": "a", "restartPolicy": "Always"},
            {"name": "b", "restartPolicy": "Always"}], "containers": [{"name": "m"}]}});
        for (name, alive, expected) in [
            ("m", "m", false),
            ("a", "m", true),
            ("a", "b", true),
            ("b", "a", false),
            ("b", "", false),
        ] {
            assert_eq!(outlives(&pod, name, |n| n == alive), expected, "{name} {alive}");
        }
    }

    #[tokio::test]
    async fn phases() {
        let run = Doing::Running {
            started: Timestamp::UNIX_EPOCH,
            ready: true,
        };
        for (policy, doing, expected) in [
            ("Always", None, "Pending"),
            ("Always", Some(run.clone()), "Running"),
            ("Always", Some(exited(0)), "Running"),
            ("Never", Some(exited(0)), "Succeeded"),
            ("Never", Some(exited(1)), "Failed"),
            ("OnFailure", Some(exited(0)), "Succeeded"),
            ("OnFailure", Some(exited(1)), "Running"),
        ] {
            let pod = json!({"spec": {"restartPolicy": policy, "containers": [{"name": "c"}]}});
            let views = doing.into_iter().map(|d| ("c".to_owned(), view(d))).collect();
            assert_eq!(phase(&pod, &views), expected, "{policy} {views:?}");
        }
    }

    #[tokio::test]
    async fn ready_pod() {
        let pod = json!({"metadata": {"generation": 1}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let views = BTreeMap::from([(
            "c".to_owned(),
            view(Doing::Running {
                started: Timestamp::UNIX_EPOCH,
                ready: true,
            }),
        )]);
        let s = status(&Facts {
            pod: &pod,
            old: &pod,
            views: &views,
            waiting: &BTreeMap::new(),
            resources: &Resources::of(&pod),
            pod_ip: Some("10.0.0.2"),
            host_ip: "10.0.0.1",
            started: Timestamp::UNIX_EPOCH,
            now: Timestamp::UNIX_EPOCH,
        });
        let states: Vec<_> = s
            .items("/conditions")
            .iter()
            .map(|c| format!("{}={}", c.text("/type"), c.text("/status")))
            .collect();
        assert_eq!(
            states,
            [
                "PodReadyToStartContainers=True",
                "Initialized=True",
                "Ready=True",
                "ContainersReady=True"
            ]
        );
        let served = json!({"status": s});
        assert!(!differs(&served, &s));
        let mut marked = served.clone();
        marked["status"]["conditions"][2]["status"] = json!("False");
        assert!(differs(&marked, &s));
    }
}
