//! Quantities. A number without its unit is refused, and so is a negative one.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Splits `5.5ms` into its number and its unit.
fn split(s: &str) -> Option<(f64, &str)> {
    let s = s.trim();
    let end = s
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
        .map_or(s.len(), |(i, _)| i);
    let n: f64 = s[..end].parse().ok()?;
    Some((n, s[end..].trim()))
}

fn scaled(s: &str, what: &str, example: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let known = || units.iter().map(|(u, _)| *u).collect::<Vec<_>>().join(", ");
    let expected = format!("{what} with its unit ({}), such as {example}", known());
    let Some((n, unit)) = split(s) else {
        return Err(format!("`{s}` is not {what}; expected {expected}"));
    };
    if unit.is_empty() {
        return Err(format!("`{s}` has no unit; expected {expected}"));
    }
    let Some((_, scale)) = units.iter().find(|(u, _)| *u == unit) else {
        return Err(format!("`{unit}` is not a unit of {what}; expected {expected}"));
    };
    if n < 0.0 {
        return Err(format!("`{s}` is negative; expected {expected}"));
    }
    Ok(n * scale)
}

/// Parses a duration with its unit.
///
/// # Errors
/// `<what is wrong>; expected <what>`.
pub fn parse_duration(s: &str) -> Result<Duration, String> {
    let seconds = scaled(
        s,
        "a duration",
        "5ms",
        &[
            ("ns", 1e-9),
            ("us", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ],
    )?;
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("`{s}`: {e}; expected a duration such as 5ms"))
}

/// Shows a duration shortly: `5ms`, `1.5s`, `630s`.
#[must_use]
pub fn show_duration(d: Duration) -> String {
    let s = d.as_secs_f64();
    let trim = |x: f64, unit: &str| {
        let t = format!("{x:.3}");
        let t = t.trim_end_matches('0').trim_end_matches('.');
        format!("{t}{unit}")
    };
    if s == 0.0 {
        "0s".into()
    } else if s < 1e-3 {
        trim(s * 1e6, "us")
    } else if s < 1.0 {
        trim(s * 1e3, "ms")
    } else {
        trim(s, "s")
    }
}

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $pattern:literal, $parse:expr, $show:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Default)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl Visitor<'_> for V {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a quantity with its unit")
                    }
                    fn visit_str<E: de::Error>(self, s: &str) -> Result<$name, E> {
                        let parse: fn(&str) -> Result<$inner, String> = $parse;
                        parse(s).map($name).map_err(E::custom)
                    }
                }
                d.deserialize_str(V)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn($inner) -> String = $show;
                f.write_str(&show(self.0))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

quantity!(
    /// A time span: `5ms`, `1.5s`, `10m`.
    Delay(Duration),
    r"^\d+(\.\d+)?\s*(ns|us|ms|s|m|h)$",
    parse_duration,
    show_duration
);
quantity!(
    /// A throughput in bit/s: `100Mbit/s`.
    Rate(f64),
    r"^\d+(\.\d+)?\s*([kMG]?bit/s)$",
    |s| scaled(s, "a throughput", "100Mbit/s", &[("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)]),
    |v| format!("{}Mbit/s", v / 1e6)
);
quantity!(
    /// A share in percent: `0.1%`.
    Percent(f64),
    r"^\d+(\.\d+)?\s*%$",
    |s| {
        let v = scaled(s, "a share", "0.1%", &[("%", 1.0)])?;
        if v > 100.0 { Err(format!("`{s}` is more than everything; expected a share from 0% to 100%")) } else { Ok(v) }
    },
    |v| format!("{v}%")
);
quantity!(
    /// A distance on the map, in metres: `400m`, `1.2km`.
    Length(f64),
    r"^\d+(\.\d+)?\s*(m|km)$",
    |s| scaled(s, "a distance", "400m", &[("m", 1.0), ("km", 1000.0)]),
    |v| format!("{v}m")
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (s, want) in [
            ("5ms", 5_000_000),
            ("0.25ms", 250_000),
            ("2 s", 2_000_000_000),
            ("1m", 60_000_000_000),
        ] {
            assert_eq!(parse_duration(s).unwrap().as_nanos(), want, "{s}");
        }
        for (s, want) in [
            ("5", "`5` has no unit"),
            ("-5ms", "`-5ms` is negative"),
            ("5 parsecs", "`parsecs` is not a unit of a duration"),
            ("soon", "`soon` is not a duration"),
        ] {
            let e = parse_duration(s).unwrap_err();
            assert!(e.starts_with(want), "{e}");
        }
        assert_eq!(show_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(show_duration(Duration::from_micros(9400)), "9.4ms");
    }
}
