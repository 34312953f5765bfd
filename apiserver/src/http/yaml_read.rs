//! YAML as Kubernetes reads it (`sigs.k8s.io/yaml`, which is go-yaml v2): the first document, its plain text resolved as
//! YAML 1.1 has it, `<<` merged in, and what is there twice told by its line.
//!
//! The parser below knows YAML 1.2's words. Where it gives a piece of the document as text, what stands before that tells
//! whether the document has it plain or in quotes.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::strict::{self, Parsed};
use super::yaml_scalar::{name_of, number, resolve};
use crate::schema::quote;
use crate::store::DEEPEST;

/// What Go's JSON says of a number that is none.
const UNSUPPORTED: &str = "json: unsupported value: ";

/// Reads a document.
///
/// # Errors
/// Why it is none, in upstream's words.
pub(super) fn read(b: &[u8]) -> Result<Parsed, String> {
    // What says that it is UTF-16 is read as that.
    let pair: Option<fn([u8; 2]) -> u16> = match b {
        [0xff, 0xfe, ..] => Some(u16::from_le_bytes),
        [0xfe, 0xff, ..] => Some(u16::from_be_bytes),
        _ => None,
    };
    if let Some(pair) = pair {
        let (units, _) = b[2..].as_chunks::<2>();
        let text = String::from_utf16_lossy(&units.iter().map(|u| pair(*u)).collect::<Vec<_>>());
        return read(text.as_bytes());
    }
    // JSON is YAML; most of it comes as JSON.
    if b.iter().find(|c| !c.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(p) = strict::json(b)
        && p.duplicates.is_empty()
    {
        return Ok(p);
    }
    let document = Document {
        bytes: b,
        twice: RefCell::default(),
        read_to: Cell::new(0),
        newlines: OnceCell::new(),
        made: Cell::new(0),
    };
    // The first document counts.
    let value = match serde_yaml::Deserializer::from_slice(b).next() {
        Some(first) => Node::of(&document).deserialize(first).map_err(|e| told(&e, b))?,
        None => Value::Null,
    };
    Ok(Parsed {
        value,
        duplicates: document.twice.into_inner(),
    })
}

/// What has been found twice, as the one error that it is.
pub(super) fn refused_twice(lines: Vec<String>) -> Vec<String> {
    match lines.is_empty() {
        true => lines,
        false => vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))],
    }
}

/// An error as Go's YAML reader tells it: nothing of the first line's number, and of what the parser misses (not of
/// what the scanner cannot read) a line less.
fn told(e: &serde_yaml::Error, b: &[u8]) -> String {
    let text = e.to_string();
    if let Some(at) = text.find(UNSUPPORTED) {
        let number = text[at + UNSUPPORTED.len()..].split(" at line ").next();
        return format!("{UNSUPPORTED}{}", number.unwrap_or_default());
    }
    format!("yaml: {}", parser_told(&text, e, b))
}

fn parser_told(text: &str, e: &serde_yaml::Error, b: &[u8]) -> String {
    let problem = text.split(" at line ").next().unwrap_or(text);
    // What was being read is told beside it where there is no place.
    let problem = problem.split(", while ").next().unwrap_or(problem);
    // Of bytes Go does not say where they are.
    let problem = problem.split(" at position ").next().unwrap_or(problem);
    if problem.contains("repetition limit exceeded") {
        return ALIASES.to_owned();
    }
    for own in [TOO_DEEP, WANTS_MAP, BAD_BASE64, ALIASES] {
        if problem.ends_with(own) {
            return own.to_owned();
        }
    }
    if problem == "unknown anchor" {
        let rest = e.location().and_then(|l| b.get(l.index()..)).unwrap_or_default();
        let name = rest.strip_prefix(b"*").unwrap_or(rest);
        let end = name
            .iter()
            .position(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_')));
        let name = String::from_utf8_lossy(&name[..end.unwrap_or(name.len())]);
        return format!("unknown anchor '{name}' referenced");
    }
    let above = e.location().map_or(0, |l| l.line().saturating_sub(1));
    if above == 0 {
        return problem.to_owned();
    }
    let line = if problem.starts_with("did not find expected") {
        above
    } else {
        above + 1
    };
    format!("line {line}: {problem}")
}

/// What Go says of what is deeper than its own bound, which is another than ours ([`DEEPEST`]).
const TOO_DEEP: &str = "exceeded max depth of 10000";
const WANTS_MAP: &str = "map merge requires map or sequence of maps as the value";
const BAD_BASE64: &str = "!!binary value contains invalid base64 data";

/// What is read.
struct Document<'d> {
    bytes: &'d [u8],
    twice: RefCell<Vec<String>>,
    /// Where the last piece of text that was read ends.
    read_to: Cell<usize>,
    /// Where its lines end, once somebody asked.
    newlines: OnceCell<Vec<usize>>,
    /// How much was made of it, values and bytes of text.
    made: Cell<usize>,
}

