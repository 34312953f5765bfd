//! What Go says of regular expressions that it cannot read (`regexp/syntax`), whose language is RE2's.

mod syntax;

use super::room::with_much_room;
use syntax::{character_escape, class_escape, error, read_of, repetition};

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
    // Its building goes as deep as the pattern.
    with_much_room(|| {
        regex::RegexBuilder::new(&translated(pattern))
            .nest_limit(DEEPEST)
            .build()
    })
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

    /// Whoever writes a pattern says how deep it is; tests have the stacks that the server's threads have.
    #[test]
    fn patterns_are_as_deep_as_they_may_be() {
        for (open, close) in [
            ("(", ")"),
            ("(?:", ")"),
            ("(a|", ")"),
            ("(?i:b", ")*"),
            ("(", ")+?"),
            ("(?:", "|b)?"),
        ] {
            let nested = |n: usize| [open.repeat(n), "a".into(), close.repeat(n)].concat();
            for n in [200, 990] {
                let found = super::compile(&nested(n)).map(|p| p.is_match("a"));
                assert!(
                    found.as_ref().is_ok_and(|is| *is || open.contains('b'))
                        || found.as_ref().is_err_and(|e| e.contains("too")),
                    "{open}: {found:?}"
                );
            }
            let why = super::compile(&nested(100_000)).unwrap_err();
            assert!(why.contains("too"), "{open}: {}", &why[..100]);
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
