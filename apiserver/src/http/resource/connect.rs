//! Connections to what an object stands for (`ConnectResource` of `endpoints/handlers/rest.go`): commands, what a container
//! says, ports and proxies, each with options that admission is told and may change.

use std::sync::Arc;

use serde_json::{Value, json};

use super::containers::{container_of, hook_of};
use super::{call_of, no_name, options, warned};
use crate::http::info::{RequestInfo, path_segment_error};
use crate::http::{Annotations, Answer, Incoming, port_forward, proxy, refusal, streams};
use crate::registry::{Call, Resource, Server};
use crate::schema::quote;
use crate::status::Status;

/// The kind of the options of a connection; `None`: the subresource is none to connect to.
pub(super) fn options_kind(r: &Resource, subresource: &str) -> Option<&'static str> {
    if !r.group.is_empty() {
        return None;
    }
    match (&*r.plural, subresource) {
        ("pods", "exec") => Some("PodExecOptions"),
        ("pods", "attach") => Some("PodAttachOptions"),
        ("pods", "portforward") => Some("PodPortForwardOptions"),
        ("pods", "proxy") => Some("PodProxyOptions"),
        ("services", "proxy") => Some("ServiceProxyOptions"),
        ("nodes", "proxy") => Some("NodeProxyOptions"),
        _ => None,
    }
}

/// What a request's query and path say of the connection.
///
/// # Errors
/// 400 for ports that are none.
fn options_of(r: &Incoming, kind: &str) -> Result<Value, Status> {
    let q = &r.query;
    let mut told = json!({"kind": kind, "apiVersion": "v1"});
    if matches!(kind, "PodExecOptions" | "PodAttachOptions") {
        for key in ["stdin", "stdout", "stderr", "tty"] {
            if q.is(key) {
                told[key] = json!(true);
            }
        }
        if let Some(c) = q.get("container").filter(|c| !c.is_empty()) {
            told["container"] = json!(c);
        }
    }
    match kind {
        "PodExecOptions" if q.has("command") => told["command"] = json!(q.all("command")),
        "PodPortForwardOptions" if q.has("ports") => told["ports"] = json!(options::ports(&q.all("ports"))?),
        "PodProxyOptions" | "ServiceProxyOptions" | "NodeProxyOptions" => {
            let path = proxy::split(&r.path, kind != "NodeProxyOptions").1;
            if !path.is_empty() {
                told["path"] = json!(path);
            }
        }
        _ => {}
    }
    Ok(told)
}

/// A request to connect.
pub(super) struct Connect<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) r: &'a Incoming,
    pub(super) info: &'a RequestInfo,
    pub(super) resource: &'a Arc<Resource>,
    pub(super) ns: &'a str,
}

