//! What Go's decoders say of texts they cannot read: JSON, times, base64.

use super::quote;

/// Go's error of reading JSON, if these bytes are none (`encoding/json`).
pub fn json_error(bytes: &[u8]) -> Option<String> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.document().err()
}

/// How much may be open at once (`maxNestingDepth`).
const MAX_DEPTH: usize = 10_000;

/// JSON with what Go reads as U+FFFD in its place: bytes that are no text, and halves of surrogates.
pub fn repaired(bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    let unit = |s: &str| u16::from_str_radix(s.strip_prefix("\\u")?.get(..4)?, 16).ok();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let next = rest.get(6..).and_then(unit);
        let length = match unit(rest) {
            Some(0xd800..=0xdbff) if matches!(next, Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            // The character that is escaped goes with it.
            _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    out.into_bytes()
}

/// Where a reader of JSON is.
struct Scanner<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// A character in single quotes, as Go tells it.
fn shown(c: u8) -> String {
    match c {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let text = quote(&char::from(c).to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

impl Scanner<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|c| b" \t\r\n".contains(c)) {
            self.at += 1;
        }
    }

    fn wrong<T>(&self, context: &str) -> Result<T, String> {
        Err(match self.bytes.get(self.at) {
            Some(c) => format!("invalid character {} {context}", shown(*c)),
            None => "unexpected end of JSON input".to_owned(),
        })
    }

    /// The next character that is no space.
    fn next(&mut self) -> Option<u8> {
        self.space();
        self.bytes.get(self.at).copied()
    }

    fn document(&mut self) -> Result<(), String> {
        // What is open, by what ends it. No calls of calls: depth is the sender's to choose.
        let mut open = Vec::new();
        loop {
            match self.next() {
                Some(b'{') => {
                    self.enter(open.len())?;
                    if self.next() == Some(b'}') {
                        self.at += 1;
                    } else {
                        open.push(b'}');
                        self.key()?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.enter(open.len())?;
                    if self.next() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(b']');
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                match (open.last().copied(), self.next()) {
                    (None, None) => return Ok(()),
                    (None, Some(_)) => return self.wrong("after top-level value"),
                    (Some(end), Some(c)) if c == end => {
                        self.at += 1;
                        open.pop();
                    }
                    (Some(b'}'), Some(b',')) => {
                        self.at += 1;
                        self.key()?;
                        break;
                    }
                    (Some(_), Some(b',')) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b'}'), _) => return self.wrong("after object key:value pair"),
                    _ => return self.wrong("after array element"),
                }
            }
        }
    }

    /// Steps into what is opened here, unless too much is open.
    fn enter(&mut self, open: usize) -> Result<(), String> {
        if open >= MAX_DEPTH {
            return self.wrong("exceeded max depth");
        }
        self.at += 1;
        Ok(())
    }

    /// A key and the colon after it.
    fn key(&mut self) -> Result<(), String> {
        if self.next() != Some(b'"') {
            return self.wrong("looking for beginning of object key string");
        }
        self.string()?;
        if self.next() != Some(b':') {
            return self.wrong("after object key");
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), String> {
        match self.next() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.wrong("looking for beginning of value"),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        for c in word.bytes() {
            if self.bytes.get(self.at) != Some(&c) {
                return self.wrong(&format!("in literal {word} (expecting {})", shown(c)));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    self.at += 1;
                    match self.bytes.get(self.at) {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                                    return self.wrong("in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return self.wrong("in string escape code"),
                    }
                }
                Some(c) if *c >= 0x20 => self.at += 1,
                _ => return self.wrong("in string literal"),
            }
        }
        self.at += 1;
        Ok(())
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<(), String> {
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        if self.bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else if !self.digits() {
            return self.wrong("in numeric literal");
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.digits() {
                return self.wrong("after decimal point in numeric literal");
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.digits() {
                return self.wrong("in exponent of numeric literal");
            }
        }
        Ok(())
    }
}

/// Go's error of reading a time as RFC 3339, if it is none; with `micro`, microseconds are needed (`MicroTime`).
pub fn time_error(text: &str, micro: bool) -> Option<String> {
    let fraction = if micro { ".000000" } else { "" };
    let layout = format!("2006-01-02T15:04:05{fraction}Z07:00");
    let start = format!("parsing time {}", cfn_cel::time::quote(text));
    let mut rest = text;
    let mut read = Vec::new();
    for part in [
        "2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", fraction, "Z07:00",
    ] {
        let cannot = || {
            let (layout, rest, part) = (
                cfn_cel::time::quote(&layout),
                cfn_cel::time::quote(rest),
                cfn_cel::time::quote(part),
            );
            Some(format!("{start} as {layout}: cannot parse {rest} as {part}"))
        };
        let number = |n: usize| {
            let digits = rest.get(..n).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
            digits.parse::<u32>().ok()
        };
        let length = match part {
            "" => {
                // A fraction is read though the layout has none.
                let digits = rest
                    .strip_prefix(['.', ','])
                    .map_or(0, |r| r.bytes().take_while(u8::is_ascii_digit).count());
                if digits == 0 { 0 } else { digits + 1 }
            }
            "2006" => {
                let Some(year) = number(4) else { return cannot() };
                read.push(year);
                4
            }
            "01" | "02" | "15" | "04" | "05" => {
                // Of these the hour alone may have one digit.
                let (n, length) = match (number(2), number(1)) {
                    (Some(n), _) => (n, 2),
                    (None, Some(n)) if part == "15" => (n, 1),
                    _ => return cannot(),
                };
                let (what, within) = match part {
                    "01" => ("month", 1..=12),
                    "02" => ("day", 0..=99),
                    "15" => ("hour", 0..=23),
                    "04" => ("minute", 0..=59),
                    _ => ("second", 0..=59),
                };
                if !within.contains(&n) {
                    return Some(format!("{start}: {what} out of range"));
                }
                read.push(n);
                length
            }
            ".000000" => match rest.strip_prefix('.').and_then(|r| r.get(..6)) {
                Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => 7,
                _ => return cannot(),
            },
            "Z07:00" if rest.starts_with('Z') => 1,
            "Z07:00" => {
                let zone = rest.as_bytes();
                let digit = |i: usize| zone.get(i).is_some_and(u8::is_ascii_digit);
                let sign = matches!(zone.first(), Some(b'+' | b'-'));
                if !sign || zone.get(3) != Some(&b':') || ![1, 2, 4, 5].into_iter().all(digit) {
                    return cannot();
                }
                6
            }
            literal if rest.starts_with(literal) => literal.len(),
            _ => return cannot(),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    if !rest.is_empty() {
        return Some(format!("{start}: extra text: {}", cfn_cel::time::quote(rest)));
    }
    let (year, month, day) = (read[0], read[1], read[2]);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let most = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (!(1..=most).contains(&day)).then(|| format!("{start}: day out of range"))
}

/// Go's error of reading base64, if it is none.
pub(super) fn base64_error(text: &str) -> Option<String> {
    let bytes: Vec<(usize, u8)> = text
        .bytes()
        .enumerate()
        .filter(|(_, c)| !matches!(c, b'\n' | b'\r'))
        .collect();
    let corrupt = |at: usize| Some(format!("illegal base64 data at input byte {at}"));
    for group in bytes.chunks(4) {
        for (j, (at, c)) in group.iter().enumerate() {
            if c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/') {
                continue;
            }
            let last = group.last().map_or(0, |(at, _)| *at);
            return match (c, j) {
                (b'=', 2) if group.get(3).is_none() => corrupt(text.len()),
                (b'=', 2) if group[3].1 != b'=' => corrupt(group[3].0 - 1),
                (b'=', 2 | 3) => match bytes.iter().find(|(at, _)| *at > last) {
                    Some((at, _)) => corrupt(*at),
                    None => None,
                },
                _ => corrupt(*at),
            };
        }
        if group.len() < 4 {
            return corrupt(text.len() - group.len());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_refused_in_gos_words() {
        let of = |text: &str| json_error(text.as_bytes());
        for (text, why) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            (
                r#"{"a":1,}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 2}"#, "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("01", "invalid character '1' after top-level value"),
        ] {
            assert_eq!(of(text).as_deref(), Some(why), "{text}");
        }
        let fine = r#" {"a": [1, -2.5e+3, true, null, "\u00e4\n", {}, []], "b": {"c": false}} "#;
        assert_eq!(of(fine), None);
        assert!(of(&"[".repeat(100_000)).is_some());
    }

    #[test]
    fn times_and_bytes_are_refused_in_gos_words() {
        let why = |text: &str, micro| time_error(text, micro).unwrap_or_default();
        assert_eq!(
            why("x", false),
            r#"parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006""#
        );
        assert!(why("2026-01-01T00:00:00Z", true).ends_with(r#"cannot parse "Z" as ".000000""#));
        assert_eq!(
            why("2026-13-01T00:00:00Z", false),
            r#"parsing time "2026-13-01T00:00:00Z": month out of range"#
        );
        assert!(why("2026-02-29T00:00:00Z", false).ends_with("day out of range"));
        assert!(why("2026-01-01T00:00:00Zx", false).ends_with(r#"extra text: "x""#));
        for fine in ["2024-02-29T23:59:59Z", "2026-01-01T00:00:00.5+02:00"] {
            assert_eq!(time_error(fine, false), None);
        }
        assert_eq!(time_error("2026-01-01T00:00:00.123456Z", true), None);
        for (text, at) in [("%", 0), ("eA", 0), ("eA=", 3), ("eA==x", 4), ("eAA$", 3)] {
            assert_eq!(
                base64_error(text),
                Some(format!("illegal base64 data at input byte {at}")),
                "{text}"
            );
        }
        for fine in ["", "eA==", "eHg=", "eHh4", "eH\nh4"] {
            assert_eq!(base64_error(fine), None);
        }
    }
}

#[cfg(test)]
mod repair_tests {
    use super::*;

    #[test]
    fn halves_and_bytes_are_replaced() {
        for (given, read) in [
            (&br#""\ud800""#[..], r#""\ufffd""#),
            (br#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (br#""\\ud800""#, r#""\\ud800""#),
            (b"\"\xff\"", "\"\u{fffd}\""),
        ] {
            assert_eq!(String::from_utf8(repaired(given)).unwrap(), read);
        }
    }

    #[test]
    fn too_much_open_is_told() {
        let deep = "[".repeat(MAX_DEPTH + 1);
        assert_eq!(
            json_error(deep.as_bytes()).as_deref(),
            Some("invalid character '[' exceeded max depth")
        );
    }
}
