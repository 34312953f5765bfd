//! Bodies read as objects of a kind, refused in the words of `k8s.io/apimachinery/pkg/runtime/serializer` and of
//! `transformDecodeError` of `k8s.io/apiserver`.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::strict::{self, Parsed};
use super::yaml_read;
use crate::registry::{Catalog, Resource, go_package, group_version};
use crate::schema;
use crate::status::Status;

/// Media types of objects.
pub(super) const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// Bytes of a body that a refusal shows.
const SHOWN: usize = 30;

/// A body and what it should be.
pub(super) struct Body<'a> {
    pub(super) media_type: Option<Cow<'a, str>>,
    pub(super) bytes: &'a [u8],
    /// Kind of the object.
    pub(super) kind: &'a str,
}

impl Body<'_> {
    /// The object, whatever type it says it is of.
    pub(super) fn read(&self) -> Result<Parsed, Status> {
        self.understood().map_err(|why| match why {
            Some(why) => self.unrecognized(&why),
            None => Status::unsupported_media_type(ACCEPTED),
        })
    }

    /// The same.
    ///
    /// # Errors
    /// Why it is none, as the serializers say it; `None`: the media type is not served.
    pub(super) fn understood(&self) -> Result<Parsed, Option<String>> {
        let mut parsed = self.parse()?;
        match &parsed.value {
            Value::Object(_) => {}
            // As if nothing was said.
            Value::Null => parsed.value = json!({}),
            other => {
                return Err(Some(format!(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type \
                     struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                     \"json:\\\"kind,omitempty\\\"\" }}",
                    schema::json_kind(other)
                )));
            }
        }
        for field in ["apiVersion", "kind"] {
            let said = &parsed.value[field];
            if !said.is_null() && !said.is_string() {
                return Err(Some(format!(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field \
                     .{field} of type string",
                    schema::json_kind(said)
                )));
            }
        }
        let version = parsed.value["apiVersion"].as_str().unwrap_or_default();
        if version.matches('/').count() > 1 {
            return Err(Some(format!("unexpected GroupVersion string: {version}")));
        }
        Ok(parsed)
    }

    fn parse(&self) -> Result<Parsed, Option<String>> {
        match self.media_type.as_deref() {
            Some("application/json") => {
                // Only what cannot be read is read twice.
                strict::json(self.bytes).or_else(|other| {
                    let why = match schema::json_error(self.bytes) {
                        Some(why) => why,
                        // Go reads some texts that are none.
                        None => match strict::json(&schema::repaired(self.bytes)) {
                            Ok(parsed) => return Ok(parsed),
                            Err(_) => other,
                        },
                    };
                    Err(Some(format!("couldn't get version/kind; json parse error: {why}")))
                })
            }
            Some("application/yaml") => {
                let parsed = yaml_read::read(self.bytes).map_err(Some)?;
                Ok(Parsed {
                    duplicates: yaml_read::refused_twice(parsed.duplicates),
                    ..parsed
                })
            }
            Some("application/vnd.kubernetes.protobuf") => {
                let value = super::protobuf::decode(self.bytes).map_err(Some)?;
                Ok(Parsed {
                    value,
                    duplicates: Vec::new(),
                })
            }
            _ => Err(None),
        }
    }

    /// As [`Body::read`], of a kind that nobody has a default for: it has to say what it is.
    /// Who asks for no validation (`lenient`) gets a decoder that has a default for it, and reads the JSON of it again.
    pub(super) fn read_typed(&self, api_version: &str, lenient: bool) -> Result<Parsed, Status> {
        let parsed = self.read()?;
        let said = |field: &str| parsed.value[field].as_str().unwrap_or_default();
        let yaml = self.media_type.as_deref() == Some("application/yaml");
        if said("kind").is_empty() && lenient {
            let text = match yaml {
                // As it was read: nothing is null.
                true => yaml_read::read(self.bytes).map_or_else(|_| String::new(), |p| p.value.to_string()),
                false => String::from_utf8_lossy(self.bytes).into_owned(),
            };
            let (kind, version) = (self.kind, group_version(api_version).1);
            let why = format!("Object 'Kind' is missing in '{text}'");
            return Err(Status::not_handled(kind, version, kind, &why));
        }
        if said("kind").is_empty() {
            let text = String::from_utf8_lossy(self.bytes);
            return Err(self.unrecognized(&format!("Object 'Kind' is missing in '{text}'")));
        }
        if said("apiVersion").is_empty() {
            return Err(Status::bad_request(format!(
                "the API version in the data () does not match the expected API version ({api_version})"
            )));
        }
        Ok(parsed)
    }

    fn unrecognized(&self, why: &str) -> Status {
        let shown = &self.bytes[..self.bytes.len().min(SHOWN)];
        let mut summary = match self.bytes.first() {
            None => "<empty>".to_owned(),
            Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
            Some(_) => shown.iter().map(|b| format!("{b:02x}")).collect(),
        };
        if self.bytes.len() > SHOWN {
            summary.push_str(" ...");
        }
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({summary})",
            self.kind
        ))
    }
}

