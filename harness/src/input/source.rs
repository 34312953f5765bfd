//! A file's text, and reading it as YAML.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::{Error as YamlError, Location};

use super::problem::{Problem, Problems};

/// The name and text of a file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// As the user gave it; a bundled file has its path in the repository.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

impl Source {
    /// A source from text in hand.
    pub fn new(name: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there or not readable, with the nearest name in its directory.
    pub fn read(path: &std::path::Path) -> Result<Self, Problem> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let wanted = path
                    .file_name()
                    .map(|n| n.to_string_lossy().into_owned())
                    .unwrap_or_default();
                let dir = path
                    .parent()
                    .filter(|p| !p.as_os_str().is_empty())
                    .unwrap_or(std::path::Path::new("."));
                let mut names: Vec<String> = std::fs::read_dir(dir)
                    .map(|d| {
                        d.flatten()
                            .map(|f| f.file_name().to_string_lossy().into_owned())
                            .collect()
                    })
                    .unwrap_or_default();
                names.sort();
                let mut p = Problem::of_file(name, "there is no such file").expected("a file that exists");
                p.nearest = super::nearest(&wanted, names.iter().map(String::as_str)).map(|n| {
                    if dir == std::path::Path::new(".") {
                        n.to_owned()
                    } else {
                        dir.join(n).display().to_string()
                    }
                });
                Err(p)
            }
            Err(e) => Err(Problem::of_file(name, format!("cannot be read: {e}")).expected("a readable UTF-8 file")),
        }
    }
}

/// Reads one YAML document.
///
/// # Errors
/// What is wrong first, with its place.
pub fn parse<T: DeserializeOwned>(source: &Source) -> Result<T, Problems> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(&source.text, options).map_err(|e| problem(source, &e).into())
}

/// Reads all the YAML documents of a file; empty ones are left out.
///
/// # Errors
/// As [`parse`].
pub fn parse_documents(source: &Source) -> Result<Vec<serde_json::Value>, Problems> {
    let options = serde_saphyr::options! { with_snippet: false };
    let all: Vec<serde_json::Value> = serde_saphyr::from_multiple_with_options(&source.text, options)
        .map_err(|e| Problems::from(problem(source, &e)))?;
    Ok(all.into_iter().filter(|v| !v.is_null()).collect())
}

fn problem(source: &Source, e: &YamlError) -> Problem {
    let e = e.without_snippet();
    let at = e.location().unwrap_or(Location::UNKNOWN);
    let p = |m: String| Problem::new(source, at, m);
    match e {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            p(format!("unknown field `{field}`")).one_of(field, expected.iter().copied())
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => {
            p(format!("unknown value `{variant}`")).one_of(variant, expected.iter().copied())
        }
        YamlError::SerdeMissingField { field, .. } => {
            p(format!("field `{field}` is missing")).expected(format!("a field `{field}`"))
        }
        YamlError::SerdeInvalidType {
            unexpected, expected, ..
        }
        | YamlError::SerdeInvalidValue {
            unexpected, expected, ..
        } => p(format!("{unexpected} does not belong here")).expected(expected.clone()),
        YamlError::Unexpected { expected, .. } => {
            // What the library calls by its parser's events.
            let plain = match *expected {
                "sequence start" => "a list",
                "mapping start" => "a mapping",
                "string scalar" | "scalar" => "a plain value",
                other => other,
            };
            p("this does not belong here".into()).expected(plain)
        }
        YamlError::DuplicateMappingKey { key, .. } => p(format!(
            "duplicate key{}",
            key.as_ref().map(|k| format!(" `{k}`")).unwrap_or_default()
        ))
        .expected("every key once"),
        YamlError::Message { msg, .. } => match msg.split_once("; expected ") {
            Some((m, x)) => p(m.to_owned()).expected(x),
            None => p(msg.clone()),
        },
        other => {
            // The library's own words already end with the place; ours has it in front.
            let said = other.to_string();
            let said = said.split(" at line ").next().unwrap_or(&said).to_owned();
            p(format!("broken YAML: {said}")).expected("valid YAML")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_has_another_shape_is_told_in_plain_words() {
        for (text, expected) in [("a: 5", "a list"), ("a:\n- b: {}\n  c: []\n- []", "a mapping")] {
            let source = Source::new("t.yaml", text);
            let wrong = parse::<BTreeMap<String, Vec<BTreeMap<String, serde_json::Value>>>>(&source).unwrap_err();
            let told = wrong.to_string();
            assert!(told.contains(expected), "{text}: {told}");
        }
    }
}
