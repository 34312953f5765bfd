//! Arithmetic: checked, as CEL's; moments and spans of time.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::CelError;
use super::eval::no_overload;
use super::value::Value;

type Result<T = Value> = std::result::Result<T, CelError>;

fn overflow() -> CelError {
    CelError::evaluation("integer overflow")
}

/// An operator on two integers of one type.
macro_rules! whole {
    ($o:expr, $a:expr, $b:expr) => {
        match $o {
            "/" if *$b == 0 => Err(CelError::evaluation("division by zero")),
            "%" if *$b == 0 => Err(CelError::evaluation("modulus by zero")),
            "+" => $a.checked_add(*$b).ok_or_else(overflow),
            "-" => $a.checked_sub(*$b).ok_or_else(overflow),
            "*" => $a.checked_mul(*$b).ok_or_else(overflow),
            "/" => $a.checked_div(*$b).ok_or_else(overflow),
            _ => $a.checked_rem(*$b).ok_or_else(overflow),
        }
    };
}

pub(super) fn arithmetic(o: &str, a: &Value, b: &Value) -> Result {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(whole!(o, a, b)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(whole!(o, a, b)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(match o {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return no_overload(),
        }),
        (Value::Text(a), Value::Text(b)) if o == "+" => Value::text(&format!("{a}{b}")),
        (Value::Bytes(a), Value::Bytes(b)) if o == "+" => Value::Bytes([&**a, &**b].concat().into()),
        (Value::List(a), Value::List(b)) if o == "+" => {
            let mut l = (**a).clone();
            l.extend(b.iter().cloned());
            Value::List(Arc::new(l))
        }
        (Value::Time(t), Value::Span(d)) | (Value::Span(d), Value::Time(t)) if o == "+" => {
            Value::Time(t.checked_add(*d).map_err(|_| overflow())?)
        }
        (Value::Time(t), Value::Span(d)) if o == "-" => Value::Time(t.checked_sub(*d).map_err(|_| overflow())?),
        (Value::Time(a), Value::Time(b)) if o == "-" => Value::Span(a.duration_since(*b)),
        (Value::Span(a), Value::Span(b)) => {
            let d = match o {
                "+" => a.checked_add(*b),
                "-" => a.checked_sub(*b),
                _ => return no_overload(),
            };
            Value::Span(d.ok_or_else(overflow)?)
        }
        _ => return no_overload(),
    })
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
        Ok(p) if n != 0.0 && !(-4..21).contains(&p) => {
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
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(r) => (true, r),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: f64 = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let n: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 60e9),
            ("h", 3600e9),
        ];
        let (unit, factor) = units.iter().find(|(u, _)| rest.starts_with(u))?;
        nanos += n * factor;
        rest = &rest[unit.len()..];
    }
    if nanos > 9.2e18 {
        return None;
    }
    let d = SignedDuration::from_nanos(nanos.round() as i64);
    Some(if negative { -d } else { d })
}

/// What a moment says about itself in a zone (UTC without one).
pub(super) fn part_of_time(name: &str, t: Timestamp, zone: &str) -> Option<i64> {
    let zone = if zone.is_empty() { "UTC" } else { zone };
    let tz = if zone == "UTC" {
        jiff::tz::TimeZone::UTC
    } else if let Some((h, m)) = zone.split_once(':') {
        let hours: i32 = h.parse().ok()?;
        let minutes: i32 = m.parse().ok()?;
        let seconds = hours * 3600 + hours.signum().max(if h.starts_with('-') { -1 } else { 1 }) * minutes * 60;
        jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?)
    } else {
        jiff::tz::TimeZone::get(zone).ok()?
    };
    let z = t.to_zoned(tz);
    Some(match name {
        "getFullYear" => i64::from(z.year()),
        "getMonth" => i64::from(z.month()) - 1,
        "getDayOfYear" => i64::from(z.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(z.day()) - 1,
        "getDate" => i64::from(z.day()),
        "getDayOfWeek" => i64::from(z.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(z.hour()),
        "getMinutes" => i64::from(z.minute()),
        "getSeconds" => i64::from(z.second()),
        "getMilliseconds" => i64::from(z.millisecond()),
        _ => return None,
    })
}
