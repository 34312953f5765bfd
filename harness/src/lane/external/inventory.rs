//! What components make under fixed names, and what of it was there before: that stays.

use std::collections::BTreeSet;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// Names that were there.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Namespaces.
    pub namespaces: BTreeSet<String>,
    /// ClusterRoles.
    pub roles: BTreeSet<String>,
    /// ClusterRoleBindings.
    pub bindings: BTreeSet<String>,
}

impl Before {
    /// What is there now.
    pub async fn of(client: &Client) -> kube::Result<Self> {
        Ok(Self {
            namespaces: names::<Namespace>(client).await?,
            roles: names::<ClusterRole>(client).await?,
            bindings: names::<ClusterRoleBinding>(client).await?,
        })
    }
}

async fn names<K>(client: &Client) -> kube::Result<BTreeSet<String>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let all = Api::<K>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(all.items.iter().map(ResourceExt::name_any).collect())
}

/// Whether the scheduler makes a role or binding of this name, without our label.
#[must_use]
pub fn is_components(name: &str) -> bool {
    name.starts_with("system:karmada:")
}

/// Whether the scheduler makes a namespace of this name.
#[must_use]
pub fn is_components_namespace(name: &str) -> bool {
    use cfn_api::names::{CFN_NAMESPACE, EXECUTION_SPACE_PREFIX, LEASE_NAMESPACE};
    [LEASE_NAMESPACE, CFN_NAMESPACE].contains(&name) || name.starts_with(EXECUTION_SPACE_PREFIX)
}
