//! Go's package `time`: durations as it reads them, and what it says of texts that are none.

/// Units in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// What the sum may be before its sign is looked at.
const MOST: u64 = 1 << 63;

/// The nanoseconds of `1h30m`, `-1.5s`, `0` (`time.ParseDuration`).
///
/// # Errors
/// What Go says of a text that is no duration, without its `time: `.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let told = |what: &str| format!("{what} {}", quote(text));
    let invalid = || told("invalid duration");
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let is_number = |c: char| c == '.' || c.is_ascii_digit();
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let number = match whole {
            "" => 0,
            whole => whole.parse::<u64>().ok().filter(|n| *n <= MOST).ok_or_else(invalid)?,
        };
        if unit.is_empty() {
            return Err(told("missing unit in duration"));
        }
        let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(told(&format!("unknown unit {} in duration", quote(unit))));
        };
        if number > MOST / length {
            return Err(invalid());
        }
        sum = sum
            .checked_add(number * length + part(fraction, *length))
            .filter(|sum| *sum <= MOST)
            .ok_or_else(invalid)?;
        rest = after;
    }
    match i64::try_from(sum) {
        Ok(sum) if text.starts_with('-') => Ok(-sum),
        Ok(sum) => Ok(sum),
        Err(_) if text.starts_with('-') => Ok(i64::MIN),
        Err(_) => Err(invalid()),
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The part of a unit that the digits after a point are; those that have no room are not read (`leadingFraction`).
fn part(digits: &str, unit: u64) -> u64 {
    let (mut number, mut scale) = (0_u64, 1.0);
    for digit in digits.bytes().map(|b| u64::from(b - b'0')) {
        match number.checked_mul(10).map(|n| n + digit) {
            Some(n) if n <= MOST => (number, scale) = (n, scale * 10.0),
            _ => break,
        }
    }
    (number as f64 * (unit as f64 / scale)) as u64
}

/// A text as package `time` quotes it: what is not printable ASCII, byte by byte.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for b in text.bytes() {
        match b {
            b'"' | b'\\' => quoted.extend(['\\', char::from(b)]),
            b' '..=0x7f => quoted.push(char::from(b)),
            b => quoted.push_str(&format!("\\x{b:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, nanoseconds) in [
            ("0", 0),
            ("-0", 0),
            ("1s", 1_000_000_000),
            ("-1s", -1_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h2m3s", 3_723_000_000_000),
            ("1.m", 60_000_000_000),
            (".5s", 500_000_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("0.3333333333333333333h", 1_200_000_000_000),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
        }
        for (text, why) in [
            ("", "invalid duration \"\""),
            ("abc", "invalid duration \"abc\""),
            ("1", "missing unit in duration \"1\""),
            ("1x", "unknown unit \"x\" in duration \"1x\""),
            ("1x\u{e9}", "unknown unit \"x\\xc3\\xa9\" in duration \"1x\\xc3\\xa9\""),
            ("-", "invalid duration \"-\""),
            (".s", "invalid duration \".s\""),
            ("1.2.3s", "missing unit in duration \"1.2.3s\""),
            ("9223372036854775808ns", "invalid duration \"9223372036854775808ns\""),
            ("3000000h", "invalid duration \"3000000h\""),
        ] {
            assert_eq!(parse_duration(text), Err(why.to_owned()), "{text}");
        }
    }
}
