//! The one place where volatile fields are declared: what may differ between two runs of the same seed and inputs.
//!
//! Tests, snapshots and the comparison of two labs' reports all call [`mask`]; nothing else may hide a difference.
//! The `sim` lane runs on virtual time, so there only the facts about the machine are volatile; in the other lanes
//! whatever was measured is too.

use std::ops::Range;

use regex::{Captures, Regex};
use serde_json::Value;

/// A kind of file that can be masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `report.yaml`.
    Report,
    /// `junit_01.xml`.
    Junit,
    /// `trace.jsonl`.
    Trace,
    /// `report.html`.
    Html,
    /// Any other text: what a program printed, a snapshot of objects.
    Text,
}

impl FileKind {
    /// The kind of a file by its name.
    pub fn of(name: &str) -> FileKind {
        match name.rsplit('/').next().unwrap_or(name) {
            "report.yaml" => FileKind::Report,
            "trace.jsonl" => FileKind::Trace,
            "report.html" => FileKind::Html,
            name if name.starts_with("junit_") => FileKind::Junit,
            _ => FileKind::Text,
        }
    }
}

/// Where a volatile field is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A JSON pointer into the document (each line of a trace is one), `*` standing for any key or index.
    Pointer(&'static str),
    /// A regular expression; its group `m` is the volatile part.
    Pattern(&'static str),
    /// Lines of a trace whose `type` is not among these are left out, and the rest sorted.
    OnlyLines(&'static [&'static str]),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// The whole is replaced by this name in angle brackets.
    Blank(&'static str),
    /// Quantities in its text (`3.2 s`, `412 messages`) are replaced, the words stay.
    Quantities,
}

/// One volatile field.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The kinds of file it occurs in.
    pub files: &'static [FileKind],
    /// Whether it is volatile only in lanes that run on real time.
    pub real_time_only: bool,
    /// Where it is.
    pub place: Place,
    /// What becomes of it.
    pub how: How,
    /// Why it may differ.
    pub reason: &'static str,
}

const fn always(files: &'static [FileKind], place: Place, name: &'static str, reason: &'static str) -> Rule {
    Rule {
        files,
        real_time_only: false,
        place,
        how: How::Blank(name),
        reason,
    }
}

const fn timed(files: &'static [FileKind], place: Place, how: How, reason: &'static str) -> Rule {
    Rule {
        files,
        real_time_only: true,
        place,
        how,
        reason,
    }
}

const REPORT: &[FileKind] = &[FileKind::Report];
const JUNIT: &[FileKind] = &[FileKind::Junit];
const TRACE: &[FileKind] = &[FileKind::Trace];
const HTML: &[FileKind] = &[FileKind::Html];
const TEXT: &[FileKind] = &[FileKind::Text];
const EVERY: &[FileKind] = &[
    FileKind::Report,
    FileKind::Junit,
    FileKind::Trace,
    FileKind::Html,
    FileKind::Text,
];

const WALL: &str = "wall time: when and how long the process ran, not what it showed";
const HOST: &str = "facts about the machine; a comparison of two labs lists them by name";
const MEASURED: &str = "measured on real time: the machine and its load decide";
const SOCKET: &str = "ports are the operating system's choice";

