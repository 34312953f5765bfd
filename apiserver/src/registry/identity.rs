//! That an object is the one that the path names (`EnsureObjectNamespaceMatchesRequestNamespace` of
//! `apiserver/pkg/registry/rest` and `scopeNamer.ObjectName` of `pkg/endpoints/handlers` in Kubernetes).

use serde_json::Value;

use super::{Target, text};
use crate::status::Status;

/// # Errors
/// 400 for another namespace than the path's.
pub(crate) fn same_namespace(said: &str, namespace: &str) -> Result<(), Status> {
    match said {
        "" => Ok(()),
        said if said == namespace => Ok(()),
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// # Errors
/// 400 for another name than the path's.
pub(crate) fn same_name(said: &str, name: &str) -> Result<(), Status> {
    match said {
        said if said == name => Ok(()),
        _ => Err(Status::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        ))),
    }
}

/// 400 for an object that does not say its name.
pub(crate) fn nameless(name: &str) -> Status {
    Status::bad_request(format!(
        "the name of the object ({name} based on URL) was undeterminable: name must be provided"
    ))
}

/// A patch may change neither the namespace nor the name of an object, nor leave the name out.
///
/// # Errors
/// 400 where it does.
pub(super) fn same(t: &Target<'_>, v: &Value) -> Result<(), Status> {
    if t.resource.namespaced {
        same_namespace(text(v, "/metadata/namespace"), t.namespace)?;
    }
    match text(v, "/metadata/name") {
        "" => Err(nameless(t.name)),
        name => same_name(name, t.name),
    }
}
