//! YAML as Kubernetes writes it (`sigs.k8s.io/yaml`, which is go-yaml v2): keys in order, block style, text in quotes
//! only where it would be read as something else, and long text folded.

use serde_json::Value;

/// Columns after which text is folded at a space.
const WIDTH: usize = 80;

/// A value as a document of YAML.
#[must_use]
pub fn text(v: &Value) -> String {
    let mut out = String::new();
    match v {
        Value::Object(m) if !m.is_empty() => object(&mut out, m, 0),
        Value::Array(l) if !l.is_empty() => array(&mut out, l, 0),
        other => {
            scalar(&mut out, other, 0, 0);
            out.push('\n');
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn object(out: &mut String, m: &serde_json::Map<String, Value>, depth: usize) {
    let mut keys: Vec<&String> = m.keys().collect();
    keys.sort_by_key(|k| natural(k));
    for (i, k) in keys.into_iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        if !is_simple(k) {
            out.push_str("? ");
            string(out, k, depth, depth + 2, false);
            out.push('\n');
            indent(out, depth);
            out.push_str(": ");
            item(out, &m[k], depth);
            continue;
        }
        let start = out.len();
        string(out, k, depth, depth, true);
        out.push(':');
        let column = depth + (out.len() - start);
        below(out, &m[k], depth, column);
    }
}

/// What comes after a key.
fn below(out: &mut String, v: &Value, depth: usize, column: usize) {
    match v {
        Value::Object(m) if !m.is_empty() => {
            out.push('\n');
            indent(out, depth + 2);
            object(out, m, depth + 2);
        }
        // Items of a list are no deeper than its key.
        Value::Array(l) if !l.is_empty() => {
            out.push('\n');
            indent(out, depth);
            array(out, l, depth);
        }
        other => {
            out.push(' ');
            scalar(out, other, depth, column + 1);
            out.push('\n');
        }
    }
}

fn array(out: &mut String, l: &[Value], depth: usize) {
    for (i, v) in l.iter().enumerate() {
        if i > 0 {
            indent(out, depth);
        }
        out.push_str("- ");
        item(out, v, depth);
    }
}

/// What comes after a sign of its own.
fn item(out: &mut String, v: &Value, depth: usize) {
    match v {
        Value::Object(m) if !m.is_empty() => object(out, m, depth + 2),
        Value::Array(inner) if !inner.is_empty() => array(out, inner, depth + 2),
        other => {
            scalar(out, other, depth, depth + 2);
            out.push('\n');
        }
    }
}

/// Whether a key stands before its colon as it is: one line that is not too long (`yaml_emitter_check_simple_key`).
fn is_simple(key: &str) -> bool {
    key.len() <= 128 && !key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
}

fn scalar(out: &mut String, v: &Value, depth: usize, column: usize) {
    match v {
        Value::String(s) => string(out, s, depth, column, false),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        other => out.push_str(&other.to_string()),
    }
}

/// The order of keys: numbers in text count as numbers, letters come after what is none.
fn natural(key: &str) -> Vec<(u8, u64, char)> {
    let mut parts = Vec::new();
    let mut chars = key.chars().peekable();
    while let Some(c) = chars.next() {
        if let Some(mut n) = c.to_digit(10).map(u64::from) {
            while let Some(d) = chars.peek().and_then(|c| c.to_digit(10)) {
                n = n.saturating_mul(10).saturating_add(u64::from(d));
                chars.next();
            }
            parts.push((1, n, '0'));
        } else {
            parts.push(if c.is_alphabetic() { (2, 0, c) } else { (0, 0, c) });
        }
    }
    parts
}

fn string(out: &mut String, s: &str, depth: usize, column: usize, key: bool) {
    let special = s
        .chars()
        .any(|c| c.is_control() && c != '\n' || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}'));
    if special {
        return double(out, s);
    }
    if s.contains('\n') && !key {
        return literal(out, s, depth);
    }
    if resolves(s) {
        return double(out, s);
    }
    let mut line = Folded {
        out,
        column,
        depth: depth + 2,
        fold: !key,
    };
    if plain(s) {
        line.put(s);
    } else {
        line.out.push('\'');
        line.column += 1;
        line.put(&s.replace('\'', "''"));
        line.out.push('\'');
    }
}

/// Text that is folded at single spaces once its line is long.
struct Folded<'a> {
    out: &'a mut String,
    column: usize,
    depth: usize,
    fold: bool,
}

impl Folded<'_> {
    fn put(&mut self, s: &str) {
        let chars: Vec<char> = s.chars().collect();
        for (i, &c) in chars.iter().enumerate() {
            let single = c == ' ' && i > 0 && i + 1 < chars.len() && chars[i - 1] != ' ' && chars[i + 1] != ' ';
            if self.fold && single && self.column > WIDTH {
                self.out.push('\n');
                indent(self.out, self.depth);
                self.column = self.depth;
                continue;
            }
            self.out.push(c);
            self.column += 1;
        }
    }
}

