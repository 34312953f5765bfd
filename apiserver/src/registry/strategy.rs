//! What the kinds' strategies say of writing over their objects (`pkg/registry/*/*/strategy.go` in Kubernetes).

use super::Resource;

/// Kinds that a PUT may create (`AllowCreateOnUpdate`).
pub(super) fn may_create_by_update(r: &Resource) -> bool {
    r.is("coordination.k8s.io", "leases")
        || r.is("", "events")
        || r.is("events.k8s.io", "events")
        || r.is("", "endpoints")
        || r.is("", "limitranges")
        || r.is("", "services")
        || r.is("node.k8s.io", "runtimeclasses")
        || r.group == "rbac.authorization.k8s.io" && r.custom.is_none()
}

/// Kinds that may be written over without saying from what (`AllowUnconditionalUpdate`).
pub(super) fn may_be_unconditional(r: &Resource) -> bool {
    let not = match &*r.group {
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "coordination.k8s.io"
        | "node.k8s.io"
        | "policy" => true,
        "storage.k8s.io" => matches!(
            &*r.plural,
            "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
        ),
        "certificates.k8s.io" => matches!(&*r.plural, "clustertrustbundles" | "podcertificaterequests"),
        _ => false,
    };
    r.custom.is_none() && !not
}
