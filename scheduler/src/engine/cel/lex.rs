//! Tokens.

use super::CelError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Int(i64),
    Uint(u64),
    Double(f64),
    Str(String),
    Ident(String),
    /// An operator or bracket.
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 26] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")", "[", "]",
    "{", "}", "=", ";",
];

/// The tokens with where they begin (characters from 1), the end last.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, CelError> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        let (c, at) = (chars[i], i + 1);
        if c.is_whitespace() {
            i += 1;
        } else if chars[i..].starts_with(&['/', '/']) {
            while i < chars.len() && chars[i] != '\n' {
                i += 1;
            }
        } else if c.is_ascii_digit() || c == '.' && chars.get(i + 1).is_some_and(char::is_ascii_digit) {
            let (token, end) = number(&chars, i)?;
            out.push((token, at));
            i = end;
        } else if let Some(raw) = string_start(&chars, i) {
            let (text, end) = string(&chars, i + usize::from(raw), raw, at)?;
            out.push((Token::Str(text), at));
            i = end;
        } else if c.is_alphabetic() || c == '_' {
            let end = (i..chars.len())
                .find(|j| !(chars[*j].is_alphanumeric() || chars[*j] == '_'))
                .unwrap_or(chars.len());
            out.push((Token::Ident(chars[i..end].iter().collect()), at));
            i = end;
        } else {
            let sign = SIGNS.iter().find(|s| {
                let mut rest = chars[i..].iter();
                s.chars().all(|c| rest.next() == Some(&c))
            });
            let Some(sign) = sign else {
                return Err(CelError {
                    at,
                    message: format!("unexpected '{c}'"),
                });
            };
            out.push((Token::Sign(sign), at));
            i += sign.len();
        }
    }
    out.push((Token::End, chars.len() + 1));
    Ok(out)
}

fn number(chars: &[char], from: usize) -> Result<(Token, usize), CelError> {
    let hex = chars[from] == '0' && matches!(chars.get(from + 1), Some('x' | 'X'));
    let mut i = if hex { from + 2 } else { from };
    let mut double = false;
    while let Some(c) = chars.get(i) {
        let goes_on = if hex {
            c.is_ascii_hexdigit()
        } else if *c == '.' && !double && chars.get(i + 1).is_some_and(char::is_ascii_digit) {
            double = true;
            true
        } else if matches!(c, 'e' | 'E') {
            double = true;
            i += usize::from(matches!(chars.get(i + 1), Some('+' | '-')));
            true
        } else {
            c.is_ascii_digit()
        };
        if !goes_on {
            break;
        }
        i += 1;
    }
    let digits: String = chars[if hex { from + 2 } else { from }..i.min(chars.len())]
        .iter()
        .collect();
    let wrong = || CelError {
        at: from + 1,
        message: format!("invalid number '{digits}'"),
    };
    if double {
        return Ok((Token::Double(digits.parse().map_err(|_| wrong())?), i));
    }
    let n = u64::from_str_radix(&digits, if hex { 16 } else { 10 }).map_err(|_| wrong())?;
    if matches!(chars.get(i), Some('u' | 'U')) {
        return Ok((Token::Uint(n), i + 1));
    }
    Ok((Token::Int(i64::try_from(n).map_err(|_| wrong())?), i))
}

/// Whether a string begins here; the value says whether it is a raw one.
fn string_start(chars: &[char], i: usize) -> Option<bool> {
    match (chars[i], chars.get(i + 1)) {
        ('\'' | '"', _) => Some(false),
        ('r' | 'R', Some('\'' | '"')) => Some(true),
        _ => None,
    }
}

/// A string from its opening quote on, and where it ends.
fn string(chars: &[char], from: usize, raw: bool, at: usize) -> Result<(String, usize), CelError> {
    let quote = chars[from];
    let triple = chars[from..].starts_with(&[quote; 3]);
    let close = if triple { 3 } else { 1 };
    let mut i = from + close;
    let mut out = String::new();
    let wrong = |message: &str| CelError {
        at,
        message: message.to_owned(),
    };
    loop {
        let Some(c) = chars.get(i) else {
            return Err(wrong("unterminated string"));
        };
        if *c == quote && (!triple || chars[i..].starts_with(&[quote; 3])) {
            return Ok((out, i + close));
        }
        if *c == '\n' && !triple {
            return Err(wrong("unterminated string"));
        }
        if *c != '\\' || raw {
            out.push(*c);
            i += 1;
            continue;
        }
        let escape = chars.get(i + 1).copied().unwrap_or('\0');
        let digits = |n: usize, radix: u32, skip: usize| {
            let text: String = chars.iter().skip(i + skip).take(n).collect();
            let code = u32::from_str_radix(&text, radix)
                .ok()
                .filter(|_| text.chars().count() == n);
            code.and_then(char::from_u32).ok_or_else(|| wrong("invalid escape"))
        };
        let (c, length) = match escape {
            'n' => ('\n', 2),
            't' => ('\t', 2),
            'r' => ('\r', 2),
            'a' => ('\x07', 2),
            'b' => ('\x08', 2),
            'f' => ('\x0c', 2),
            'v' => ('\x0b', 2),
            '\\' | '\'' | '"' | '`' | '?' => (escape, 2),
            'x' | 'X' => (digits(2, 16, 2)?, 4),
            'u' => (digits(4, 16, 2)?, 6),
            'U' => (digits(8, 16, 2)?, 10),
            '0'..='3' => (digits(3, 8, 1)?, 4),
            _ => return Err(wrong("invalid escape")),
        };
        out.push(c);
        i += length;
    }
}
