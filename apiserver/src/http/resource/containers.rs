//! Containers of pods, and their logs.

use std::sync::Arc;

use serde_json::Value;

use super::options::number_of;
use super::{Request, text};
use crate::http::{Answer, streams, with_type};
use crate::local::{Gvr, LogOptions, NodeHook};
use crate::registry::Server;
use crate::schema::{quote, time_error};
use crate::status::{Cause, Status};
use crate::store::Key;

/// Why a node cannot be asked.
fn no_hook(server: &Server, node: &str) -> Status {
    let nodes = Gvr::new("", "v1", "nodes");
    match server.store.get(&nodes, &Key::new("", node)) {
        Some(_) => Status::internal(format!("node {node} does not answer")),
        // It is the pod's resource that upstream names.
        None => Status::not_found("", "pods", node),
    }
}

/// Whoever runs the node of a pod.
pub(super) fn hook_of(server: &Server, pod: &Value, name: &str) -> Result<Arc<dyn NodeHook>, Status> {
    let node = text(pod, "/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    server.node_hook(node).ok_or_else(|| no_hook(server, node))
}

/// The container of a pod that is asked about: the only one, or the one that is the default, where none is named.
pub(super) fn container_of(pod: &Value, name: &str, named: Option<&str>) -> Result<String, Status> {
    let of = |keys: &[&str]| -> Vec<String> {
        let all = keys
            .iter()
            .flat_map(|k| pod["spec"][*k].as_array().into_iter().flatten());
        all.map(|c| text(c, "/name").to_owned()).collect()
    };
    let (names, mains) = (
        of(&["initContainers", "containers", "ephemeralContainers"]),
        of(&["containers"]),
    );
    let default = pod.pointer("/metadata/annotations/kubectl.kubernetes.io~1default-container");
    match named.filter(|c| !c.is_empty()) {
        Some(c) if names.iter().any(|n| n == c) => Ok(c.to_owned()),
        Some(c) => Err(Status::bad_request(format!(
            "container {c} is not valid for pod {name}"
        ))),
        None => match (mains.as_slice(), default.and_then(Value::as_str)) {
            ([one], _) => Ok(one.clone()),
            (_, Some(d)) if mains.iter().any(|n| n == d) => Ok(d.to_owned()),
            _ => Err(Status::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                names.join(" ")
            ))),
        },
    }
}

impl Request<'_> {
    /// Reads what is asked of a log (`Convert_url_Values_To_v1_PodLogOptions`).
    fn read_log_options(&self) -> Result<(), Status> {
        let q = &self.r.query;
        number_of(q, "sinceSeconds")?;
        if let Some(t) = q.first("sinceTime").filter(|t| !t.is_empty())
            && let Some(why) = time_error(t, false)
        {
            return Err(Status::bad_request(why));
        }
        number_of(q, "tailLines")?;
        number_of(q, "limitBytes")?;
        Ok(())
    }

    /// `ValidatePodLogOptions`.
    fn check_log_options(&self) -> Result<(), Status> {
        let q = &self.r.query;
        let mut causes = Vec::new();
        for (field, least, detail) in [
            ("tailLines", 0, "must be greater than or equal to 0"),
            ("limitBytes", 1, "must be greater than 0"),
        ] {
            if let Some(n) = q.number::<i64>(field).filter(|n| *n < least) {
                causes.push(Cause::invalid(field, &n.into(), detail));
            }
        }
        // The feature of streams apart is off.
        let streams = q.has("stream");
        let seconds = q.number::<i64>("sinceSeconds");
        if seconds.is_some() && q.get("sinceTime").is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            // How Go prints the path of a field without a name.
            causes.push(Cause::forbidden("[]", why));
        } else if let Some(n) = seconds.filter(|n| *n < 1) {
            causes.push(Cause::invalid("sinceSeconds", &n.into(), "must be greater than 0"));
        }
        if streams {
            causes.push(Cause::forbidden("stream", "may not be specified"));
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Status::invalid("", "PodLogOptions", &self.info.name, causes)),
        }
    }

    /// The log of a container.
    pub(super) fn log(&self) -> Result<Answer, Status> {
        let (name, q) = (&self.info.name, &self.r.query);
        self.read_log_options()?;
        self.check_log_options()?;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
        let container = container_of(&pod, name, q.get("container"))?;
        let hook = hook_of(self.server, &pod, name)?;
        let now = self.server.clock.now();
        let ago = q
            .number::<i64>("sinceSeconds")
            .map(|s| now - jiff::SignedDuration::from_secs(s));
        let wanted = LogOptions {
            tail: q.number("tailLines"),
            since: ago.or_else(|| q.get("sinceTime").and_then(|t| t.parse().ok())),
            timestamps: q.is("timestamps"),
            limit: q.number("limitBytes"),
            previous: q.is("previous"),
        };
        let log = hook
            .log(self.ns, name, &container, &wanted)
            .ok_or_else(|| match wanted.previous {
                true => Status::bad_request(format!(
                    "previous terminated container {} in pod {} not found",
                    quote(&container),
                    quote(name)
                )),
                false => Status::bad_request(format!(
                    "container {} in pod {} is waiting to start: ContainerCreating",
                    quote(&container),
                    quote(name)
                )),
            })?;
        if streams::is_asked(self.r) {
            return streams::log(self.r, log);
        }
        Ok(with_type(200, "text/plain", log.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn which_container_is_meant() {
        let pod = |all: &[&str], default: Value| {
            let all: Vec<Value> = all.iter().map(|n| json!({"name": n})).collect();
            json!({"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": default}},
                "spec": {"containers": all, "initContainers": [{"name": "i"}]}})
        };
        let (one, two) = (pod(&["a"], Value::Null), pod(&["a", "b"], Value::Null));
        let chosen = pod(&["a", "b"], json!("b"));
        for (pod, named, expected) in [
            (&one, None, Ok("a")),
            (&one, Some("i"), Ok("i")),
            (&one, Some(""), Ok("a")),
            (&one, Some("x"), Err("container x is not valid for pod p")),
            (&chosen, None, Ok("b")),
            (
                &two,
                None,
                Err("a container name must be specified for pod p, choose one of: [i a b]"),
            ),
        ] {
            let found = container_of(pod, "p", named).map_err(|s| s.message);
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
    }
}
