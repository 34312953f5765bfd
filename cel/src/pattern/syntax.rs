//! Go's reading of patterns (`regexp/syntax`): what it says of those that it cannot read.

use std::convert::Infallible;

use crate::memo::Memo;

/// Go's error of reading a pattern, if it has one.
pub(super) fn error(pattern: &str) -> Option<String> {
    let mut reader = Reader {
        whole: pattern,
        rest: pattern,
        open: 0,
        repeatable: vec![false],
        names: Vec::new(),
    };
    let (what, part) = reader.read().err()?;
    Some(format!("error parsing regexp: {what}: `{part}`"))
}

/// What is wrong, and the part that is.
pub(super) type Wrong<'p> = (&'static str, &'p str);

struct Reader<'p> {
    whole: &'p str,
    rest: &'p str,
    /// Groups that are open.
    open: usize,
    /// Of each group that is open, whether something stands before that may be repeated.
    repeatable: Vec<bool>,
    /// Names of groups.
    names: Vec<&'p str>,
}

const RANGE: &str = "invalid character class range";
const ESCAPE: &str = "invalid escape sequence";
const REPEAT: &str = "invalid repeat count";

/// The part of `from` that was read when `rest` is left.
pub(super) fn read_of<'p>(from: &'p str, rest: &str) -> &'p str {
    &from[..from.len() - rest.len()]
}

/// A number of a repetition and what follows; -1 where it is too large.
fn count(text: &str) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let digits = &text[..end];
    if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
        return None;
    }
    let number = digits.parse().ok().filter(|n| *n < 100_000_000).unwrap_or(-1);
    Some((number, &text[end..]))
}

/// `{2}`, `{2,}`, `{2,5}`: whether the numbers are allowed, and what follows.
pub(super) fn repetition(text: &str) -> Option<(bool, &str)> {
    let (least, rest) = count(text.strip_prefix('{')?)?;
    let (most, rest) = match rest.strip_prefix(',') {
        None => (least, rest),
        Some(rest) if rest.starts_with('}') => (i64::MAX, rest),
        Some(rest) => count(rest)?,
    };
    let fits = (0..=1000).contains(&least) && (most == i64::MAX || (least..=1000).contains(&most));
    Some((fits, rest.strip_prefix('}')?))
}

impl<'p> Reader<'p> {
    fn after(&mut self) {
        if let Some(last) = self.repeatable.last_mut() {
            *last = true;
        }
    }

    fn read(&mut self) -> Result<(), Wrong<'p>> {
        let mut last = "";
        while let Some(c) = self.rest.chars().next() {
            let before = self.rest;
            let mut repeat = "";
            match c {
                '(' if before.starts_with("(?") => self.flags()?,
                '(' => {
                    self.rest = &before[1..];
                    self.group();
                }
                '|' => {
                    self.rest = &before[1..];
                    if let Some(own) = self.repeatable.last_mut() {
                        *own = false;
                    }
                }
                ')' => {
                    if self.open == 0 {
                        return Err(("unexpected )", self.whole));
                    }
                    self.open -= 1;
                    self.repeatable.pop();
                    self.rest = &before[1..];
                    self.after();
                }
                '[' => {
                    self.class()?;
                    self.after();
                }
                '*' | '+' | '?' => {
                    self.repeated(before, &before[1..], last)?;
                    repeat = before;
                }
                '{' => match repetition(before) {
                    None => {
                        self.rest = &before[1..];
                        self.after();
                    }
                    Some((false, rest)) => return Err((REPEAT, read_of(before, rest))),
                    Some((true, rest)) => {
                        self.repeated(before, rest, last)?;
                        repeat = before;
                    }
                },
                '\\' => self.escaped()?,
                c => {
                    self.rest = &before[c.len_utf8()..];
                    self.after();
                }
            }
            last = repeat;
        }
        if self.open > 0 {
            return Err(("missing closing )", self.whole));
        }
        Ok(())
    }

    fn group(&mut self) {
        self.open += 1;
        self.repeatable.push(false);
    }

    fn repeated(&mut self, before: &'p str, after: &'p str, last: &'p str) -> Result<(), Wrong<'p>> {
        let after = after.strip_prefix('?').unwrap_or(after);
        if !last.is_empty() {
            return Err(("invalid nested repetition operator", read_of(last, after)));
        }
        if self.repeatable.last() != Some(&true) {
            let part = read_of(before, after);
            return Err(("missing argument to repetition operator", part));
        }
        self.rest = after;
        Ok(())
    }

    /// `(?i)`, `(?i:`, `(?P<name>`.
    fn flags(&mut self) -> Result<(), Wrong<'p>> {
        let before = self.rest;
        for start in ["(?P<", "(?<"] {
            if before.len() <= start.len() || !before.starts_with(start) {
                continue;
            }
            let Some(end) = before.find('>') else {
                return Err(("invalid named capture", before));
            };
            let name = &before[start.len()..end];
            let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
            if name.is_empty() || !name.chars().all(word) {
                return Err(("invalid named capture", &before[..=end]));
            }
            if self.names.contains(&name) {
                return Err(("duplicate capture group name", name));
            }
            self.names.push(name);
            self.rest = &before[end + 1..];
            self.group();
            return Ok(());
        }
        let (mut rest, mut negative, mut seen) = (&before[2..], false, false);
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                'i' | 'm' | 's' | 'U' => seen = true,
                '-' if !negative => (negative, seen) = (true, false),
                ':' | ')' if !negative || seen => {
                    self.rest = rest;
                    if c == ':' {
                        self.group();
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        Err(("invalid or unsupported Perl syntax", read_of(before, rest)))
    }

    fn escaped(&mut self) -> Result<(), Wrong<'p>> {
        let before = self.rest;
        match before.as_bytes().get(1) {
            Some(b'A' | b'b' | b'B' | b'z') => self.rest = &before[2..],
            Some(b'C') => return Err((ESCAPE, &before[..2])),
            Some(b'Q') => {
                let text = &before[2..];
                let (text, rest) = text.split_once("\\E").unwrap_or((text, ""));
                self.rest = rest;
                if text.is_empty() {
                    return Ok(());
                }
            }
            _ => match class_escape(before)? {
                Some(rest) => self.rest = rest,
                None => self.rest = character_escape(before)?.1,
            },
        }
        self.after();
        Ok(())
    }

    /// `[a-z]`.
    fn class(&mut self) -> Result<(), Wrong<'p>> {
        let whole = self.rest;
        let mut t = &whole[1..];
        t = t.strip_prefix('^').unwrap_or(t);
        let mut first = true;
        while first || !t.starts_with(']') {
            first = false;
            if t.starts_with("[:")
                && let Some(end) = t[2..].find(":]")
            {
                let name = &t[..end + 4];
                let known = [
                    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
                    "upper", "word", "xdigit",
                ];
                let inner = &name[2..name.len() - 2];
                let inner = inner.strip_prefix('^').unwrap_or(inner);
                if !known.contains(&inner) {
                    return Err((RANGE, name));
                }
                t = &t[name.len()..];
                continue;
            }
            if let Some(rest) = class_escape(t)? {
                t = rest;
                continue;
            }
            let range = t;
            let (low, rest) = class_character(t, whole)?;
            t = rest;
            let more = t
                .strip_prefix('-')
                .filter(|more| !more.is_empty() && !more.starts_with(']'));
            if let Some(more) = more {
                let (high, rest) = class_character(more, whole)?;
                t = rest;
                if high < low {
                    return Err((RANGE, read_of(range, t)));
                }
            }
        }
        self.rest = &t[1..];
        Ok(())
    }
}

