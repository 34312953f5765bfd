//! Tests over all files of the report together.

use std::collections::BTreeSet;

use super::conformance::{ConformanceReport, Outcome};
use super::{files, html, junit, sample, summary, trace, write_all};
use crate::evidence::mask::{FileKind, mask};
use crate::evidence::{Level, RunResult, Status};

fn parsed(run: &RunResult) -> ConformanceReport {
    let text = super::conformance::render(run).expect("a report renders");
    serde_yaml::from_str(&text).expect("it parses against its own types, which refuse unknown fields")
}

/// The text between `before` and the next `after`, everywhere.
fn between<'a>(text: &'a str, before: &str, after: &str) -> BTreeSet<&'a str> {
    text.split(before)
        .skip(1)
        .filter_map(|rest| rest.split(after).next())
        .collect()
}

#[test]
fn report_yaml() {
    insta::assert_snapshot!(super::conformance::render(&sample::small()).expect("renders"));
}

#[test]
fn junit_xml() {
    insta::assert_snapshot!(junit::render(&sample::small()).expect("renders"));
}

#[test]
fn trace_jsonl() {
    insta::assert_snapshot!(trace::render(&sample::small()).expect("renders"));
}

#[test]
fn terminal() {
    insta::assert_snapshot!(summary(&sample::small()));
}

#[test]
fn the_schema_names_every_field() {
    let schema = serde_json::to_value(super::conformance::schema()).expect("a schema is JSON");
    let report = serde_json::to_value(super::conformance::report(&sample::large())).expect("a report is JSON");
    let known = schema["properties"]
        .as_object()
        .expect("an object's schema has properties");
    for field in report.as_object().expect("a report is an object").keys() {
        assert!(known.contains_key(field), "{field}");
    }
    for field in schema["required"].as_array().expect("some fields are required") {
        assert!(report.get(field.as_str().expect("names are text")).is_some(), "{field}");
    }
    assert_eq!(schema["additionalProperties"], serde_json::json!(false));
}

#[test]
fn the_same_test_ids_stand_in_every_file() {
    let run = sample::large();
    let report = parsed(&run);
    let ids: BTreeSet<&str> = report
        .scenarios
        .iter()
        .flat_map(|s| &s.tests)
        .map(|t| t.id.as_str())
        .collect();
    assert_eq!(ids.len(), 6);

    let xml = junit::render(&run).expect("renders");
    assert_eq!(between(&xml, "<testcase name=\"", "\""), ids);
    let trace = trace::render(&run).expect("renders");
    assert_eq!(between(&trace, "\"test\":\"", "\""), ids);
    let html = html::render(&run);
    assert_eq!(
        between(&html, "<tr><td class=\"id\">", "<").intersection(&ids).count(),
        ids.len()
    );
}

#[test]
fn a_skipped_core_test_is_never_success() {
    let mut run = sample::small();
    run.scenarios.retain(|scenario| scenario.id == "CFN-R7-C1");
    assert_eq!(parsed(&run).profiles[0].core.result, Outcome::Success);

    run.scenarios[0].verdicts[0].status = Status::Skipped {
        reason: "no kubectl".into(),
    };
    let report = parsed(&run);
    assert_eq!(report.profiles[0].core.result, Outcome::Partial);
    assert_eq!(report.profiles[0].core.skipped_tests, ["CFN-R7-C1/one-each"]);

    // No core test at all, or a run cut short, has not shown the core either.
    run.scenarios[0].level = Level::Extended;
    assert_eq!(parsed(&run).profiles[0].core.result, Outcome::Partial);
    let mut run = sample::small();
    run.scenarios.truncate(1);
    run.interrupted = true;
    assert_eq!(parsed(&run).profiles[0].core.result, Outcome::Partial);
    assert!(!run.passed());
}

#[test]
fn a_scenario_that_ends_early_or_checks_nothing_fails() {
    let mut run = sample::small();
    run.scenarios[0].error = Some("step 2 failed".into());
    run.scenarios[1].verdicts.clear();
    let report = parsed(&run);
    assert_eq!(report.profiles[0].core.failed_tests, ["CFN-R7-C1/ran", "P1-05/ran"]);
}

#[test]
fn junit_is_well_formed_and_counts() {
    let xml = junit::render(&sample::small()).expect("renders");
    assert!(
        xml.contains("name=\"phase1\" tests=\"3\" skipped=\"1\" errors=\"0\" failures=\"1\""),
        "{xml}"
    );
    // Every element closes in order.
    let mut open = Vec::new();
    for tag in between_all(&xml, '<', '>') {
        if tag.starts_with('?') || tag.ends_with('/') {
            continue;
        }
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => open.push(tag.split_whitespace().next().expect("a tag has a name")),
        }
    }
    assert!(open.is_empty());
}

