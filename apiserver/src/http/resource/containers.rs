//! Logs of containers, what they say, commands in them and ports of theirs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::options::number_of;
use super::{Request, text};
use crate::http::info::RequestInfo;
use crate::http::{Answer, port_forward, streams, with_type};
use crate::local::{Gvr, LogOptions, NodeHook};
use crate::registry::{Call, Server};
use crate::schema::time_error;
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

impl Request<'_> {
    /// The container that is asked about (the only one, or the one that is the default, where none is named) and
    /// whoever runs its pod's node.
    pub(super) fn container(&self) -> Result<(String, Arc<dyn NodeHook>), Status> {
        let name = &self.info.name;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
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
        let container = match self.r.query.get("container").filter(|c| !c.is_empty()) {
            Some(c) if names.iter().any(|n| n == c) => c.to_owned(),
            Some(c) => {
                return Err(Status::bad_request(format!(
                    "container {c} is not valid for pod {name}"
                )));
            }
            None => match (mains.as_slice(), default.and_then(Value::as_str)) {
                ([one], _) => one.clone(),
                (_, Some(d)) if mains.iter().any(|n| n == d) => d.to_owned(),
                _ => {
                    return Err(Status::bad_request(format!(
                        "a container name must be specified for pod {name}, choose one of: [{}]",
                        names.join(" ")
                    )));
                }
            },
        };
        let node = text(&pod, "/spec/nodeName");
        if node.is_empty() {
            return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let hook = self.server.node_hook(node).ok_or_else(|| no_hook(self.server, node))?;
        Ok((container, hook))
    }

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
            causes.push(Cause::forbidden("", why));
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
        let (container, hook) = self.container()?;
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
                    "previous terminated container {container:?} in pod {name:?} not found"
                )),
                false => Status::bad_request(format!(
                    "container {container:?} in pod {name:?} is waiting to start: ContainerCreating"
                )),
            })?;
        if streams::is_asked(self.r) {
            return streams::log(self.r, log);
        }
        Ok(with_type(200, "text/plain", log.into()))
    }

    /// The options of a connection as admission sees them. Whoever connects by GET must be allowed to by POST, too
    /// (`ensureAuthorizedForVerb` of `pkg/registry/core/pod/rest`).
    fn connecting(&self, call: &mut Call, kind: &str) -> Result<(), Status> {
        let q = &self.r.query;
        let mut options = json!({"kind": kind, "apiVersion": "v1"});
        for key in ["stdin", "stdout", "stderr", "tty"] {
            if q.is(key) {
                options[key] = json!(true);
            }
        }
        if let Some(c) = q.get("container").filter(|c| !c.is_empty()) {
            options["container"] = json!(c);
        }
        if q.has("ports") {
            let all = q.all("ports");
            let numbers: Vec<u16> = all
                .iter()
                .flat_map(|p| p.split(','))
                .filter_map(|p| p.parse().ok())
                .collect();
            options["ports"] = json!(numbers);
        }
        if q.has("command") {
            options["command"] = json!(q.all("command"));
        }
        let whom = (self.ns, self.info.name.as_str());
        self.server
            .admit_connect(call, self.resource, whom, &self.info.subresource, options)?;
        let as_create = RequestInfo {
            verb: "create",
            ..self.info.clone()
        };
        match self.server.allowed(&call.user, &as_create.attributes()) {
            true => Ok(()),
            false => Err(Status::forbidden(
                &self.resource.group,
                &self.resource.plural,
                &self.info.name,
                "",
            )),
        }
    }

    /// What a container says from now on, and what it is told.
    pub(super) fn attach(&self, call: &mut Call) -> Result<Answer, Status> {
        self.connecting(call, "PodAttachOptions")?;
        let (container, hook) = self.container()?;
        if !streams::is_asked(self.r) {
            return Err(Status::bad_request("Upgrade request required".to_owned()));
        }
        let name = &self.info.name;
        let attached = hook.attach(self.ns, name, &container, self.r.query.is("stdin"));
        let none = || Status::internal(format!("container {container} not found in pod {name}"));
        streams::attach(self.r, attached.ok_or_else(none)?)
    }

    /// Ports of a pod.
    pub(super) fn port_forward(&self, call: &mut Call, ports: &[String]) -> Result<Answer, Status> {
        self.connecting(call, "PodPortForwardOptions")?;
        let name = &self.info.name;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
        let node = text(&pod, "/spec/nodeName");
        let hook = self.server.node_hook(node).ok_or_else(|| no_hook(self.server, node))?;
        // Each may be a list.
        let numbers = ports
            .iter()
            .flat_map(|p| p.split(','))
            .filter_map(|p| p.trim().parse().ok());
        let ways: Vec<_> = numbers.map(|p| (p, hook.forward(self.ns, name, p))).collect();
        if ways.is_empty() {
            return Err(Status::bad_request("query parameter \"port\" is required".to_owned()));
        }
        port_forward::serve(self.r, name.clone(), ways)
    }

    /// A command in a container.
    pub(super) fn exec(&self, call: &mut Call) -> Result<Answer, Status> {
        self.connecting(call, "PodExecOptions")?;
        let (container, hook) = self.container()?;
        if !streams::is_asked(self.r) {
            return Err(Status::bad_request("Upgrade request required".to_owned()));
        }
        let q = &self.r.query;
        let exec = streams::Exec {
            hook,
            namespace: self.ns.to_owned(),
            pod: self.info.name.clone(),
            container,
            command: q.all("command"),
            stdin: q.is("stdin"),
        };
        streams::exec(self.r, exec)
    }
}
