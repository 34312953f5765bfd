//! From text to tokens: the grammar's own ([`super::antlr::tokens`]), with the values that they stand for
//! (`cel-go/parser/parser.go`, `unescape.go`).

use super::CelError;
use super::antlr::{self, tokens as grammar};

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
    /// The one whose negative is the least integer.
    Least,
    Text(String),
    Bytes(Vec<u8>),
    /// A literal that has no value: which kind of number it would be, if it is one that may have a sign, and why it has none.
    Wrong(bool, &'static str),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Every token of a text.
///
/// # Errors
/// [`CelError::Syntax`], at the first that is none.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, CelError> {
    let (found, wrong) = grammar::tokens(text);
    if let Some((_, (at, detail))) = wrong.into_iter().next() {
        return Err(CelError::Syntax {
            at: at.unwrap_or_default(),
            detail,
            source_text: text.to_owned(),
        });
    }
    let of = |t: antlr::tokens::Token| Token {
        at: t.start,
        what: kind(t.kind, &text[t.start..t.end]),
    };
    Ok(found.into_iter().map(of).collect())
}

fn kind(kind: u8, text: &str) -> Kind {
    match kind {
        grammar::END => Kind::End,
        grammar::NAME => Kind::Name(text.to_owned()),
        grammar::ESCAPED => Kind::Escaped(text.trim_matches('`').to_owned()),
        grammar::INT => match whole(text) {
            Some(n) if n == 1 << 63 => Kind::Least,
            n => match n.map(i64::try_from) {
                Some(Ok(n)) => Kind::Int(n),
                _ => Kind::Wrong(true, "invalid int literal"),
            },
        },
        grammar::UINT => {
            let n = whole(&text[..text.len() - 1]);
            n.map_or(Kind::Wrong(false, "invalid uint literal"), Kind::Uint)
        }
        grammar::FLOAT => match text.parse() {
            Ok(n) if f64::is_finite(n) => Kind::Double(n),
            _ => Kind::Wrong(true, "invalid double literal"),
        },
        grammar::STRING => match unescaped(text, false) {
            Ok(bytes) => String::from_utf8(bytes).map_or(Kind::Wrong(false, "unable to unescape string"), Kind::Text),
            Err(why) => Kind::Wrong(false, why),
        },
        grammar::BYTES => match unescaped(&text[1..], true) {
            Ok(bytes) => Kind::Bytes(bytes),
            Err(why) => Kind::Wrong(false, why),
        },
        sign => match grammar::sign(sign) {
            word @ ("true" | "false" | "null" | "in") => Kind::Name(word.to_owned()),
            sign => Kind::Sign(sign),
        },
    }
}

/// Why a literal has no value, if it has none; `negative`: a minus stands before it.
pub(super) fn wrong(of: u8, text: &str, negative: bool) -> Option<&'static str> {
    match kind(of, text) {
        Kind::Wrong(_, why) => Some(why),
        Kind::Least if !negative => Some("invalid int literal"),
        _ => None,
    }
}

fn whole(text: &str) -> Option<u64> {
    let (digits, base) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
    u64::from_str_radix(digits, base).ok()
}

/// What a literal in quotes stands for: lines end in one way, and escapes are done unless it is a raw one.
fn unescaped(text: &str, binary: bool) -> Result<Vec<u8>, &'static str> {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    let (raw, quoted) = match lines.strip_prefix(['r', 'R']) {
        Some(quoted) => (true, quoted),
        None => (false, lines.as_str()),
    };
    let triple = ["\"\"\"", "'''"]
        .iter()
        .any(|q| quoted.starts_with(q) && quoted.len() >= 6);
    let quote = if triple { 3 } else { 1 };
    let mut rest = &quoted[quote..quoted.len() - quote];
    if raw {
        return Ok(rest.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        let Some(behind) = rest.strip_prefix('\\') else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[c.len_utf8()..];
            continue;
        };
        let (value, used) = escape(behind, binary)?;
        match value {
            // Of bytes the number is itself one.
            Escape::Number(n) if binary => out.push(n as u8),
            Escape::Number(n) => {
                let c = char::from_u32(n).ok_or("invalid unicode code point")?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Escape::Byte(b) => out.push(b),
        }
        rest = &behind[used..];
    }
    Ok(out)
}

enum Escape {
    Number(u32),
    Byte(u8),
}

/// What stands behind a backslash, and its length.
fn escape(s: &str, binary: bool) -> Result<(Escape, usize), &'static str> {
    const UNABLE: &str = "unable to unescape string";
    let number = |digits: Option<&str>, base: u32| {
        let digits = digits.filter(|d| d.bytes().all(|b| char::from(b).is_digit(base)));
        let n = digits.and_then(|d| u32::from_str_radix(d, base).ok());
        n.map(Escape::Number).ok_or(UNABLE)
    };
    let byte = |b: u8| Ok((Escape::Byte(b), 1));
    match s.bytes().next().ok_or(UNABLE)? {
        b'n' => byte(b'\n'),
        b't' => byte(b'\t'),
        b'r' => byte(b'\r'),
        b'a' => byte(7),
        b'b' => byte(8),
        b'f' => byte(12),
        b'v' => byte(11),
        b @ (b'\\' | b'\'' | b'"' | b'`' | b'?') => byte(b),
        b'x' | b'X' => Ok((number(s.get(1..3), 16)?, 3)),
        b'u' | b'U' if binary => Err(UNABLE),
        b'u' => Ok((number(s.get(1..5), 16)?, 5)),
        b'U' => Ok((number(s.get(1..9), 16)?, 9)),
        b'0'..=b'3' => Ok((number(s.get(..3), 8)?, 3)),
        _ => Err(UNABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, tokens};

    #[test]
    fn literals_have_the_values_that_cel_go_gives_them() {
        let text = |s: &str| Some(Kind::Text(s.to_owned()));
        for (literal, wanted) in [
            (r"'\x41\101\u00e9\U0001F600\n'", text("AA\u{e9}\u{1F600}\n")),
            (r"r'\d'", text("\\d")),
            ("'''a\r\nb\rc'''", text("a\nb\nc")),
            (r"'\ud800'", Some(Kind::Wrong(false, "invalid unicode code point"))),
            (r"b'\xff\303é'", Some(Kind::Bytes(vec![0xff, 0o303, 0xc3, 0xa9]))),
            (r"b'\u00e9'", Some(Kind::Wrong(false, "unable to unescape string"))),
            (r"br'\x'", Some(Kind::Bytes(b"\\x".to_vec()))),
            ("''", text("")),
            ("0x1Fu", Some(Kind::Uint(31))),
            ("9223372036854775808", Some(Kind::Least)),
            ("1e999", Some(Kind::Wrong(true, "invalid double literal"))),
            (r"'\x+5'", None),
            ("'a\rb'", None),
        ] {
            let found = tokens(literal).ok().and_then(|all| all.into_iter().next());
            assert_eq!(found.map(|t| t.what), wanted, "{literal}");
        }
        // No prefix of a literal.
        let found: Vec<Kind> = tokens("rb'x'").unwrap().into_iter().map(|t| t.what).collect();
        assert_eq!(found[0], Kind::Name("rb".to_owned()));
    }
}
