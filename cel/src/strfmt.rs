//! Formats of texts in custom resources and expressions (`k8s.io/kube-openapi/pkg/validation/strfmt`).

use std::net::IpAddr;
use std::sync::LazyLock;

use regex::Regex;

use super::email::is_email;
use super::{Url, address, pattern};

/// Formats of texts, without the dashes that names may have.
const NAMES: [&str; 26] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
];

/// Whether a text can have or lack the format.
#[must_use]
pub fn is_known(format: &str) -> bool {
    NAMES.contains(&format.replace('-', "").as_str())
}

/// The time of a moment, and one number of a span with its unit.
static TIME: LazyLock<Regex> =
    LazyLock::new(|| own("^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|[+-][0-9]{2}:[0-9]{2})$"));
static SPAN: LazyLock<Regex> = LazyLock::new(|| own(r"([0-9]+)\s*([A-Za-zµ]+)"));

/// A pattern that is written here.
fn own(text: &str) -> Regex {
    pattern::compile(text).expect("a pattern of its own")
}

/// Formats that are told by a pattern.
static PATTERNS: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let hex = |n: usize| format!("[0-9a-f]{{{n}}}");
    let uuid = |third: &str, fourth: &str| format!("(?i)^{}-?{}-?{third}-?{fourth}-?{}$", hex(8), hex(4), hex(12));
    let [three, four] = [hex(3), hex(4)];
    let part = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])";
    let sign = r"[a-zA-Z0-9\p{S}\p{L}]";
    // Between the labels' ends, only dashes are more than what the first may be.
    let label = format!(r"{sign}([a-zA-Z0-9-\p{{S}}\p{{L}}]{{0,61}}{sign})?");
    let last = r"[a-zA-Z\p{L}]{2,63}";
    let name = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
    [
        ("uuid", uuid(&four, &four)),
        ("uuid3", uuid(&format!("3{three}"), &four)),
        ("uuid4", uuid(&format!("4{three}"), &format!("[89ab]{three}"))),
        ("uuid5", uuid(&format!("5{three}"), &format!("[89ab]{three}"))),
        ("hostname", format!("^({sign}(-?{sign}{{0,62}})?|({label}\\.)+{last})$")),
        ("isbn10", "^[0-9]{9}[0-9X]$".to_owned()),
        ("isbn13", "^[0-9]{13}$".to_owned()),
        (
            "creditcard",
            "^(4[0-9]{12}([0-9]{3})?|5[1-5][0-9]{14}|6(011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(0[0-5]|[68][0-9])[0-9]{11}|(2131|1800|35[0-9]{3})[0-9]{11})$"
                .to_owned(),
        ),
        ("ssn", "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$".to_owned()),
        ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$".to_owned()),
        (
            "rgbcolor",
            format!(r"^rgb\(\s*{part}\s*,\s*{part}\s*,\s*{part}\s*\)$"),
        ),
        (
            "byte",
            "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$".to_owned(),
        ),
        ("k8sshortname", format!("^{name}$")),
        ("k8slongname", format!(r"^{name}(\.{name})*$")),
    ]
    .map(|(name, text)| (name, own(&text)))
    .into()
});

fn of_form(name: &str) -> Option<&'static Regex> {
    Some(&PATTERNS.iter().find(|(n, _)| *n == name)?.1)
}

fn matches(name: &str, text: &str) -> bool {
    of_form(name).is_some_and(|form| form.is_match(text))
}

/// Whether a text has a format; what is not known has none that it could lack.
#[must_use]
pub fn has(format: &str, text: &str) -> bool {
    match format.replace('-', "").as_str() {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "uri" => Url::of_request(text).is_ok(),
        "email" => is_email(text),
        "hostname" => matches("hostname", text) && text.len() <= 255 && text.split('.').all(|l| l.len() <= 63),
        "ipv4" => text.contains('.') && address::parse(&padded(text)).is_ok_and(|(_, zone)| zone.is_empty()),
        "ipv6" => text.contains(':') && address::parse(text).is_ok_and(|(_, zone)| zone.is_empty()),
        "cidr" => is_network(text),
        "mac" => is_mac(text),
        "isbn" => is_isbn(text, "isbn10") || is_isbn(text, "isbn13"),
        version @ ("isbn10" | "isbn13") => is_isbn(text, version),
        "creditcard" => is_credit_card(text),
        "ssn" => text.len() == 11 && matches("ssn", text),
        "date" => is_date(text),
        "datetime" => is_moment(text),
        "duration" => span(text).is_some(),
        "k8sshortname" => text.len() <= 63 && matches("k8sshortname", text),
        "k8slongname" => text.len() <= 253 && matches("k8slongname", text),
        other => of_form(other).is_none_or(|form| form.is_match(text)),
    }
}

