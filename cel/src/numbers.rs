//! Arithmetic: checked, as CEL's; moments and spans of time.

use std::sync::Arc;

use jiff::SignedDuration;

use super::CelError;
use super::eval::no_overload;
use super::value::Value;

type Result<T = Value> = std::result::Result<T, CelError>;

fn overflow(what: &str) -> CelError {
    CelError::evaluation(format!("{what} overflow"))
}

/// An operator on two integers of one type.
macro_rules! whole {
    ($o:expr, $a:expr, $b:expr, $what:expr) => {
        match $o {
            "/" if *$b == 0 => Err(CelError::evaluation("division by zero")),
            "%" if *$b == 0 => Err(CelError::evaluation("modulus by zero")),
            "+" => $a.checked_add(*$b).ok_or_else(|| overflow($what)),
            "-" => $a.checked_sub(*$b).ok_or_else(|| overflow($what)),
            "*" => $a.checked_mul(*$b).ok_or_else(|| overflow($what)),
            "/" => $a.checked_div(*$b).ok_or_else(|| overflow($what)),
            _ => $a.checked_rem(*$b).ok_or_else(|| overflow($what)),
        }
    };
}

pub(super) fn arithmetic(o: &str, a: &Value, b: &Value) -> Result {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(whole!(o, a, b, "integer")?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(whole!(o, a, b, "unsigned integer")?),
        (Value::Double(a), Value::Double(b)) => Value::Double(match o {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return no_overload(),
        }),
        (Value::Text(a), Value::Text(b)) if o == "+" => Value::text(&format!("{a}{b}")),
        (Value::Bytes(a), Value::Bytes(b)) if o == "+" => Value::Bytes([&**a, &**b].concat().into()),
        (Value::List(a), Value::List(b)) if o == "+" => Value::List(Arc::new(a.with(b))),
        (Value::Time(t), Value::Span(d)) | (Value::Span(d), Value::Time(t)) if o == "+" => {
            Value::Time(t.later(*d).ok_or_else(|| overflow("timestamp"))?)
        }
        (Value::Time(t), Value::Span(d)) if o == "-" => {
            Value::Time(t.later(negated(*d)?).ok_or_else(|| overflow("timestamp"))?)
        }
        (Value::Time(a), Value::Time(b)) if o == "-" => Value::Span(span(Some(a.since(b)))?),
        (Value::Span(a), Value::Span(b)) => match o {
            "+" => Value::Span(span(a.checked_add(*b))?),
            "-" => Value::Span(span(a.checked_sub(*b))?),
            _ => return no_overload(),
        },
        _ => return no_overload(),
    })
}

/// A span of as many nanoseconds as Go's `time.Duration` has room for, which counts them as an integer.
fn span(d: Option<SignedDuration>) -> Result<SignedDuration> {
    let fits = |d: &SignedDuration| i64::try_from(d.as_nanos()).is_ok();
    d.filter(fits).ok_or_else(|| overflow("integer"))
}

/// A span backwards.
pub(super) fn negated(d: SignedDuration) -> Result<SignedDuration> {
    span(d.checked_neg())
}

/// A number as Go writes one in a text: with a power of ten where it is large or small.
pub(super) fn double_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n < 0.0 { "-Inf" } else { "+Inf" }.to_owned();
    }
    let power = format!("{n:e}");
    let (mantissa, power) = power.split_once('e').unwrap_or((&power, "0"));
    match power.parse::<i32>() {
        Ok(p) if n != 0.0 && !(-4..6).contains(&p) => {
            let sign = if p < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", p.abs())
        }
        _ => n.to_string(),
    }
}

/// A span as protobuf writes it in JSON: `1.5s`.
pub(super) fn span_text(d: SignedDuration) -> String {
    let (s, n) = (d.as_secs(), d.subsec_nanos().unsigned_abs());
    let sign = if d.is_negative() && s == 0 { "-" } else { "" };
    if n == 0 {
        return format!("{s}s");
    }
    let fraction = format!("{n:09}");
    format!("{sign}{s}.{}s", fraction.trim_end_matches('0'))
}

/// A span as Go writes it: `1h30m`, `500ms`, `-1.5s`.
pub(super) fn parse_span(text: &str) -> Option<SignedDuration> {
    super::time::parse_duration(text).ok().map(SignedDuration::from_nanos)
}
