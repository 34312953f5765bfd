//! Answers that the agent gives itself, in the API server's words.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::BoxError;

/// Header on every answer that did not come from the hub.
pub const FROM_CACHE: &str = "x-cfn-edge";

/// A body of any origin.
pub type AnyBody = UnsyncBoxBody<Bytes, BoxError>;

/// A whole body.
pub fn whole(bytes: impl Into<Bytes>) -> AnyBody {
    Full::new(bytes.into()).map_err(|e| match e {}).boxed_unsync()
}

/// An object or list from the disk.
pub fn object(status: StatusCode, value: &Value) -> Response<AnyBody> {
    let mut response = Response::new(whole(value.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    headers.insert(FROM_CACHE, header::HeaderValue::from_static("cache"));
    response
}

/// A `metav1.Status` of failure.
pub fn failure(status: StatusCode, reason: &str, message: &str) -> Response<AnyBody> {
    let value = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": status.as_u16(),
    });
    object(status, &value)
}

/// The hub is gone and the disk does not know.
pub fn unavailable(what: &str) -> Response<AnyBody> {
    let message = format!("the hub cannot be reached and this node's disk does not hold {what}");
    failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", &message)
}

/// The disk knows that there is none.
pub fn not_found(resource: &str, name: &str) -> Response<AnyBody> {
    failure(
        StatusCode::NOT_FOUND,
        "NotFound",
        &format!("{resource} \"{name}\" not found"),
    )
}
