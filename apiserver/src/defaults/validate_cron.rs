//! Validation of cron jobs (`validateCronJobSpec` of `pkg/apis/batch/validation` in Kubernetes).

use serde_json::Value;

use super::validate::{nonnegative, one_of};
use super::validate_job::job_spec;
use super::validate_parts::text;
use crate::cron::{Schedule, unknown_location};
use crate::schema::FieldError;

/// A cron job.
pub(super) fn cron_job(new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let before = old.map(|old| &old["spec"]);
    schedule(spec, before, errors);
    nonnegative(spec, "startingDeadlineSeconds", "spec", errors);
    if before.is_none_or(|before| before["timeZone"] != spec["timeZone"]) {
        time_zone(&spec["timeZone"], errors);
    }
    one_of(
        spec,
        "concurrencyPolicy",
        &["Allow", "Forbid", "Replace"],
        "spec",
        errors,
    );
    let (job, path) = (&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec");
    job_spec(job, path, errors);
    if !job["selector"].is_null() {
        let detail = "`selector` will be auto-generated";
        errors.push(FieldError::invalid_internal(
            format!("{path}.selector"),
            "meta.LabelSelector",
            &job["selector"],
            detail,
        ));
    }
    if job["manualSelector"] == true {
        let valid = ["nil", "false"];
        errors.push(FieldError::not_supported(
            format!("{path}.manualSelector"),
            true,
            &valid,
        ));
    }
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        nonnegative(spec, field, "spec", errors);
    }
    // The job's name gets eleven characters more than the cron job's.
    let name = text(&new["metadata"], "name");
    if old.is_none() && name.len() > 52 {
        let detail = "must be no more than 52 characters";
        errors.push(FieldError::invalid("metadata.name", name, detail));
    }
}

fn schedule(spec: &Value, before: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (schedule, path) = (text(spec, "schedule"), "spec.schedule");
    if schedule.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if let Err(why) = Schedule::parse(schedule) {
        errors.push(FieldError::invalid(path, schedule, why));
    }
    // Those that have it from before the field may keep it.
    let allowed = before.is_some_and(|before| text(before, "schedule").contains("TZ"));
    if schedule.contains("TZ") && !allowed {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(path, schedule, detail));
    } else if schedule.contains("TZ") && !spec["timeZone"].is_null() {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.push(FieldError::invalid(path, schedule, detail));
    }
}

fn time_zone(zone: &Value, errors: &mut Vec<FieldError>) {
    let Some(name) = zone.as_str() else { return };
    let path = "spec.timeZone";
    if name.is_empty() {
        let detail = "timeZone must be nil or non-empty string";
        errors.push(FieldError::invalid(path, "", detail));
        return;
    }
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let part = |part: &str| {
        !matches!(part, "." | "..")
            && !part.starts_with('-')
            && (1..=14).contains(&part.len())
            && part.bytes().all(inner)
    };
    if !name.split('/').all(part) {
        errors.push(FieldError::invalid(path, name, format!("unknown time zone {name}")));
        return;
    }
    if name.eq_ignore_ascii_case("local") {
        let detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, name, detail));
    }
    if let Some(why) = unknown_location(name) {
        errors.push(FieldError::invalid(path, name, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(spec: &Value, old: Option<&Value>) -> Vec<String> {
        let mut spec = spec.clone();
        spec["concurrencyPolicy"] = json!("Allow");
        spec["jobTemplate"] = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}}}});
        let old = old.map(|spec| json!({"spec": spec}));
        let mut errors = Vec::new();
        cron_job(
            &json!({"metadata": {"name": "a"}, "spec": spec}),
            old.as_ref(),
            &mut errors,
        );
        let ours = |e: &FieldError| e.path == "spec.schedule" || e.path == "spec.timeZone";
        errors.iter().filter(|e| ours(e)).map(ToString::to_string).collect()
    }

    #[test]
    fn zones_are_those_of_the_database() {
        for (zone, wanted) in [
            ("Europe/Berlin", vec![]),
            ("UTC", vec![]),
            ("Etc/GMT+1", vec![]),
            ("Nope/Zone", vec!["\"Nope/Zone\": unknown time zone Nope/Zone"]),
            (
                "europe/berlin",
                vec!["\"europe/berlin\": unknown time zone europe/berlin"],
            ),
            ("../etc", vec!["\"../etc\": unknown time zone ../etc"]),
            ("", vec!["\"\": timeZone must be nil or non-empty string"]),
            (
                "Local",
                vec!["\"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"],
            ),
            (
                "local",
                vec![
                    "\"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
                    "\"local\": unknown time zone local",
                ],
            ),
        ] {
            let wanted: Vec<String> = wanted
                .iter()
                .map(|w| format!("spec.timeZone: Invalid value: {w}"))
                .collect();
            assert_eq!(told(&json!({"schedule": "* * * * *", "timeZone": zone}), None), wanted);
        }
        let kept = json!({"schedule": "* * * * *", "timeZone": "Nope/Zone"});
        assert!(
            told(&kept, Some(&kept)).is_empty(),
            "what was there is not looked at again"
        );
    }

    #[test]
    fn schedules_name_no_zone() {
        let old = json!({"schedule": "TZ=UTC 1 * * * *"});
        for (spec, before, wanted) in [
            (
                json!({"schedule": "TZ=UTC * * * * *"}),
                None,
                vec!["cannot use TZ or CRON_TZ in schedule, use timeZone field instead"],
            ),
            (
                json!({"schedule": "CRON_TZ=Nope * * * * *"}),
                None,
                vec![
                    "provided bad location Nope: unknown time zone Nope",
                    "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
                ],
            ),
            (json!({"schedule": "TZ=UTC * * * * *"}), Some(&old), vec![]),
            (
                json!({"schedule": "TZ=UTC * * * * *", "timeZone": "UTC"}),
                Some(&old),
                vec!["cannot use both timeZone field and TZ or CRON_TZ in schedule"],
            ),
        ] {
            let wanted: Vec<String> = wanted
                .iter()
                .map(|w| format!("spec.schedule: Invalid value: {}: {w}", spec["schedule"]))
                .collect();
            assert_eq!(told(&spec, before), wanted);
        }
    }
}
