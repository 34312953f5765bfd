//! What a kubelet tells of its pods as Events (`client-go/tools/record`): of containers that are really run when they start
//! and are asked to end, of images that are missing, and of pods that it does not take. Simulated ones live by the thousand and say nothing else.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::rest::Rest;
use super::status::Named;
use crate::controllers::object::{Object, stamp};

/// What is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The container it is about.
    pub(crate) container: Option<String>,
}

/// Where a container is in its pod.
fn field_path(pod: &Value, container: &str) -> String {
    let lists = ["initContainers", "ephemeralContainers"];
    let is_in = |list: &&&str| {
        let all = pod.items(&format!("/spec/{list}"));
        all.iter().any(|c| c.name_of() == container)
    };
    let list = lists.iter().find(is_in).unwrap_or(&"containers");
    format!("spec.{list}{{{container}}}")
}

/// The event, as the recorder makes it; `nth` tells those of one instant apart.
fn event(pod: &Value, node: &str, told: &Told, now: Timestamp, nth: u64) -> Value {
    let at = now.as_nanosecond() + i128::from(nth);
    let mut about = json!({"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid(),
        "apiVersion": "v1", "resourceVersion": pod.text("/metadata/resourceVersion")});
    if let Some(c) = &told.container {
        about["fieldPath"] = json!(field_path(pod, c));
    }
    let time = stamp(now);
    json!({"apiVersion": "v1", "kind": "Event", "involvedObject": about,
        "metadata": {"name": format!("{}.{at:x}", pod.name()), "namespace": pod.namespace()},
        "type": if told.warning { "Warning" } else { "Normal" }, "reason": told.reason, "message": told.message,
        "source": {"component": "kubelet", "host": node}, "firstTimestamp": time, "lastTimestamp": time, "count": 1,
        "reportingComponent": "kubelet", "reportingInstance": node})
}

/// Tells the API server, in the background and once: who cannot be told misses it.
pub(crate) fn tell(rest: &Rest, pod: &Value, node: &str, told: &Told, now: Timestamp, nth: u64) {
    let event = event(pod, node, told, now, nth);
    let path = format!("/api/v1/namespaces/{}/events", pod.namespace());
    let rest = rest.clone();
    tokio::spawn(async move {
        if let Err(e) = rest.post(&path, &event).await {
            tracing::debug!(%e, "an event is lost");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_containers_and_pods() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}});
        let told = |container: Option<&str>| Told {
            warning: container.is_none(),
            reason: "Started",
            message: "Container started".into(),
            container: container.map(str::to_owned),
        };
        let now = Timestamp::from_second(1).unwrap();
        for (container, path, kind) in [
            (Some("c"), json!("spec.containers{c}"), "Normal"),
            (Some("i"), json!("spec.initContainers{i}"), "Normal"),
            (None, Value::Null, "Warning"),
        ] {
            let e = event(&pod, "node", &told(container), now, 2);
            assert_eq!((&e["involvedObject"]["fieldPath"], &e["type"]), (&path, &json!(kind)));
            assert_eq!(e["metadata"]["name"], "p.3b9aca02");
        }
    }
}
