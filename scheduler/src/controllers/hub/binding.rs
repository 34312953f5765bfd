//! Bindings of either kind.

use cfn_api::karmada::work::{ResourceBindingSpec, ResourceBindingStatus};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use serde_json::Value;

use super::Key;

/// A binding of either kind.
#[derive(Debug, Clone)]
pub(in crate::controllers) struct Binding {
    pub meta: ObjectMeta,
    pub spec: ResourceBindingSpec,
    pub status: ResourceBindingStatus,
}

impl Binding {
    /// Reads one; `None` when it is malformed.
    pub(in crate::controllers) fn read(object: DynamicObject) -> Option<Self> {
        let mut data = object.data;
        let mut part = |f: &str| {
            data.get_mut(f)
                .map(Value::take)
                .unwrap_or_else(|| Value::Object(Default::default()))
        };
        let spec = serde_json::from_value(part("spec")).ok()?;
        let status = serde_json::from_value(part("status")).ok()?;
        Some(Self {
            meta: object.metadata,
            spec,
            status,
        })
    }

    /// A status as it goes over the wire.
    pub(in crate::controllers) fn status_value(status: &ResourceBindingStatus) -> Value {
        serde_json::to_value(status).unwrap_or_default()
    }

    pub(in crate::controllers) fn key(&self) -> Key {
        Key::of(&self.meta)
    }

    pub(in crate::controllers) fn deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Label that carries this kind of binding's permanent id.
    pub(in crate::controllers) fn id_label(&self) -> &'static str {
        if self.meta.namespace.is_some() {
            names::RESOURCE_BINDING_ID
        } else {
            CLUSTER_BINDING_ID
        }
    }

    pub(in crate::controllers) fn permanent_id(&self) -> &str {
        self.meta
            .labels
            .as_ref()
            .and_then(|l| l.get(self.id_label()))
            .map_or("", String::as_str)
    }
}

/// Label: permanent id of a cluster-wide binding.
pub(in crate::controllers) const CLUSTER_BINDING_ID: &str = "clusterresourcebinding.karmada.io/permanent-id";

/// Annotation: name of a cluster-wide binding.
pub(in crate::controllers) const CLUSTER_BINDING_NAME: &str = "clusterresourcebinding.karmada.io/name";
