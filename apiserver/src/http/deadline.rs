//! `?timeout=`: how long a request may take (`apiserver/pkg/endpoints/filters/request_deadline.go`). Nothing here takes
//! long enough to be ended by it; what is no time is refused.

use super::Incoming;
use super::info::RequestInfo;
use crate::schema::quote;
use crate::status::Status;

/// Subresources whose requests may go on for as long as they like.
const LONG: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];
/// Units of Go's durations, longer names first.
const UNITS: [&str; 8] = ["ns", "us", "\u{b5}s", "\u{3bc}s", "ms", "s", "m", "h"];

/// # Errors
/// 400 for a time that is none.
pub(super) fn check(r: &Incoming, info: Option<&RequestInfo>) -> Result<(), Status> {
    let long = info.is_some_and(|i| matches!(i.verb, "watch" | "proxy") || LONG.contains(&i.subresource.as_str()));
    match r.query.first("timeout").filter(|t| !t.is_empty() && !long) {
        None => Ok(()),
        Some(t) => duration_error(t).map_or(Ok(()), |why| {
            Err(Status::bad_request(format!(
                "invalid timeout specified in the request URL - time: {why}"
            )))
        }),
    }
}

/// What Go's `time.ParseDuration` says of a text that is no duration.
fn duration_error(text: &str) -> Option<String> {
    let invalid = || Some(format!("invalid duration {}", quote(text)));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return None;
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let number = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let digits = &rest[..number];
        if digits.matches('.').count() > 1 || !digits.contains(|c: char| c.is_ascii_digit()) {
            return invalid();
        }
        rest = &rest[number..];
        let unit = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        match &rest[..unit] {
            "" => return Some(format!("missing unit in duration {}", quote(text))),
            u if UNITS.contains(&u) => {}
            u => return Some(format!("unknown unit {} in duration {}", quote(u), quote(text))),
        }
        rest = &rest[unit..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for good in ["1s", "-1s", "1.5h", "1h2m3s", "0", "100ms", ".5s"] {
            assert_eq!(duration_error(good), None, "{good}");
        }
        for (bad, why) in [
            ("abc", "invalid duration \"abc\""),
            ("1", "missing unit in duration \"1\""),
            ("1x", "unknown unit \"x\" in duration \"1x\""),
            ("-", "invalid duration \"-\""),
        ] {
            assert_eq!(duration_error(bad).as_deref(), Some(why));
        }
    }
}
