//! Placements offline (`cfn schedule`): from the text of files to JSON lines. Pure functions.
//!
//! Input: JSON, JSON lines or YAML (several documents, `List`s), plain or gzip. A fleet: `Cluster` and
//! `ComputingMetric` objects, or `{clusters: [...]}`. Bindings: `ResourceBinding` objects, bare specs, or
//! `{specs: [...]}`; `ComputingPolicy` objects among them apply to the bindings they name. Cases: one
//! `{id, clusters, spec}` each (with `metrics` and `policy` where wanted).
//!
//! Output, one line per binding: `{"id", "result": [{"name", "replicas"}]}` or
//! `{"id", "error": "NoClusterFit" | "Unschedulable" | "error", "message"}`, and `explanation` where asked for.

use std::io::Read;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy, ComputingPolicySpec};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{ResourceBindingSpec, ResourceBindingStatus};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::engine::{Config, Explain, Fleet, Member, Request, ScheduleError, schedule};

/// Why files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// Not gzip, though it begins like it.
    #[error("gzip: {0}")]
    Gzip(#[from] std::io::Error),
    /// Not UTF-8.
    #[error("not text: {0}")]
    Text(#[from] std::string::FromUtf8Error),
    /// Neither JSON nor YAML.
    #[error("neither JSON, JSON lines nor YAML: {0}")]
    Syntax(#[from] serde_yaml::Error),
    /// A document is not what it should be.
    #[error("document {at}: {what}: {error}")]
    Shape {
        /// Which document, from 1.
        at: usize,
        /// What was expected.
        what: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// There is nothing of what is needed.
    #[error("no {0} in the file")]
    Nothing(&'static str),
}

/// The documents of a file.
///
/// # Errors
/// When it is neither JSON, JSON lines nor YAML (or gzip of these).
pub fn documents(bytes: &[u8]) -> Result<Vec<Value>, OfflineError> {
    let mut plain = Vec::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain)?;
    } else {
        plain = bytes.to_vec();
    }
    let text = String::from_utf8(plain)?;
    let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter::<Value>().collect();
    let parsed = match json {
        Ok(docs) => docs,
        Err(_) => serde_yaml::Deserializer::from_str(&text)
            .map(Value::deserialize)
            .collect::<Result<Vec<_>, _>>()?,
    };
    let mut out = Vec::new();
    for mut doc in parsed {
        tidy(&mut doc);
        match doc {
            Value::Array(items) => out.extend(items),
            Value::Object(mut o)
                if o.get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|k| k.ends_with("List")) =>
            {
                if let Some(Value::Array(items)) = o.remove("items") {
                    out.extend(items);
                }
            }
            Value::Null => {}
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Go writes zero times as null, and conditions want a time: nulls go, conditions without a time get the epoch.
fn tidy(v: &mut Value) {
    match v {
        Value::Object(o) => {
            o.retain(|_, v| !v.is_null());
            if let Some(Value::Array(conditions)) = o.get_mut("conditions") {
                for c in conditions.iter_mut().filter_map(Value::as_object_mut) {
                    c.retain(|_, v| !v.is_null());
                    c.entry("lastTransitionTime")
                        .or_insert_with(|| "1970-01-01T00:00:00Z".into());
                    for word in ["reason", "message"] {
                        c.entry(word).or_insert_with(|| "".into());
                    }
                }
            }
            o.values_mut().for_each(tidy);
        }
        Value::Array(a) => a.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn read<T: DeserializeOwned>(v: Value, at: usize, what: &'static str) -> Result<T, OfflineError> {
    serde_json::from_value(v).map_err(|error| OfflineError::Shape {
        at: at + 1,
        what,
        error,
    })
}

fn kind(v: &Value) -> &str {
    v.get("kind").and_then(Value::as_str).unwrap_or_default()
}

/// Takes a list out of a document.
fn take(doc: &mut Value, field: &str) -> Vec<Value> {
    match doc.get_mut(field).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn build_fleet(clusters: Vec<Cluster>, metrics: Vec<ComputingMetric>) -> Fleet {
    let mut fleet = Fleet::default();
    for c in clusters {
        let metric = metrics
            .iter()
            .find(|m| m.metadata.name == c.metadata.name || Some(&m.spec.cluster) == c.metadata.name.as_ref());
        fleet.insert(Member::new(c, metric.cloned()));
    }
    fleet
}

/// The fleet described by a file.
///
/// # Errors
/// When the file does not parse or has no cluster in it.
pub fn fleet(bytes: &[u8]) -> Result<Fleet, OfflineError> {
    let (mut clusters, mut metrics) = (Vec::new(), Vec::new());
    for (at, mut doc) in documents(bytes)?.into_iter().enumerate() {
        match kind(&doc) {
            "Cluster" => clusters.push(read(doc, at, "a Cluster")?),
            "ComputingMetric" => metrics.push(read(doc, at, "a ComputingMetric")?),
            "" => {
                for c in take(&mut doc, "clusters") {
                    // A bare binding spec has a list of that name too: names and replicas.
                    if c.get("metadata").is_some() {
                        clusters.push(read(c, at, "a Cluster")?);
                    }
                }
                for m in take(&mut doc, "metrics") {
                    metrics.push(read(m, at, "a ComputingMetric")?);
                }
            }
            _ => {}
        }
    }
    if clusters.is_empty() {
        Err(OfflineError::Nothing("Cluster"))
    } else {
        Ok(build_fleet(clusters, metrics))
    }
}

/// A binding to place.
#[derive(Debug, Clone)]
pub struct Item {
    /// What its line is called: a number or `namespace/name`.
    pub id: Value,
    /// The binding.
    pub spec: ResourceBindingSpec,
    /// Its status, where given.
    pub status: Option<ResourceBindingStatus>,
    /// The ComputingPolicy that applies.
    pub policy: Option<ComputingPolicySpec>,
}

/// The bindings of a file.
///
/// # Errors
/// When the file does not parse or has no binding in it.
pub fn bindings(bytes: &[u8]) -> Result<Vec<Item>, OfflineError> {
    let mut items: Vec<Item> = Vec::new();
    let mut policies: Vec<ComputingPolicy> = Vec::new();
    for (at, mut doc) in documents(bytes)?.into_iter().enumerate() {
        match kind(&doc) {
            "ResourceBinding" | "ClusterResourceBinding" => {
                let name = |f: &str| {
                    doc["metadata"]
                        .get(f)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned()
                };
                let id = if name("namespace").is_empty() {
                    name("name")
                } else {
                    format!("{}/{}", name("namespace"), name("name"))
                };
                let status = doc.get_mut("status").map(Value::take).filter(|v| !v.is_null());
                let status = status.map(|s| read(s, at, "a binding's status")).transpose()?;
                let spec = read(doc["spec"].take(), at, "a binding's spec")?;
                items.push(Item {
                    id: id.into(),
                    spec,
                    status,
                    policy: None,
                });
            }
            "ComputingPolicy" => policies.push(read(doc, at, "a ComputingPolicy")?),
            "" if doc.get("resource").is_some() => {
                items.push(Item {
                    id: items.len().into(),
                    spec: read(doc, at, "a binding's spec")?,
                    status: None,
                    policy: None,
                });
            }
            "" => {
                for spec in take(&mut doc, "specs") {
                    items.push(Item {
                        id: items.len().into(),
                        spec: read(spec, at, "a binding's spec")?,
                        status: None,
                        policy: None,
                    });
                }
            }
            _ => {}
        }
    }
    for item in &mut items {
        let r = &item.spec.resource;
        let means = |p: &&ComputingPolicy| {
            p.metadata.namespace == r.namespace
                && p.spec.target_refs.iter().any(|t| t.kind == r.kind && t.name == r.name)
        };
        item.policy = policies.iter().find(means).map(|p| p.spec.clone());
    }
    if items.is_empty() {
        Err(OfflineError::Nothing("ResourceBinding"))
    } else {
        Ok(items)
    }
}

/// Places one binding; its line, without the line end.
#[must_use]
pub fn line(fleet: &Fleet, item: &Item, explain: bool) -> String {
    let key = item.id.as_str().map_or_else(|| item.id.to_string(), str::to_owned);
    let request = Request {
        status: item.status.as_ref(),
        policy: item.policy.as_ref(),
        ..Request::of(&key, &item.spec)
    };
    let config = Config {
        explain: if explain { Explain::All } else { Explain::None },
        ..Config::default()
    };
    let decision = schedule(fleet, &request, &config);
    let mut out = Map::new();
    out.insert("id".into(), item.id.clone());
    match decision.result {
        Ok(mut targets) => {
            targets.sort_by(|a, b| a.name.cmp(&b.name));
            let list = targets
                .iter()
                .map(|t| json!({"name": t.name, "replicas": t.replicas}))
                .collect();
            out.insert("result".into(), list);
        }
        Err(e) => {
            let class = if matches!(e, ScheduleError::Other(_)) {
                "error"
            } else {
                e.reason()
            };
            out.insert("error".into(), class.into());
            out.insert("message".into(), e.to_string().into());
        }
    }
    if explain {
        out.insert(
            "explanation".into(),
            serde_json::to_value(decision.explanation).unwrap_or_default(),
        );
    }
    Value::Object(out).to_string()
}

/// `--fleet FILE --bindings FILE`: every binding on the same fleet.
///
/// # Errors
/// When a file does not parse.
pub fn run(fleet_file: &[u8], bindings_file: &[u8], explain: bool) -> Result<Vec<String>, OfflineError> {
    let fleet = fleet(fleet_file)?;
    Ok(bindings(bindings_file)?
        .iter()
        .map(|i| line(&fleet, i, explain))
        .collect())
}

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Option<Value>,
    clusters: Vec<Cluster>,
    #[serde(default)]
    metrics: Vec<ComputingMetric>,
    spec: ResourceBindingSpec,
    #[serde(default)]
    status: Option<ResourceBindingStatus>,
    #[serde(default)]
    policy: Option<ComputingPolicySpec>,
}

/// `--cases FILE`: each case has its own fleet.
///
/// # Errors
/// When the file does not parse.
pub fn run_cases(cases_file: &[u8], explain: bool) -> Result<Vec<String>, OfflineError> {
    let mut lines = Vec::new();
    for (at, doc) in documents(cases_file)?.into_iter().enumerate() {
        let case: Case = read(doc, at, "a case {id, clusters, spec}")?;
        let fleet = build_fleet(case.clusters, case.metrics);
        let id = case.id.unwrap_or_else(|| at.into());
        lines.push(line(
            &fleet,
            &Item {
                id,
                spec: case.spec,
                status: case.status,
                policy: case.policy,
            },
            explain,
        ));
    }
    Ok(lines)
}