impl Connect<'_> {
    /// Asks whether it may be, and connects.
    pub(super) async fn serve(&self, kind: &str, annotations: &mut Annotations) -> Result<Answer, Status> {
        let name = self.info.name.as_str();
        if self.r.query.has("dryRun") {
            return Err(Status::bad_request("dryRun is not supported"));
        }
        if name.is_empty() {
            return Err(Status::bad_request("name must be provided"));
        }
        if let Some(why) = path_segment_error(name) {
            return Err(no_name(name, &why));
        }
        let sent = options_of(self.r, kind)?;
        let mut call = call_of(self.r, "connect")?;
        let admit = |call: &mut Call| {
            let whom = (self.ns, name);
            self.server
                .admit_connect(call, self.resource, whom, &self.info.subresource, sent.clone())
        };
        let admitted = self.server.with_hooks(&mut call, self.resource, admit).await;
        let answer = match admitted {
            Ok(options) => self.connect(&call, &sent, &options).await,
            Err(s) => Err(s),
        };
        annotations.append(&mut call.annotations);
        let answer = answer.unwrap_or_else(|s| refusal(self.r, &s));
        Ok(warned(answer, &call.warnings))
    }

    /// Connects, as `options` say, which `sent` were before admission.
    async fn connect(&self, call: &Call, sent: &Value, options: &Value) -> Result<Answer, Status> {
        match (&*self.resource.plural, self.info.subresource.as_str()) {
            ("nodes", _) => self.to_node(),
            (_, "proxy") => {
                // What is handed on is as it was sent, escapes and all, unless admission made it another.
                let other = options["path"].as_str().filter(|_| options["path"] != sent["path"]);
                proxy::serve(self.server, self.r, self.info, self.resource, other).await
            }
            (_, sub) => {
                self.may_create(call)?;
                match sub {
                    "exec" => self.exec(options),
                    "attach" => self.attach(options),
                    _ => self.port_forward(options),
                }
            }
        }
    }

    /// Whoever connects by GET must be allowed to by POST, too (`ensureAuthorizedForVerb` of `pkg/registry/core/pod/rest`).
    fn may_create(&self, call: &Call) -> Result<(), Status> {
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

    /// 400 for who does not ask for another protocol.
    fn must_upgrade(&self) -> Result<(), Status> {
        match streams::is_asked(self.r) {
            true => Ok(()),
            false => Err(Status::bad_request("Upgrade request required".to_owned())),
        }
    }

    fn to_node(&self) -> Result<Answer, Status> {
        let found = self.server.get(self.resource, self.ns, &self.info.name)?;
        // Whoever has no address is not to be reached (`NodeREST.ResourceLocation`).
        if found.value()["status"]["addresses"]
            .as_array()
            .is_none_or(Vec::is_empty)
        {
            let why = "no preferred addresses found; known addresses: []";
            return Err(Status::new(500, "", why));
        }
        let why = "proxy of nodes is not served here";
        Err(Status::new(501, "NotImplemented", why))
    }

    /// What a container says from now on, and what it is told.
    fn attach(&self, options: &Value) -> Result<Answer, Status> {
        let name = &self.info.name;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
        let container = container_of(&pod, name, options["container"].as_str())?;
        let hook = hook_of(self.server, &pod, name)?;
        self.must_upgrade()?;
        let attached = hook.attach(self.ns, name, &container, options["stdin"] == true);
        let none = || Status::internal(format!("container {container} not found in pod {name}"));
        streams::attach(self.r, attached.ok_or_else(none)?)
    }

    /// A command in a container.
    fn exec(&self, options: &Value) -> Result<Answer, Status> {
        let name = &self.info.name;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
        let container = container_of(&pod, name, options["container"].as_str())?;
        let hook = hook_of(self.server, &pod, name)?;
        self.must_upgrade()?;
        let command = options["command"].as_array().into_iter().flatten();
        let exec = streams::Exec {
            hook,
            namespace: self.ns.to_owned(),
            pod: name.clone(),
            container,
            command: command.filter_map(|c| c.as_str().map(str::to_owned)).collect(),
            stdin: options["stdin"] == true,
            tty: options["tty"] == true,
        };
        streams::exec(self.r, exec)
    }

    /// Ports of a pod.
    fn port_forward(&self, options: &Value) -> Result<Answer, Status> {
        let name = &self.info.name;
        let pod = self.server.get(self.resource, self.ns, name)?.value();
        let hook = hook_of(self.server, &pod, name)?;
        let spoken = self.r.headers.get(http::header::UPGRADE);
        if let Some(other) = spoken
            .and_then(|v| v.to_str().ok())
            .filter(|_| !streams::is_asked(self.r))
        {
            let why = format!("portforward of pods over {} is not served here", quote(other));
            return Err(Status::new(501, "NotImplemented", why));
        }
        self.must_upgrade()?;
        let ports = options["ports"].as_array().into_iter().flatten();
        let ports: Vec<u16> = ports.filter_map(|p| u16::try_from(p.as_u64()?).ok()).collect();
        if ports.is_empty() {
            return Err(Status::bad_request("query parameter \"port\" is required".to_owned()));
        }
        // `portforward.NewV4Options`.
        if ports.contains(&0) {
            return Err(Status::bad_request("port \"0\" must be > 0".to_owned()));
        }
        let ways = ports.into_iter().map(|p| (p, hook.forward(self.ns, name, p))).collect();
        port_forward::serve(self.r, name.clone(), ways)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Catalog;

    #[test]
    fn options_have_a_kind_of_their_own() {
        let catalog = Catalog::default();
        for (plural, sub, kind) in [
            ("pods", "exec", Some("PodExecOptions")),
            ("pods", "portforward", Some("PodPortForwardOptions")),
            ("services", "proxy", Some("ServiceProxyOptions")),
            ("nodes", "proxy", Some("NodeProxyOptions")),
            ("pods", "log", None),
            ("services", "status", None),
        ] {
            let r = catalog.find("", "v1", plural).unwrap();
            assert_eq!(options_kind(&r, sub), kind, "{plural}/{sub}");
        }
        let r = catalog.find("apps", "v1", "deployments").unwrap();
        assert_eq!(options_kind(&r, "proxy"), None);
    }

    #[test]
    fn options_are_what_the_query_and_the_path_say() {
        let of = |uri: &str, kind: &str| options_of(&Incoming::get(uri), kind);
        let pod = "/api/v1/namespaces/ns/pods/a";
        assert_eq!(
            of(
                &format!("{pod}/exec?command=ls&command=-l&stdin=true&container=c&ports=1"),
                "PodExecOptions"
            )
            .unwrap(),
            json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdin": true, "container": "c", "command": ["ls", "-l"]})
        );
        assert_eq!(
            of(
                &format!("{pod}/portforward?ports=80,81&ports=0"),
                "PodPortForwardOptions"
            )
            .unwrap()["ports"],
            json!([80, 81, 0])
        );
        assert_eq!(
            of(&format!("{pod}/portforward?ports=80,x"), "PodPortForwardOptions")
                .unwrap_err()
                .message,
            "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            of(&format!("{pod}/proxy/a/b?c=d"), "PodProxyOptions").unwrap()["path"],
            "/a/b"
        );
        assert_eq!(
            of("/api/v1/nodes/n/proxy/pods", "NodeProxyOptions").unwrap()["path"],
            "/pods"
        );
        assert_eq!(
            of("/api/v1/nodes/n/proxy", "NodeProxyOptions").unwrap()["path"],
            Value::Null
        );
    }
}
