//! How Go writes texts.

/// Go's `strconv.Quote`.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if !is_print(c) && c as u32 > 0xffff => quoted.push_str(&format!("\\U{:08x}", c as u32)),
            c if !is_print(c) => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Go's `unicode.IsPrint`, but for characters that are not assigned.
#[must_use]
pub fn is_print(c: char) -> bool {
    let format = matches!(
        u32::from(c),
        0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x180e | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff
            | 0xfff9..=0xfffb | 0xe000..=0xf8ff | 0xe_0001..=0xe_007f | 0xf_0000..=0x10_ffff
    );
    c == ' ' || !(c.is_control() || c.is_whitespace() || format)
}

/// Most nanoseconds that Go's spans count, and what is one too many.
const LIMIT: u64 = 1 << 63;

/// The nanoseconds of a span as Go reads it: `1h30m`, `-1.5s`, `0` (`time.ParseDuration`).
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut all: u64 = 0;
    while !rest.is_empty() {
        let (whole, behind) = rest.split_at(digits(rest));
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => behind.split_at(digits(behind)),
            None => ("", behind),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = behind.find(|c: char| c == '.' || c.is_ascii_digit());
        let (unit, behind) = behind.split_at(end.unwrap_or(behind.len()));
        let factor: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut value = whole.checked_mul(factor).filter(|n| *n <= LIMIT)?;
        value += part(fraction, factor);
        all = all.checked_add(value).filter(|n| *n <= LIMIT)?;
        rest = behind;
    }
    if negative {
        return Some((all as i64).wrapping_neg());
    }
    i64::try_from(all).ok()
}

/// As many of `factor` as the digits behind a point say; those that find no room do not matter.
#[allow(clippy::cast_precision_loss, reason = "as Go reckons it")]
fn part(digits: &str, factor: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1.0_f64);
    for digit in digits.bytes() {
        if value > (LIMIT - 1) / 10 {
            break;
        }
        value = value * 10 + u64::from(digit - b'0');
        scale *= 10.0;
    }
    (value as f64 * (factor as f64 / scale)) as u64
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        for (text, wanted) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("+.5us", Some(500)),
            ("1.m", Some(60_000_000_000)),
            ("0", Some(0)),
            ("1µs1μs", Some(2000)),
            ("-9223372036854775808ns", Some(i64::MIN)),
            ("9223372036854775808ns", None),
            ("2562048h", None),
            ("", None),
            ("-", None),
            ("1", None),
            (".s", None),
            ("1 h", None),
            ("1d", None),
            ("1sec", None),
        ] {
            assert_eq!(duration(text), wanted, "{text}");
        }
    }
}
