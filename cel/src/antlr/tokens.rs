//! Tokens as the grammar's lexer makes them, which goes on behind characters that begin none.

use super::Told;

/// A set of kinds of tokens: bit by number.
pub(super) type Kinds = u64;

/// The grammar's tokens, by their numbers; the end is the first, so that it is told of before the others.
pub(super) const NAMES: [&str; 38] = [
    "<EOF>",
    "'=='",
    "'!='",
    "'in'",
    "'<'",
    "'<='",
    "'>='",
    "'>'",
    "'&&'",
    "'||'",
    "'['",
    "']'",
    "'{'",
    "'}'",
    "'('",
    "')'",
    "'.'",
    "','",
    "'-'",
    "'!'",
    "'?'",
    "':'",
    "'+'",
    "'*'",
    "'/'",
    "'%'",
    "'true'",
    "'false'",
    "'null'",
    "WHITESPACE",
    "COMMENT",
    "NUM_FLOAT",
    "NUM_INT",
    "NUM_UINT",
    "STRING",
    "BYTES",
    "IDENTIFIER",
    "ESC_IDENTIFIER",
];

pub(crate) const END: u8 = 0;
const WHITESPACE: u8 = 29;
const COMMENT: u8 = 30;
pub(crate) const FLOAT: u8 = 31;
pub(crate) const INT: u8 = 32;
pub(crate) const UINT: u8 = 33;
pub(crate) const STRING: u8 = 34;
pub(crate) const BYTES: u8 = 35;
pub(crate) const NAME: u8 = 36;
pub(crate) const ESCAPED: u8 = 37;

/// A token: what it is and the bytes it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: u8,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// The number of a sign or a word.
pub(super) fn kind_of(text: &str) -> u8 {
    let found = NAMES
        .iter()
        .position(|n| n.trim_matches('\'') == text && n.starts_with('\''));
    found.and_then(|i| u8::try_from(i).ok()).unwrap_or(NAME)
}

/// The sign or the word of a kind.
pub(crate) fn sign(kind: u8) -> &'static str {
    NAMES[usize::from(kind)].trim_matches('\'')
}

/// All tokens that are not hidden, the end among them, and what none could be made of: where that ends and what is told.
pub(crate) fn tokens(text: &str) -> (Vec<Token>, Vec<(usize, Told)>) {
    let (mut all, mut errors, mut at) = (Vec::new(), Vec::new(), 0);
    while at < text.len() {
        let rest = &text[at..];
        match longest(rest) {
            Ok((kind, length)) => {
                if !matches!(kind, WHITESPACE | COMMENT) {
                    let (start, end) = (at, at + length);
                    all.push(Token { kind, start, end });
                }
                at += length;
            }
            Err(read) => {
                // The character that does not fit is part of what is told, and is passed over.
                let bad = rest[read..].chars().next().map_or(0, char::len_utf8);
                let shown = &rest[..read + bad];
                let told = format!("Syntax error: token recognition error at: '{shown}'");
                let end = at + (read + bad).max(1);
                errors.push((end, (Some(at), told)));
                at = end;
            }
        }
    }
    let (kind, start, end) = (END, text.len(), text.len());
    all.push(Token { kind, start, end });
    (all, errors)
}

/// The longest token that a text starts with, or how much of it could have been the start of one.
fn longest(text: &str) -> Result<(u8, usize), usize> {
    let bytes = text.as_bytes();
    let run = |from: usize, is: &dyn Fn(u8) -> bool| from + bytes[from..].iter().take_while(|b| is(**b)).count();
    let digits = |from: usize| run(from, &|b| b.is_ascii_digit());
    match bytes[0] {
        b'\t' | b' ' | b'\r' | b'\n' | 0x0c => Ok((
            WHITESPACE,
            run(0, &|b| matches!(b, b'\t' | b' ' | b'\r' | b'\n' | 0x0c)),
        )),
        b'/' if text.starts_with("//") => Ok((COMMENT, text.find('\n').unwrap_or(text.len()))),
        b'0'..=b'9' => Ok(number(text)),
        b'.' if bytes.get(1).is_some_and(u8::is_ascii_digit) => Ok((FLOAT, exponent(bytes, digits(1)))),
        b'"' | b'\'' => string(text, false).map(|n| (STRING, n)),
        b'`' => {
            let end = run(1, &|b| b.is_ascii_alphanumeric() || b"_.-/ ".contains(&b));
            match bytes.get(end) {
                Some(b'`') if end > 1 => Ok((ESCAPED, end + 1)),
                _ => Err(end),
            }
        }
        b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
            let (binary, raw) = prefix(bytes);
            let quoted = &text[usize::from(binary) + usize::from(raw)..];
            if quoted.len() < text.len()
                && quoted.starts_with(['"', '\''])
                && let Ok(n) = string(quoted, raw)
            {
                let kind = if binary { BYTES } else { STRING };
                return Ok((kind, text.len() - quoted.len() + n));
            }
            let end = run(0, &|b| b.is_ascii_alphanumeric() || b == b'_');
            Ok((kind_of(&text[..end]), end))
        }
        _ => {
            for length in [2, 1] {
                let sign = text.get(..length).unwrap_or_default();
                if !sign.is_empty() && kind_of(sign) != NAME {
                    return Ok((kind_of(sign), length));
                }
            }
            Err(usize::from(matches!(bytes[0], b'&' | b'|' | b'=')))
        }
    }
}

