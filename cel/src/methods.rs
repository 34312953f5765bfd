//! Methods of values: CEL's own, its extension of strings, and Kubernetes' libraries of lists, regular expressions,
//! addresses, quantities and versions.

use std::cmp::Ordering;
use std::sync::Arc;

use regex::Regex;

use super::CelError;
use super::address::{is_of, masked, within};
use super::eval::no_overload;
use super::functions::{Result, count, extreme, fail, size, to_address, to_network, truth};
use super::memo::Memo;
use super::numbers;
use super::quantity::Quantity;
use super::semver::Version;
use super::url::Url;
use super::value::{Key, Value};

/// Methods of values, of what stands in the homes, and of `authorizer`, which policies may name though it has no value
/// here; beside the macros.
const METHODS: [&str; 109] = [
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
    "unwrapOpt",
    "validate",
    "getQuery",
    "range",
    "unwrap",
    "named",
];

/// Whether some value has a method of this name.
pub(super) fn is_method(name: &str) -> bool {
    METHODS.contains(&name) || super::formats::named(name).is_some()
}

pub(super) fn method(name: &str, on: &Value, args: &[Value]) -> Result {
    match on {
        Value::Text(s) => text_method(name, s, args),
        Value::List(l) => list_method(name, l, args),
        Value::Map(_) | Value::Bytes(_) if name == "size" => size(on),
        Value::Format(f) => match (name, args) {
            ("validate", [Value::Text(s)]) => {
                let wrong = super::formats::wrong(f, s);
                let all = Value::list(wrong.iter().map(|why| Value::text(why)).collect());
                Ok(Value::Optional((!wrong.is_empty()).then(|| Box::new(all))))
            }
            _ => no_overload(),
        },
        Value::Ip(a) => match (name, args) {
            ("family", []) => Ok(Value::Int(if a.is_ipv4() { 4 } else { 6 })),
            (
                "isUnspecified" | "isLoopback" | "isLinkLocalMulticast" | "isLinkLocalUnicast" | "isGlobalUnicast",
                [],
            ) => truth(is_of(name, *a)),
            _ => no_overload(),
        },
        Value::Cidr(a, bits) => match (name, args) {
            // Upstream tells nothing of a text that is no address.
            ("containsIP", [Value::Text(s)]) => match to_address(s) {
                Ok(other) => method(name, on, &[other]),
                Err(_) => no_overload(),
            },
            ("containsIP", [Value::Ip(other)]) => truth(within(*a, *bits, *other)),
            ("containsCIDR", [Value::Text(s)]) => method(name, on, &[to_network(s)?]),
            ("containsCIDR", [Value::Cidr(other, more)]) => truth(more >= bits && within(*a, *bits, *other)),
            ("masked", []) => Ok(Value::Cidr(masked(*a, *bits), *bits)),
            ("prefixLength", []) => Ok(Value::Int(i64::from(*bits))),
            ("ip", []) => Ok(Value::Ip(*a)),
            _ => no_overload(),
        },
        Value::Url(u) => url_method(name, u),
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
                [Value::Text(z)] => Some(&**z),
                _ => None,
            };
            match t.part(name, zone) {
                Ok(found) => found.map_or_else(no_overload, |n| Ok(Value::Int(n))),
                Err(why) => fail(why),
            }
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

/// Values by what they are to be ordered by, in that order; those that have none among each other stay as they are.
pub(super) fn sorted(mut keyed: Vec<(Value, Value)>) -> Vec<Value> {
    // A sort asks for one order of all: numbers of several kinds have one as floating numbers, and so have those that
    // are none.
    let number = |v: &Value| v.number();
    if keyed.iter().any(|(k, _)| matches!(k, Value::Double(_))) {
        if keyed.iter().all(|(k, _)| number(k).is_some()) {
            let of = |v: &Value| number(v).unwrap_or_default();
            keyed.sort_by(|a, b| of(&a.0).total_cmp(&of(&b.0)));
        }
    } else if let Some((first, _)) = keyed.first().cloned()
        && keyed.iter().all(|(k, _)| k.order(&first).is_some())
    {
        keyed.sort_by(|a, b| a.0.order(&b.0).unwrap_or(Ordering::Equal));
    }
    keyed.into_iter().map(|(_, v)| v).collect()
}

/// Compiled patterns that are remembered: users choose them, and each may take megabytes.
const PATTERNS: usize = 100;

/// Compiled patterns, for a policy matches the same ones at every write.
fn pattern(text: &str) -> Result<Regex> {
    static KNOWN: Memo<Regex> = Memo::new(PATTERNS);
    KNOWN.get(text, |t| super::pattern::compile(t).map_err(CelError::evaluation))
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
        ("contains", [Value::Text(x)]) => truth(s.contains(&**x)),
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
            if let [Value::Int(b)] = rest
                && a > b
            {
                return fail(format!("invalid substring range. start: {a}, end: {b}"));
            }
            let a = place(*a, all.len())?;
            let b = match rest {
                [Value::Int(b)] => place(*b, all.len())?,
                _ => all.len(),
            };
            of(all[a..b].iter().collect())
        }
        ("indexOf" | "lastIndexOf", [Value::Text(x), Value::Int(from)]) => {
            // Where the character begins, in bytes.
            let at = match usize::try_from(*from) {
                _ if x.is_empty() => return Ok(Value::Int(*from)),
                Ok(n) => match s.char_indices().nth(n) {
                    Some((at, _)) => at,
                    None => return Ok(Value::Int(-1)),
                },
                Err(_) => return fail(format!("index out of range: {from}")),
            };
            let found = if name == "indexOf" {
                s[at..].find(&**x).map(|i| at + i)
            } else {
                // It may begin there at the latest, and what begins there ends where a character does.
                let mut end = s.len().min(at + x.len());
                while !s.is_char_boundary(end) {
                    end -= 1;
                }
                s[..end].rfind(&**x)
            };
            let place = found.and_then(|i| i64::try_from(s[..i].chars().count()).ok());
            Ok(Value::Int(place.unwrap_or(-1)))
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
                [Value::Int(n)] if *n > 0 => {
                    let n = usize::try_from(*n).unwrap_or(usize::MAX);
                    if by.is_empty() {
                        each_character(s, n)
                    } else {
                        s.splitn(n, &**by).collect()
                    }
                }
                _ if by.is_empty() => s.split("").filter(|p| !p.is_empty()).collect(),
                _ => s.split(&**by).collect(),
            };
            Ok(Value::list(parts.into_iter().map(Value::text).collect()))
        }
        ("format", [Value::List(args)]) => super::format::format(s, args),
        _ => no_overload(),
    }
}