/// The type that a header says, without its parameters, in lower case; `None`: it says none (Go's
/// `mime.ParseMediaType`).
pub(super) fn media_type(said: &str) -> Option<Cow<'_, str>> {
    // What nearly all say.
    if said == "application/json" {
        return Some(Cow::Borrowed(said));
    }
    let token = |t: &str| {
        !t.is_empty()
            && t.bytes()
                .all(|b| b.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&b))
    };
    let mut parts = said.split(';');
    let kind = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut names = kind.split('/');
    if !names.all(token) || kind.matches('/').count() > 1 {
        return None;
    }
    let parts: Vec<&str> = parts.map(str::trim).collect();
    let good = |(i, p): (usize, &&str)| match p.split_once('=') {
        Some((k, v)) => token(k.trim()) && (token(v) || v.len() > 1 && v.starts_with('"') && v.ends_with('"')),
        // A semicolon may stand at the end.
        None => p.is_empty() && i + 1 == parts.len(),
    };
    parts.iter().enumerate().all(good).then_some(Cow::Owned(kind))
}

/// # Errors
/// 415 for a type that no object can be read from.
pub(super) fn check_media_type(kind: Option<&str>) -> Result<(), Status> {
    match kind.is_some_and(|k| ACCEPTED.split(", ").any(|a| a == k)) {
        true => Ok(()),
        false => Err(Status::unsupported_media_type(ACCEPTED)),
    }
}

/// Whether an object of a built-in kind says it is of another type than `api_version` and `kind`: what is wrong then.
pub(super) fn check_type(catalog: &Catalog, value: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let said = |field: &str| value[field].as_str().filter(|said| !said.is_empty());
    let (of, own) = (said("apiVersion").unwrap_or(api_version), said("kind").unwrap_or(kind));
    // Evictions are taken in either version (`EvictionREST.AcceptsGroupVersion`).
    let either = own == "Eviction" && kind == own && of == "policy/v1beta1";
    if (of == api_version || either) && own == kind {
        return Ok(());
    }
    let version = group_version(of).1;
    if group_version(of).0 == group_version(api_version).0 && own == kind && is_unserved(of, own) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({of}) does not match the expected API version ({api_version})"
        )));
    }
    let element = own.strip_suffix("List").unwrap_or(own);
    // Definitions and services of others have schemes of their own.
    let apart = |group: &str| matches!(group, "apiextensions.k8s.io" | "apiregistration.k8s.io");
    let (group, expected) = (group_version(of).0, group_version(api_version).0);
    let shared = group == expected || !apart(group) && !apart(expected);
    // What is not served is known all the same.
    let known = |kind: &str| {
        let (group, version) = group_version(of);
        shared
            && (catalog.of_kind(of, kind).is_some_and(|r| r.custom.is_none())
                || schema::SchemaRef::for_gvk(group, version, kind).is_some())
    };
    // A type of the scheme's own, in the core group.
    let listed = (of, own) == ("v1", "List");
    let why = if listed || known(own) || known(element) {
        // It is read as what it says that it is, before it is to become anything else.
        if known(own)
            && let Err(why) = schema::read(of, own, &mut value.clone())
        {
            return Err(Status::not_handled(own, version, kind, &why));
        }
        format!(
            "converting ({version}.{own}) to ({}.{kind}): unknown conversion",
            go_package(group_version(api_version).0),
        )
    } else {
        not_registered(of, own)
    };
    Err(Status::not_handled(own, version, kind, &why))
}