/// An address without the noughts before its decimal numbers, which Go once took (`netutils.ParseIPSloppy`).
fn padded(text: &str) -> String {
    let (start, last) = text.split_at(text.rfind(':').map_or(0, |i| i + 1));
    let plain = |field: &str| match field.trim_start_matches('0') {
        "" if !field.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    if !last.contains('.') {
        return text.to_owned();
    }
    let last: Vec<String> = last.split('.').map(plain).collect();
    format!("{start}{}", last.join("."))
}

/// `netutils.ParseCIDRSloppy`.
fn is_network(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else {
        return false;
    };
    let padded = padded(address);
    let Ok((of, "")) = address::parse(&padded) else {
        return false;
    };
    let most = if matches!(of, IpAddr::V4(_)) { 32 } else { 128 };
    bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// `net.ParseMAC`: pairs with colons or dashes between, fours with dots, or all digits.
fn is_mac(text: &str) -> bool {
    let all = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_hexdigit());
    let of = |parts: Vec<&str>, n: usize| {
        matches!(parts.len() * n / 2, 6 | 8 | 20) && parts.into_iter().all(|part| all(part, n))
    };
    match (text.as_bytes().get(2), text.as_bytes().get(4)) {
        (Some(b':'), _) => of(text.split(':').collect(), 2),
        (Some(b'-'), _) => of(text.split('-').collect(), 2),
        (_, Some(b'.')) => of(text.split('.').collect(), 4),
        _ => matches!(text.len(), 12 | 16 | 40) && all(text, text.len()),
    }
}

fn is_isbn(text: &str, version: &str) -> bool {
    // Go's spaces are of ASCII, without the vertical tab.
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ' | '-'))
        .collect();
    if !matches(version, &digits) {
        return false;
    }
    let value = |b: u8| if b == b'X' { 10 } else { u32::from(b - b'0') };
    let values = digits.bytes().map(value);
    if version == "isbn10" {
        values.zip(1..).map(|(n, i)| n * i).sum::<u32>() % 11 == 0
    } else {
        values
            .zip([1, 3].into_iter().cycle())
            .map(|(n, factor)| n * factor)
            .sum::<u32>()
            % 10
            == 0
    }
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |n: u32| if n > 4 { n * 2 - 9 } else { n * 2 };
    let values = digits.bytes().rev().map(|b| u32::from(b - b'0'));
    let sum: u32 = values
        .enumerate()
        .map(|(i, n)| if i % 2 == 1 { doubled(n) } else { n })
        .sum();
    matches("creditcard", &digits) && sum.is_multiple_of(10)
}

/// `2006-01-02`.
fn is_date(text: &str) -> bool {
    let form = |(i, b): (usize, u8)| {
        if matches!(i, 4 | 7) {
            b == b'-'
        } else {
            b.is_ascii_digit()
        }
    };
    text.len() == 10 && text.bytes().enumerate().all(form) && text.parse::<jiff::civil::Date>().is_ok()
}

/// A date, and a time behind a `t`.
fn is_moment(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else {
        return false;
    };
    let fits = |time: &str| &time[..2] <= "23" && &time[3..5] <= "59" && &time[6..8] <= "59";
    is_date(date) && TIME.is_match(time) && fits(time)
}

/// The nanoseconds of a span as Go reads it, or of any numbers with units among other things, all together.
#[must_use]
pub fn span(text: &str) -> Option<i64> {
    const UNITS: [(&[&str], i64); 8] = [
        (&["ns", "nano"], 1),
        (&["us", "µs", "micro"], 1_000),
        (&["ms", "milli"], 1_000_000),
        (&["s", "sec"], 1_000_000_000),
        (&["m", "min"], 60_000_000_000),
        (&["h", "hr", "hour"], 3_600_000_000_000),
        (&["d", "day"], 86_400_000_000_000),
        (&["w", "wk", "week"], 604_800_000_000_000),
    ];
    if let Ok(span) = super::time::parse_duration(text) {
        return Some(span);
    }
    let mut sum = None;
    for part in SPAN.captures_iter(text) {
        let count: i64 = part[1].parse().ok()?;
        let unit = part[2].to_lowercase();
        for (names, factor) in UNITS {
            if names.contains(&unit.as_str()) || names.last().is_some_and(|last| unit.starts_with(last)) {
                // Go counts on where there is no room.
                sum = Some(sum.unwrap_or(0_i64).wrapping_add(count.wrapping_mul(factor)));
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn formats_are_those_of_go() {
        for (format, fine, wrong) in [
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77bcf86cd79943901g"),
            ("uri", "urn:x", "x"),
            ("email", "A <a@b.c>", "a@b."),
            ("hostname", "a-b.example", "a_b"),
            ("hostname", "日本", "-a"),
            ("hostname", "a", "a.b-"),
            ("ipv4", "010.0.0.1", "10.0.0"),
            ("ipv4", "::ffff:1.2.3.04", "::1"),
            ("ipv6", "::1", "fe80::1%e"),
            ("cidr", "10.0.0.0/08", "10.0.0.0/33"),
            ("mac", "0123.4567.89ab", "01:23:45-67:89:ab"),
            ("mac", "01-23-45-67-89-ab", "01:23:45:67:89"),
            ("mac", "0123456789ab", "0123456789abc"),
            ("uuid", "123E4567e89b-12d3a456426614174000", "123e4567"),
            (
                "uuid4",
                "123e4567-e89b-42d3-a456-426614174000",
                "123e4567-e89b-42d3-7456-426614174000",
            ),
            ("isbn", "0-321-75104-3", "0-321-75104-4"),
            ("isbn13", "978-0321751041", "9780321751042"),
            ("creditcard", "4111 1111 1111 1111", "4111111111111112"),
            ("ssn", "123-45-6789", "123456789"),
            ("hexcolor", "#ffF", "#ff"),
            ("rgbcolor", "rgb( 1,2 ,255)", "rgb(1,2,256)"),
            ("byte", "YQ==", ""),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2024-01-02t03:04:05.1z", "2024-01-02 03:04:05Z"),
            ("datetime", "2024-01-02T03:04:05+99:00", "2024-01-02T24:04:05Z"),
            ("duration", "3 days", "3"),
            ("duration", "x 1 wk y", "1 fortnight"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b", "-a"),
            ("e-mail", "a@b", "a"),
        ] {
            assert!(has(format, fine), "{format} {fine}");
            assert!(!has(format, wrong), "{format} {wrong}");
        }
        assert!(has("nosuch", "x"));
    }
}
