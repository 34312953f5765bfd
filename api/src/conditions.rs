//! Conditions: set one in a list the way `meta.SetStatusCondition` does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Sets `kind` to `status` with its reason and message. The transition time moves only when the status does.
/// Returns whether anything changed.
pub fn set(list: &mut Vec<Condition>, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> bool {
    match list.iter_mut().find(|c| c.type_ == kind) {
        Some(c) => {
            let changed = c.status != status || c.reason != reason || c.message != message;
            if c.status != status {
                c.last_transition_time = Time(now);
            }
            c.status = status.to_owned();
            c.reason = reason.to_owned();
            c.message = message.to_owned();
            changed
        }
        None => {
            list.push(Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: reason.to_owned(),
                message: message.to_owned(),
                last_transition_time: Time(now),
                observed_generation: None,
            });
            true
        }
    }
}

/// The condition `kind`, if it is there.
#[must_use]
pub fn get<'a>(list: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    list.iter().find(|c| c.type_ == kind)
}

/// Whether `kind` is there with status `True`.
#[must_use]
pub fn is_true(list: &[Condition], kind: &str) -> bool {
    get(list, kind).is_some_and(|c| c.status == "True")
}
