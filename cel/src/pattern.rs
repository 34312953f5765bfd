//! What Go says of regular expressions that it cannot read (`regexp/syntax`), whose language is RE2's.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Go's error of reading a pattern, if it has one.
fn error(pattern: &str) -> Option<String> {
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

/// Escapes that stand for several characters, which are of ASCII in Go: as part of a class, and on their own.
const CLASSES: [(&str, &str, &str); 6] = [
    ("\\d", "0-9", "[0-9]"),
    ("\\w", "0-9A-Za-z_", "[0-9A-Za-z_]"),
    ("\\s", "\\t\\n\\f\\r ", "[\\t\\n\\f\\r ]"),
    ("\\D", "[^0-9]", "[^0-9]"),
    ("\\W", "[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
    ("\\S", "[^\\t\\n\\f\\r ]", "[^\\t\\n\\f\\r ]"),
];

/// A pattern of Go's as this engine has it, which reads brackets, braces, dashes and ampersands as more than text where Go
/// does not, and escapes as of Unicode where Go's are of ASCII.
///
/// # Errors
/// What Go says of a pattern that it cannot read, or that is too large or too deep for this engine.
pub fn compile(pattern: &str) -> Result<regex::Regex, String> {
    if let Some(wrong) = error(pattern) {
        return Err(wrong);
    }
    let told = |what: &str| format!("error parsing regexp: {what}: `{pattern}`");
    regex::RegexBuilder::new(&translated(pattern))
        .nest_limit(DEEPEST)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => told("expression too large"),
            regex::Error::Syntax(why) if why.contains("nested") => told("expression nests too deeply"),
            // A repetition behind flags, which Go takes for one of what stands before them: `a(?i)*`.
            _ => told("expression is not supported"),
        })
}

/// How deep an expression may be (`regexp/syntax.maxHeight`).
const DEEPEST: u32 = 1000;

