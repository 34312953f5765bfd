//! Cells of pods (printPod in `pkg/printers/internalversion/printers.go`).

use super::duration::since;
use jiff::Timestamp;
use serde_json::Value;

use crate::registry::list;

/// What a pod's row says.
pub(super) struct PodRow {
    pub(super) ready: String,
    pub(super) status: String,
    pub(super) restarts: String,
}

fn condition<'v>(pod: &'v Value, kind: &str) -> Option<&'v Value> {
    list(&pod["status"], "conditions").iter().find(|c| c["type"] == kind)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// The later of a time and a container's last end.
fn later<'v>(latest: &'v Value, container: &'v Value) -> &'v Value {
    let finished = &container["lastState"]["terminated"]["finishedAt"];
    let parse = |value: &Value| value.as_str().and_then(|t| t.parse::<Timestamp>().ok());
    if parse(finished) > parse(latest) {
        finished
    } else {
        latest
    }
}

fn ended(terminated: &Value, prefix: &str) -> String {
    match terminated["reason"].as_str().unwrap_or_default() {
        "" if number(&terminated["signal"]) != 0 => format!("{prefix}Signal:{}", terminated["signal"]),
        "" => format!("{prefix}ExitCode:{}", number(&terminated["exitCode"])),
        reason => format!("{prefix}{reason}"),
    }
}

/// Works out a pod's row.
pub(super) fn row(pod: &Value, now: Timestamp) -> PodRow {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let phase = status["phase"].as_str().unwrap_or_default();
    let mut reason = status["reason"]
        .as_str()
        .filter(|r| !r.is_empty())
        .unwrap_or(phase)
        .to_owned();
    if condition(pod, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated") {
        reason = "SchedulingGated".to_owned();
    }
    let restartable = |name: &Value| {
        list(spec, "initContainers")
            .iter()
            .any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    let sidecars = list(spec, "initContainers")
        .iter()
        .filter(|c| c["restartPolicy"] == "Always")
        .count();
    let total = list(spec, "containers").len() + sidecars;
    let (mut ready, mut restarts, mut sidecar_restarts) = (0, 0, 0);
    let (mut last, mut sidecar_last) = (&Value::Null, &Value::Null);
    let mut initializing = false;
    for (i, container) in list(status, "initContainerStatuses").iter().enumerate() {
        let sidecar = restartable(&container["name"]);
        restarts += number(&container["restartCount"]);
        last = later(last, container);
        if sidecar {
            sidecar_restarts += number(&container["restartCount"]);
            sidecar_last = later(sidecar_last, container);
        }
        let (terminated, waiting) = (&container["state"]["terminated"], &container["state"]["waiting"]);
        if !terminated.is_null() && number(&terminated["exitCode"]) == 0 {
            continue;
        }
        if sidecar && container["started"] == true {
            ready += usize::from(container["ready"] == true);
            continue;
        }
        reason = match waiting["reason"].as_str().unwrap_or_default() {
            _ if !terminated.is_null() => ended(terminated, "Init:"),
            "" | "PodInitializing" => format!("Init:{i}/{}", list(spec, "initContainers").len()),
            waiting => format!("Init:{waiting}"),
        };
        initializing = true;
        break;
    }
    if !initializing || condition(pod, "Initialized").is_some_and(|c| c["status"] == "True") {
        restarts = sidecar_restarts;
        last = sidecar_last;
        let (mut running, mut failed) = (false, String::new());
        for container in list(status, "containerStatuses").iter().rev() {
            restarts += number(&container["restartCount"]);
            last = later(last, container);
            let state = &container["state"];
            if let Some(waiting) = state["waiting"]["reason"].as_str().filter(|r| !r.is_empty()) {
                reason = waiting.to_owned();
            } else if !state["terminated"].is_null() {
                reason = ended(&state["terminated"], "");
                if number(&state["terminated"]["exitCode"]) != 0 {
                    failed = reason.clone();
                }
            } else if container["ready"] == true && !state["running"].is_null() {
                running = true;
                ready += 1;
            }
        }
        if reason == "Completed" {
            if running && condition(pod, "Ready").is_some_and(|c| c["status"] == "True") {
                reason = "Running".to_owned();
            } else if !failed.is_empty() {
                reason = failed;
            } else if running {
                reason = "NotReady".to_owned();
            }
        }
    }
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        if status["reason"] == "NodeLost" {
            reason = "Unknown".to_owned();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            reason = "Terminating".to_owned();
        }
    }
    let restarts = match (restarts, last) {
        (0, _) | (_, Value::Null) => restarts.to_string(),
        (_, last) => format!("{restarts} ({} ago)", since(last, now)),
    };
    PodRow {
        ready: format!("{ready}/{total}"),
        status: reason,
        restarts,
    }
}

/// How many of a pod's readiness gates are open.
pub(super) fn gates(pod: &Value) -> String {
    let gates = list(&pod["spec"], "readinessGates");
    let open = gates.iter().filter(|gate| {
        gate["conditionType"]
            .as_str()
            .and_then(|kind| condition(pod, kind))
            .is_some_and(|c| c["status"] == "True")
    });
    if gates.is_empty() {
        "<none>".to_owned()
    } else {
        format!("{}/{}", open.count(), gates.len())
    }
}
