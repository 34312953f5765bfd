//! Files of volumes that are in each other's way (`warningsForOverlappingVirtualPaths` in Kubernetes).

use super::validate_parts::{list, text};
use serde_json::Value;

/// A file, and where it comes from if that is to be told.
#[derive(PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        Self {
            path: path.trim_end_matches('/').to_owned(),
            source: source.to_owned(),
        }
    }

    fn shown(&self) -> String {
        match &*self.source {
            "" => format!("{:?}", self.path),
            source => format!("{:?} ({source})", self.path),
        }
    }

    /// Whether one is where the other is, or below it.
    fn meets(&self, other: &File) -> bool {
        let (a, b) = (self.path.as_str(), other.path.as_str());
        let below = |a: &str, b: &str| {
            a.strip_prefix(b)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        !a.is_empty() && !b.is_empty() && (below(a, b) || below(b, a))
    }
}

/// Warns of files of a pod's volumes.
pub(super) fn overlapping(spec: &Value, told: &mut Vec<String>) {
    for volume in list(spec, "volumes") {
        let name = text(volume, "name");
        for (kind, what) in [
            ("configMap", Some("ConfigMap")),
            ("secret", Some("Secret")),
            ("downwardAPI", None),
        ] {
            let field = if kind == "secret" { "secretName" } else { "name" };
            let source = &volume[kind];
            let called = match what {
                Some(what) => format!("{what} {:?}", text(source, field)),
                None => "DownwardAPI".to_owned(),
            };
            meeting(files(source, ""), &mut Vec::new(), (name, &called), told);
        }
        let mut all = Vec::new();
        for source in list(&volume["projected"], "sources") {
            let mut members = source.as_object().into_iter().flatten();
            if members.all(|(_, v)| v.is_null()) {
                told.push(format!("volume {name:?} (Projected) has no sources provided"));
                continue;
            }
            meeting(projected(source), &mut all, (name, "Projected"), told);
        }
    }
}

/// What a source of a projected volume puts there: the first that says so counts.
fn projected(source: &Value) -> Vec<File> {
    for (kind, what) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if source[kind]["items"].is_array() {
            return files(&source[kind], &format!("{what} {:?}", text(&source[kind], "name")));
        }
    }
    if source["downwardAPI"]["items"].is_array() {
        return files(&source["downwardAPI"], "DownwardAPI");
    }
    match &source["serviceAccountToken"] {
        token @ Value::Object(_) => vec![File::new(text(token, "path"), "ServiceAccountToken")],
        _ => Vec::new(),
    }
}

fn files(of: &Value, source: &str) -> Vec<File> {
    let all = list(of, "items").iter();
    all.map(|item| File::new(text(item, "path"), source)).collect()
}

/// Tells of files that meet those before them.
fn meeting(files: Vec<File>, before: &mut Vec<File>, (volume, kind): (&str, &str), told: &mut Vec<String>) {
    for file in files {
        for other in before.iter().filter(|other| file.meets(other)) {
            told.push(format!(
                "volume {volume:?} ({kind}): overlapping paths: {} with {}",
                file.shown(),
                other.shown()
            ));
        }
        before.push(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files_that_meet_are_told_of() {
        let item = |path: &str| json!({"key": "k", "path": path});
        for (volume, wanted) in [
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [item("a"), item("b")]}}),
                vec![],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [item("a"), item("a/b")]}}),
                vec![r#"volume "v" (ConfigMap "c"): overlapping paths: "a/b" with "a""#],
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s", "items": [item("x/"), item("x")]}}),
                vec![r#"volume "v" (Secret "s"): overlapping paths: "x" with "x""#],
            ),
            (
                json!({"name": "v", "projected": {"sources": [{}, {"secret": {"name": "s", "items": [item("t")]}},
                    {"serviceAccountToken": {"path": "t"}}]}}),
                vec![
                    r#"volume "v" (Projected) has no sources provided"#,
                    r#"volume "v" (Projected): overlapping paths: "t" (ServiceAccountToken) with "t" (Secret "s")"#,
                ],
            ),
        ] {
            let mut told = Vec::new();
            overlapping(&json!({"volumes": [volume]}), &mut told);
            assert_eq!(told, wanted);
        }
    }
}
