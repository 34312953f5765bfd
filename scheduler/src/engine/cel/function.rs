//! Functions: CEL's own, and of Kubernetes' and Open Cluster Management's libraries.

use std::cmp::Ordering;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::Value as Json;

use super::{Scope, Value};
use crate::engine::quantity::Amount;

const KNOWN: [&str; 44] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "type",
    "split",
    "join",
    "trim",
    "lowerAscii",
    "upperAscii",
    "replace",
    "substring",
    "indexOf",
    "charAt",
    "min",
    "max",
    "sum",
    "isSorted",
    "quantity",
    "isQuantity",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "asInteger",
    "asApproximateFloat",
    "isInteger",
    "sign",
    "add",
    "sub",
    "semver",
    "isSemver",
    "major",
    "minor",
    "patch",
    "scores",
    "parseJSON",
    "dyn",
    "lastIndexOf",
];

pub(super) fn known(name: &str) -> bool {
    KNOWN.contains(&name)
}

type Outcome = Result<Value, String>;

fn whole(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Calls a function; of a method call the target is the first argument.
pub(super) fn call(scope: &Scope<'_>, name: &str, method: bool, arguments: &[Value]) -> Outcome {
    let wrong = || {
        let kinds: Vec<&str> = arguments.iter().map(Value::kind).collect();
        format!("no such overload: {name}({})", kinds.join(", "))
    };
    match (name, arguments) {
        ("scores", [Value::Map(_), Value::Str(resource)]) if method => {
            let entry = |(name, value)| {
                Value::Map(
                    [
                        ("name".to_owned(), Value::Str(name)),
                        ("value".to_owned(), Value::Int(value)),
                    ]
                    .into(),
                )
            };
            Ok(Value::List((scope.scores)(resource).into_iter().map(entry).collect()))
        }
        ("parseJSON", [Value::Map(_), Value::Str(text)] | [Value::Str(text)]) => {
            let v: Json = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
            Ok(Value::from(&v))
        }
        ("dyn", [v]) => Ok(v.clone()),
        ("type", [v]) => Ok(Value::Str(v.kind().to_owned())),
        ("size", [Value::Str(s)]) => Ok(whole(s.chars().count())),
        ("size", [Value::List(l)]) => Ok(whole(l.len())),
        ("size", [Value::Map(m)]) => Ok(whole(m.len())),
        ("int" | "uint" | "double" | "string" | "bool", [v]) => convert(name, v).ok_or_else(wrong),
        ("quantity", [Value::Str(s)]) => {
            let amount = Amount::parse(&Quantity(s.clone())).map(Value::Quantity);
            amount.ok_or_else(|| format!("not a quantity: {s}"))
        }
        ("isQuantity", [Value::Str(s)]) => Ok(Value::Bool(Amount::parse(&Quantity(s.clone())).is_some())),
        ("semver", [Value::Str(s)] | [Value::Str(s), Value::Bool(_)]) => {
            let loose = matches!(arguments.get(1), Some(Value::Bool(true)));
            semver(s, loose).ok_or_else(|| format!("not a version: {s}"))
        }
        ("isSemver", [Value::Str(s)] | [Value::Str(s), Value::Bool(_)]) => {
            let loose = matches!(arguments.get(1), Some(Value::Bool(true)));
            Ok(Value::Bool(semver(s, loose).is_some()))
        }
        (_, [Value::Str(s), rest @ ..]) => text(name, s, rest).unwrap_or_else(|| Err(wrong())),
        (_, [Value::List(l), rest @ ..]) => list(name, l, rest).unwrap_or_else(|| Err(wrong())),
        (_, [Value::Quantity(q), rest @ ..]) => quantity(name, *q, rest).ok_or_else(wrong),
        (_, [Value::Semver(a, b, c, pre), rest @ ..]) => version(name, (*a, *b, *c, pre), rest).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "CEL's conversions; what does not fit is refused"
)]
fn convert(to: &str, v: &Value) -> Option<Value> {
    Some(match (to, v) {
        ("int", Value::Int(n)) => Value::Int(*n),
        ("int", Value::Uint(n)) => Value::Int(i64::try_from(*n).ok()?),
        ("int", Value::Double(n)) if n.abs() < 9.2e18 => Value::Int(*n as i64),
        ("int", Value::Str(s)) => Value::Int(s.parse().ok()?),
        ("uint", Value::Uint(n)) => Value::Uint(*n),
        ("uint", Value::Int(n)) => Value::Uint(u64::try_from(*n).ok()?),
        ("uint", Value::Double(n)) if (0.0..1.8e19).contains(n) => Value::Uint(*n as u64),
        ("uint", Value::Str(s)) => Value::Uint(s.parse().ok()?),
        ("double", Value::Double(n)) => Value::Double(*n),
        ("double", Value::Int(n)) => Value::Double(*n as f64),
        ("double", Value::Uint(n)) => Value::Double(*n as f64),
        ("double", Value::Str(s)) => Value::Double(s.parse().ok()?),
        ("bool", Value::Bool(b)) => Value::Bool(*b),
        ("bool", Value::Str(s)) => Value::Bool(match s.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => true,
            "false" | "False" | "FALSE" | "f" | "0" => false,
            _ => return None,
        }),
        ("string", Value::Str(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Bool(_)) => {
            Value::Str(v.to_string())
        }
        _ => return None,
    })
}

fn text(name: &str, s: &str, rest: &[Value]) -> Option<Outcome> {
    let position = |n: i64| usize::try_from(n).ok().filter(|n| *n <= s.chars().count());
    let found = |byte: Option<usize>| byte.map_or(Value::Int(-1), |b| whole(s[..b].chars().count()));
    Some(Ok(match (name, rest) {
        ("contains", [Value::Str(x)]) => Value::Bool(s.contains(x.as_str())),
        ("startsWith", [Value::Str(x)]) => Value::Bool(s.starts_with(x.as_str())),
        ("endsWith", [Value::Str(x)]) => Value::Bool(s.ends_with(x.as_str())),
        ("matches", [Value::Str(x)]) => match regex::Regex::new(x) {
            Ok(r) => Value::Bool(r.is_match(s)),
            Err(e) => return Some(Err(format!("not a pattern: {e}"))),
        },
        ("split", [Value::Str(x)]) => Value::List(s.split(x.as_str()).map(|p| Value::Str(p.to_owned())).collect()),
        ("trim", []) => Value::Str(s.trim().to_owned()),
        ("lowerAscii", []) => Value::Str(s.to_ascii_lowercase()),
        ("upperAscii", []) => Value::Str(s.to_ascii_uppercase()),
        ("replace", [Value::Str(a), Value::Str(b)]) => Value::Str(s.replace(a.as_str(), b)),
        ("indexOf", [Value::Str(x)]) => found(s.find(x.as_str())),
        ("lastIndexOf", [Value::Str(x)]) => found(s.rfind(x.as_str())),
        ("charAt", [Value::Int(i)]) => Value::Str(s.chars().skip(position(*i)?).take(1).collect()),
        ("substring", [Value::Int(a)]) => Value::Str(s.chars().skip(position(*a)?).collect()),
        ("substring", [Value::Int(a), Value::Int(b)]) => {
            let (a, b) = (position(*a)?, position(*b)?);
            Value::Str(s.chars().skip(a).take(b.checked_sub(a)?).collect())
        }
        _ => return None,
    }))
}

fn list(name: &str, l: &[Value], rest: &[Value]) -> Option<Outcome> {
    let compare = |a: &Value, b: &Value| super::eval::compare(a, b).ok().flatten();
    let best = |order: Ordering| {
        let mut items = l.iter();
        let mut best = items.next()?;
        for i in items {
            if compare(i, best)? == order {
                best = i;
            }
        }
        Some(best.clone())
    };
    Some(Ok(match (name, rest) {
        ("min", []) => best(Ordering::Less)?,
        ("max", []) => best(Ordering::Greater)?,
        ("isSorted", []) => Value::Bool(l.windows(2).all(|w| compare(&w[0], &w[1]) != Some(Ordering::Greater))),
        ("indexOf", [x]) => l.iter().position(|i| i == x).map_or(Value::Int(-1), whole),
        ("sum", []) => {
            let mut sum = 0_i64;
            for i in l {
                let Value::Int(n) = i else { return None };
                sum = sum.checked_add(*n)?;
            }
            Value::Int(sum)
        }
        ("join", separator) => {
            let with = match separator {
                [] => "",
                [Value::Str(s)] => s,
                _ => return None,
            };
            let parts: Option<Vec<&str>> = l
                .iter()
                .map(|i| if let Value::Str(s) = i { Some(s.as_str()) } else { None })
                .collect();
            Value::Str(parts?.join(with))
        }
        _ => return None,
    }))
}

fn quantity(name: &str, q: Amount, rest: &[Value]) -> Option<Value> {
    let amount = |v: &Value| match v {
        Value::Quantity(q) => Some(*q),
        Value::Int(n) => Some(Amount::whole(*n)),
        _ => None,
    };
    Some(match (name, rest) {
        ("isGreaterThan", [Value::Quantity(o)]) => Value::Bool(q > *o),
        ("isLessThan", [Value::Quantity(o)]) => Value::Bool(q < *o),
        ("compareTo", [Value::Quantity(o)]) => Value::Int(q.cmp(o) as i64),
        ("add", [o]) => Value::Quantity(q + amount(o)?),
        ("sub", [o]) => Value::Quantity(q - amount(o)?),
        ("isInteger", []) => Value::Bool(Amount::whole(q.value()) == q),
        ("asInteger", []) if Amount::whole(q.value()) == q => Value::Int(q.value()),
        ("asApproximateFloat", []) => Value::Double(q.to_f64()),
        ("sign", []) => Value::Int(q.cmp(&Amount::default()) as i64),
        _ => return None,
    })
}

fn semver(text: &str, loose: bool) -> Option<Value> {
    let text = if loose { text.trim_start_matches('v') } else { text };
    let text = text.split('+').next().unwrap_or_default();
    let (core, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = core.split('.');
    let mut next = |must: bool| match parts.next() {
        Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => p.parse::<u64>().ok(),
        None if !must => Some(0),
        _ => None,
    };
    let (major, minor, patch) = (next(true)?, next(!loose)?, next(!loose)?);
    parts
        .next()
        .is_none()
        .then(|| Value::Semver(major, minor, patch, pre.to_owned()))
}

fn version(name: &str, v: (u64, u64, u64, &str), rest: &[Value]) -> Option<Value> {
    let number = |n: u64| i64::try_from(n).ok().map(Value::Int);
    let against = |other: &[Value]| {
        let [Value::Semver(a, b, c, pre)] = other else {
            return None;
        };
        // A pre-release comes before its release.
        let core = (v.0, v.1, v.2).cmp(&(*a, *b, *c));
        Some(
            core.then_with(|| v.3.is_empty().cmp(&pre.is_empty()))
                .then_with(|| pre_release(v.3, pre)),
        )
    };
    match name {
        "major" => number(v.0),
        "minor" => number(v.1),
        "patch" => number(v.2),
        "isGreaterThan" => Some(Value::Bool(against(rest)? == Ordering::Greater)),
        "isLessThan" => Some(Value::Bool(against(rest)? == Ordering::Less)),
        "compareTo" => Some(Value::Int(against(rest)? as i64)),
        _ => None,
    }
}

/// Identifiers left to right, numbers before words (semver.org, 11).
fn pre_release(a: &str, b: &str) -> Ordering {
    let part = |s: &str| {
        s.parse::<u64>()
            .map_or_else(|_| (1, 0, s.to_owned()), |n| (0, n, String::new()))
    };
    a.split('.').map(part).cmp(b.split('.').map(part))
}