/// Whether `b` and `r` stand before a quote.
fn prefix(bytes: &[u8]) -> (bool, bool) {
    let is = |i: usize, of: &[u8]| bytes.get(i).is_some_and(|b| of.contains(b));
    let binary = is(0, b"bB");
    let raw = is(usize::from(binary), b"rR");
    (binary, raw)
}

fn exponent(bytes: &[u8], at: usize) -> usize {
    if !matches!(bytes.get(at), Some(b'e' | b'E')) {
        return at;
    }
    let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
    let digits = bytes[(at + 1 + sign).min(bytes.len())..]
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .count();
    if digits == 0 { at } else { at + 1 + sign + digits }
}

fn number(text: &str) -> (u8, usize) {
    let bytes = text.as_bytes();
    let run = |from: usize, is: fn(&u8) -> bool| from + bytes[from..].iter().take_while(|b| is(b)).count();
    let unsigned = |end: usize| match bytes.get(end) {
        Some(b'u' | b'U') => (UINT, end + 1),
        _ => (INT, end),
    };
    let hex = run(2.min(bytes.len()), u8::is_ascii_hexdigit);
    if text.starts_with("0x") && hex > 2 {
        return unsigned(hex);
    }
    let whole = run(0, u8::is_ascii_digit);
    let fraction = match bytes.get(whole) {
        Some(b'.') => run(whole + 1, u8::is_ascii_digit),
        _ => whole,
    };
    let mantissa = if fraction > whole + 1 { fraction } else { whole };
    let end = exponent(bytes, mantissa);
    if end > whole { (FLOAT, end) } else { unsigned(whole) }
}

/// The length of a text in quotes, or how much of it was read before what cannot be in it.
fn string(text: &str, raw: bool) -> Result<usize, usize> {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    if text.starts_with(&triple) {
        return match quoted(text, &triple, raw) {
            // Nothing in quotes, and what follows is another text.
            Err(_) => Ok(2),
            fine => fine,
        };
    }
    quoted(text, quote, raw)
}

fn quoted(text: &str, quote: &str, raw: bool) -> Result<usize, usize> {
    let mut at = quote.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(quote) {
            return Ok(at + quote.len());
        }
        match rest.chars().next() {
            None => return Err(at),
            Some('\n' | '\r') if quote.len() == 1 => return Err(at),
            Some('\\') if !raw => match escape(&rest.as_bytes()[1..]) {
                Ok(n) => at += 1 + n,
                Err(n) => return Err(at + 1 + n),
            },
            Some(c) => at += c.len_utf8(),
        }
    }
}

/// The length of an escape behind its backslash, or how much of it is one.
fn escape(bytes: &[u8]) -> Result<usize, usize> {
    let all = |n: usize, is: fn(&u8) -> bool| {
        let found = bytes.iter().skip(1).take(n).take_while(|b| is(b)).count();
        if found == n { Ok(1 + n) } else { Err(1 + found) }
    };
    match bytes.first() {
        Some(b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`') => Ok(1),
        Some(b'x' | b'X') => all(2, u8::is_ascii_hexdigit),
        Some(b'u') => all(4, u8::is_ascii_hexdigit),
        Some(b'U') => all(8, u8::is_ascii_hexdigit),
        Some(b'0'..=b'3') => all(2, |b| (b'0'..=b'7').contains(b)),
        _ => Err(0),
    }
}
