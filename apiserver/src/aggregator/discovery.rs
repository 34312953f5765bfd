//! What servers behind this one serve (`kube-aggregator/pkg/apiserver/handler_discovery.go`,
//! `controllers/openapiv3/aggregator`): asked for in one document, or, of those that do not speak that, for one version.

use std::sync::Arc;

use http::header;
use serde_json::{Value, json};

use super::remote::Remote;
use super::transport::{Place, Told};
use crate::registry::{Server, text};

/// Aggregated discovery, as clients ask for it.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const JSON: &str = "application/json";

/// What one serves of its group and version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Discovered {
    /// As aggregated discovery has them.
    pub(crate) resources: Value,
    /// Where its OpenAPI document is, as its own index says; `None`: it has none.
    pub(crate) openapi: Option<String>,
}

impl Server {
    /// Asks one what it serves; `None`: it does not say.
    pub(super) async fn discover(&self, to: &Remote, at: &Place) -> Option<Discovered> {
        let whole = self.read_remote(to, at, "/apis", AGGREGATED).await.ok()?;
        let resources = match is_aggregated(&whole) {
            true => of_document(&serde_json::from_slice(&whole.body).ok()?, to),
            false => {
                let list = self.read_remote(to, at, &to.root(), JSON).await.ok()?;
                let list: Value = serde_json::from_slice(&list.body)
                    .ok()
                    .filter(|_| list.code.is_success())?;
                aggregated_resources(&list, &to.group, &to.version)
            }
        };
        let index = self.read_remote(to, at, "/openapi/v3", JSON).await.ok();
        let index = index.filter(|i| i.code.is_success());
        let index: Option<Value> = index.and_then(|i| serde_json::from_slice(&i.body).ok());
        let own = index.map(|i| i["paths"][to.root().trim_start_matches('/')]["serverRelativeURL"].clone());
        Some(Discovered {
            resources,
            openapi: own.and_then(|u| u.as_str().map(str::to_owned)),
        })
    }

    /// What is known of who serves a path of `/openapi/v3`, and where its document is.
    pub(crate) fn remote_openapi(&self, path: &str) -> Option<(Arc<Remote>, String)> {
        let remote = self.remote_of(&format!("/{path}"))?;
        if remote.root().trim_start_matches('/') != path {
            return None;
        }
        let url = self.aggregation.discovered(&remote.name)?.openapi.clone()?;
        Some((remote, url))
    }
}

fn is_aggregated(told: &Told) -> bool {
    let kind = told.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    told.code.is_success() && kind.is_some_and(|k| k.contains("as=APIGroupDiscoveryList"))
}

/// The resources of a group and version in a whole document.
fn of_document(document: &Value, of: &Remote) -> Value {
    let items = |v: &Value, k: &str| v[k].as_array().cloned().unwrap_or_default();
    let groups = items(document, "items");
    let group = groups.iter().find(|g| text(g, "/metadata/name") == of.group);
    let versions = group.map(|g| items(g, "versions")).unwrap_or_default();
    let version = versions.iter().find(|v| text(v, "/version") == of.version);
    version.map_or(Value::Null, |v| v["resources"].clone())
}

/// An `APIResourceList` as aggregated discovery has it (`ConvertGroupVersionIntoToDiscovery`).
fn aggregated_resources(list: &Value, group: &str, version: &str) -> Value {
    let kind = |r: &Value| {
        let or = |at: &str, own: &str| match text(r, at) {
            "" => own.to_owned(),
            t => t.to_owned(),
        };
        json!({"group": or("/group", group), "version": or("/version", version), "kind": text(r, "/kind")})
    };
    let mut all: Vec<Value> = Vec::new();
    for r in list["resources"].as_array().into_iter().flatten() {
        let (name, sub) = match text(r, "/name").split_once('/') {
            Some((name, sub)) => (name, Some(sub)),
            None => (text(r, "/name"), None),
        };
        let scope = if r["namespaced"] == true {
            "Namespaced"
        } else {
            "Cluster"
        };
        let at = match all.iter().position(|o| o["resource"] == name) {
            Some(at) => at,
            // A subresource may be told before what it is of, or alone.
            None => {
                all.push(
                    json!({"resource": name, "responseKind": {"group": "", "version": "", "kind": ""},
                    "scope": scope, "singularResource": "", "verbs": []}),
                );
                all.len() - 1
            }
        };
        match sub {
            Some(sub) => {
                let told = json!({"subresource": sub, "responseKind": kind(r), "verbs": r["verbs"]});
                match all[at]["subresources"].as_array_mut() {
                    Some(subs) => subs.push(told),
                    None => all[at]["subresources"] = json!([told]),
                }
            }
            None => {
                all[at]["responseKind"] = kind(r);
                for (k, from) in [
                    ("singularResource", "singularName"),
                    ("verbs", "verbs"),
                    ("shortNames", "shortNames"),
                    ("categories", "categories"),
                ] {
                    if !r[from].is_null() {
                        all[at][k] = r[from].clone();
                    }
                }
            }
        }
    }
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_aggregated_ones() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get", "patch"]},
            {"name": "fischers", "singularName": "fischer", "namespaced": false, "kind": "Fischer", "verbs": ["list"]}]});
        let kind = |k: &str| json!({"group": "g", "version": "v1", "kind": k});
        assert_eq!(
            aggregated_resources(&list, "g", "v1"),
            json!([
                {"resource": "flunders", "responseKind": kind("Flunder"), "scope": "Namespaced", "singularResource": "flunder",
                    "verbs": ["get"], "shortNames": ["fl"],
                    "subresources": [{"subresource": "status", "responseKind": kind("Flunder"), "verbs": ["get", "patch"]}]},
                {"resource": "fischers", "responseKind": kind("Fischer"), "scope": "Cluster", "singularResource": "fischer", "verbs": ["list"]}])
        );
    }

    #[test]
    fn a_whole_document_has_the_version() {
        let of =
            Remote::of(&json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1", "service": {}}}))
                .unwrap();
        let document = json!({"items": [{"metadata": {"name": "h"}, "versions": [{"version": "v1", "resources": [1]}]},
            {"metadata": {"name": "g"}, "versions": [{"version": "v2", "resources": [2]}, {"version": "v1", "resources": [3]}]}]});
        assert_eq!(of_document(&document, &of), json!([3]));
        assert_eq!(of_document(&json!({}), &of), Value::Null);
    }
}