/// A pattern that Go can read in this engine's language.
fn translated(pattern: &str) -> String {
    let (mut out, mut rest, mut class) = (String::new(), pattern, false);
    // Within a class: whether a dash can be no range here, and whether one was just written that makes one.
    let (mut no_range, mut dash) = (false, false);
    while let Some(c) = rest.chars().next() {
        let (mut ends_range, mut is_dash) = (false, false);
        let end = match c {
            '\\' if rest.starts_with("\\Q") => {
                let text = rest[2..].split("\\E").next().unwrap_or_default();
                out.push_str(&regex::escape(text));
                (2 + text.len() + 2).min(rest.len())
            }
            '\\' if !class && (rest.starts_with("\\b") || rest.starts_with("\\B")) => {
                out.push_str(&format!("(?-u:{})", &rest[..2]));
                2
            }
            '\\' => match CLASSES.iter().find(|(escape, ..)| rest.starts_with(escape)) {
                Some((_, within, alone)) => {
                    out.push_str(if class { within } else { alone });
                    ends_range = true;
                    2
                }
                None => {
                    match (class_escape(rest), character_escape(rest)) {
                        // A class of Unicode.
                        (Ok(Some(after)), _) => {
                            out.push_str(&positive(read_of(rest, after)));
                            ends_range = true;
                            rest.len() - after.len()
                        }
                        // Written by its number: not every escape of Go's is one here, and some are of something else.
                        (_, Ok((number, after))) => {
                            out.push_str(&format!("\\x{{{number:x}}}"));
                            rest.len() - after.len()
                        }
                        // A place.
                        _ => {
                            out.push_str(&rest[..2]);
                            2
                        }
                    }
                }
            },
            '[' if class => match rest.strip_prefix("[:").and_then(|name| name.find(":]")) {
                Some(i) => {
                    out.push_str(&rest[..i + 4]);
                    ends_range = true;
                    i + 4
                }
                None => {
                    out.push_str("\\[");
                    1
                }
            },
            '[' => {
                class = true;
                let start = ["[^]", "[]", "[^", "["]
                    .into_iter()
                    .find(|s| rest.starts_with(s))
                    .unwrap_or("[");
                out.push_str(&start.replace(']', "\\]"));
                // The first of a class is itself.
                ends_range = !start.ends_with(']');
                start.len()
            }
            ']' if class => {
                class = false;
                out.push(']');
                1
            }
            // Behind a class, at the start, and as the end of a range it is itself.
            '-' if class && (no_range || dash) => {
                out.push_str("\\-");
                1
            }
            '-' if class => {
                is_dash = true;
                out.push('-');
                1
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
                1
            }
            '(' if !class && rest.starts_with("(?") && flags(rest).is_some() => {
                let (said, after) = flags(rest).unwrap_or_default();
                out.push_str(&said);
                rest.len() - after.len()
            }
            // Names of groups may be what they may not be here, and nobody asks for them.
            '(' if !class && (rest.starts_with("(?P<") || rest.starts_with("(?<")) => {
                out.push('(');
                rest.find('>').map_or(rest.len(), |end| end + 1)
            }
            '{' if !class && repetition(rest).is_none() => {
                out.push_str("\\{");
                1
            }
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        (no_range, dash) = (ends_range, is_dash);
        rest = &rest[end..];
    }
    out
}

/// Flags as they are written here, each once, and what follows: Go takes them as often as they come, and none at all.
fn flags(text: &str) -> Option<(String, &str)> {
    let (said, after) = text.strip_prefix("(?")?.split_once([':', ')'])?;
    let known = |flags: &str| flags.chars().all(|c| "imsU".contains(c));
    let (on, off) = said.split_once('-').unwrap_or((said, ""));
    if !known(on) || !known(off) {
        return None;
    }
    let each = |of: &dyn Fn(char) -> bool| "imsU".chars().filter(|c| of(*c)).collect::<String>();
    let on = each(&|c| on.contains(c) && !off.contains(c));
    let minus = if off.is_empty() { "" } else { "-" };
    let off = each(&|c| off.contains(c));
    let group = text[2 + said.len()..].starts_with(':');
    let said = match (group, on.is_empty() && off.is_empty()) {
        (true, _) => format!("(?{on}{minus}{off}:"),
        (false, true) => String::new(),
        (false, false) => format!("(?{on}{minus}{off})"),
    };
    Some((said, after))
}

/// A class of Unicode without the sign that makes it all but itself.
fn positive(class: &str) -> String {
    match (class.strip_prefix("\\p{^"), class.strip_prefix("\\P{^")) {
        (Some(name), _) => format!("\\P{{{name}"),
        (_, Some(name)) => format!("\\p{{{name}"),
        _ => class.to_owned(),
    }
}

/// What is wrong, and the part that is.
type Wrong<'p> = (&'static str, &'p str);

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
fn read_of<'p>(from: &'p str, rest: &str) -> &'p str {
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
fn repetition(text: &str) -> Option<(bool, &str)> {
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
fn class_escape(t: &str) -> Result<Option<&str>, Wrong<'_>> {
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
    static KNOWN: LazyLock<Mutex<BTreeMap<String, bool>>> = LazyLock::new(Mutex::default);
    // The longest name that there is has fewer.
    if name.len() > 64 {
        return false;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(is) = known.get(name) {
        return *is;
    }
    if known.len() > 1000 {
        known.clear();
    }
    let is = regex::Regex::new(&format!("\\p{{{name}}}")).is_ok();
    known.insert(name.to_owned(), is);
    is
}

/// The character that an escape stands for, and what follows.
fn character_escape(t: &str) -> Result<(u32, &str), Wrong<'_>> {
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

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn patterns_are_refused_in_gos_words() {
        for (pattern, wanted) in [
            ("*", "missing argument to repetition operator: `*`"),
            ("(*)", "missing argument to repetition operator: `*`"),
            ("a|+?b", "missing argument to repetition operator: `+?`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("(a", "missing closing ): `(a`"),
            ("a)", "unexpected ): `a)`"),
            ("a[b", "missing closing ]: `[b`"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:x:]]", "invalid character class range: `[:x:]`"),
            ("a(?=b)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?P<a b>c)", "invalid named capture: `(?P<a b>`"),
            ("(?P<a>b)(?P<a>c)", "duplicate capture group name: `a`"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("\\p{Nosuch}", "invalid character class range: `\\p{Nosuch}`"),
            ("\\P{^^L}", "invalid character class range: `\\P{^^L}`"),
            ("[[:^^digit:]]", "invalid character class range: `[:^^digit:]`"),
        ] {
            let text = error(pattern).unwrap_or_default();
            assert_eq!(text, format!("error parsing regexp: {wanted}"), "{pattern}");
        }
        for fine in [
            "",
            "a b",
            "{x}",
            "a{,3}",
            "a{2,}?",
            "$(A)",
            "[]a]",
            "[a-]",
            "(?i:a)(?i)b",
            "\\d+\\.\\x41\\x{41}\\Qa*\\E",
            "(?P<n>a)",
            "a{01}",
            "\\pL",
            "[^\\d-z]",
        ] {
            assert_eq!(error(fine), None, "{fine}");
            assert!(super::compile(fine).is_ok(), "{fine}");
        }
    }

    #[test]
    fn patterns_match_what_they_match_in_go() {
        for (pattern, text, matches) in [
            ("^\\d+$", "123", true),
            ("^\\d+$", "\u{663}", false),
            ("^\\w$", "\u{e9}", false),
            ("^\\s$", "\u{a0}", false),
            ("^[\\d_]+$", "1_2", true),
            ("^[^\\D]$", "1", true),
            ("^[a&&b]+$", "a&b", true),
            ("^[a~~b]+$", "a~b", true),
            ("^[+--]$", ",", true),
            ("^[-a]+$", "a-a", true),
            ("^[--/]$", ".", true),
            ("^[[a]]$", "[]", true),
            ("^[[a]]$", "a", false),
            ("a\\b{start}", "a{start}", true),
            ("\\bx", "\u{e9}x", true),
            ("^{x}$", "{x}", true),
            ("^[\\d-z]+$", "1-z", true),
            ("^[[:alpha:]-]+$", "a-", true),
            ("^\\p{L}+$", "aé", true),
            ("^\\pN[\\p{^L}]$", "1-", true),
            ("^\\101\\<[\\]\\-a]\\*$", "A<-*", true),
            ("^\\Aa\\z$", "a", true),
            ("a\\B\u{e9}", "a\u{e9}", false),
            ("a\\Bb", "ab", true),
            ("^(?P<1st>a)$", "a", true),
            ("^a(?)b(?ii)c(?i-i:d)(?s-s)$", "abcd", true),
            ("^a(?)b(?ii)c(?i-i:d)$", "abCd", true),
            ("^a(?)b(?ii)c(?i-i:d)$", "abcD", false),
        ] {
            let compiled = super::compile(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(compiled.is_match(text), matches, "{pattern} {text}");
        }
    }
}
