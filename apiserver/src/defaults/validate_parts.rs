//! What checks of many kinds share: enumerations, ranges, label selectors, addresses.

use super::names;
use crate::schema::FieldError;
pub(super) use crate::schema::join;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is said of a text that is no address.
pub(super) const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
/// What is said of a text that is no range of addresses.
pub(super) const NO_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A field as text, empty where there is none.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

pub(super) use crate::registry::list;

/// A field as a number, nought where there is none.
pub(super) fn number(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_default()
}

/// The texts of a list. What is null there is an empty one.
pub(super) fn texts<'v>(value: &'v Value, name: &str) -> Vec<&'v str> {
    let text = |v: &'v Value| if v.is_null() { Some("") } else { v.as_str() };
    list(value, name).iter().filter_map(text).collect()
}

/// Of each element whether it was there before.
pub(super) fn repeated<T: Ord>(all: impl IntoIterator<Item = T>) -> impl Iterator<Item = bool> {
    let mut seen = BTreeSet::new();
    all.into_iter().map(move |one| !seen.insert(one))
}

/// A text that may be left out, and else must be one of a list.
pub(super) fn choice(object: &Value, field: &str, valid: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(value) = object[field].as_str().filter(|v| !valid.contains(v)) {
        errors.push(FieldError::not_supported(join(path, field), value, valid));
    }
}

/// A text that must be there.
pub(super) fn needed(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) -> bool {
    let missing = text(object, field).is_empty();
    if missing {
        errors.push(FieldError::required(join(path, field), ""));
    }
    !missing
}

/// A text, if given, by a rule for names.
pub(super) fn named(
    object: &Value,
    field: &str,
    rule: fn(&str) -> Vec<String>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if let Some(name) = object[field].as_str().filter(|n| !n.is_empty()) {
        by_rule(name, join(path, field), rule, errors);
    }
}

/// A text by a rule for names.
pub(super) fn by_rule(name: &str, path: String, rule: fn(&str) -> Vec<String>, errors: &mut Vec<FieldError>) {
    for detail in rule(name) {
        errors.push(FieldError::invalid(path.as_str(), name, detail));
    }
}

/// A taint's key and value, of nodes and of devices.
pub(super) fn taint_names(taint: &Value, path: &str, errors: &mut Vec<FieldError>) {
    by_rule(text(taint, "key"), format!("{path}.key"), names::qualified_name, errors);
    by_rule(
        text(taint, "value"),
        format!("{path}.value"),
        names::label_value,
        errors,
    );
}

/// A text, if given, that is a label.
pub(super) fn label(object: &Value, field: &str, path: &str, errors: &mut Vec<FieldError>) {
    named(object, field, names::dns1123_label, path, errors);
}

/// A reference, if given, that must name what it means.
pub(super) fn reference(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if of.is_object() {
        needed(of, "name", path, errors);
    }
}

/// A number, if given, from `least` to `most`.
pub(super) fn within(object: &Value, field: &str, (least, most): (i64, i64), path: &str, errors: &mut Vec<FieldError>) {
    if let Some(number) = object[field].as_i64().filter(|n| !(least..=most).contains(n)) {
        let detail = format!("must be between {least} and {most}, inclusive");
        errors.push(FieldError::invalid(join(path, field), number, detail));
    }
}

/// `ValidateLabelSelector`.
pub(super) fn label_selector(selector: &Value, path: &str, errors: &mut Vec<FieldError>) {
    super::validate::labels(&selector["matchLabels"], &join(path, "matchLabels"), errors);
    for (i, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.push(FieldError::required(format!("{path}.values"), detail));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.push(FieldError::forbidden(format!("{path}.values"), detail));
                }
            }
            other => errors.push(FieldError::invalid(
                format!("{path}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
        by_rule(
            text(expression, "key"),
            format!("{path}.key"),
            names::qualified_name,
            errors,
        );
        for (j, value) in values.iter().filter_map(Value::as_str).enumerate() {
            by_rule(value, format!("{path}.values[{j}]"), names::label_value, errors);
        }
    }
}

/// An address.
pub(super) fn ip(value: &str, path: String, errors: &mut Vec<FieldError>) {
    if value.parse::<IpAddr>().is_err() {
        errors.push(FieldError::invalid(path, value, NO_IP));
    }
}

/// A range of addresses and the length of its prefix.
pub(crate) fn parse_cidr(value: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = value.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let length: u32 = length.parse().ok()?;
    (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
}

/// The bits of an address that a prefix of some length keeps.
pub(crate) fn prefix(address: IpAddr, length: u32) -> u128 {
    let (bits, width) = match address {
        IpAddr::V4(a) => (u128::from(u32::from(a)), 32),
        IpAddr::V6(a) => (u128::from(a), 128),
    };
    bits.checked_shr(width - length).unwrap_or(0)
}

/// `IsValidCIDR`: a range, without bits beyond its prefix.
pub(super) fn cidr(value: &str, path: String, errors: &mut Vec<FieldError>) {
    let Some((address, length)) = parse_cidr(value) else {
        errors.push(FieldError::invalid(path, value, NO_CIDR));
        return;
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    if prefix(address, width) != prefix(address, length).checked_shl(width - length).unwrap_or(0) {
        let detail = "must not have bits set beyond the prefix length";
        errors.push(FieldError::invalid(path, value, detail));
    }
}

/// `ValidateNonSpecialIP`.
pub(super) fn ordinary_ip(value: &str, path: String, errors: &mut Vec<FieldError>) {
    let Ok(address) = value.parse::<IpAddr>() else {
        errors.push(FieldError::invalid(path, value, NO_IP));
        return;
    };
    let local = match address {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.segments()[0] & 0xffc0 == 0xfe80,
    };
    for (wrong, detail) in [
        (address.is_unspecified(), format!("may not be unspecified ({value})")),
        (
            address.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
    ] {
        if wrong {
            errors.push(FieldError::invalid(path.as_str(), value, detail));
        }
    }
}
