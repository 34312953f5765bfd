//! Names and well-known labels, annotations, taints and finalizers, as Karmada has them (`pkg/util/names`,
//! `pkg/util/constants.go`, `pkg/apis/*/well_known_constants.go`).

/// Prefix of a cluster's execution namespace on the hub.
pub const EXECUTION_SPACE_PREFIX: &str = "karmada-es-";
/// Namespace of the cluster leases on the hub.
pub const LEASE_NAMESPACE: &str = "karmada-cluster";
/// Namespace of CFN's own configuration on the hub.
pub const CFN_NAMESPACE: &str = "cfn-system";
/// ConfigMap in [`CFN_NAMESPACE`]: which host:port answers latency probes at each site (data: site -> host:port).
/// Named as Karmada's own objects are, which tools that look at what a Karmada holds leave aside.
pub const PROBE_TARGETS: &str = "karmada-probe-targets";

/// Label on templates: the policy that claimed them, by its permanent id.
pub const PROPAGATION_POLICY_ID: &str = "propagationpolicy.karmada.io/permanent-id";
/// Label: the cluster-wide policy that claimed a template.
pub const CLUSTER_PROPAGATION_POLICY_ID: &str = "clusterpropagationpolicy.karmada.io/permanent-id";
/// Annotation: namespace of the claiming policy.
pub const PROPAGATION_POLICY_NAMESPACE: &str = "propagationpolicy.karmada.io/namespace";
/// Annotation: name of the claiming policy.
pub const PROPAGATION_POLICY_NAME: &str = "propagationpolicy.karmada.io/name";
/// Annotation: name of the claiming cluster-wide policy.
pub const CLUSTER_PROPAGATION_POLICY_NAME: &str = "clusterpropagationpolicy.karmada.io/name";
/// Label: a binding's permanent id, on its Works.
pub const RESOURCE_BINDING_ID: &str = "resourcebinding.karmada.io/permanent-id";
/// Annotation: namespace of the binding a Work or object belongs to.
pub const RESOURCE_BINDING_NAMESPACE: &str = "resourcebinding.karmada.io/namespace";
/// Annotation: name of the binding a Work or object belongs to.
pub const RESOURCE_BINDING_NAME: &str = "resourcebinding.karmada.io/name";
/// Label: a Work's permanent id.
pub const WORK_ID: &str = "work.karmada.io/permanent-id";
/// Annotation on objects in members: namespace of their Work.
pub const WORK_NAMESPACE: &str = "work.karmada.io/namespace";
/// Annotation on objects in members: name of their Work.
pub const WORK_NAME: &str = "work.karmada.io/name";
/// Annotation: how conflicts with objects that exist in the member are resolved.
pub const CONFLICT_RESOLUTION: &str = "work.karmada.io/conflict-resolution";
/// Label on everything that was propagated.
pub const MANAGED_LABEL: &str = "karmada.io/managed";
/// Annotation on a binding: the placement of the last scheduling, JSON.
pub const APPLIED_PLACEMENT: &str = "policy.karmada.io/applied-placement";
/// Annotation on objects in members: the uid of their template on the hub.
pub const TEMPLATE_UID: &str = "resourcetemplate.karmada.io/uid";
/// Annotation on objects in members: which annotations came from the hub.
pub const MANAGED_ANNOTATIONS: &str = "resourcetemplate.karmada.io/managed-annotations";
/// Annotation on objects in members: which labels came from the hub.
pub const MANAGED_LABELS: &str = "resourcetemplate.karmada.io/managed-labels";
/// Annotation on objects in members: the template's generation.
pub const TEMPLATE_GENERATION: &str = "resourcetemplate.karmada.io/generation";

/// Annotation of a policy with ordered affinities: `true` brings its workloads back to the first group when all of that
/// group's clusters are healthy again, within the hub's budget of fail-back.
pub const AFFINITY_RETURN: &str = "cfn.akraino.org/affinity-return";
/// Annotation on a binding: what its template needs beside it, JSON (propagateDeps).
pub const DEPENDENCIES: &str = "resourcebinding.karmada.io/dependencies";
/// Prefix of labels on a binding: which binding needs it.
pub const DEPENDED_BY_PREFIX: &str = "resourcebinding.karmada.io/depended-by-";
/// Label on a namespace: `true` keeps it off the members.
pub const SKIP_AUTO_PROPAGATION: &str = "namespace.karmada.io/skip-auto-propagation";

/// Finalizer of clusters.
pub const CLUSTER_FINALIZER: &str = "karmada.io/cluster-controller";
/// Finalizer of Works.
pub const WORK_FINALIZER: &str = "karmada.io/execution-controller";
/// Finalizer of bindings.
pub const BINDING_FINALIZER: &str = "karmada.io/binding-controller";
/// Finalizer of policies.
pub const POLICY_FINALIZER: &str = "karmada.io/propagation-policy-controller";

/// Taint of a cluster whose Ready condition is False.
pub const TAINT_NOT_READY: &str = "cluster.karmada.io/not-ready";
/// Taint of a cluster whose Ready condition is Unknown.
pub const TAINT_UNREACHABLE: &str = "cluster.karmada.io/unreachable";

/// Group of every cluster agent's identity on the hub.
pub const AGENT_GROUP: &str = "system:karmada:agents";

/// ServiceAccount in [`CFN_NAMESPACE`] of the hub whose token may ask for an agent's identity: for hubs that know no
/// bootstrap tokens. Whoever wants it makes it.
pub const BOOTSTRAP_ACCOUNT: &str = "cfn-bootstrap";

/// The user name of the agent of `cluster` on the hub.
#[must_use]
pub fn agent_user(cluster: &str) -> String {
    format!("system:karmada:agent:{cluster}")
}

/// The execution namespace of `cluster`.
#[must_use]
pub fn execution_namespace(cluster: &str) -> String {
    format!("{EXECUTION_SPACE_PREFIX}{cluster}")
}

/// The binding's name of a template: `<name>-<kind>` in lower case (`names.GenerateBindingName`).
#[must_use]
pub fn binding_name(kind: &str, name: &str) -> String {
    format!("{}-{}", name.replace(':', "."), kind.to_lowercase())
}
