//! What the kinds' strategies say of writing over their objects (`pkg/registry/*/*/strategy.go` in Kubernetes).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Resource;
use super::kept::{identical_but_metadata, keep_all_but_status};
use super::meta::{metadata, same_spec};
use crate::defaults::{self, TEMPLATE_GENERATION};
use crate::schema;

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

/// What a write through a subresource, or beside one, leaves as it was (`PrepareForUpdate`); of a status with
/// `only_status` all of the metadata, too.
pub(super) fn keep_beside(r: &Resource, subresource: Option<&str>, only_status: bool, old: &Value, new: &mut Value) {
    match subresource {
        // Controllers in process write a status and nothing else, from objects that may be behind.
        Some("status") => {
            keep_all_but_status(r, only_status, old, new);
            super::convert::keep_told(old, new);
        }
        // pkg/registry/core/namespace: namespaceFinalizeStrategy.
        Some("finalize") => {
            let wanted = new["spec"]["finalizers"].clone();
            restore(old, new);
            match wanted {
                Value::Null => drop(new["spec"].as_object_mut().map(|m| m.remove("finalizers"))),
                wanted => new["spec"]["finalizers"] = wanted,
            }
        }
        // Only the conditions: pkg/registry/certificates/certificates csrApprovalStrategy.
        Some("approval") => {
            let conditions = new["status"]["conditions"].clone();
            restore(old, new);
            if !conditions.is_null() {
                new["status"]["conditions"] = conditions;
            }
        }
        // pkg/registry/core/pod: dropNonEphemeralContainerUpdates.
        Some("ephemeralcontainers") => {
            let wanted = new["spec"]["ephemeralContainers"].clone();
            let uid = new["metadata"]["uid"].clone();
            *new = old.clone();
            new["metadata"]["uid"] = uid;
            new["spec"]["ephemeralContainers"] = wanted;
        }
        Some("resize") | None if r.has_status() => match old.get("status") {
            Some(s) => new["status"] = s.clone(),
            None => drop(new.as_object_mut().map(|m| m.remove("status"))),
        },
        _ => {}
    }
}

/// Makes all but the metadata as it was.
fn restore(old: &Value, new: &mut Value) {
    let meta = new["metadata"].take();
    *new = old.clone();
    new["metadata"] = meta;
}

/// Kinds that count what is sent, before what features that are off would bring is taken out.
pub(super) fn counts_what_is_sent(r: &Resource) -> bool {
    r.is("discovery.k8s.io", "endpointslices") || r.is("resource.k8s.io", "resourceslices")
}

/// The generation of an object that is written; `None`: its kind has none. `client`: a client wrote the object itself, not
/// a subresource; `sent`: of a kind that counts what is sent, it sent something else.
pub(super) fn generation(
    r: &Resource,
    subresource: Option<&str>,
    client: bool,
    sent: bool,
    old: &Value,
    new: &Value,
) -> Option<i64> {
    let before = old["metadata"]["generation"].as_i64();
    if r.is("storage.k8s.io", "csidrivers") && !same_spec(old, new, false, true) {
        // It has none until it changes (pkg/registry/storage/csidriver).
        return Some(before.unwrap_or_default() + 1);
    }
    if !r.has_generation() {
        return None;
    }
    let before = before.unwrap_or(1);
    // Binding writes past the strategy that counts (pkg/registry/core/pod/storage), and classes of priority never count
    // (pkg/registry/scheduling/priorityclass).
    if subresource == Some("binding") || r.is("scheduling.k8s.io", "priorityclasses") {
        return Some(before);
    }
    // Slices count their labels (pkg/registry/discovery/endpointslice).
    let relabelled =
        || r.is("discovery.k8s.io", "endpointslices") && old["metadata"]["labels"] != new["metadata"]["labels"];
    // Deployments count their annotations (pkg/registry/apps/deployment).
    let annotated = || r.is("apps", "deployments") && client && annotations(old) != annotations(new);
    // These count what is another value to `reflect.DeepEqual`: an empty list is not none.
    let strict = r.is("networking.k8s.io", "networkpolicies") || r.plural.ends_with("webhookconfigurations");
    let same =
        || same_spec(old, new, r.has_status(), r.custom.is_none()) && (!strict || identical_but_metadata(old, new));
    Some(before + i64::from(sent || relabelled() || annotated() || !same()))
}

/// An object's annotations; none are as good as no list of them.
fn annotations(v: &Value) -> Option<&Map<String, Value>> {
    v["metadata"]["annotations"].as_object().filter(|all| !all.is_empty())
}

/// Counts another template of a daemon set, as what features that are off would bring is not there. The count was a field
/// before apps/v1.
pub(super) fn count_template(r: &Resource, client: bool, old: &Value, new: &mut Value) {
    let same = {
        let mut prepared = Cow::Borrowed(&*new);
        if client {
            defaults::prepare(&r.group, &r.kind, Some(old), prepared.to_mut());
        }
        let (was, is) = (&old["spec"]["template"], &prepared["spec"]["template"]);
        schema::same(&r.api_version, &r.kind, &["spec", "template"], was, is)
    };
    let before = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    let before: i64 = before.and_then(|n| n.parse().ok()).unwrap_or(1);
    let all = metadata(new).entry("annotations").or_insert_with(|| json!({}));
    all[TEMPLATE_GENERATION] = json!((before + i64::from(!same)).to_string());
}

/// What the keys of a kind's objects in etcd begin with (`SpecialDefaultResourcePrefixes` of
/// `pkg/kubeapiserver/default_storage_factory_builder.go`).
pub(super) fn storage_prefix(r: &Resource) -> Cow<'_, str> {
    match (&*r.group, &*r.plural) {
        ("", "replicationcontrollers") => "controllers".into(),
        ("", "endpoints") => "services/endpoints".into(),
        ("", "services") => "services/specs".into(),
        ("", "nodes") => "minions".into(),
        ("networking.k8s.io", "ingresses") => "ingress".into(),
        (g @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), p) => format!("{g}/{p}").into(),
        (g, p) if r.custom.is_some() => format!("{g}/{p}").into(),
        (_, p) => p.into(),
    }
}
