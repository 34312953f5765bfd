//! Headers that every answer has.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use sha2::{Digest, Sha256};

use super::Answer;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Requests of this process that had no id of their own.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// The id of a request: what its client calls it (`WithAuditInit`), or a new one. That comes not from where the uids of
/// objects do, which are the same for the same writes, however many only read.
pub(super) fn audit_id(headers: &HeaderMap) -> String {
    let said = headers.get(AUDIT_ID).and_then(|v| v.to_str().ok());
    if let Some(id) = said.filter(|id| !id.is_empty()) {
        return id.to_owned();
    }
    let digest = Sha256::digest(ASKED.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// Tells which request was answered.
pub(super) fn set_audit_id(id: &str, answer: &mut Answer) {
    if let Ok(v) = HeaderValue::from_str(id) {
        answer.headers_mut().insert(AUDIT_ID, v);
    }
}

/// Says that the body is what its type says.
pub(super) fn no_sniff(answer: &mut Answer) {
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
