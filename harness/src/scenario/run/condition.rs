//! Evaluating what must be seen.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::super::expr::{Expr, Value};
use super::super::matching::{Mismatch, mismatches};
use super::super::step::{Aggregate, Check, Query, RunningValue};
use super::super::{matching, path};
use super::Bench;
use super::objects::name_of;
use crate::input::At;

/// What was seen, and whether it is what must be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Whether it is.
    pub good: bool,
    /// In words.
    pub text: String,
}

/// Clusters a check or query is about.
pub fn clusters<'a>(one: Option<&'a At<String>>, many: &'a [At<String>]) -> Vec<&'a str> {
    one.into_iter().chain(many).map(|c| c.as_str()).collect()
}

impl Bench {
    /// Evaluates a check once.
    pub async fn look(&self, c: &Check) -> Seen {
        match (&c.object, &c.that) {
            (Some(_), _) => self.look_at_objects(c).await,
            (None, Some(that)) => self.look_at_values(c, that).await,
            (None, None) => Seen {
                good: false,
                text: "nothing to check".into(),
            },
        }
    }

    async fn look_at_objects(&self, c: &Check) -> Seen {
        let Some(object) = &c.object else {
            return Seen {
                good: false,
                text: String::new(),
            };
        };
        let mut good = true;
        let mut said = Vec::new();
        for cluster in clusters(c.cluster.as_ref(), &c.clusters) {
            let found = match self.objects.select(cluster, object).await {
                Ok(f) => f,
                Err(e) => {
                    good = false;
                    said.push(e.to_string());
                    continue;
                }
            };
            let (ok, text) = judge(c, object, &found);
            good &= ok;
            said.push(format!("{cluster}: {text}"));
        }
        Seen {
            good,
            text: said.join("; "),
        }
    }

    async fn look_at_values(&self, c: &Check, that: &str) -> Seen {
        let mut values = BTreeMap::new();
        let mut said = Vec::new();
        for (name, q) in &c.values {
            match self.ask(q).await {
                Ok(v) => {
                    said.push(format!("{name} = {v}"));
                    values.insert(name.clone(), v);
                }
                Err(e) => {
                    return Seen {
                        good: false,
                        text: format!("{name}: {e}"),
                    };
                }
            }
        }
        let get = |n: &str| values.get(n).cloned().or_else(|| self.value(n));
        match Expr::parse(that).and_then(|e| {
            let truth = e.truth(&get)?;
            Ok((truth, e))
        }) {
            Ok((good, e)) => {
                for n in e.names() {
                    if !values.contains_key(n)
                        && !crate::timers::names().any(|t| t == n)
                        && let Some(v) = self.value(n)
                    {
                        said.push(match v {
                            Value::Series(name, s) => brief(&name, &s),
                            v => format!("{n} = {v}"),
                        });
                    }
                }
                said.dedup();
                Seen {
                    good,
                    text: said.join(", "),
                }
            }
            Err(e) => {
                said.push(e.to_string());
                Seen {
                    good: false,
                    text: said.join(", "),
                }
            }
        }
    }

    /// A query's value now.
    ///
    /// # Errors
    /// What the cluster said.
    pub async fn ask(&self, q: &Query) -> Result<Value, String> {
        if let Some(r) = &q.running {
            let pods = self.testbed.controls.running(r).await.map_err(|e| e.to_string())?;
            let n = match r.of {
                RunningValue::Pods => pods.len() as u64,
                RunningValue::Restarts => pods.iter().map(|p| p.restarts).sum(),
            };
            return Ok(Value::Number(n as f64));
        }
        let Some(object) = &q.object else {
            return Err("what is asked?".into());
        };
        let mut found = Vec::new();
        for cluster in clusters(q.cluster.as_ref(), &q.clusters) {
            let all = self.objects.select(cluster, object).await.map_err(|e| e.to_string())?;
            found.extend(
                all.into_iter()
                    .filter(|v| q.matches.as_ref().is_none_or(|m| matching::matches(m, v))),
            );
        }
        let Some(p) = &q.path else {
            return Ok(Value::Number(found.len() as f64));
        };
        let places: Vec<&Json> = found.iter().flat_map(|v| path::find(v, p)).collect();
        if q.aggregate == Aggregate::Age {
            let now = self.testbed.clock.now();
            let ages = places
                .iter()
                .filter_map(|v| v.as_str()?.parse::<jiff::Timestamp>().ok());
            let oldest = ages
                .map(|t| now.duration_since(t).as_secs_f64())
                .fold(f64::NAN, f64::max);
            return if oldest.is_nan() {
                Err("no date there".into())
            } else {
                Ok(Value::Time(oldest))
            };
        }
        let numbers: Vec<f64> = places.iter().filter_map(|v| number(v)).collect();
        let folded = match q.aggregate {
            Aggregate::Count | Aggregate::Age => places.len() as f64,
            Aggregate::Sum => numbers.iter().sum(),
            Aggregate::Min => numbers.iter().copied().fold(f64::NAN, f64::min),
            Aggregate::Max => numbers.iter().copied().fold(f64::NAN, f64::max),
        };
        if folded.is_nan() {
            Err("no number there".into())
        } else {
            Ok(Value::Number(folded))
        }
    }

