//! Namespaces of the hub go to every member, so that what is in them has a place there (Karmada's
//! `pkg/controllers/namespace`).

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::work::Work;
use cfn_api::names;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;

use super::binding::{delete, put};
use super::hub::{Gvk, Hub, Key, work};
use super::{manifest, name};

/// A namespace in members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InMembers {
    name: String,
    /// One of them; `None`: all. A fleet grows one by one, and who was there before is not looked at again.
    cluster: Option<String>,
}

impl InMembers {
    pub(super) fn all(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: None,
        }
    }

    pub(super) fn one(name: &str, cluster: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: Some(cluster.to_owned()),
        }
    }
}

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "namespace",
        |h| &h.namespace,
        |hub, of| async move { reconcile(&hub, &of).await },
    )
    .await;
}

/// Whether a namespace is for the members.
pub(super) fn propagated(ns: &Namespace) -> bool {
    let name = ns.metadata.name.as_deref().unwrap_or_default();
    let skip = ns
        .metadata
        .labels
        .as_ref()
        .and_then(|l| l.get(names::SKIP_AUTO_PROPAGATION));
    name != "default" && !name::reserved(name) && skip.is_none_or(|v| v != "true")
}

async fn reconcile(hub: &Arc<Hub>, of: &InMembers) -> Result<(), kube::Error> {
    let ns = of.name.as_str();
    // The hub has one of these for each member, and they are nobody else's.
    if name::reserved(ns) {
        return Ok(());
    }
    let work_name = name::work_name("Namespace", ns, "");
    let (namespace, clusters, works) = {
        let state = hub.state();
        let here = || match &of.cluster {
            Some(one) => state.clusters.range::<String, _>(one..=one),
            None => state.clusters.range::<String, _>(..),
        };
        let clusters: Vec<String> = here()
            .filter(|(_, c)| c.metadata.deletion_timestamp.is_none())
            .map(|(n, _)| n.clone())
            .collect();
        let works: Vec<Arc<Work>> = here()
            .filter_map(|(c, _)| state.works.get(&Key::new(&names::execution_namespace(c), &work_name)))
            .filter(|w| owned(w))
            .cloned()
            .collect();
        (state.namespaces.get(ns).cloned(), clusters, works)
    };
    let live = namespace.filter(|n| propagated(n) && n.metadata.deletion_timestamp.is_none());
    let Some(namespace) = live else {
        for w in &works {
            delete(hub, w).await?;
        }
        return Ok(());
    };
    let mut object: DynamicObject =
        serde_json::from_value(serde_json::to_value(&*namespace).map_err(kube::Error::SerdeError)?)
            .map_err(kube::Error::SerdeError)?;
    object.types = Some(kube::core::TypeMeta {
        api_version: "v1".into(),
        kind: "Namespace".into(),
    });
    // A namespace has no spec of its own that changes, so no generation either.
    object.metadata.generation = None;
    let base = manifest::of("Namespace", &object);
    let uid = namespace.metadata.uid.clone().unwrap_or_default();
    let gvk = Gvk {
        api_version: "v1".into(),
        kind: "Namespace".into(),
    };
    let mut failed = None;
    for cluster in &clusters {
        let key = Key::new(&names::execution_namespace(cluster), &work_name);
        let labels = BTreeMap::from([(
            names::WORK_ID.to_owned(),
            name::permanent_id(&["namespace", &uid, cluster]),
        )]);
        let mut body = base.object().clone();
        let annotations = match manifest::override_for(hub, &mut body, &gvk, cluster) {
            Ok(a) => a,
            Err(e) => {
                tracing::warn!(namespace = ns, cluster, error = %e, "no Work");
                continue;
            }
        };
        manifest::mark(&mut body, &base, &key, BTreeMap::new(), &labels);
        let m = manifest::Manifest {
            object: body,
            labels,
            annotations,
        };
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            name: ns.to_owned(),
            uid: uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        if let Err(e) = put(hub, &key, m, None, Some(owner)).await {
            failed = Some(e);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Whether a Work is this controller's.
fn owned(w: &Work) -> bool {
    w.metadata
        .owner_references
        .iter()
        .flatten()
        .any(|o| o.kind == "Namespace" && o.api_version == "v1")
}
