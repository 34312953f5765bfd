//! `?timeout=`: how long a request may take (`apiserver/pkg/endpoints/filters/request_deadline.go`). Nothing here takes
//! long enough to be ended by it; what is no time is refused.

use super::Incoming;
use super::info::RequestInfo;
use crate::schema::parse_duration;
use crate::status::Status;

/// Subresources whose requests may go on for as long as they like.
const LONG: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];

/// # Errors
/// 400 for a time that is none.
pub(super) fn check(r: &Incoming, info: Option<&RequestInfo>) -> Result<(), Status> {
    let long = info.is_some_and(|i| matches!(i.verb, "watch" | "proxy") || LONG.contains(&i.subresource.as_str()));
    match r.query.first("timeout").filter(|t| !t.is_empty() && !long) {
        None => Ok(()),
        Some(t) => parse_duration(t)
            .map(drop)
            .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - time: {why}"))),
    }
}
