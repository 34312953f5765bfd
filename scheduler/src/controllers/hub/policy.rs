//! Policies of either kind: of a namespace, and of the whole hub.

use cfn_api::karmada::overrides::{ClusterOverridePolicy, OverridePolicy, OverrideSpec};
use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy, PropagationSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A propagation policy of either kind (no namespace: cluster-wide).
#[derive(Debug, Clone)]
pub(in crate::controllers) struct Policy {
    pub meta: ObjectMeta,
    pub spec: PropagationSpec,
}

impl From<PropagationPolicy> for Policy {
    fn from(p: PropagationPolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec,
        }
    }
}

impl From<ClusterPropagationPolicy> for Policy {
    fn from(p: ClusterPropagationPolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec.0,
        }
    }
}

/// An override policy of either kind (no namespace: cluster-wide).
#[derive(Debug, Clone)]
pub(in crate::controllers) struct Override {
    pub meta: ObjectMeta,
    pub spec: OverrideSpec,
}

impl From<OverridePolicy> for Override {
    fn from(p: OverridePolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec,
        }
    }
}

impl From<ClusterOverridePolicy> for Override {
    fn from(p: ClusterOverridePolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec.0,
        }
    }
}