/// What may be made of a document beyond its own bytes, values and bytes of text: what is named once may be said often
/// (go-yaml's `allowedAliasRatio` lets a small document make 400,000 values).
const ALIASED: usize = 400_000;
const ALIASES: &str = "document contains excessive aliasing";

/// Bytes before a piece of text that are looked at for its tag.
const LOOK_BACK: usize = 1_024;

/// A line without its comment.
fn uncommented(line: &[u8]) -> &[u8] {
    let begins = |i: &usize| line[*i] == b'#' && (*i == 0 || line[*i - 1].is_ascii_whitespace());
    &line[..(0..line.len()).find(begins).unwrap_or(line.len())]
}

/// What stands nearest to the end of what is before a value; an anchor may be between a tag and what it is of.
fn nearest_word(before: &[u8]) -> Option<&[u8]> {
    let ends = |b: u8| b.is_ascii_whitespace() || b",[]{}".contains(&b);
    for line in before.rsplit(|b| *b == b'\n').map(uncommented) {
        let mut rest = line;
        while let [head @ .., last] = rest {
            if last.is_ascii_whitespace() {
                rest = head;
                continue;
            }
            if ends(*last) {
                return None;
            }
            let from = rest.iter().rposition(|b| ends(*b)).map_or(0, |i| i + 1);
            let word = &rest[from..];
            if !word.starts_with(b"&") {
                return Some(word);
            }
            rest = &rest[..from];
        }
    }
    None
}

/// How a piece of text stands in a document.
#[derive(PartialEq)]
enum Style {
    Plain,
    Text,
    Binary,
}

impl Document<'_> {
    /// Counts what is made of it.
    fn charge<E: Error>(&self, size: usize) -> Result<(), E> {
        self.made.set(self.made.get() + size);
        match self.made.get() > 2 * self.bytes.len() + ALIASED {
            true => Err(E::custom(ALIASES)),
            false => Ok(()),
        }
    }

    /// Where in it a piece of it begins.
    fn place(&self, piece: &str) -> Option<usize> {
        let at = piece.as_ptr().addr().checked_sub(self.bytes.as_ptr().addr())?;
        (at + piece.len() <= self.bytes.len()).then_some(at)
    }

    fn style(&self, piece: &str) -> Style {
        let Some(at) = self.place(piece) else {
            return Style::Text;
        };
        // What was read already, by another name, is looked at anew.
        let since = self.read_to.get();
        self.read_to.set(since.max(at + piece.len()));
        let since = if since > at { 0 } else { since };
        let before = &self.bytes[since.max(at.saturating_sub(LOOK_BACK))..at];
        let (plain, before) = match before {
            [rest @ .., b'"' | b'\''] => (false, rest),
            all => (true, all),
        };
        match nearest_word(before) {
            Some(b"!!binary") => Style::Binary,
            Some(word) if word.starts_with(b"!") => Style::Text,
            _ if plain => Style::Plain,
            _ => Style::Text,
        }
    }

    /// The line, from 1, of the value of a key that ends at `end`.
    fn line_of_value(&self, end: usize, value: &Value) -> usize {
        let mut at = end;
        let rest = |at: usize| self.bytes.get(at).copied();
        if matches!(rest(at), Some(b'"' | b'\'')) {
            at += 1;
        }
        while matches!(rest(at), Some(b' ' | b'\t')) {
            at += 1;
        }
        // The colon.
        at += 1;
        let colon = at;
        loop {
            match rest(at) {
                Some(b'#') => {
                    while rest(at).is_some_and(|b| b != b'\n') {
                        at += 1;
                    }
                }
                Some(b' ' | b'\t' | b'\r' | b'\n') => at += 1,
                _ => break,
            }
        }
        let said = |word: &str| self.bytes[at.min(self.bytes.len())..].starts_with(word.as_bytes());
        let absent = value.is_null() && !["~", "null", "Null", "NULL"].iter().any(|w| said(w));
        let at = if absent { colon } else { at };
        let newlines = self.newlines.get_or_init(|| {
            let all = self.bytes.iter().enumerate();
            all.filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect()
        });
        1 + newlines.partition_point(|i| *i < at)
    }
}

/// A value somewhere in a document.
struct Node<'a, 'd> {
    of: &'a Document<'d>,
    depth: usize,
}

