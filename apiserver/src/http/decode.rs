//! Bodies read as objects of a kind, refused in the words of `k8s.io/apimachinery/pkg/runtime/serializer` and of
//! `transformDecodeError` of `k8s.io/apiserver`.

use serde_json::{Value, json};

use super::strict::{self, Parsed};
use crate::registry::{Catalog, Resource, group_version};
use crate::schema;
use crate::status::Status;

/// Media types of objects.
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
/// Bytes of a body that a refusal shows.
const SHOWN: usize = 30;

/// A body and what it should be.
pub(super) struct Body<'a> {
    pub(super) media_type: &'a str,
    pub(super) bytes: &'a [u8],
    /// Kind of the object.
    pub(super) kind: &'a str,
}

impl Body<'_> {
    /// The object, whatever type it says it is of.
    pub(super) fn read(&self) -> Result<Parsed, Status> {
        let mut parsed = self.parse().map_err(|why| match why {
            Some(why) => self.unrecognized(&why),
            None => Status::unsupported_media_type(ACCEPTED),
        })?;
        match &parsed.value {
            Value::Object(_) => {}
            // As if nothing was said.
            Value::Null => parsed.value = json!({}),
            other => {
                let why = format!(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type \
                     struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                     \"json:\\\"kind,omitempty\\\"\" }}",
                    schema::json_kind(other)
                );
                return Err(self.unrecognized(&why));
            }
        }
        for field in ["apiVersion", "kind"] {
            let said = &parsed.value[field];
            if !said.is_null() && !said.is_string() {
                let why = format!(
                    "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field \
                     .{field} of type string",
                    schema::json_kind(said)
                );
                return Err(self.unrecognized(&why));
            }
        }
        let version = parsed.value["apiVersion"].as_str().unwrap_or_default();
        if version.matches('/').count() > 1 {
            return Err(self.unrecognized(&format!("unexpected GroupVersion string: {version}")));
        }
        Ok(parsed)
    }

    fn parse(&self) -> Result<Parsed, Option<String>> {
        match self.media_type {
            "application/json" | "" => {
                // Only what cannot be read is read twice.
                strict::json(self.bytes).map_err(|other| {
                    let why = schema::json_error(self.bytes).unwrap_or(other);
                    Some(format!("couldn't get version/kind; json parse error: {why}"))
                })
            }
            "application/yaml" => strict::yaml(self.bytes).map_err(|e| Some(format!("yaml: {e}"))),
            "application/vnd.kubernetes.protobuf" => {
                let value = super::protobuf::decode(self.bytes).map_err(Some)?;
                Ok(Parsed {
                    value,
                    duplicates: Vec::new(),
                })
            }
            _ => Err(None),
        }
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

/// Whether an object of a built-in kind says it is of another type than `api_version` and `kind`: what is wrong then.
pub(super) fn check_type(catalog: &Catalog, value: &Value, api_version: &str, kind: &str) -> Result<(), Status> {
    let said = |field: &str, default: &str| match value[field].as_str() {
        None | Some("") => default.to_owned(),
        Some(said) => said.to_owned(),
    };
    let (of, own) = (said("apiVersion", api_version), said("kind", kind));
    if of == api_version && own == kind {
        return Ok(());
    }
    let version = group_version(&of).1;
    let element = own.strip_suffix("List").unwrap_or(&own);
    let known = |kind: &str| catalog.of_kind(&of, kind).is_some_and(|r| r.custom.is_none());
    let why = if known(&own) || known(element) {
        format!(
            "converting ({version}.{own}) to ({}.{kind}): unknown conversion",
            go_package(group_version(api_version).0),
        )
    } else {
        not_registered(&of, &own)
    };
    Err(Status::bad_request(format!(
        "{own} in version {version:?} cannot be handled as a {kind}: {why}"
    )))
}

/// What a scheme says of a type that it does not know.
pub(super) fn not_registered(api_version: &str, kind: &str) -> String {
    format!("no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"")
}

/// Package of a group's internal types.
fn go_package(group: &str) -> &str {
    match group {
        "" | "events.k8s.io" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

/// The kind whose objects a subresource takes, and its version.
pub(super) fn type_of(r: &Resource, subresource: &str) -> (String, String) {
    let of = |version: &str, kind: &str| (version.to_owned(), kind.to_owned());
    match subresource {
        "scale" => of("autoscaling/v1", "Scale"),
        "binding" => of("v1", "Binding"),
        "eviction" => of("policy/v1", "Eviction"),
        "token" => of("authentication.k8s.io/v1", "TokenRequest"),
        _ => (r.api_version.clone(), r.kind.clone()),
    }
}
