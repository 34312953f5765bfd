//! What resources may be called (`pkg/apis/core/helper` in Kubernetes).

use crate::defaults::names;
use crate::schema::FieldError;

/// Resources of objects that a quota or a list of amounts may name without a domain.
const STANDARD: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "services.nodeports",
    "services.loadbalancers",
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

const HUGE: &str = "hugepages-";

/// `IsNativeResource`: of the domain that needs no name.
fn is_native(name: &str) -> bool {
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

/// `IsStandardQuotaResourceName`.
pub(super) fn is_of_quota(name: &str) -> bool {
    (STANDARD.contains(&name) && name != "storage") || name.starts_with(HUGE) || name.starts_with("requests.hugepages-")
}

/// `validateResourceName`.
pub(super) fn any(name: &str, path: &str, errors: &mut Vec<FieldError>) {
    let wrong = names::qualified_name(name);
    if wrong.is_empty() && !name.contains('/') && name != "storage" && !is_of_quota(name) {
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
