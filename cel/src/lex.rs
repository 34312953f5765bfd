//! From text to tokens.

use super::CelError;

/// A token and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) what: Kind,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// A field's name in backquotes.
    Escaped(String),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// A number that has no value: what it would be (`int`).
    Large(&'static str),
    /// The one whose negative is the least integer.
    Least,
    Text(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longest first.
const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", "(", ")", "[", "]", "{", "}",
    ",", ".",
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, CelError> {
    let bytes = text.as_bytes();
    let mut list = Vec::new();
    let mut i = 0;
    let fail = |at: usize, detail: String| CelError::Syntax {
        at,
        detail: format!("Syntax error: {detail}"),
        source_text: text.to_owned(),
    };
    while i < bytes.len() {
        let c = bytes[i];
        if c.is_ascii_whitespace() {
            i += 1;
            continue;
        }
        if text[i..].starts_with("//") {
            i = text[i..].find('\n').map_or(bytes.len(), |n| i + n);
            continue;
        }
        let at = i;
        if let Some((what, end)) = string(text, i).map_err(|d| fail(at, d))? {
            list.push(Token { at, what });
            i = end;
            continue;
        }
        if c.is_ascii_digit() || (c == b'.' && bytes.get(i + 1).is_some_and(u8::is_ascii_digit)) {
            let (what, end) = number(text, i);
            list.push(Token { at, what });
            i = end;
            continue;
        }
        if c.is_ascii_alphabetic() || c == b'_' {
            while i < bytes.len() && (bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_') {
                i += 1;
            }
            list.push(Token {
                at,
                what: Kind::Name(text[at..i].to_owned()),
            });
            continue;
        }
        if c == b'`' {
            // An escaped field name.
            let end = text[i + 1..].find('`').ok_or_else(|| fail(at, "no closing `".into()))?;
            list.push(Token {
                at,
                what: Kind::Escaped(text[i + 1..i + 1 + end].to_owned()),
            });
            i += end + 2;
            continue;
        }
        let sign = SIGNS.iter().find(|s| text[i..].starts_with(**s)).ok_or_else(|| {
            let c = text[i..].chars().next().unwrap_or_default();
            fail(at, format!("token recognition error at: '{c}'"))
        })?;
        i += sign.len();
        list.push(Token {
            at,
            what: Kind::Sign(sign),
        });
    }
    list.push(Token {
        at: text.len(),
        what: Kind::End,
    });
    Ok(list)
}

/// A literal of text or bytes at `i`, and where it ends.
fn string(text: &str, i: usize) -> Result<Option<(Kind, usize)>, String> {
    let rest = &text[i..];
    let prefix = rest
        .bytes()
        .take_while(|b| matches!(b, b'r' | b'R' | b'b' | b'B'))
        .count();
    let (mut raw, mut binary) = (false, false);
    for b in rest.bytes().take(prefix) {
        match b {
            b'r' | b'R' => raw = true,
            _ => binary = true,
        }
    }
    let open = &rest[prefix..];
    let quote = match open.as_bytes().first() {
        Some(b'"') => "\"",
        Some(b'\'') => "'",
        _ => return Ok(None),
    };
    if prefix > 2 {
        return Ok(None);
    }
    let triple = quote.repeat(3);
    let quote: &str = if open.starts_with(&triple) { &triple } else { quote };
    let mut out: Vec<u8> = Vec::new();
    let mut p = i + prefix + quote.len();
    loop {
        let rest = &text[p..];
        if rest.starts_with(quote) {
            p += quote.len();
            break;
        }
        let Some(c) = rest.chars().next() else {
            return Err("unterminated string literal".into());
        };
        if c == '\n' && quote.len() == 1 {
            return Err("unterminated string literal".into());
        }
        if c != '\\' || raw {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            p += c.len_utf8();
            continue;
        }
        let (n, used) = escape(&rest[1..]).ok_or("bad escape in a string literal")?;
        p += 1 + used;
        match n {
            Escape::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Escape::Byte(b) if binary => out.push(b),
            Escape::Byte(b) => out.extend_from_slice(char::from(b).encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let what = if binary {
        Kind::Bytes(out)
    } else {
        Kind::Text(String::from_utf8(out).map_err(|_| "not UTF-8")?)
    };
    Ok(Some((what, p)))
}

enum Escape {
    Char(char),
    Byte(u8),
}

/// What stands behind a backslash, and its length.
fn escape(s: &str) -> Option<(Escape, usize)> {
    let c = s.chars().next()?;
    let plain = |c: char| Some((Escape::Char(c), 1));
    let hex = |n: usize| u32::from_str_radix(s.get(1..=n)?, 16).ok();
    match c {
        'n' => plain('\n'),
        't' => plain('\t'),
        'r' => plain('\r'),
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'v' => plain('\u{b}'),
        '\\' | '\'' | '"' | '`' | '?' => plain(c),
        'x' | 'X' => Some((Escape::Byte(u8::try_from(hex(2)?).ok()?), 3)),
        'u' => Some((Escape::Char(char::from_u32(hex(4)?)?), 5)),
        'U' => Some((Escape::Char(char::from_u32(hex(8)?)?), 9)),
        '0'..='3' => Some((Escape::Byte(u8::from_str_radix(s.get(..3)?, 8).ok()?), 3)),
        _ => None,
    }
}

/// A number at `i`, and where it ends.
fn number(text: &str, i: usize) -> (Kind, usize) {
    let b = text.as_bytes();
    let signed = |digits: &str, base: u32| match u64::from_str_radix(digits, base) {
        Ok(n) if n == 1 << 63 => Kind::Least,
        Ok(n) => i64::try_from(n).map_or(Kind::Large("int"), Kind::Int),
        Err(_) => Kind::Large("int"),
    };
    let unsigned = |digits: &str, base: u32| u64::from_str_radix(digits, base).map_or(Kind::Large("uint"), Kind::Uint);
    let is_unsigned = |p: usize| matches!(b.get(p), Some(b'u' | b'U'));
    let hex = text[i..].strip_prefix("0x").unwrap_or_default();
    let hex = &hex[..hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len())];
    if !hex.is_empty() {
        let p = i + 2 + hex.len();
        return if is_unsigned(p) {
            (unsigned(hex, 16), p + 1)
        } else {
            (signed(hex, 16), p)
        };
    }
    let digits = |mut p: usize| {
        while p < b.len() && b[p].is_ascii_digit() {
            p += 1;
        }
        p
    };
    let mut p = digits(i);
    let mut double = false;
    if b.get(p) == Some(&b'.') && b.get(p + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        p = digits(p + 1);
    }
    if matches!(b.get(p), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(b.get(p + 1), Some(b'+' | b'-')));
        if b.get(p + 1 + sign).is_some_and(u8::is_ascii_digit) {
            double = true;
            p = digits(p + 1 + sign);
        }
    }
    let s = &text[i..p];
    if double {
        let value = s.parse().ok().filter(|n: &f64| n.is_finite());
        return (value.map_or(Kind::Large("double"), Kind::Double), p);
    }
    if is_unsigned(p) {
        return (unsigned(s, 10), p + 1);
    }
    (signed(s, 10), p)
}
