//! What a kubelet tells of its pods as Events (`client-go/tools/record`): of containers that are really run when they start
//! and are asked to end, of images that are missing, and of pods that it does not take. Simulated ones live by the thousand and say nothing else.

use jiff::Timestamp;
use serde_json::Value;

use super::rest::Rest;
use super::status::Named;
use crate::controllers::event::Event;
use crate::controllers::object::Object;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The event, named as the recorder does; `nth` tells those of one instant apart.
fn event(pod: &Value, node: &str, told: &Told, now: Timestamp, nth: u64) -> Value {
    let event = Event {
        about: pod,
        kind: "Pod",
        field_path: told.container.as_ref().map(|c| field_path(pod, c)),
        component: "kubelet",
        host: node,
        warning: told.warning,
        reason: told.reason,
        message: &told.message,
    };
    let at = now.as_nanosecond() + i128::from(nth);
    event.object(&format!("{}.{at:x}", pod.name()), now)
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
    use serde_json::json;

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