/// The characters of a text; of more than `most`, the last part is the rest.
fn each_character(s: &str, most: usize) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), s);
    while let Some(c) = rest.chars().next() {
        let end = if parts.len() + 1 == most {
            rest.len()
        } else {
            c.len_utf8()
        };
        parts.push(&rest[..end]);
        rest = &rest[end..];
    }
    parts
}

fn url_method(name: &str, u: &Url) -> Result {
    let of = |s: &str| Ok(Value::text(s));
    match name {
        "getScheme" => of(&u.scheme),
        "getHost" => of(&u.host),
        "getHostname" => of(u.host_and_port().0),
        "getPort" => of(u.host_and_port().1),
        "getEscapedPath" => of(&u.escaped_path()),
        "getQuery" => {
            let texts = |all: Vec<String>| Value::list(all.iter().map(|v| Value::text(v)).collect());
            let all = u.parameters().into_iter();
            let all = all.map(|(k, v)| (Key::Text(k.as_str().into()), texts(v)));
            Ok(Value::Map(Arc::new(all.collect())))
        }
        _ => no_overload(),
    }
}

/// A list with the lists in it taken apart, so deep.
fn flat(l: &[Value], depth: i64) -> Vec<Value> {
    let each = |v: &Value| match v {
        Value::List(inner) if depth > 0 => flat(inner, depth - 1),
        v => vec![v.clone()],
    };
    l.iter().flat_map(each).collect()
}

fn list_method(name: &str, l: &[Value], args: &[Value]) -> Result {
    match (name, args) {
        ("size", []) => count(l.len()),
        ("isSorted", []) => truth(l.windows(2).all(|w| w[0].order(&w[1]) != Some(Ordering::Greater))),
        ("min", []) => extreme(name, l, Ordering::Less),
        ("max", []) => extreme(name, l, Ordering::Greater),
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
        ("sort", []) => Ok(Value::list(sorted(l.iter().map(|v| (v.clone(), v.clone())).collect()))),
        ("slice", [Value::Int(a), Value::Int(b)]) => {
            let wrong = |why: &str| fail(format!("cannot slice({a}, {b}), {why}"));
            match (usize::try_from(*a), usize::try_from(*b)) {
                (Ok(from), Ok(to)) if from > to => wrong("start index must be less than or equal to end index"),
                (Ok(_), Ok(to)) if to > l.len() => wrong(&format!("list is length {}", l.len())),
                (Ok(from), Ok(to)) => Ok(Value::list(l[from..to].to_vec())),
                _ => wrong("negative indexes not supported"),
            }
        }
        ("flatten", []) => Ok(Value::list(flat(l, 1))),
        ("flatten", [Value::Int(n)]) if *n < 0 => fail("level must be non-negative"),
        ("flatten", [Value::Int(n)]) => Ok(Value::list(flat(l, *n))),
        ("unwrapOpt", []) => super::functions::unwrapped(l),
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
