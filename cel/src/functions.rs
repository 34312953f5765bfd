//! Functions: CEL's own, its extension of strings, sets and mathematics, and Kubernetes' libraries of lists, regular
//! expressions, addresses and quantities.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::CelError;
use super::eval::no_overload;
use super::numbers;
use super::quantity::Quantity;
use super::semver::Version;
use super::value::Value;

type Result<T = Value> = std::result::Result<T, CelError>;

/// Functions without a target.
pub(super) const GLOBAL: [&str; 24] = [
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
];

/// Names before a dot that are no values.
pub(super) const HOMES: [&str; 5] = ["math", "sets", "strings", "jsonpatch", "ip"];

/// Methods of values, and of what stands in the homes; beside the macros.
const METHODS: [&str; 104] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "find",
    "findAll",
    "lowerAscii",
    "upperAscii",
    "trim",
    "reverse",
    "charAt",
    "substring",
    "indexOf",
    "lastIndexOf",
    "replace",
    "split",
    "format",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "containsIP",
    "containsCIDR",
    "prefixLength",
    "masked",
    "ip",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
    "isSorted",
    "min",
    "max",
    "sum",
    "join",
    "distinct",
    "sort",
    "slice",
    "flatten",
    "first",
    "last",
    "includes",
    "add",
    "sub",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "sign",
    "isInteger",
    "asInteger",
    "asApproximateFloat",
    "major",
    "minor",
    "patch",
    "hasValue",
    "value",
    "getFullYear",
    "getMonth",
    "getDayOfYear",
    "getDayOfMonth",
    "getDate",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "or",
    "orValue",
    "optMap",
    "optFlatMap",
    "greatest",
    "least",
    "abs",
    "ceil",
    "floor",
    "round",
    "equivalent",
    "intersects",
    "quote",
    "escapeKey",
    "isCanonical",
    "of",
    "none",
    "ofNonZeroValue",
    "bind",
    "group",
    "serviceAccount",
    "path",
    "resource",
    "subresource",
    "namespace",
    "name",
    "fieldSelector",
    "labelSelector",
    "check",
    "allowed",
    "reason",
    "errored",
    "error",
];

/// Whether some value has a method of this name.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name)
}

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

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(CelError::evaluation(text))
}

fn truth(b: bool) -> Result {
    Ok(Value::Bool(b))
}

fn count(n: usize) -> Result {
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
        ("isIP", [Value::Text(s)]) => truth(s.parse::<IpAddr>().is_ok()),
        ("ip", [Value::Text(s)]) if s.parse::<IpAddr>().is_ok() => Ok(Value::Text(s.clone())),
        ("isCIDR", [Value::Text(s)]) => truth(network(s).is_some()),
        ("cidr", [Value::Text(s)]) if network(s).is_some() => Ok(Value::Text(s.clone())),
        ("isSorted", [v]) => method("isSorted", v, &[]),
        (n, _) if GLOBAL.contains(&n) => no_overload(),
        (n, _) => fail(format!("undeclared reference to '{n}'")),
    }
}

