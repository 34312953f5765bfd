//! What plain text in a YAML document is to Kubernetes: `sigs.k8s.io/yaml` reads YAML 1.1 with go-yaml v2
//! (`resolve.go`), where `yes` and `off` are truth values and `0777` is octal, and makes JSON of it.

use serde_json::{Number, Value, json};

/// What plain text is where it is not text.
pub(super) fn resolve(text: &str) -> Option<Value> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "true" | "True" | "TRUE" => return Some(json!(true)),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "false" | "False" | "FALSE" => {
            return Some(json!(false));
        }
        "" | "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        _ => {}
    }
    match text.as_bytes().first()? {
        b'.' => real(text),
        b'0'..=b'9' | b'+' | b'-' => {
            let plain = text.replace('_', "");
            whole(&plain).or_else(|| real(&plain))
        }
        _ => None,
    }
}

/// `strconv.ParseInt` and `ParseUint` of base 0.
fn whole(text: &str) -> Option<Value> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let amount = i128::from_str_radix(digits, base).ok()? * sign;
    match (i64::try_from(amount), u64::try_from(amount)) {
        (Ok(n), _) => Some(json!(n)),
        // A sign is more than the larger kind takes.
        (_, Ok(n)) if !text.starts_with('+') => Some(json!(n)),
        _ => None,
    }
}

/// `yamlStyleFloat`, of what fits.
fn real(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['-', '+']).unwrap_or(e))),
        None => (unsigned, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fits = digits(before) && digits(after) && mantissa.len() > usize::from(mantissa.contains('.'));
    if !fits || exponent.is_some_and(|e| e.is_empty() || !digits(e)) {
        return None;
    }
    number(text.parse::<f64>().ok()?)
}

/// A number as Go's JSON has it: a whole one without a fraction. `None`: it is none.
pub(super) fn number(x: f64) -> Option<Value> {
    // Where Go goes over to exponents.
    if x.fract() == 0.0 && x.abs() < 1e21 {
        let text = format!("{x:.0}");
        if let Ok(n) = text.parse::<i64>() {
            return Some(json!(n));
        }
        if let Ok(n) = text.parse::<u64>() {
            return Some(json!(n));
        }
    }
    Number::from_f64(x).map(Value::Number)
}

/// A number as the name of a field: `strconv.FormatFloat(x, 'g', -1, 32)`.
pub(super) fn name_of(x: f64) -> String {
    let short = x as f32;
    let text = format!("{short:e}");
    let Some((mantissa, exponent)) = text.split_once('e') else {
        return text;
    };
    match exponent.parse::<i32>() {
        Ok(e @ -4..6) if e != 0 => short.to_string(),
        Ok(0) => mantissa.to_owned(),
        Ok(e) => format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs()),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_what_go_yaml_takes_it_for() {
        for (text, wanted) in [
            ("yes", Some(json!(true))),
            ("Off", Some(json!(false))),
            ("y", Some(json!(true))),
            ("yEs", None),
            ("~", Some(Value::Null)),
            ("0777", Some(json!(511))),
            ("08", Some(json!(8))),
            ("0o17", Some(json!(15))),
            ("0x1F", Some(json!(31))),
            ("-0b11", Some(json!(-3))),
            ("+12", Some(json!(12))),
            ("1_000", Some(json!(1000))),
            ("18446744073709551615", Some(json!(u64::MAX))),
            ("+18446744073709551615", Some(json!(18_446_744_073_709_551_615_f64))),
            ("1e3", Some(json!(1000))),
            ("1.5", Some(json!(1.5))),
            (".5", Some(json!(0.5))),
            ("5.", Some(json!(5))),
            (".", None),
            ("1e400", None),
            ("1:30", None),
            ("2001-01-01", None),
            ("1.2.3", None),
            ("-", None),
            ("0x", None),
            ("--1", None),
        ] {
            assert_eq!(resolve(text), wanted, "{text}");
        }
    }

    #[test]
    fn numbers_are_names_as_go_writes_them() {
        for (x, wanted) in [
            (1.5, "1.5"),
            (1e6, "1e+06"),
            (0.00001, "1e-05"),
            (100.25, "100.25"),
            (3.0, "3"),
        ] {
            assert_eq!(name_of(x), wanted);
        }
    }
}