impl<'a, 'd> Node<'a, 'd> {
    fn of(of: &'a Document<'d>) -> Self {
        Self { of, depth: 0 }
    }

    fn below(&self) -> Node<'a, 'd> {
        Node {
            of: self.of,
            depth: self.depth + 1,
        }
    }

    fn text<E: Error>(&self, s: &str) -> Result<Value, E> {
        self.of.charge(s.len())?;
        match self.of.style(s) {
            Style::Plain => Ok(resolve(s).unwrap_or_else(|| s.into())),
            Style::Text => Ok(s.into()),
            Style::Binary => {
                let bytes = STANDARD.decode(s).map_err(|_| E::custom(BAD_BASE64))?;
                Ok(String::from_utf8_lossy(&bytes).into())
            }
        }
    }

    /// Puts a map, or maps, into another one (`<<`).
    fn merge<E: Error>(into: &mut Map<String, Value>, what: Value) -> Result<(), E> {
        match what {
            Value::Object(fields) => into.extend(fields),
            // The first counts most.
            Value::Array(all) => {
                for one in all.into_iter().rev() {
                    let Value::Object(fields) = one else {
                        return Err(E::custom(WANTS_MAP));
                    };
                    into.extend(fields);
                }
            }
            _ => return Err(E::custom(WANTS_MAP)),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        self.of.charge(1)?;
        if self.depth > DEEPEST {
            return Err(D::Error::custom(TOO_DEEP));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }
    fn visit_i128<E: Error>(self, v: i128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }
    fn visit_u128<E: Error>(self, v: u128) -> Result<Value, E> {
        self.visit_f64(v as f64)
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        let shown = match v {
            v if v.is_nan() => "NaN",
            v if v > 0.0 => "+Inf",
            _ => "-Inf",
        };
        number(v).ok_or_else(|| E::custom(format!("{UNSUPPORTED}{shown}")))
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<Value, E> {
        self.of.charge(v.len())?;
        Ok(v.into())
    }
    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Value, E> {
        self.text(v)
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    /// A tag of somebody's own.
    fn visit_enum<A: EnumAccess<'de>>(self, a: A) -> Result<Value, A::Error> {
        let (_, value) = a.variant::<String>()?;
        value.newtype_variant_seed(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(v) = a.next_element_seed(self.below())? {
            list.push(v);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut a: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = a.next_key_seed(Key(self.of))? {
            let v = a.next_value_seed(self.below())?;
            if key.merges {
                Self::merge(&mut map, v)?;
                continue;
            }
            match map.entry(key.name) {
                Entry::Vacant(e) => drop(e.insert(v)),
                Entry::Occupied(mut e) => {
                    if let Some(end) = key.end {
                        let line = self.of.line_of_value(end, &v);
                        let told = format!("line {line}: key {} already set in map", key.shown);
                        self.of.twice.borrow_mut().push(told);
                    }
                    e.insert(v);
                }
            }
        }
        Ok(Value::Object(map))
    }
}

/// The key of a map: as JSON has it, as Go shows it, and where it ends.
struct Name {
    name: String,
    shown: String,
    end: Option<usize>,
    merges: bool,
}

impl Name {
    fn text(s: &str, end: Option<usize>) -> Self {
        Self {
            name: s.to_owned(),
            shown: quote(s),
            end,
            merges: false,
        }
    }

    fn other(s: String, end: Option<usize>) -> Self {
        Self {
            name: s.clone(),
            shown: s,
            end,
            merges: false,
        }
    }
}

/// Reads a key: YAML's may be numbers and truth values.
struct Key<'a, 'd>(&'a Document<'d>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Name;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Name, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = Name;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, v: &str) -> Result<Name, E> {
        Ok(Name::text(v, None))
    }
    fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Name, E> {
        let end = self.0.place(v).map(|at| at + v.len());
        let plain = self.0.style(v) == Style::Plain;
        Ok(match resolve(v).filter(|_| plain) {
            Some(Value::Number(n)) if n.is_f64() => Name::other(name_of(n.as_f64().unwrap_or_default()), end),
            Some(other) => Name::other(other.to_string(), end),
            None => Name {
                merges: plain && v == "<<",
                ..Name::text(v, end)
            },
        })
    }
    fn visit_bool<E>(self, v: bool) -> Result<Name, E> {
        Ok(Name::other(v.to_string(), None))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Name, E> {
        Ok(Name::other(v.to_string(), None))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Name, E> {
        Ok(Name::other(v.to_string(), None))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Name, E> {
        Ok(Name::other(name_of(v), None))
    }
    fn visit_unit<E>(self) -> Result<Name, E> {
        Ok(Name::other("null".to_owned(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_are_read_as_go_yaml_does() {
        for (text, wanted) in [
            ("a: 1\nb: [x, true]", json!({"a": 1, "b": ["x", true]})),
            (
                "a: yes\nb: \"yes\"\nc: 'no'\nd: [off, Off, oFF]",
                json!({"a": true, "b": "yes", "c": "no", "d": [false, false, "oFF"]}),
            ),
            ("a: &x on\nb: *x", json!({"a": true, "b": true})),
            ("{a: 0777, \"b\": 1_0, c: 1e3}", json!({"a": 511, "b": 10, "c": 1000})),
            ("yes: 1\n1: a\n~: b", json!({"true": 1, "1": "a", "null": "b"})),
            (
                "a: !!str yes\nb: !!binary aGk=\nc: !!binary \"aGk=\"\nd: !own x",
                json!({"a": "yes", "b": "hi", "c": "hi", "d": "x"}),
            ),
            (
                "b: &b {x: 1, z: 2}\nc:\n  z: 0\n  <<: *b\n  x: 3",
                json!({"b": {"x": 1, "z": 2}, "c": {"x": 3, "z": 2}}),
            ),
            (
                "c:\n  <<: [{x: 1}, {x: 2, z: 3}]\n  \"<<\": 4",
                json!({"c": {"x": 1, "z": 3, "<<": 4}}),
            ),
            (
                "[!!str yes, yes, !!str  &x on, {a: !!str\n  off}]",
                json!(["yes", true, "on", {"a": "off"}]),
            ),
            ("a: # !!str\n  yes\nb: !!seq [yes]", json!({"a": true, "b": [true]})),
            ("", Value::Null),
            ("a: |\n  yes\nb: >-\n  yes", json!({"a": "yes\n", "b": "yes"})),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap().value, wanted, "{text}");
        }
    }

    #[test]
    fn what_is_named_once_is_not_said_for_ever() {
        let many = |what: &str, n: usize| vec![what; n].join(",");
        let few = format!("a: &a [{}]\nb: [{}]", many("0", 100), many("*a", 100));
        assert!(read(few.as_bytes()).is_ok());
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(10_000), many("*a", 1_000));
        let wide = format!("a: &a [{}]\nb: [{}]", many("0", 1_000), many("*a", 1_000));
        for text in [long, wide] {
            let why = read(text.as_bytes()).err();
            assert_eq!(why.as_deref(), Some("yaml: document contains excessive aliasing"));
        }
    }

    #[test]
    fn documents_may_be_in_utf16() {
        for (bytes, wanted) in [
            (&b"\xff\xfe"[..], Value::Null),
            (b"\xff\xfea\0:\0 \x001\0", json!({"a": 1})),
            (b"\xfe\xff\0a\0:\0 \0y", json!({"a": true})),
        ] {
            assert_eq!(read(bytes).unwrap().value, wanted);
        }
    }

    #[test]
    fn what_is_there_twice_is_told_by_the_line_of_its_value() {
        for (text, wanted) in [
            (
                "a:\n  foo: 1\n  bar:\n  - foo: 1\n    baz: 2\n  - foo: 1\n  foo: 3\n",
                vec![r#"line 7: key "foo" already set in map"#],
            ),
            (
                "{\"a\":1,\"a\":{\"b\":1,\n\"b\":2}}",
                vec![
                    r#"line 2: key "b" already set in map"#,
                    r#"line 1: key "a" already set in map"#,
                ],
            ),
            ("a: 1\na:\n\n  b: 1\n", vec![r#"line 4: key "a" already set in map"#]),
            ("a: 1\na: # none\nb: 1\n", vec![r#"line 2: key "a" already set in map"#]),
            ("on: 1\nyes: 2\n", vec!["line 2: key true already set in map"]),
        ] {
            assert_eq!(read(text.as_bytes()).unwrap().duplicates, wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_as_go_does() {
        for (text, wanted) in [
            ("a: *nope", "yaml: unknown anchor 'nope' referenced"),
            ("a: .nan", "json: unsupported value: NaN"),
            ("a: [-.inf]", "json: unsupported value: -Inf"),
            (
                "a:\n  <<: 1",
                "yaml: map merge requires map or sequence of maps as the value",
            ),
            ("a: !!binary \"!\"", "yaml: !!binary value contains invalid base64 data"),
        ] {
            assert_eq!(read(text.as_bytes()).err().as_deref(), Some(wanted), "{text}");
        }
    }
}
