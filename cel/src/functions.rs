//! Functions without a target: conversions, constructors, and those of the homes `math`, `sets`, `strings`.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use super::CelError;
use super::address::{is_url, network};
use super::eval::no_overload;
use super::methods::method;
use super::numbers;
use super::quantity::Quantity;
use super::semver::Version;
use super::value::Value;

pub(super) type Result<T = Value> = std::result::Result<T, CelError>;

/// Functions without a target.
pub(super) const GLOBAL: [&str; 25] = [
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "type",
    "timestamp",
    "duration",
    "has",
    "quantity",
    "isQuantity",
    "url",
    "isURL",
    "ip",
    "isIP",
    "cidr",
    "isCIDR",
    "matches",
    "isSorted",
    "semver",
    "isSemver",
    "sign",
];

/// Names before a dot that are no values.
pub(super) const HOMES: [&str; 8] = [
    "math",
    "sets",
    "strings",
    "jsonpatch",
    "ip",
    "lists",
    "format",
    "optional",
];

/// The type a name stands for.
pub(super) fn type_named(n: &str) -> Option<&'static str> {
    Some(match n {
        "bool" => "bool",
        "int" => "int",
        "uint" => "uint",
        "double" => "double",
        "string" => "string",
        "bytes" => "bytes",
        "list" => "list",
        "map" => "map",
        "null_type" => "null_type",
        "type" => "type",
        _ => return None,
    })
}

pub(super) fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(CelError::evaluation(text))
}

pub(super) fn truth(b: bool) -> Result {
    Ok(Value::Bool(b))
}

