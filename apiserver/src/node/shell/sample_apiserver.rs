//! Kubernetes' sample extension API server (`k8s.io/sample-apiserver`): flunders and fischers of `wardle.example.com/v1alpha1`.
//! `v1beta1`, the admission plugin that fischers ban flunders by, and storage in etcd are left out: its state is in memory.

use std::convert::Infallible;

use cfn_net::server;
use http::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::run::{Io, Process, Shell};
use super::serve::certificate;
use crate::extension::Extension;
use crate::node::workload::WorkloadContext;

/// What it is told by its flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags {
    /// Files of certificate and key.
    tls: (String, String),
    port: u16,
}

impl Flags {
    /// Those of a command line; `None`: it is another program's, or one has no meaning here.
    pub(super) fn of(argv: &[String]) -> Option<Self> {
        let (program, args) = argv.split_first()?;
        if program != "/sample-apiserver" {
            return None;
        }
        let (mut cert, mut key, mut port) = (None, None, 443);
        for a in args {
            let (name, value) = a.strip_prefix("--")?.split_once('=')?;
            match name {
                "tls-cert-file" => cert = Some(value.to_owned()),
                "tls-private-key-file" => key = Some(value.to_owned()),
                "secure-port" => port = value.parse().ok()?,
                // Without a policy nothing is written to it.
                "audit-log-path" | "audit-log-maxage" | "audit-log-maxbackup" => {}
                "etcd-servers" | "v" => {}
                _ => return None,
            }
        }
        Some(Self {
            tls: (cert?, key?),
            port,
        })
    }
}

/// A definition of the sample's group.
fn definition(kind: &str, scope: &str, properties: &Value) -> Value {
    let singular = kind.to_lowercase();
    let mut schema = json!({"type": "object", "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
        "metadata": {"type": "object"}}});
    for (k, v) in properties.as_object().into_iter().flatten() {
        schema["properties"][k] = v.clone();
    }
    let version = json!({"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{singular}s.wardle.example.com")},
        "spec": {"group": "wardle.example.com", "scope": scope, "versions": [version],
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": format!("{singular}s"), "singular": singular}}})
}

/// `pkg/apis/wardle/v1alpha1/types.go` of the sample.
fn definitions() -> Vec<Value> {
    let flunder = json!({"status": {"type": "object"}, "spec": {"type": "object", "properties": {
        "reference": {"type": "string"}, "referenceType": {"type": "string", "enum": ["Flunder", "Fischer"]}}}});
    let fischer = json!({"disallowedFlunders": {"type": "array", "items": {"type": "string"}}});
    vec![
        definition("Flunder", "Namespaced", &flunder),
        definition("Fischer", "Cluster", &fischer),
    ]
}

/// Serves until it is told to end.
pub(super) async fn run(flags: &Flags, ctx: &WorkloadContext, p: &Process, io: &Io) -> i32 {
    let shell = Shell::new(p.clone(), Vec::new(), false);
    let started = async {
        let api = ctx.api.as_ref().ok_or("unable to load in-cluster configuration")?;
        let main = api.client(&ctx.net, &ctx.host).map_err(|e| e.to_string())?;
        let started = Extension::start(main, definitions(), ctx.clock.clone(), ctx.seed).await;
        let extension = started.map_err(|e| e.to_string())?;
        let tls = certificate(p, &flags.tls.0, &flags.tls.1, Some(extension.client_cas()))?;
        let listener = ctx.net.listen(&ctx.host, flags.port).await;
        let listener = listener.map_err(|e| format!("listen tcp :{}: {e}", flags.port))?;
        Ok::<_, String>((extension, tls, listener))
    };
    let (extension, tls, listener) = tokio::select! {
        biased;
        () = p.term.cancelled() => return 0,
        started = started => match started {
            Ok(all) => all,
            Err(why) => {
                shell.complain(io, &format!("Error: {why}"));
                return 1;
            }
        },
    };
    shell.complain(io, &format!("Serving securely on [::]:{}", flags.port));
    let cancel = CancellationToken::new();
    let _guard = cancel.clone().drop_guard();
    let handler = move |r: Request<Incoming>| {
        let extension = extension.clone();
        async move { Ok::<_, Infallible>(extension.handle(r).await) }
    };
    tokio::select! {
        biased;
        () = p.term.cancelled() => 0,
        _ = server::serve(listener, Some(tls), handler, cancel.clone()) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_sample() {
        let of = |line: &str| {
            let argv: Vec<String> = line.split(' ').map(str::to_owned).collect();
            Flags::of(&argv)
        };
        let tls = "--tls-cert-file=/c --tls-private-key-file=/k";
        let told = of(&format!(
            "/sample-apiserver --etcd-servers=http://127.0.0.1:2379 {tls} --audit-log-path=-"
        ))
        .unwrap();
        assert_eq!((told.tls.0.as_str(), told.tls.1.as_str(), told.port), ("/c", "/k", 443));
        assert_eq!(
            of(&format!("/sample-apiserver {tls} --secure-port=8443")).unwrap().port,
            8443
        );
        assert_eq!(of("/sample-apiserver --tls-cert-file=/c"), None);
        assert_eq!(of(&format!("/sample-apiserver {tls} --feature-gates=x")), None);
        assert_eq!(of("/agnhost pause"), None);
    }
}