/// Every volatile field, each with its reason.
pub const RULES: &[Rule] = &[
    always(REPORT, Place::Pointer("/date"), "wall-time", WALL),
    always(REPORT, Place::Pointer("/host/*"), "host", HOST),
    timed(
        REPORT,
        Place::Pointer("/scenarios/*/duration"),
        How::Blank("measured"),
        MEASURED,
    ),
    timed(
        REPORT,
        Place::Pointer("/scenarios/*/tests/*/seen"),
        How::Quantities,
        MEASURED,
    ),
    timed(
        REPORT,
        Place::Pointer("/scenarios/*/tests/*/samples"),
        How::Blank("measured"),
        MEASURED,
    ),
    timed(
        REPORT,
        Place::Pointer("/scenarios/*/batches"),
        How::Blank("measured"),
        MEASURED,
    ),
    always(
        JUNIT,
        Place::Pattern(r#"<property name="(?:started|host\.[^"]*)" value="(?<m>[^"]*)""#),
        "host",
        HOST,
    ),
    timed(
        JUNIT,
        Place::Pattern(r#"\btime="(?<m>[^"]*)""#),
        How::Blank("measured"),
        MEASURED,
    ),
    timed(
        JUNIT,
        Place::Pattern(r#"message="(?<m>[^"]*)""#),
        How::Quantities,
        MEASURED,
    ),
    timed(
        JUNIT,
        Place::Pattern(r"(?m)^seen: (?<m>.*)$"),
        How::Quantities,
        MEASURED,
    ),
    always(TRACE, Place::Pointer("/started"), "wall-time", WALL),
    always(TRACE, Place::Pointer("/host/*"), "host", HOST),
    timed(
        TRACE,
        Place::OnlyLines(&["run", "scenario", "step", "verdict"]),
        How::Quantities,
        "on real time the number, order and values of events and samples differ; the steps and verdicts do not",
    ),
    timed(TRACE, Place::Pointer("/at"), How::Blank("measured"), MEASURED),
    timed(TRACE, Place::Pointer("/until"), How::Blank("measured"), MEASURED),
    timed(TRACE, Place::Pointer("/duration"), How::Blank("measured"), MEASURED),
    timed(TRACE, Place::Pointer("/seen"), How::Quantities, MEASURED),
    timed(TRACE, Place::Pointer("/detail"), How::Quantities, MEASURED),
    timed(TRACE, Place::Pointer("/error"), How::Quantities, MEASURED),
    always(
        HTML,
        Place::Pattern(r#"<span data-v="host">(?<m>[^<]*)</span>"#),
        "host",
        HOST,
    ),
    timed(
        HTML,
        Place::Pattern(r#"<span data-v="measured">(?<m>[^<]*)</span>"#),
        How::Quantities,
        MEASURED,
    ),
    timed(
        HTML,
        Place::Pattern(r"(?s)<!--measured-->(?<m>.*?)<!--/measured-->"),
        How::Blank("measured"),
        "lists of events and decisions: on real time their number differs too",
    ),
    timed(
        HTML,
        Place::Pattern(r#"(?s)<svg data-v="measured"(?<m>.*?)</svg>"#),
        How::Blank("measured"),
        "drawn from measured times",
    ),
    timed(
        HTML,
        Place::Pattern(r#"(?s)<table data-v="measured"(?<m>.*?)</table>"#),
        How::Blank("measured"),
        "a table of measured times",
    ),
    always(
        TEXT,
        Place::Pattern(r"(?<m>\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)"),
        "wall-time",
        WALL,
    ),
    timed(TEXT, Place::Pattern(r"(?m)^(?<m>.*)$"), How::Quantities, MEASURED),
    timed(
        EVERY,
        Place::Pattern(r"(?:127\.0\.0\.1|localhost|\[::1\]):(?<m>\d+)"),
        How::Blank("port"),
        SOCKET,
    ),
    timed(
        EVERY,
        Place::Pattern(r"(?<m>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"),
        How::Blank("uid"),
        "uids are drawn in the order of requests, which real time decides",
    ),
    always(
        EVERY,
        Place::Pattern(r"--out[= ](?<m>[^\s<&\x22\x27]+)"),
        "dir",
        "where the reader wanted the files has no part in what they say",
    ),
];

/// The text with every volatile field of its kind replaced by a name in angle brackets. The lane is read from the text
/// itself; a text that names none counts as one of real time.
///
/// A YAML document is written anew (keys sorted), so the result is for comparing, not for reading back.
pub fn mask(kind: FileKind, text: &str) -> String {
    let virtual_time = lane(kind, text).is_some_and(|lane| lane == "sim");
    let rules: Vec<&Rule> = RULES
        .iter()
        .filter(|rule| rule.files.contains(&kind) && !(rule.real_time_only && virtual_time))
        .collect();
    let mut text = match kind {
        FileKind::Report => match serde_yaml::from_str::<Value>(text) {
            Ok(mut document) => {
                apply_pointers(&rules, &mut document);
                serde_yaml::to_string(&document).unwrap_or_else(|_| text.to_owned())
            }
            Err(_) => text.to_owned(),
        },
        FileKind::Trace => mask_lines(&rules, text),
        FileKind::Junit | FileKind::Html | FileKind::Text => text.to_owned(),
    };
    for rule in &rules {
        if let Place::Pattern(pattern) = rule.place {
            text = replace_group(pattern, &text, |part| replacement(rule.how, part));
        }
    }
    text
}

/// The lane a file says it is from.
fn lane(kind: FileKind, text: &str) -> Option<String> {
    let pattern = match kind {
        FileKind::Report => r"(?m)^lane: (\w+)$",
        FileKind::Junit => r#"<property name="lane" value="(\w+)""#,
        FileKind::Trace => r#"^\{[^\n]*"lane":"(\w+)""#,
        FileKind::Html => r#"<html[^>]* data-lane="(\w+)""#,
        FileKind::Text => r"(?m)\blane:? (\w+)\b",
    };
    Some(regex(pattern).captures(text)?.get(1)?.as_str().to_owned())
}

fn mask_lines(rules: &[&Rule], text: &str) -> String {
    let only = rules.iter().find_map(|rule| match rule.place {
        Place::OnlyLines(types) => Some(types),
        _ => None,
    });
    let mut lines = Vec::new();
    for line in text.lines() {
        let Ok(mut document) = serde_json::from_str::<Value>(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let kind = document.get("type").and_then(Value::as_str).unwrap_or_default();
        if only.is_some_and(|types| !types.contains(&kind)) {
            continue;
        }
        apply_pointers(rules, &mut document);
        lines.push(document.to_string());
    }
    if only.is_some() {
        lines.sort();
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn apply_pointers(rules: &[&Rule], document: &mut Value) {
    for rule in rules {
        if let Place::Pointer(pointer) = rule.place {
            let path: Vec<&str> = pointer.split('/').skip(1).collect();
            at_pointer(document, &path, &mut |value| {
                *value = match (rule.how, &*value) {
                    (How::Quantities, Value::String(text)) => Value::String(replacement(rule.how, text)),
                    (How::Quantities, other) => other.clone(),
                    (How::Blank(name), _) => Value::String(format!("<{name}>")),
                }
            });
        }
    }
}

/// Calls `change` on every value that the path reaches.
fn at_pointer(value: &mut Value, path: &[&str], change: &mut impl FnMut(&mut Value)) {
    let Some((first, rest)) = path.split_first() else {
        return change(value);
    };
    match value {
        Value::Object(map) if *first == "*" => map.values_mut().for_each(|value| at_pointer(value, rest, change)),
        Value::Object(map) => {
            if let Some(value) = map.get_mut(*first) {
                at_pointer(value, rest, change);
            }
        }
        Value::Array(list) if *first == "*" => list.iter_mut().for_each(|value| at_pointer(value, rest, change)),
        _ => {}
    }
}

fn replacement(how: How, part: &str) -> String {
    match how {
        How::Blank(name) => format!("<{name}>"),
        How::Quantities => replace_group(
            r"(?<m>\b\d+(?:\.\d+)?(?: ?%| ?(?:ns|µs|us|ms|s|min|h|samples|messages|updates|requests|events)\b))",
            part,
            |_| "<measured>".to_owned(),
        ),
    }
}

/// The text with group `m` of every match replaced.
fn replace_group(pattern: &str, text: &str, replace: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for captures in regex(pattern).captures_iter(text) {
        let range = group(&captures);
        out.push_str(&text[done..range.start]);
        out.push_str(&replace(&text[range.clone()]));
        done = range.end;
    }
    out.push_str(&text[done..]);
    out
}

fn group(captures: &Captures<'_>) -> Range<usize> {
    captures
        .name("m")
        .map_or_else(|| captures.get_match().range(), |part| part.range())
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the patterns are constants of this file, and its tests compile each")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_rule_has_a_reason() {
        for rule in RULES {
            assert!(!rule.reason.is_empty());
            if let Place::Pattern(pattern) = rule.place {
                assert!(
                    regex(pattern).capture_names().any(|name| name == Some("m")),
                    "{pattern}"
                );
            }
        }
    }

    #[test]
    fn what_is_measured_is_volatile_only_on_real_time() {
        let yaml =
            "date: 2026-01-01T00:00:00Z\nlane: LANE\nscenarios:\n- tests:\n  - seen: all on member2 after 3.21 s\n";
        let local = mask(FileKind::Report, &yaml.replace("LANE", "local"));
        assert!(local.contains("all on member2 after <measured>"), "{local}");
        assert!(local.contains("<wall-time>"), "{local}");
        let sim = mask(FileKind::Report, &yaml.replace("LANE", "sim"));
        assert!(sim.contains("after 3.21 s") && sim.contains("<wall-time>"), "{sim}");
    }

    #[test]
    fn a_real_time_trace_keeps_steps_and_verdicts() {
        let trace = "{\"type\":\"run\",\"lane\":\"local\",\"started\":\"x\"}\n\
                     {\"type\":\"sample\",\"at\":1.5,\"value\":3}\n\
                     {\"type\":\"step\",\"at\":1.5,\"subject\":\"apply\"}\n";
        let masked = mask(FileKind::Trace, trace);
        assert_eq!(masked.lines().count(), 2, "{masked}");
        assert!(
            masked.contains(r#""at":"<measured>""#) && masked.contains(r#""started":"<wall-time>""#),
            "{masked}"
        );
        assert_eq!(mask(FileKind::Trace, &trace.replace("local", "sim")).lines().count(), 3);
    }

    #[test]
    fn texts() {
        let cases = [
            ("lane sim at 127.0.0.1:4000", "lane sim at 127.0.0.1:4000"),
            (
                "lane local at https://127.0.0.1:40123/",
                "lane local at https://127.0.0.1:<port>/",
            ),
            ("cfn run --out /some/dir --seed 1", "cfn run --out <dir> --seed 1"),
            ("took 12.5 ms, 300 samples", "took <measured>, <measured>"),
            ("p99 = 3.21s, 99.5 % of 10", "p99 = <measured>, <measured> of 10"),
            ("uid 6b3f1c1e-0000-4000-8000-00000000002a.", "uid <uid>."),
            ("member2 has 3 replicas", "member2 has 3 replicas"),
        ];
        for (text, masked) in cases {
            assert_eq!(mask(FileKind::Text, text), masked);
        }
    }

    #[test]
    fn kinds_by_name() {
        assert_eq!(FileKind::of("out/junit_01.xml"), FileKind::Junit);
        assert_eq!(FileKind::of("report.yaml"), FileKind::Report);
        assert_eq!(FileKind::of("notes.txt"), FileKind::Text);
    }
}