fn size(v: &Value) -> Result {
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

fn text_of(v: &Value) -> Option<String> {
    Some(match v {
        Value::Text(s) => s.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => n.to_string(),
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
        ("strings", "quote", [Value::Text(s)]) => Ok(Value::text(&format!("{s:?}"))),
        // A reference token of a JSON pointer (RFC 6901).
        ("jsonpatch", "escapeKey", [Value::Text(s)]) => Ok(Value::text(&s.replace('~', "~0").replace('/', "~1"))),
        ("ip", "isCanonical", [Value::Text(s)]) => truth(s.parse::<IpAddr>().is_ok_and(|a| a.to_string() == **s)),
        _ => no_overload(),
    }
}

fn extreme(list: &[Value], wanted: Ordering) -> Result {
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

pub(super) fn method(name: &str, on: &Value, args: &[Value]) -> Result {
    match on {
        Value::Text(s) => text_method(name, s, args),
        Value::List(l) => list_method(name, l, args),
        Value::Map(_) | Value::Bytes(_) if name == "size" => size(on),
        Value::Quantity(q) => quantity_method(name, *q, args),
        Value::Semver(v) => semver_method(name, v, args),
        Value::Optional(v) => match (name, v) {
            ("hasValue", v) => truth(v.is_some()),
            ("value", Some(v)) => Ok((**v).clone()),
            ("value", None) => fail("optional.none() dereference"),
            _ => no_overload(),
        },
        Value::Time(t) => {
            let zone = match args {
                [Value::Text(z)] => &**z,
                _ => "",
            };
            numbers::part_of_time(name, *t, zone).map_or_else(no_overload, |n| Ok(Value::Int(n)))
        }
        Value::Span(d) => match name {
            "getHours" => Ok(Value::Int(d.as_hours())),
            "getMinutes" => Ok(Value::Int(d.as_mins())),
            "getSeconds" => Ok(Value::Int(d.as_secs())),
            "getMilliseconds" => Ok(Value::Int(i64::try_from(d.as_millis()).unwrap_or(i64::MAX) % 1000)),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

/// Compiled patterns, for a policy matches the same ones at every write.
fn pattern(text: &str) -> Result<Regex> {
    static KNOWN: LazyLock<Mutex<BTreeMap<String, Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(r) = known.get(text) {
        return Ok(r.clone());
    }
    let r = Regex::new(text).map_err(|e| CelError::evaluation(format!("error parsing regexp: {e}")))?;
    if known.len() > 1000 {
        known.clear();
    }
    known.insert(text.to_owned(), r.clone());
    Ok(r)
}

fn place(n: i64, len: usize) -> Result<usize> {
    match usize::try_from(n) {
        Ok(n) if n <= len => Ok(n),
        _ => fail(format!("index out of range: {n}")),
    }
}

fn text_method(name: &str, s: &Arc<str>, args: &[Value]) -> Result {
    let of = |s: String| Ok(Value::text(&s));
    match (name, args) {
        ("size", []) => count(s.chars().count()),
        ("contains", [Value::Text(x)]) if network(s).is_none() || !x.contains('.') => truth(s.contains(&**x)),
        ("startsWith", [Value::Text(x)]) => truth(s.starts_with(&**x)),
        ("endsWith", [Value::Text(x)]) => truth(s.ends_with(&**x)),
        ("matches", [Value::Text(p)]) => truth(pattern(p)?.is_match(s)),
        ("find", [Value::Text(p)]) => of(pattern(p)?.find(s).map_or_else(String::new, |m| m.as_str().to_owned())),
        ("findAll", [Value::Text(p), rest @ ..]) => {
            let most = match rest {
                [Value::Int(n)] if *n >= 0 => usize::try_from(*n).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let r = pattern(p)?;
            Ok(Value::list(
                r.find_iter(s).take(most).map(|m| Value::text(m.as_str())).collect(),
            ))
        }
        ("lowerAscii", []) => of(s.to_ascii_lowercase()),
        ("upperAscii", []) => of(s.to_ascii_uppercase()),
        ("trim", []) => of(s.trim().to_owned()),
        ("reverse", []) => of(s.chars().rev().collect()),
        ("charAt", [Value::Int(i)]) => {
            let all: Vec<char> = s.chars().collect();
            let i = place(*i, all.len())?;
            of(all.get(i).map(ToString::to_string).unwrap_or_default())
        }
        ("substring", [Value::Int(a), rest @ ..]) => {
            let all: Vec<char> = s.chars().collect();
            let a = place(*a, all.len())?;
            let b = match rest {
                [Value::Int(b)] => place(*b, all.len())?,
                _ => all.len(),
            };
            if a > b {
                return fail(format!("invalid substring range. start: {a}, end: {b}"));
            }
            of(all[a..b].iter().collect())
        }
        ("indexOf" | "lastIndexOf", [Value::Text(x), ..]) => {
            let found = if name == "indexOf" { s.find(&**x) } else { s.rfind(&**x) };
            Ok(Value::Int(
                found.map_or(-1, |n| i64::try_from(s[..n].chars().count()).unwrap_or(-1)),
            ))
        }
        ("replace", [Value::Text(a), Value::Text(b)]) => of(s.replace(&**a, b)),
        ("replace", [Value::Text(a), Value::Text(b), Value::Int(n)]) => of(match usize::try_from(*n) {
            Ok(n) => s.replacen(&**a, b, n),
            Err(_) => s.replace(&**a, b),
        }),
        ("split", [Value::Text(by), rest @ ..]) => {
            let parts: Vec<&str> = match rest {
                [Value::Int(0)] => Vec::new(),
                [Value::Int(n)] if *n > 0 => s.splitn(usize::try_from(*n).unwrap_or(usize::MAX), &**by).collect(),
                _ if by.is_empty() => s.split("").filter(|p| !p.is_empty()).collect(),
                _ => s.split(&**by).collect(),
            };
            Ok(Value::list(parts.into_iter().map(Value::text).collect()))
        }
        ("format", [Value::List(args)]) => format_text(s, args),
        // Addresses, networks and URLs are kept as their text.
        ("family", []) => match s.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => Ok(Value::Int(4)),
            Ok(IpAddr::V6(_)) => Ok(Value::Int(6)),
            Err(_) => no_overload(),
        },
        ("isUnspecified", []) => s
            .parse::<IpAddr>()
            .map_or_else(|_| no_overload(), |a| truth(a.is_unspecified())),
        ("isLoopback", []) => s
            .parse::<IpAddr>()
            .map_or_else(|_| no_overload(), |a| truth(a.is_loopback())),
        ("containsIP", [Value::Text(a)]) => match (network(s), a.parse::<IpAddr>()) {
            (Some((n, bits)), Ok(a)) => truth(within(n, bits, a)),
            _ => no_overload(),
        },
        ("containsCIDR", [Value::Text(c)]) => match (network(s), network(c)) {
            (Some((n, bits)), Some((m, more))) => truth(more >= bits && within(n, bits, m)),
            _ => no_overload(),
        },
        ("prefixLength", []) => match network(s) {
            Some((_, bits)) => Ok(Value::Int(i64::from(bits))),
            None => no_overload(),
        },
        ("ip", []) => match network(s) {
            Some((a, _)) => of(a.to_string()),
            None => no_overload(),
        },
        ("getScheme" | "getHost" | "getHostname" | "getPort" | "getEscapedPath", []) => of(part_of_url(name, s)),
        _ => no_overload(),
    }
}

fn list_method(name: &str, l: &[Value], args: &[Value]) -> Result {
    match (name, args) {
        ("size", []) => count(l.len()),
        ("isSorted", []) => truth(l.windows(2).all(|w| w[0].order(&w[1]).is_some_and(Ordering::is_le))),
        ("min", []) => extreme(l, Ordering::Less),
        ("max", []) => extreme(l, Ordering::Greater),
        ("sum", []) => {
            let mut items = l.iter();
            let Some(first) = items.next() else {
                return Ok(Value::Int(0));
            };
            items.try_fold(first.clone(), |a, b| numbers::arithmetic("+", &a, b))
        }
        ("indexOf", [x]) => Ok(Value::Int(l.iter().position(|v| v == x).map_or(-1, |n| n as i64))),
        ("lastIndexOf", [x]) => Ok(Value::Int(l.iter().rposition(|v| v == x).map_or(-1, |n| n as i64))),
        ("join", rest) => {
            let by = match rest {
                [Value::Text(s)] => &**s,
                [] => "",
                _ => return no_overload(),
            };
            let mut parts = Vec::new();
            for v in l {
                let Value::Text(s) = v else { return no_overload() };
                parts.push(&**s);
            }
            Ok(Value::text(&parts.join(by)))
        }
        ("distinct", []) => {
            let mut seen: Vec<Value> = Vec::new();
            for v in l {
                if !seen.contains(v) {
                    seen.push(v.clone());
                }
            }
            Ok(Value::list(seen))
        }
        ("reverse", []) => Ok(Value::list(l.iter().rev().cloned().collect())),
        ("sort", []) => {
            let mut all = l.to_vec();
            all.sort_by(|a, b| a.order(b).unwrap_or(Ordering::Equal));
            Ok(Value::list(all))
        }
        ("slice", [Value::Int(a), Value::Int(b)]) => {
            let (a, b) = (place(*a, l.len())?, place(*b, l.len())?);
            if a > b {
                return fail("cannot slice: start must be less than or equal to end");
            }
            Ok(Value::list(l[a..b].to_vec()))
        }
        ("flatten", []) => {
            let mut out = Vec::new();
            for v in l {
                match v {
                    Value::List(inner) => out.extend(inner.iter().cloned()),
                    v => out.push(v.clone()),
                }
            }
            Ok(Value::list(out))
        }
        ("first" | "last", []) => {
            let v = if name == "first" { l.first() } else { l.last() };
            Ok(Value::Optional(v.cloned().map(Box::new)))
        }
        ("includes", [x]) => truth(l.contains(x)),
        _ => no_overload(),
    }
}

fn quantity_method(name: &str, q: Quantity, args: &[Value]) -> Result {
    let other = match args {
        [Value::Quantity(o)] => Some(*o),
        [Value::Int(n)] => Some(Quantity::from_units(*n)),
        _ => None,
    };
    let whole = q.nano() % 1_000_000_000 == 0;
    match (name, other) {
        ("add", Some(o)) => Ok(Value::Quantity(q + o)),
        ("sub", Some(o)) => Ok(Value::Quantity(q - o)),
        ("isGreaterThan", Some(o)) => truth(q > o),
        ("isLessThan", Some(o)) => truth(q < o),
        ("compareTo", Some(o)) => Ok(Value::Int(match q.cmp(&o) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })),
        ("sign", None) => Ok(Value::Int(i64::try_from(q.nano().signum()).unwrap_or_default())),
        ("isInteger", None) => truth(whole),
        ("asInteger", None) if whole => i64::try_from(q.nano() / 1_000_000_000)
            .map_or_else(|_| fail("cannot convert value to integer"), |n| Ok(Value::Int(n))),
        ("asInteger", None) => fail("cannot convert value to integer"),
        ("asApproximateFloat", None) => Ok(Value::Double(q.nano() as f64 / 1e9)),
        _ => no_overload(),
    }
}

fn semver_method(name: &str, v: &Version, args: &[Value]) -> Result {
    let number = |n: u64| Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)));
    let other = match args {
        [Value::Semver(o)] => Some(o),
        _ => None,
    };
    match (name, other) {
        ("major", None) => number(v.major),
        ("minor", None) => number(v.minor),
        ("patch", None) => number(v.patch),
        ("isGreaterThan", Some(o)) => truth(v > &**o),
        ("isLessThan", Some(o)) => truth(v < &**o),
        ("compareTo", Some(o)) => Ok(Value::Int(v.cmp(o) as i64)),
        _ => no_overload(),
    }
}

/// `%s %d %f %e %x %%` with values in order.
fn format_text(s: &str, args: &[Value]) -> Result {
    let mut out = String::new();
    let mut chars = s.chars();
    let mut args = args.iter();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut verb = chars.next();
        let mut precision = String::new();
        if verb == Some('.') {
            verb = chars.next();
            while let Some(d) = verb.filter(char::is_ascii_digit) {
                precision.push(d);
                verb = chars.next();
            }
        }
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let Some(v) = args.next() else {
            return fail("index out of range: not enough arguments for the format");
        };
        let text = match (verb, v) {
            (Some('s' | 'd'), v) => match text_of(v) {
                Some(t) => t,
                None => v.to_json().map(|j| j.to_string()).unwrap_or_default(),
            },
            (Some('f'), v) => {
                let n = v.number().map_or_else(no_overload_number, Ok)?;
                format!("{n:.*}", precision.parse().unwrap_or(6))
            }
            (Some('x'), Value::Int(n)) => format!("{n:x}"),
            (Some('X'), Value::Int(n)) => format!("{n:X}"),
            (Some('o'), Value::Int(n)) => format!("{n:o}"),
            (Some('b'), Value::Int(n)) => format!("{n:b}"),
            _ => return fail("could not parse formatting clause"),
        };
        out.push_str(&text);
    }
    Ok(Value::text(&out))
}

fn no_overload_number() -> Result<f64> {
    fail("no such overload")
}

fn is_url(s: &str) -> bool {
    match s.split_once("://") {
        Some((scheme, rest)) => {
            !scheme.is_empty()
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && !rest.contains(' ')
        }
        None => s.starts_with('/'),
    }
}

fn part_of_url(what: &str, s: &str) -> String {
    let (scheme, rest) = s.split_once("://").unwrap_or(("", s));
    let (host, path) = match rest.find('/') {
        Some(i) if !scheme.is_empty() => rest.split_at(i),
        _ if scheme.is_empty() => ("", rest),
        _ => (rest, ""),
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let (hostname, port) = match host.rfind(':') {
        Some(i) if !host.ends_with(']') => (&host[..i], &host[i + 1..]),
        _ => (host, ""),
    };
    match what {
        "getScheme" => scheme,
        "getHost" => host,
        "getHostname" => hostname.trim_matches(['[', ']']),
        "getPort" => port,
        _ => path,
    }
    .to_owned()
}

/// `address/bits`.
fn network(s: &str) -> Option<(IpAddr, u8)> {
    let (a, bits) = s.split_once('/')?;
    let (a, bits): (IpAddr, u8) = (a.parse().ok()?, bits.parse().ok()?);
    (bits <= if a.is_ipv4() { 32 } else { 128 }).then_some((a, bits))
}

fn within(net: IpAddr, bits: u8, a: IpAddr) -> bool {
    let wide = |a: IpAddr| match a {
        IpAddr::V4(a) => (u128::from(u32::from(a)) << 96, true),
        IpAddr::V6(a) => (u128::from(a), false),
    };
    let ((n, four), (a, also)) = (wide(net), wide(a));
    let mask = if bits == 0 {
        0
    } else {
        u128::MAX << (128 - u32::from(bits))
    };
    four == also && n & mask == a & mask
}
