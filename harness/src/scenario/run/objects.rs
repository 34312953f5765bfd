//! Objects of a testbed's clusters, as a user of them sees them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kube::api::{DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, ApiResource, Scope};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use super::super::step::{ObjectRef, PatchKind};

/// Field manager of what scenarios apply.
const MANAGER: &str = "cfn";

/// Why an object could not be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ObjectError {
    /// No such cluster (a checked scenario never asks for one).
    #[error("unknown cluster {0}")]
    Cluster(String),
    /// The cluster does not serve this kind.
    #[error("{cluster} does not serve {kind} of {api_version}: {why}")]
    Kind {
        /// Cluster.
        cluster: String,
        /// Kind.
        kind: String,
        /// API version.
        api_version: String,
        /// What it said.
        why: String,
    },
    /// The object is there, and this run did not make it: in clusters that are somebody else's it is left alone.
    #[error("{cluster}: {object} is there already and not of this run: it is left alone")]
    NotOurs {
        /// Cluster.
        cluster: String,
        /// Object.
        object: String,
    },
    /// The cluster refused.
    #[error("{cluster}: {doing}: {why}")]
    Refused {
        /// Cluster.
        cluster: String,
        /// What was tried.
        doing: String,
        /// What it said.
        why: String,
    },
}

/// (cluster, API version, kind) -> the resource, and whether it is namespaced.
type Kinds = BTreeMap<(String, String, String), (ApiResource, bool)>;

/// The clusters, and which resource a kind is.
pub struct Objects {
    clients: BTreeMap<String, Client>,
    marks: BTreeMap<String, String>,
    kinds: Mutex<Kinds>,
}

fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}

impl Objects {
    /// Over these clusters; what is applied is given `marks` as labels.
    pub fn new(clients: BTreeMap<String, Client>, marks: BTreeMap<String, String>) -> Self {
        Self {
            clients,
            marks,
            kinds: Mutex::default(),
        }
    }

    /// The resource of a kind, and whether it is namespaced.
    pub async fn kind(
        &self,
        cluster: &str,
        api_version: &str,
        kind: &str,
    ) -> Result<(Client, ApiResource, bool), ObjectError> {
        let client = self
            .clients
            .get(cluster)
            .ok_or_else(|| ObjectError::Cluster(cluster.to_owned()))?;
        let key = (cluster.to_owned(), api_version.to_owned(), kind.to_owned());
        let known = self
            .kinds
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some((r, namespaced)) = known {
            return Ok((client.clone(), r, namespaced));
        }
        let found: Result<(ApiResource, ApiCapabilities), _> =
            kube::discovery::pinned_kind(client, &gvk(api_version, kind)).await;
        let (r, c) = found.map_err(|e| ObjectError::Kind {
            cluster: cluster.to_owned(),
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
            why: e.to_string(),
        })?;
        let namespaced = c.scope == Scope::Namespaced;
        let mut kinds = self.kinds.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kinds.insert(key, (r.clone(), namespaced));
        Ok((client.clone(), r, namespaced))
    }

    async fn api(&self, cluster: &str, o: &ObjectRef) -> Result<Api<DynamicObject>, ObjectError> {
        let (client, r, namespaced) = self.kind(cluster, &o.api_version, &o.kind).await?;
        Ok(match (namespaced, &o.namespace, &o.name) {
            (false, ..) | (true, None, None) => Api::all_with(client, &r),
            (true, ns, _) => Api::namespaced_with(client, ns.as_deref().unwrap_or("default"), &r),
        })
    }

    /// Everything that `o` names, by name.
    pub async fn select(&self, cluster: &str, o: &ObjectRef) -> Result<Vec<Value>, ObjectError> {
        let refused = |e: kube::Error| self.refused(cluster, &format!("reading {o}"), &e);
        let api = self.api(cluster, o).await?;
        let found = match &o.name {
            Some(n) => api.get_opt(n).await.map_err(refused)?.into_iter().collect(),
            None => {
                let mut p = ListParams::default();
                p.label_selector.clone_from(&o.label_selector);
                api.list(&p).await.map_err(refused)?.items
            }
        };
        let kind = |mut v: Value| {
            // Items of a list come without them.
            v["apiVersion"] = o.api_version.clone().into();
            v["kind"] = o.kind.clone().into();
            v
        };
        let mut out: Vec<Value> = found
            .iter()
            .filter_map(|x| serde_json::to_value(x).ok())
            .map(kind)
            .collect();
        out.sort_by_key(name_of);
        Ok(out)
    }

    /// Applies a manifest; says which object it was.
    pub async fn apply(&self, cluster: &str, manifest: &Value) -> Result<String, ObjectError> {
        let text = |p: &str| manifest.pointer(p).and_then(Value::as_str).map(str::to_owned);
        let o = ObjectRef {
            api_version: text("/apiVersion").unwrap_or_default(),
            kind: text("/kind").unwrap_or_default(),
            namespace: text("/metadata/namespace"),
            name: Some(text("/metadata/name").unwrap_or_default()),
            label_selector: None,
        };
        let api = self.api(cluster, &o).await?;
        let params = PatchParams::apply(MANAGER).force();
        let name = o.name.clone().unwrap_or_default();
        let mut manifest = manifest.clone();
        if !self.marks.is_empty() {
            let there = api.get_opt(&name).await;
            let there = there.map_err(|e| self.refused(cluster, &format!("reading {o}"), &e))?;
            if there.is_some_and(|t| self.marks.iter().any(|(k, v)| t.labels().get(k) != Some(v))) {
                return Err(ObjectError::NotOurs {
                    cluster: cluster.to_owned(),
                    object: o.to_string(),
                });
            }
            for (k, v) in &self.marks {
                manifest["metadata"]["labels"][k] = v.clone().into();
            }
        }
        api.patch(&name, &params, &Patch::Apply(&manifest))
            .await
            .map_err(|e| self.refused(cluster, &format!("applying {o}"), &e))?;
        Ok(o.to_string())
    }