/// Versions that upstream's scheme knows and no server serves any more, or not unless it is told to, and their kinds.
const UNSERVED: [(&str, &str, &[&str]); 24] = [
    (
        "admissionregistration.k8s.io",
        "v1alpha1",
        &[
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    (
        "admissionregistration.k8s.io",
        "v1beta1",
        &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("apps", "v1beta1", &["Deployment", "StatefulSet", "ControllerRevision"]),
    (
        "apps",
        "v1beta2",
        &[
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ControllerRevision",
        ],
    ),
    ("authentication.k8s.io", "v1alpha1", &["SelfSubjectReview"]),
    (
        "authentication.k8s.io",
        "v1beta1",
        &["SelfSubjectReview", "TokenReview"],
    ),
    (
        "authorization.k8s.io",
        "v1beta1",
        &[
            "SelfSubjectRulesReview",
            "SelfSubjectAccessReview",
            "SubjectAccessReview",
            "LocalSubjectAccessReview",
        ],
    ),
    ("batch", "v1beta1", &["CronJob"]),
    ("certificates.k8s.io", "v1beta1", &["CertificateSigningRequest"]),
    ("coordination.k8s.io", "v1beta1", &["Lease"]),
    ("discovery.k8s.io", "v1beta1", &["EndpointSlice"]),
    ("events.k8s.io", "v1beta1", &["Event"]),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", FLOWS),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", FLOWS),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", FLOWS),
    (
        "networking.k8s.io",
        "v1beta1",
        &["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"],
    ),
    ("node.k8s.io", "v1alpha1", &["RuntimeClass"]),
    ("node.k8s.io", "v1beta1", &["RuntimeClass"]),
    ("policy", "v1beta1", &["PodDisruptionBudget", "Eviction"]),
    ("rbac.authorization.k8s.io", "v1alpha1", ROLES),
    ("rbac.authorization.k8s.io", "v1beta1", ROLES),
    ("resource.k8s.io", "v1beta1", CLAIMS),
    ("resource.k8s.io", "v1beta2", CLAIMS),
    ("scheduling.k8s.io", "v1beta1", &["PriorityClass"]),
];
const FLOWS: &[&str] = &["FlowSchema", "PriorityLevelConfiguration"];
const ROLES: &[&str] = &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"];
const CLAIMS: &[&str] = &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"];

/// Whether upstream can read `kind` in `api_version` as what its group's served version has under that name.
fn is_unserved(api_version: &str, kind: &str) -> bool {
    let (group, version) = group_version(api_version);
    let mut all = UNSERVED.iter();
    all.any(|(g, v, kinds)| (*g, *v) == (group, version) && kinds.contains(&kind))
}

/// What Go's decoder says of the metadata of a custom object, where it cannot read it.
pub(super) fn read_metadata(value: &Value) -> Result<(), String> {
    let mut metadata = value["metadata"].clone();
    match &mut metadata {
        Value::Object(m) => drop(m.remove("managedFields")),
        Value::Null => {}
        other => {
            let kind = schema::json_kind(other);
            return Err(format!(
                "json: cannot unmarshal {kind} into Go value of type v1.ObjectMeta"
            ));
        }
    }
    // Every kind has the same.
    let mut bare = json!({"metadata": metadata});
    schema::read("v1", "ConfigMap", &mut bare).map_err(|why| why.replace("ObjectMeta.metadata.", "ObjectMeta."))
}

/// Metadata as the handler that creates leaves it: without what the system sets, and in the namespace of the path
/// (`EnsureObjectNamespaceMatchesRequestNamespace`).
pub(super) fn own_metadata(value: &mut Value, ns: &str) -> Result<(), Status> {
    if !value["metadata"].is_object() {
        value["metadata"] = json!({});
    }
    check_namespace(value, ns)?;
    let Some(m) = value["metadata"].as_object_mut() else {
        return Ok(());
    };
    for k in [
        "uid",
        "selfLink",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        m.remove(k);
    }
    match ns.is_empty() {
        true => drop(m.remove("namespace")),
        false => drop(m.insert("namespace".into(), json!(ns))),
    }
    Ok(())
}

/// # Errors
/// 400 where an object says that it is in another namespace than the path does.
pub(super) fn check_namespace(value: &Value, ns: &str) -> Result<(), Status> {
    match value["metadata"]["namespace"].as_str().unwrap_or_default() {
        said if !said.is_empty() && !ns.is_empty() && said != ns => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => Ok(()),
    }
}

/// What a scheme says of a type that it does not know.
pub(super) fn not_registered(api_version: &str, kind: &str) -> String {
    crate::schema::not_registered(api_version, kind)
}

/// The kind whose objects a subresource takes, and its version.
pub(super) fn type_of<'a>(r: &'a Resource, subresource: &str) -> (&'a str, &'a str) {
    match subresource {
        "scale" => ("autoscaling/v1", "Scale"),
        "binding" => ("v1", "Binding"),
        "eviction" => ("policy/v1", "Eviction"),
        "token" => ("authentication.k8s.io/v1", "TokenRequest"),
        _ => (&r.api_version, &r.kind),
    }
}
