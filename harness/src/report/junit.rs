//! `junit_01.xml`: one test suite per phase, one test case per test.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::ReportError;
use crate::evidence::{RunResult, ScenarioResult, Status, Test};

/// The report as JUnit XML. The name of a test case is the test's id, its class name the phase; a scenario's time stands
/// at its first test case.
///
/// # Errors
/// [`ReportError::Format`], which a value of these types does not cause.
pub fn render(run: &RunResult) -> Result<String, ReportError> {
    let mut report = Report::new("cfn");
    for profile in run.profiles() {
        let mut suite = TestSuite::new(profile);
        suite.add_property(("lane", run.lane.as_str()));
        suite.add_property(("seed", run.seed.to_string().as_str()));
        suite.add_property(("version", run.version.as_str()));
        suite.add_property(("command", run.command.as_str()));
        suite.add_property(("started", run.started.as_str()));
        for (name, value) in &run.host {
            suite.add_property((format!("host.{name}").as_str(), value.as_str()));
        }
        for scenario in run.in_profile(profile) {
            for (index, test) in scenario.tests().into_iter().enumerate() {
                suite.add_test_case(case(scenario, &test, index == 0));
            }
        }
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|error| ReportError::Format {
        file: "junit_01.xml",
        message: error.to_string(),
    })
}

fn case(scenario: &ScenarioResult, test: &Test<'_>, first: bool) -> TestCase {
    let status = match &test.status {
        Status::Passed => TestCaseStatus::success(),
        Status::Failed => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status
                .set_type("verdict")
                .set_message(format!("expected {}; seen {}", test.expected, test.seen))
                .set_description(failure(scenario, test));
            status
        }
        Status::Skipped { reason } => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(reason.as_str());
            status
        }
    };
    let mut case = TestCase::new(test.id.as_str(), status);
    case.set_classname(scenario.profile.as_str());
    if first {
        case.set_time(scenario.duration);
    }
    case.add_property(("level", scenario.level.name()));
    case.add_property(("source", test.source.to_string().as_str()));
    case.add_property(("clause", test.clause));
    case
}

fn failure(scenario: &ScenarioResult, test: &Test<'_>) -> String {
    let mut lines = vec![
        format!("expected: {}", test.expected),
        format!("seen: {}", test.seen),
        format!("clause: {}: {}", test.source, test.clause),
    ];
    if let Some(bound) = test.bound {
        lines.push(format!("bound: {} = {} {}", bound.expression, bound.value, bound.unit));
    }
    lines.push(format!("timers: {}", scenario.timer_profile));
    lines.join("\n")
}
