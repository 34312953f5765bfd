//! Files of volumes that are in each other's way (`warningsForOverlappingVirtualPaths` in Kubernetes).

use super::told::Told;
use super::validate_parts::{list, text};
use crate::schema::quote;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A file, and where it comes from if that is to be told.
#[derive(PartialEq)]
struct File<'v> {
    path: &'v str,
    source: String,
}

impl<'v> File<'v> {
    fn new(path: &'v str, source: &str) -> Self {
        Self {
            path: path.trim_end_matches('/'),
            source: source.to_owned(),
        }
    }

    fn shown(&self) -> String {
        match &*self.source {
            "" => quote(self.path),
            source => format!("{} ({source})", quote(self.path)),
        }
    }
}

/// The files of a volume so far, to be found by what they are above of and below.
#[derive(Default)]
struct Files<'v> {
    all: Vec<File<'v>>,
    by_path: BTreeMap<&'v str, Vec<usize>>,
    lengths: BTreeSet<usize>,
}

impl<'v> Files<'v> {
    /// Those that are where a path is, above it or below it, in their order.
    fn meeting(&self, path: &str) -> Vec<usize> {
        if path.is_empty() {
            return Vec::new();
        }
        let ends = |n: &&usize| path.as_bytes().get(**n).is_none_or(|b| *b == b'/');
        let above = self.lengths.range(1..=path.len()).filter(ends);
        let above = above.filter_map(|n| self.by_path.get(&path[..*n]));
        let below = format!("{path}/");
        let below = self
            .by_path
            .range(below.as_str()..)
            .take_while(|(other, _)| other.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        let mut met: Vec<usize> = above.chain(below.map(|(_, all)| all)).flatten().copied().collect();
        met.sort_unstable();
        met
    }

    fn push(&mut self, file: File<'v>) {
        let here = self.by_path.entry(file.path).or_default();
        // The same of the same source is told of once.
        if here.iter().all(|i| self.all[*i] != file) {
            here.push(self.all.len());
            self.lengths.insert(file.path.len());
            self.all.push(file);
        }
    }

    /// Adds files, and tells of those that meet others before them.
    fn add(&mut self, files: Vec<File<'v>>, (volume, kind): (&str, &str), told: &mut Told) {
        for file in files {
            if told.is_full() {
                return;
            }
            for other in self.meeting(file.path) {
                let (volume, one, other) = (quote(volume), file.shown(), self.all[other].shown());
                told.push(format!(
                    "volume {volume} ({kind}): overlapping paths: {one} with {other}"
                ));
            }
            self.push(file);
        }
    }
}

/// Warns of files of a pod's volumes.
pub(super) fn overlapping(spec: &Value, told: &mut Told) {
    for volume in list(spec, "volumes") {
        let name = text(volume, "name");
        for (kind, what, field) in [
            ("configMap", "ConfigMap", "name"),
            ("secret", "Secret", "secretName"),
            ("downwardAPI", "DownwardAPI", ""),
        ] {
            let source = &volume[kind];
            if list(source, "items").is_empty() {
                continue;
            }
            let called = match field {
                "" => what.to_owned(),
                field => format!("{what} {}", quote(text(source, field))),
            };
            Files::default().add(items(source, ""), (name, &called), told);
        }
        let mut all = Files::default();
        for source in list(&volume["projected"], "sources") {
            let mut members = source.as_object().into_iter().flatten();
            if members.all(|(_, v)| v.is_null()) {
                told.push(format!("volume {} (Projected) has no sources provided", quote(name)));
                continue;
            }
            all.add(projected(source), (name, "Projected"), told);
        }
    }
}

/// What a source of a projected volume puts there: the first that says so counts.
fn projected(source: &Value) -> Vec<File<'_>> {
    for (kind, what) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if source[kind]["items"].is_array() {
            return items(&source[kind], &format!("{what} {}", quote(text(&source[kind], "name"))));
        }
    }
    if source["downwardAPI"]["items"].is_array() {
        return items(&source["downwardAPI"], "DownwardAPI");
    }
    if let token @ Value::Object(_) = &source["serviceAccountToken"] {
        return vec![File::new(text(token, "path"), "ServiceAccountToken")];
    }
    if let bundle @ Value::Object(_) = &source["clusterTrustBundle"] {
        let name = bundle["name"].as_str().unwrap_or(text(bundle, "signerName"));
        let source = format!("ClusterTrustBundle {}", quote(name));
        return vec![File::new(text(bundle, "path"), &source)];
    }
    let certificate = &source["podCertificate"];
    [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ]
    .into_iter()
    .map(|(field, source)| (text(certificate, field), source))
    .filter(|(path, _)| !path.is_empty())
    .map(|(path, source)| File::new(path, source))
    .collect()
}

fn items<'v>(of: &'v Value, source: &str) -> Vec<File<'v>> {
    let all = list(of, "items").iter();
    all.map(|item| File::new(text(item, "path"), source)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(volume: Value) -> Vec<String> {
        let mut told = Told::default();
        overlapping(&json!({"volumes": [volume]}), &mut told);
        told.all()
    }

    #[test]
    fn files_that_meet_are_told_of() {
        let item = |path: &str| json!({"key": "k", "path": path});
        for (volume, wanted) in [
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [item("a"), item("b"), item("ab"), item("")]}}),
                vec![],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [item("a"), item("a/b")]}}),
                vec![r#"volume "v" (ConfigMap "c"): overlapping paths: "a/b" with "a""#],
            ),
            (
                json!({"name": "v", "configMap": {"name": "c\u{7f}", "items": [item("a/\u{e9}"), item("a-b"), item("a/c"), item("a")]}}),
                vec![
                    "volume \"v\" (ConfigMap \"c\\x7f\"): overlapping paths: \"a\" with \"a/\u{e9}\"",
                    "volume \"v\" (ConfigMap \"c\\x7f\"): overlapping paths: \"a\" with \"a/c\"",
                ],
            ),
            (
                json!({"name": "v", "secret": {"secretName": "s", "items": [item("x/"), item("x")]}}),
                vec![r#"volume "v" (Secret "s"): overlapping paths: "x" with "x""#],
            ),
            (
                json!({"name": "v", "projected": {"sources": [{}, {"secret": {"name": "s", "items": [item("t")]}},
                    {"serviceAccountToken": {"path": "t"}}, {"clusterTrustBundle": {"signerName": "n", "path": "u"}},
                    {"podCertificate": {"keyPath": "u/k", "certificateChainPath": "v"}}]}}),
                vec![
                    r#"volume "v" (Projected) has no sources provided"#,
                    r#"volume "v" (Projected): overlapping paths: "t" (ServiceAccountToken) with "t" (Secret "s")"#,
                    r#"volume "v" (Projected): overlapping paths: "u/k" (PodCertificate key) with "u" (ClusterTrustBundle "n")"#,
                ],
            ),
        ] {
            assert_eq!(told(volume), wanted);
        }
    }

    #[test]
    fn many_files_are_not_told_of_in_pairs() {
        let items: Vec<Value> = (0..50_000)
            .map(|i| json!({"key": "k", "path": format!("d/{}", i % 2)}))
            .collect();
        assert_eq!(
            told(json!({"name": "v", "configMap": {"name": "c", "items": items}})).len(),
            2
        );
        let items: Vec<Value> = (0..50_000)
            .map(|i| json!({"key": "k", "path": "d/".repeat(1 + i % 2) + &i.to_string()}))
            .collect();
        assert!(told(json!({"name": "v", "secret": {"items": items}})).is_empty());
    }
}