pub(super) fn count(n: usize) -> Result {
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

/// Whether it is what its type has when nothing is set.
pub(super) fn is_zero(v: &Value) -> bool {
    match v {
        Value::Null | Value::Optional(None) => true,
        Value::Bool(b) => !b,
        Value::Int(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::Text(s) => s.is_empty(),
        Value::Bytes(b) => b.is_empty(),
        Value::List(l) => l.is_empty(),
        Value::Map(m) => m.is_empty(),
        _ => false,
    }
}

pub(super) fn global(name: &str, args: &[Value]) -> Result {
    match (name, args) {
        ("size", [v]) => size(v),
        ("dyn", [v]) => Ok(v.clone()),
        ("type", [v]) => Ok(Value::Type(v.type_name())),
        ("matches", [s, p]) => method("matches", s, std::slice::from_ref(p)),
        ("int", [v]) => to_int(v),
        ("uint", [v]) => match to_int(v)? {
            Value::Int(n) => {
                u64::try_from(n).map_or_else(|_| fail("unsigned integer overflow"), |n| Ok(Value::Uint(n)))
            }
            v => Ok(v),
        },
        ("double", [Value::Text(s)]) => s.parse().map_or_else(
            |_| fail("type conversion error from 'string' to 'double'"),
            |n| Ok(Value::Double(n)),
        ),
        ("double", [v]) => v.number().map_or_else(no_overload, |n| Ok(Value::Double(n))),
        ("bool", [Value::Bool(b)]) => truth(*b),
        ("bool", [Value::Text(s)]) => match &**s {
            "true" | "True" | "TRUE" | "t" | "1" => truth(true),
            "false" | "False" | "FALSE" | "f" | "0" => truth(false),
            _ => fail("type conversion error from 'string' to 'bool'"),
        },
        ("string", [v]) => text_of(v).map_or_else(no_overload, |s| Ok(Value::text(&s))),
        ("bytes", [Value::Text(s)]) => Ok(Value::Bytes(s.as_bytes().into())),
        ("bytes", [v @ Value::Bytes(_)]) => Ok(v.clone()),
        ("timestamp", [Value::Text(s)]) => s.parse().map_or_else(
            |_| fail("type conversion error from 'string' to 'timestamp'"),
            |t| Ok(Value::Time(t)),
        ),
        ("timestamp", [Value::Int(n)]) => {
            jiff::Timestamp::from_second(*n).map_or_else(|_| fail("timestamp overflow"), |t| Ok(Value::Time(t)))
        }
        ("timestamp", [v @ Value::Time(_)]) | ("duration", [v @ Value::Span(_)]) => Ok(v.clone()),
        ("duration", [Value::Text(s)]) => numbers::parse_span(s).map_or_else(
            || fail("type conversion error from 'string' to 'duration'"),
            |d| Ok(Value::Span(d)),
        ),
        ("quantity", [Value::Text(s)]) => {
            Quantity::parse(s).map_or_else(|e| fail(e.to_string()), |q| Ok(Value::Quantity(q)))
        }
        ("isQuantity", [Value::Text(s)]) => truth(Quantity::parse(s).is_ok()),
        ("semver", [Value::Text(s), rest @ ..]) => Version::parse(s, matches!(rest, [Value::Bool(true)]))
            .map_or_else(|e| fail(e.to_string()), |v| Ok(Value::Semver(Arc::new(v)))),
        ("isSemver", [Value::Text(s), rest @ ..]) => {
            truth(Version::parse(s, matches!(rest, [Value::Bool(true)])).is_ok())
        }
        ("isURL", [Value::Text(s)]) => truth(is_url(s)),
        ("url", [Value::Text(s)]) if is_url(s) => Ok(Value::Text(s.clone())),
        ("isIP", [Value::Text(s)]) => truth(s.parse::<IpAddr>().is_ok_and(|a| !is_mapped(a))),
        ("ip", [Value::Text(s)]) => match s.parse::<IpAddr>() {
            Ok(a) if is_mapped(a) => fail(format!("IPv4-mapped IPv6 address {:?} is not allowed", &**s)),
            Ok(_) => Ok(Value::Text(s.clone())),
            Err(_) => no_overload(),
        },
        ("isCIDR", [Value::Text(s)]) => truth(network(s).is_some()),
        ("cidr", [Value::Text(s)]) if network(s).is_some() => Ok(Value::Text(s.clone())),
        ("sign", [v @ Value::Quantity(_)]) => method("sign", v, &[]),
        ("isSorted", [v]) => method("isSorted", v, &[]),
        (n, _) if GLOBAL.contains(&n) => no_overload(),
        (n, _) => fail(format!("undeclared reference to '{n}'")),
    }
}

fn is_mapped(a: IpAddr) -> bool {
    matches!(a, IpAddr::V6(a) if a.to_ipv4_mapped().is_some())
}

pub(super) fn size(v: &Value) -> Result {
    match v {
        Value::Text(s) => count(s.chars().count()),
        Value::Bytes(b) => count(b.len()),
        Value::List(l) => count(l.len()),
        Value::Map(m) => count(m.len()),
        _ => no_overload(),
    }
}

fn to_int(v: &Value) -> Result {
    match v {
        Value::Int(_) => Ok(v.clone()),
        Value::Uint(n) => i64::try_from(*n).map_or_else(|_| fail("integer overflow"), |n| Ok(Value::Int(n))),
        Value::Double(n) if n.abs() < 9.2e18 => Ok(Value::Int(*n as i64)),
        Value::Double(_) => fail("integer overflow"),
        Value::Text(s) => s.parse().map_or_else(
            |_| fail("type conversion error from 'string' to 'int'"),
            |n| Ok(Value::Int(n)),
        ),
        Value::Time(t) => Ok(Value::Int(t.as_second())),
        Value::Span(d) => Ok(Value::Int(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))),
        _ => no_overload(),
    }
}

pub(super) fn text_of(v: &Value) -> Option<String> {
    Some(match v {
        Value::Null | Value::Type(_) => return None,
        Value::Text(s) => s.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => numbers::double_text(*n),
        Value::Bool(b) => b.to_string(),
        Value::Bytes(b) => String::from_utf8(b.to_vec()).ok()?,
        Value::Time(t) => t.to_string(),
        Value::Span(d) => numbers::span_text(*d),
        Value::Quantity(q) => q.to_string(),
        _ => return None,
    })
}

pub(super) fn in_home(home: &str, name: &str, args: &[Value]) -> Result {
    match (home, name, args) {
        ("math", "greatest" | "least", list) => {
            let list: &[Value] = match list {
                [Value::List(l)] => l,
                l => l,
            };
            let wanted = if name == "greatest" {
                Ordering::Greater
            } else {
                Ordering::Less
            };
            extreme(list, wanted)
        }
        ("math", "abs", [Value::Int(n)]) => Ok(Value::Int(n.saturating_abs())),
        ("math", "abs", [Value::Double(n)]) => Ok(Value::Double(n.abs())),
        ("math", "ceil", [Value::Double(n)]) => Ok(Value::Double(n.ceil())),
        ("math", "floor", [Value::Double(n)]) => Ok(Value::Double(n.floor())),
        ("math", "round", [Value::Double(n)]) => Ok(Value::Double(n.round())),
        ("sets", "contains", [Value::List(a), Value::List(b)]) => truth(b.iter().all(|x| a.contains(x))),
        ("sets", "intersects", [Value::List(a), Value::List(b)]) => truth(b.iter().any(|x| a.contains(x))),
        ("sets", "equivalent", [Value::List(a), Value::List(b)]) => {
            truth(b.iter().all(|x| a.contains(x)) && a.iter().all(|x| b.contains(x)))
        }
        ("lists", "range", [Value::Int(n)]) => Ok(Value::list((0..*n).map(Value::Int).collect())),
        ("optional", "unwrap", [Value::List(l)]) => unwrapped(l),
        ("format", "named", [Value::Text(name)]) => {
            let found = super::formats::named(name).map(|f| Box::new(Value::Format(f)));
            Ok(Value::Optional(found))
        }
        ("format", name, []) => super::formats::named(name).map_or_else(no_overload, |f| Ok(Value::Format(f))),
        ("strings", "quote", [Value::Text(s)]) => Ok(Value::text(&format!("{s:?}"))),
        // A reference token of a JSON pointer (RFC 6901).
        ("jsonpatch", "escapeKey", [Value::Text(s)]) => Ok(Value::text(&s.replace('~', "~0").replace('/', "~1"))),
        ("ip", "isCanonical", [Value::Text(s)]) => truth(s.parse::<IpAddr>().is_ok_and(|a| a.to_string() == **s)),
        _ => no_overload(),
    }
}

/// What is there of a list of things that may be absent.
pub(super) fn unwrapped(all: &[Value]) -> Result {
    let mut there = Vec::new();
    for v in all {
        match v {
            Value::Optional(v) => there.extend(v.as_deref().cloned()),
            _ => return no_overload(),
        }
    }
    Ok(Value::list(there))
}

pub(super) fn extreme(list: &[Value], wanted: Ordering) -> Result {
    let mut items = list.iter();
    let Some(mut best) = items.next() else {
        return fail("min called on empty list");
    };
    for v in items {
        match v.order(best) {
            Some(o) if o == wanted => best = v,
            Some(_) => {}
            None => return no_overload(),
        }
    }
    Ok(best.clone())
}
