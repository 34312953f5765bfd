//! What resources may be called (`pkg/apis/core/helper` in Kubernetes).

use super::names;
use crate::schema::FieldError;

/// Amounts that a list of resources may name without a domain.
const AMOUNTS: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

/// What is counted by the piece.
const PIECES: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// What names of large pages begin with.
pub(super) const HUGE: &str = "hugepages-";

/// `IsNativeResource`: of the domain that needs no name.
pub(super) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// `IsExtendedResourceName`: of another domain, and fit to be asked for in a quota.
pub(super) fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// `IsOvercommitAllowed`.
pub(super) fn is_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE)
}

/// `IsIntegerResourceName`.
pub(super) fn is_whole(name: &str) -> bool {
    PIECES.contains(&name) || is_extended(name)
}

/// `IsStandardResourceName`.
fn is_standard(name: &str) -> bool {
    let by_prefix = [HUGE, "requests.hugepages-"];
    AMOUNTS.contains(&name) || PIECES.contains(&name) || by_prefix.iter().any(|p| name.starts_with(p))
}

/// `IsStandardQuotaResourceName`.
pub(super) fn is_of_quota(name: &str) -> bool {
    is_standard(name) && name != "storage"
}

/// `validateResourceName`.
pub(super) fn any(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && !name.contains('/') && !is_standard(name) {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    errors.extend(wrong.into_iter().map(|why| FieldError::invalid(path, name, why)));
}

/// `validateContainerResourceName`.
pub(super) fn of_container(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    any(name, path, errors);
    let plain = ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with(HUGE);
    if !name.contains('/') && !plain {
        let detail = "must be a standard resource for containers";
        errors.push(FieldError::invalid(path, name, detail));
    } else if !is_native(name) && !is_extended(name) {
        let detail = "doesn't follow extended resource name standard";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// `ValidateResourceQuotaResourceName`.
pub(super) fn of_quota(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    any(name, path, errors);
    if !name.contains('/') && !is_of_quota(name) {
        let detail = "must be a standard resource for quota";
        errors.push(FieldError::invalid(path, name, detail));
    }
}