fn class_character<'p>(t: &'p str, whole: &'p str) -> Result<(u32, &'p str), Wrong<'p>> {
    match t.chars().next() {
        None => Err(("missing closing ]", whole)),
        Some('\\') => character_escape(t),
        Some(c) => Ok((u32::from(c), &t[c.len_utf8()..])),
    }
}

/// Behind `\d`, `\pL`, `\p{Greek}`; `None`: no class.
pub(super) fn class_escape(t: &str) -> Result<Option<&str>, Wrong<'_>> {
    let Some(rest) = t.strip_prefix('\\') else {
        return Ok(None);
    };
    match rest.chars().next() {
        Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => Ok(Some(&rest[1..])),
        Some('p' | 'P') => {
            let name = &rest[1..];
            let end = match name.chars().next() {
                None => return Err((RANGE, t)),
                Some('{') => match name.find('}') {
                    None => return Err((RANGE, t)),
                    Some(end) => end + 1,
                },
                Some(c) => c.len_utf8(),
            };
            let after = &name[end..];
            let shown = read_of(t, after);
            let own = &name[..end];
            let own = own
                .strip_prefix('{')
                .and_then(|own| own.strip_suffix('}'))
                .unwrap_or(own);
            let own = own.strip_prefix('^').unwrap_or(own);
            let known = own == "Any" || is_class(own);
            if known { Ok(Some(after)) } else { Err((RANGE, shown)) }
        }
        _ => Ok(None),
    }
}

/// Whether there is a class of Unicode of this name.
fn is_class(name: &str) -> bool {
    static KNOWN: Memo<bool> = Memo::new(1000);
    // The longest name that there is has fewer.
    if name.len() > 64 {
        return false;
    }
    let Ok(is) = KNOWN.get(name, |name| {
        Ok::<_, Infallible>(regex::Regex::new(&format!("\\p{{{name}}}")).is_ok())
    });
    is
}

/// The character that an escape stands for, and what follows.
pub(super) fn character_escape(t: &str) -> Result<(u32, &str), Wrong<'_>> {
    let inner = &t[1..];
    let Some(c) = inner.chars().next() else {
        return Err(("trailing backslash at end of expression", ""));
    };
    let rest = &inner[c.len_utf8()..];
    let octal = |text: &str| text.bytes().take(2).take_while(|b| (b'0'..=b'7').contains(b)).count();
    let named = |n: u32| Ok((n, rest));
    match c {
        '0' | '1'..='7' if c == '0' || octal(rest) > 0 => {
            let digits = octal(rest);
            let number = u32::from_str_radix(&inner[..=digits], 8).unwrap_or_default();
            Ok((number, &rest[digits..]))
        }
        'x' => {
            let (digits, after) = match rest.strip_prefix('{') {
                Some(braced) => match braced.split_once('}') {
                    Some((digits, after)) => (digits, after),
                    None => return Err((ESCAPE, t)),
                },
                None => match rest.get(..2) {
                    Some(digits) => (digits, &rest[2..]),
                    None => return Err((ESCAPE, t)),
                },
            };
            let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            match u32::from_str_radix(digits, 16) {
                Ok(number) if hex && number <= 0x10_ffff => Ok((number, after)),
                _ => {
                    // The first character that is no digit ends it.
                    let skip = usize::from(rest.starts_with('{'));
                    let bad = rest[skip..]
                        .find(|c: char| !c.is_ascii_hexdigit())
                        .unwrap_or(rest.len() - skip);
                    let end = rest[skip + bad..].chars().next().map_or(0, char::len_utf8);
                    Err((ESCAPE, read_of(t, &rest[skip + bad + end..])))
                }
            }
        }
        'a' => named(7),
        'f' => named(12),
        'n' => named(10),
        'r' => named(13),
        't' => named(9),
        'v' => named(11),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => named(u32::from(c)),
        _ => Err((ESCAPE, read_of(t, rest))),
    }
}
