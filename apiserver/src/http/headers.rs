//! Headers that every answer has.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Answer;
use crate::registry::Server;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// The id of a request: what its client calls it (`WithAuditInit`), or a new one.
pub(super) fn audit_id(server: &Server, headers: &HeaderMap) -> String {
    let said = headers.get(AUDIT_ID).and_then(|v| v.to_str().ok());
    said.filter(|id| !id.is_empty())
        .map_or_else(|| server.request_id(), str::to_owned)
}

/// Tells which request was answered.
pub(super) fn put_audit_id(id: &str, headers: &mut HeaderMap) {
    if let Ok(v) = HeaderValue::from_str(id) {
        headers.insert(AUDIT_ID, v);
    }
}

/// Says that the body is what its type says.
pub(super) fn no_sniff(answer: &mut Answer) {
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
