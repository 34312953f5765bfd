//! Functions without a target: conversions, constructors, and those of the homes `math`, `sets`, `strings`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::CelError;
use super::address;
use super::eval::no_overload;
use super::methods::method;
use super::moment::{Moment, MomentError};
use super::numbers;
use super::quantity::Quantity;
use super::semver::Version;
use super::url::Url;
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
        ("uint", [v]) => to_uint(v),
        ("double", [Value::Text(s)]) => {
            // What is too large is none, but infinity is.
            let number = s
                .parse()
                .ok()
                .filter(|n: &f64| n.is_finite() || !s.contains(|c: char| c.is_ascii_digit()));
            number.map_or_else(|| unconverted("double"), |n| Ok(Value::Double(n)))
        }
        ("double", [v]) => v.number().map_or_else(no_overload, |n| Ok(Value::Double(n))),
        ("bool", [Value::Bool(b)]) => truth(*b),
        ("bool", [Value::Text(s)]) => match &**s {
            "true" | "True" | "TRUE" | "t" | "T" | "1" => truth(true),
            "false" | "False" | "FALSE" | "f" | "F" | "0" => truth(false),
            _ => unconverted("bool"),
        },
        ("string", [Value::Bytes(b)]) if std::str::from_utf8(b).is_err() => {
            fail("invalid UTF-8 in bytes, cannot convert to string")
        }
        ("string", [v]) => text_of(v).map_or_else(no_overload, |s| Ok(Value::text(&s))),
        ("bytes", [Value::Text(s)]) => Ok(Value::Bytes(s.as_bytes().into())),
        ("bytes", [v @ Value::Bytes(_)]) => Ok(v.clone()),
        ("timestamp", [Value::Text(s)]) => match Moment::parse(s) {
            Ok(t) => Ok(Value::Time(t)),
            Err(MomentError::Form) => unconverted("google.protobuf.Timestamp"),
            Err(e @ MomentError::Overflow) => fail(e.to_string()),
        },
        ("timestamp", [Value::Int(n)]) => {
            Moment::of_seconds(*n).map_or_else(|| fail(MomentError::Overflow.to_string()), |t| Ok(Value::Time(t)))
        }
        ("timestamp", [v @ Value::Time(_)]) | ("duration", [v @ Value::Span(_)]) => Ok(v.clone()),
        ("duration", [Value::Text(s)]) => {
            numbers::parse_span(s).map_or_else(|| unconverted("google.protobuf.Duration"), |d| Ok(Value::Span(d)))
        }
        ("quantity", [Value::Text(s)]) => {
            Quantity::parse(s).map_or_else(|e| fail(e.to_string()), |q| Ok(Value::Quantity(q)))
        }
        ("isQuantity", [Value::Text(s)]) => truth(Quantity::parse(s).is_ok()),
        ("semver", [Value::Text(s), rest @ ..]) => Version::parse(s, matches!(rest, [Value::Bool(true)]))
            .map_or_else(|e| fail(e.to_string()), |v| Ok(Value::Semver(Arc::new(v)))),
        ("isSemver", [Value::Text(s), rest @ ..]) => {
            truth(Version::parse(s, matches!(rest, [Value::Bool(true)])).is_ok())
        }
        ("isURL", [Value::Text(s)]) => truth(Url::of_request(s).is_ok()),
        ("url", [Value::Text(s)]) => Url::of_expression(s).map_or_else(
            |why| fail(format!("URL parse error during conversion from string: {why}")),
            |u| Ok(Value::Url(Arc::new(u))),
        ),
        ("isIP", [Value::Text(s)]) => truth(address::plain(s).is_ok()),
        ("ip", [Value::Text(s)]) => to_address(s),
        ("isCIDR", [Value::Text(s)]) => truth(address::network(s).is_ok()),
        ("cidr", [Value::Text(s)]) => to_network(s),
        ("sign", [v @ Value::Quantity(_)]) => method("sign", v, &[]),
        ("isSorted", [v]) => method("isSorted", v, &[]),
        (n, _) if GLOBAL.contains(&n) => no_overload(),
        (n, _) => fail(format!("undeclared reference to '{n}'")),
    }
}

/// A text that cannot be read as another type's.
fn unconverted(to: &str) -> Result {
    fail(format!("type conversion error from 'string' to '{to}'"))
}

pub(super) fn to_address(s: &str) -> Result {
    address::plain(s).map_or_else(fail, |a| Ok(Value::Ip(a)))
}

pub(super) fn to_network(s: &str) -> Result {
    address::network(s).map_or_else(
        |why| {
            fail(format!(
                "network address parse error during conversion from string: {why}"
            ))
        },
        |(a, bits)| Ok(Value::Cidr(a, bits)),
    )
}

fn to_uint(v: &Value) -> Result {
    let overflow = || fail("unsigned integer overflow");
    match v {
        Value::Uint(_) => Ok(v.clone()),
        Value::Int(n) => u64::try_from(*n).map_or_else(|_| overflow(), |n| Ok(Value::Uint(n))),
        Value::Double(n) if *n >= 0.0 && *n < 18_446_744_073_709_551_616.0 => Ok(Value::Uint(*n as u64)),
        Value::Double(_) => overflow(),
        Value::Text(s) => super::strconv::parse_uint(s).map_or_else(|_| unconverted("uint"), |n| Ok(Value::Uint(n))),
        _ => no_overload(),
    }
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
        Value::Double(n) if n.abs() < 9_223_372_036_854_775_808.0 => Ok(Value::Int(*n as i64)),
        Value::Double(_) => fail("integer overflow"),
        Value::Text(s) => s.parse().map_or_else(|_| unconverted("int"), |n| Ok(Value::Int(n))),
        Value::Time(t) => Ok(Value::Int(t.seconds())),
        Value::Span(d) => Ok(Value::Int(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))),
        _ => no_overload(),
    }
}

pub(super) fn text_of(v: &Value) -> Option<String> {
    Some(match v {
        Value::Text(s) => s.to_string(),
        Value::Type(t) => (*t).to_owned(),
        Value::Ip(a) => address::text(*a),
        Value::Cidr(a, bits) => format!("{}/{bits}", address::text(*a)),
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
            extreme(name, list, wanted)
        }
        ("math", "abs", [Value::Int(n)]) => match n.checked_abs() {
            Some(n) => Ok(Value::Int(n)),
            None => fail("integer overflow"),
        },
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
        ("strings", "quote", [Value::Text(s)]) => Ok(Value::text(&quoted(s))),
        // A reference token of a JSON pointer (RFC 6901).
        ("jsonpatch", "escapeKey", [Value::Text(s)]) => Ok(Value::text(&s.replace('~', "~0").replace('/', "~1"))),
        ("ip", "isCanonical", [Value::Text(s)]) => {
            address::plain(s).map_or_else(fail, |a| truth(address::text(a) == **s))
        }
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

/// A text as it would be written, in double quotes (`cel-go/ext/strings.go`).
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let escape = match c {
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{b}' => 'v',
            '\\' | '"' => c,
            _ => {
                out.push(c);
                continue;
            }
        };
        out.extend(['\\', escape]);
    }
    out.push('"');
    out
}

pub(super) fn extreme(name: &str, list: &[Value], wanted: Ordering) -> Result {
    let mut items = list.iter();
    let Some(mut best) = items.next() else {
        return fail(format!("{name} called on empty list"));
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