fn between_all(text: &str, before: char, after: char) -> impl Iterator<Item = &str> {
    text.split(before)
        .skip(1)
        .filter_map(move |rest| rest.split(after).next())
}

#[test]
fn trace_lines_are_json_in_time_order() {
    let trace = trace::render(&sample::large()).expect("renders");
    let mut last = 0.0;
    for line in trace.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        if value["type"] == "scenario" {
            last = 0.0;
        }
        if let Some(at) = value["at"].as_f64() {
            assert!(at >= last, "{line}");
            last = at;
        }
    }
}

#[test]
fn html_is_one_file_that_loads_nothing_and_escapes_everything() {
    let mut run = sample::large();
    run.scenarios[0].title = "<script>alert(1)</script>".into();
    run.scenarios[0].verdicts[0].seen = "\"><img src=x>".into();
    run.scenarios[0].error = Some("<b>".into());
    run.topologies
        .values_mut()
        .for_each(|map| map.sites[0].name.push_str("<i>"));
    let page = html::render(&run);
    for banned in [
        "<script", "<img", "<link", "@import", "url(", "src=", "http://", "https://", "NaN", "inf",
    ] {
        let found = page.matches(banned).count();
        // `inf` is part of words such as "information"; a number would stand in an attribute.
        let found = if banned == "inf" {
            page.matches("\"inf").count()
        } else {
            found
        };
        let allowed = usize::from(banned == "src=") * page.matches("&lt;img src=x&gt;").count();
        assert_eq!(found, allowed, "{banned}");
    }
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn equal_runs_are_equal_bytes_after_masking_whatever_the_machine() {
    let one = sample::large();
    let mut other = one.clone();
    other.started = "2027-12-31T00:00:00Z".into();
    other.duration = std::time::Duration::from_secs(99);
    other.host.insert("cpu".into(), "64 cores".into());
    other.host.insert("kernel".into(), "Linux 7".into());
    for ((name, a), (_, b)) in files(&one)
        .expect("renders")
        .iter()
        .zip(files(&other).expect("renders"))
    {
        let kind = FileKind::of(name);
        assert!(
            *a != b || kind == FileKind::Trace && a == &b,
            "{name} names the machine"
        );
        assert_eq!(mask(kind, a), mask(kind, &b), "{name}");
        // And nothing else is hidden: another outcome shows.
        let mut worse = one.clone();
        worse.scenarios[0].verdicts[0].status = Status::Failed;
        let worse = files(&worse).expect("renders");
        let worse = worse
            .iter()
            .find(|file| file.0 == *name)
            .map(|file| file.1.as_str())
            .expect("the same files");
        assert_ne!(mask(kind, a), mask(kind, worse), "{name}");
    }
}

#[test]
fn on_real_time_what_was_measured_is_masked_and_verdicts_are_not() {
    let mut one = sample::large();
    one.lane = "local".into();
    let mut other = one.clone();
    for scenario in &mut other.scenarios {
        scenario.duration += std::time::Duration::from_millis(7);
        scenario.events.pop();
        scenario.decisions.clear();
        for step in &mut scenario.steps {
            step.ended += std::time::Duration::from_millis(3);
        }
        for series in scenario.series.values_mut() {
            for point in &mut series.points {
                point.1 *= 1.1;
            }
        }
    }
    other.scenarios[1].verdicts[0].seen = "all on member2 after 4.3 s".into();
    for ((name, a), (_, b)) in files(&one)
        .expect("renders")
        .iter()
        .zip(files(&other).expect("renders"))
    {
        if *name == "report.html" {
            // Lists that are empty in one of the two runs leave no trace of themselves: compare without them.
            continue;
        }
        assert_eq!(mask(FileKind::of(name), a), mask(FileKind::of(name), &b), "{name}");
    }
}

#[test]
fn files_appear_whole_and_errors_name_the_path() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("a/b");
    let written = write_all(&out, &sample::small()).expect("writes");
    let names: Vec<_> = written.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(names, ["report.yaml", "junit_01.xml", "trace.jsonl", "report.html"]);
    assert_eq!(std::fs::read_dir(&out).expect("lists").count(), 4);

    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("writes");
    let error = write_all(&file, &sample::small())
        .expect_err("a file is no directory")
        .to_string();
    assert!(error.contains("file"), "{error}");
}

/// `cargo test -p cfn -- --ignored sample_report` writes the sample report for a person to look at.
#[test]
#[ignore = "writes files for a person to look at"]
fn sample_report() {
    let dir = std::env::temp_dir().join("cfn-sample-report");
    write_all(&dir, &sample::large()).expect("writes");
}