    /// A timer or a measurement by name.
    pub fn value(&self, name: &str) -> Option<Value> {
        if let Some(d) = self.testbed.timers.get(name) {
            return Some(Value::Time(d.as_secs_f64()));
        }
        if name == super::super::LANE_TOLERANCE {
            return Some(Value::Time(self.testbed.tolerance.as_secs_f64()));
        }
        // `predictive.interruption` is the series `interruption/predictive`.
        let full = match name.split_once('.') {
            Some((prefix, measure)) => super::drive::series_name(prefix, measure),
            None => name.to_owned(),
        };
        let result = self.result();
        let s = result.series.get(&full)?;
        // One number is a number; several are a series.
        match (s.points.as_slice(), self.scalars().contains(&full)) {
            ([(_, v)], true) => Some(match s.unit.as_str() {
                "ms" => Value::Time(v / 1e3),
                "s" => Value::Time(*v),
                _ => Value::Number(*v),
            }),
            _ => Some(Value::Series(name.to_owned(), s.clone())),
        }
    }

    /// An expression over timers as a duration.
    ///
    /// # Errors
    /// Never for a checked scenario.
    pub fn duration(&self, e: &str) -> Result<Duration, String> {
        Expr::parse(e)
            .and_then(|x| x.duration(&|n| self.value(n)))
            .map_err(|e| e.to_string())
    }

    /// Starts watching what a check is about; says whether it must also be polled.
    pub async fn watch_for(&self, c: &Check) -> bool {
        let mut poll = false;
        if let Some(o) = &c.object {
            for cluster in clusters(c.cluster.as_ref(), &c.clusters) {
                self.wakeups.watch(cluster, &o.api_version, &o.kind).await;
            }
        }
        for q in c.values.values() {
            poll |= self.watch_query(q).await;
        }
        poll
    }

    /// Starts watching what a query is about; says whether it must also be polled.
    pub async fn watch_query(&self, q: &Query) -> bool {
        if let Some(o) = &q.object {
            for cluster in clusters(q.cluster.as_ref(), &q.clusters) {
                self.wakeups.watch(cluster, &o.api_version, &o.kind).await;
            }
        }
        q.running.is_some() || q.aggregate == Aggregate::Age
    }
}

/// A series in a few words.
fn brief(name: &str, s: &crate::evidence::Series) -> String {
    let sorted = s.sorted();
    match (sorted.first(), sorted.last()) {
        (Some(a), Some(b)) if s.points.len() > 1 => {
            format!(
                "{name}: {} samples from {} to {} {}",
                sorted.len(),
                round(*a),
                round(*b),
                s.unit
            )
        }
        (Some(a), _) => format!("{name} = {} {}", round(*a), s.unit),
        _ => format!("{name}: no samples"),
    }
}

fn round(v: f64) -> f64 {
    (v * 1000.0).round() / 1000.0
}

fn number(v: &Json) -> Option<f64> {
    v.as_f64().or_else(|| v.as_str().and_then(|s| s.parse().ok()))
}

/// Whether the objects found are as a check wants them, and what they are.
fn judge(c: &Check, object: &super::super::ObjectRef, found: &[Json]) -> (bool, String) {
    let empty = Json::Object(serde_json::Map::new());
    let want = c.matches.as_ref().map_or(&empty, |m| &m.value);
    let missed: Vec<(String, Vec<Mismatch>)> = found.iter().map(|v| (name_of(v), mismatches(want, v))).collect();
    let fitting = missed.iter().filter(|(_, m)| m.is_empty()).count();
    let first_miss = || {
        missed.iter().find(|(_, m)| !m.is_empty()).map(|(n, m)| {
            format!(
                "{n}: {}",
                m.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            )
        })
    };
    if c.absent {
        let names: Vec<&str> = missed
            .iter()
            .filter(|(_, m)| m.is_empty())
            .map(|(n, _)| n.as_str())
            .collect();
        return match names.as_slice() {
            [] => (true, format!("no {object}")),
            n => (false, format!("{object}: {}", n.join(", "))),
        };
    }
    if let Some(count) = &c.count {
        let good = matching::matches(count, &Json::from(fitting));
        let mut text = format!("{fitting} of {} {object} fit", found.len());
        if !good && let Some(m) = first_miss() {
            text = format!("{text} ({m})");
        }
        return (good, text);
    }
    if found.is_empty() {
        return (false, format!("no {object}"));
    }
    match first_miss() {
        Some(m) => (false, m),
        None => (true, found.iter().map(|v| show(want, v)).collect::<Vec<_>>().join(", ")),
    }
}

/// What an object has at the places that a check names.
fn show(want: &Json, seen: &Json) -> String {
    fn go(want: &Json, seen: Option<&Json>, path: &str, out: &mut Vec<String>) {
        match (want, seen) {
            (Json::Object(w), Some(Json::Object(s))) if !w.keys().any(|k| k.starts_with('$')) => {
                for (k, v) in w {
                    go(
                        v,
                        s.get(k),
                        &if path.is_empty() {
                            k.clone()
                        } else {
                            format!("{path}.{k}")
                        },
                        out,
                    );
                }
            }
            (_, None) => out.push(format!("no {path}")),
            (Json::Array(_) | Json::Object(_), Some(s)) => {
                let t = s.to_string();
                let t = if t.chars().count() > 200 {
                    format!("{}...", t.chars().take(200).collect::<String>())
                } else {
                    t
                };
                out.push(format!("{path} = {t}"));
            }
            (_, Some(s)) => out.push(format!("{path} = {s}")),
        }
    }
    let mut out = Vec::new();
    go(want, Some(seen), "", &mut out);
    if out.is_empty() {
        name_of(seen)
    } else {
        format!("{}: {}", name_of(seen), out.join(", "))
    }
}