fn double(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\u{1b}' => out.push_str("\\e"),
            '\u{2028}' => out.push_str("\\L"),
            '\u{2029}' => out.push_str("\\P"),
            c if c.is_control() => out.push_str(&format!("\\x{:02X}", u32::from(c))),
            '\u{feff}' => out.push_str("\\uFEFF"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Several lines, as they are.
fn literal(out: &mut String, s: &str, depth: usize) {
    out.push('|');
    // Where the first line begins with a space, how deep the text is has to be said.
    if s.starts_with([' ', '\n']) {
        out.push('2');
    }
    let kept = s.trim_end_matches('\n');
    match s.len() - kept.len() {
        0 => out.push('-'),
        1 if !kept.is_empty() => {}
        _ => out.push('+'),
    }
    let all: Vec<&str> = s.strip_suffix('\n').unwrap_or(s).split('\n').collect();
    for line in all {
        out.push('\n');
        if !line.is_empty() {
            indent(out, depth + 2);
            out.push_str(line);
        }
    }
}

/// Whether plain text would be read as no text: a number, a boolean, nothing, a time, a merge.
fn resolves(s: &str) -> bool {
    const WORDS: [&str; 30] = [
        "", "~", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y", "yes", "Yes",
        "YES", "n", "N", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", ".nan", "<<", ".inf",
    ];
    if WORDS.contains(&s)
        || matches!(
            s,
            ".NaN" | ".NAN" | ".Inf" | ".INF" | "+.inf" | "-.inf" | "+.Inf" | "-.Inf"
        )
    {
        return true;
    }
    let digits = s.strip_prefix(['-', '+']).unwrap_or(s);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let bare = digits.replace('_', "");
    let radix = |p: &str, n: u32| {
        bare.strip_prefix(p)
            .is_some_and(|t| !t.is_empty() && t.chars().all(|c| c.is_digit(n)))
    };
    let decimal = bare
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && bare.parse::<f64>().is_ok();
    decimal || radix("0x", 16) || radix("0b", 2) || radix("0o", 8) || sexagesimal(&bare) || time(s)
}

/// `1:30`: old YAML's numbers to the base of sixty, which go-yaml quotes.
fn sexagesimal(s: &str) -> bool {
    let mut parts = s.split(':');
    let first = parts
        .next()
        .is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let rest: Vec<&str> = parts.collect();
    let fits = |p: &&str| {
        let whole = p.split('.').next().unwrap_or_default();
        (1..=2).contains(&whole.len())
            && whole.bytes().all(|b| b.is_ascii_digit())
            && whole.parse::<u8>().is_ok_and(|n| n < 60)
    };
    first && !rest.is_empty() && rest.iter().all(fits)
}

/// Dates and times, as go-yaml reads them.
fn time(s: &str) -> bool {
    let date = s.get(..10).unwrap_or_default();
    let dated = date.len() == 10
        && date.bytes().enumerate().all(|(i, b)| match i {
            4 | 7 => b == b'-',
            _ => b.is_ascii_digit(),
        });
    dated && (s.len() == 10 || s.parse::<jiff::Timestamp>().is_ok())
}

/// Whether text may stand without quotes (libyaml's `analyze_scalar`).
fn plain(s: &str) -> bool {
    if s.is_empty() || s.starts_with(' ') || s.ends_with(' ') || s.starts_with("---") || s.starts_with("...") {
        return false;
    }
    let chars: Vec<char> = s.chars().collect();
    let blank = |i: usize| chars.get(i).is_none_or(|c| matches!(c, ' ' | '\t' | '\n'));
    for (i, &c) in chars.iter().enumerate() {
        let wrong = match c {
            '#' if i == 0 => true,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if i == 0 => true,
            '-' | '?' if i == 0 => blank(1),
            ':' => blank(i + 1),
            '#' => chars[i - 1] == ' ',
            '\n' => true,
            _ => false,
        };
        if wrong {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_written_as_go_yaml_does() {
        let v = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"resourceVersion": "12", "name": "a", "labels": {}},
            "items": [{"a": 1, "b": [1, "x"]}, []], "data": {"a10": "yes", "a9": "x: y", "t": "a\nb\n", "u": "it's"}, "n": null});
        let expected = "apiVersion: v1\ndata:\n  a9: 'x: y'\n  a10: \"yes\"\n  t: |\n    a\n    b\n  u: it's\nitems:\n- a: 1\n  b:\n  \
            - 1\n  - x\n- []\nkind: ConfigMap\nmetadata:\n  labels: {}\n  name: a\n  resourceVersion: \"12\"\n\"n\": null\n";
        assert_eq!(text(&v), expected);
    }

    #[test]
    fn keys_of_several_lines_have_a_sign() {
        let v = json!({"a": {"b\nc": [1, {"x": 2, "y": 3}], "d\n": null}});
        let expected = "a:\n  ? |-\n    b\n    c\n  : - 1\n    - x: 2\n      \"y\": 3\n  ? |\n    d\n  : null\n";
        assert_eq!(text(&v), expected);
    }

    #[test]
    fn long_text_is_folded() {
        let word = "word ".repeat(20);
        let folded = text(&json!({"message": word.trim_end()}));
        assert_eq!(folded.lines().count(), 2);
        assert!(folded.lines().nth(1).is_some_and(|l| l.starts_with("  word")));
    }

    #[test]
    fn text_that_reads_as_something_else_is_quoted() {
        for s in [
            "1",
            "1.5",
            "1e3",
            "0x1F",
            "true",
            "no",
            "~",
            "",
            "2024-01-01",
            "2024-01-01T00:00:00Z",
            "1:30",
            ".5",
        ] {
            assert!(resolves(s), "{s}");
        }
        for s in ["1a", "1.2.3.4", "a", "v1", "10m", "x:1", "-", "100%"] {
            assert!(!resolves(s), "{s}");
        }
    }
}
