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
    let number = |from: usize, to: usize| digest[from..to].iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    format!(
        "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
        number(0, 4),
        number(4, 6),
        number(6, 8) & 0xfff,
        number(8, 10) & 0xfff,
        number(10, 16)
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