    /// Deletes everything that `o` names; says how many there were.
    pub async fn delete(&self, cluster: &str, o: &ObjectRef) -> Result<usize, ObjectError> {
        let mut all = self.select(cluster, o).await?;
        all.retain(|v| self.marks.iter().all(|(k, m)| v["metadata"]["labels"][k] == m.as_str()));
        for v in &all {
            let one = ObjectRef {
                namespace: v
                    .pointer("/metadata/namespace")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
                name: v.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned),
                ..o.clone()
            };
            let api = self.api(cluster, &one).await?;
            match api
                .delete(one.name.as_deref().unwrap_or_default(), &DeleteParams::default())
                .await
            {
                Ok(_) => {}
                Err(kube::Error::Api(s)) if s.code == 404 => {}
                Err(e) => return Err(self.refused(cluster, &format!("deleting {one}"), &e)),
            }
        }
        Ok(all.len())
    }

    /// Patches the object that `o` names.
    pub async fn patch(
        &self,
        cluster: &str,
        o: &ObjectRef,
        kind: PatchKind,
        patch: &Value,
        subresource: Option<&str>,
    ) -> Result<(), ObjectError> {
        let refused = |e: kube::Error| self.refused(cluster, &format!("patching {o}"), &e);
        let api = self.api(cluster, o).await?;
        let name = o.name.as_deref().unwrap_or_default();
        let p = match kind {
            PatchKind::Merge => Patch::Merge(patch.clone()),
            PatchKind::Strategic => Patch::Strategic(patch.clone()),
            PatchKind::Json => {
                Patch::Json(serde_json::from_value(patch.clone()).map_err(|e| ObjectError::Refused {
                    cluster: cluster.to_owned(),
                    doing: format!("reading the patch of {o}"),
                    why: e.to_string(),
                })?)
            }
        };
        let params = PatchParams::default();
        match subresource {
            Some("scale") => api.patch_scale(name, &params, &p).await.map(|_| ()).map_err(refused),
            Some("status") => api.patch_status(name, &params, &p).await.map(|_| ()).map_err(refused),
            _ => api.patch(name, &params, &p).await.map(|_| ()).map_err(refused),
        }
    }

    /// Cordons a node and evicts its pods (not those of DaemonSets), as `kubectl drain`.
    pub async fn drain(&self, cluster: &str, node: &str) -> Result<usize, ObjectError> {
        let object = |kind: &str| ObjectRef {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: None,
            name: None,
            label_selector: None,
        };
        let target = ObjectRef {
            name: Some(node.to_owned()),
            ..object("Node")
        };
        let cordon = serde_json::json!({"spec": {"unschedulable": true}});
        self.patch(cluster, &target, PatchKind::Merge, &cordon, None).await?;
        let mut evicted = 0;
        for pod in self.select(cluster, &object("Pod")).await? {
            let here = pod.pointer("/spec/nodeName").and_then(Value::as_str) == Some(node);
            let owners = pod
                .pointer("/metadata/ownerReferences")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            if !here || owners.iter().any(|o| o["kind"] == "DaemonSet") {
                continue;
            }
            let text = |p: &str| pod.pointer(p).and_then(Value::as_str).unwrap_or_default().to_owned();
            let client = self
                .clients
                .get(cluster)
                .ok_or_else(|| ObjectError::Cluster(cluster.to_owned()))?;
            let api: Api<k8s_openapi::api::core::v1::Pod> =
                Api::namespaced(client.clone(), &text("/metadata/namespace"));
            match api.evict(&text("/metadata/name"), &EvictParams::default()).await {
                Ok(_) => evicted += 1,
                Err(kube::Error::Api(s)) if s.code == 404 => {}
                Err(e) => return Err(self.refused(cluster, &format!("evicting {}", text("/metadata/name")), &e)),
            }
        }
        Ok(evicted)
    }

    fn refused(&self, cluster: &str, doing: &str, e: &kube::Error) -> ObjectError {
        let why = match e {
            kube::Error::Api(s) => format!("{} ({} {})", s.message, s.code, s.reason),
            e => e.to_string(),
        };
        ObjectError::Refused {
            cluster: cluster.to_owned(),
            doing: doing.to_owned(),
            why,
        }
    }
}

/// `namespace/name`, or `name`.
#[must_use]
pub fn name_of(v: &Value) -> String {
    let text = |p: &str| v.pointer(p).and_then(Value::as_str);
    match (text("/metadata/namespace"), text("/metadata/name")) {
        (Some(ns), Some(n)) => format!("{ns}/{n}"),
        (None, Some(n)) => n.to_owned(),
        _ => String::new(),
    }
}
