//! What is recorded in the background, and what is gathered at the end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::task::JoinSet;

use super::super::expr::Value;
use super::super::{Collect, ObjectRef};
use super::Bench;
use crate::evidence::{ClusterDecision, Decision, Event, EventKind, Sample};

/// The background tasks of a scenario.
pub struct Background(JoinSet<()>);

impl Background {
    /// Ends them.
    pub async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

impl Bench {
    /// Starts recording what the scenario asks for, and every decision of the scheduler.
    pub(super) async fn collect_all(self: Arc<Self>) -> Background {
        let mut tasks = JoinSet::new();
        for c in self.scenario.file.spec.collect.clone() {
            tasks.spawn(self.clone().collect(c));
        }
        tasks.spawn(self.clone().follow_decisions());
        Background(tasks)
    }

    async fn collect(self: Arc<Self>, c: Collect) {
        let mut changes = self.wakeups.subscribe();
        let every = c.every.as_ref().and_then(|e| self.duration(e).ok());
        if every.is_none() {
            self.watch_query(&c.query).await;
        }
        let mut last = None;
        loop {
            changes.borrow_and_update();
            if let Ok(v) = self.ask(&c.query).await
                && (every.is_some() || last.as_ref() != Some(&v))
            {
                let (value, unit) = match &v {
                    Value::Time(s) => (s * 1e3, "ms"),
                    Value::Number(n) => (*n, ""),
                    _ => (f64::NAN, ""),
                };
                let sample = Sample {
                    series: c.name.value.clone(),
                    value,
                    unit: unit.into(),
                    at: self.at(),
                };
                self.result().record(sample);
                last = Some(v);
            }
            match every {
                Some(e) => tokio::time::sleep(e.max(Duration::from_millis(1))).await,
                None if changes.changed().await.is_err() => return,
                None => {}
            }
        }
    }

    fn bindings() -> ObjectRef {
        ObjectRef {
            api_version: "work.karmada.io/v1alpha2".into(),
            kind: "ResourceBinding".into(),
            namespace: None,
            name: None,
            label_selector: None,
        }
    }

    async fn follow_decisions(self: Arc<Self>) {
        let mut changes = self.wakeups.subscribe();
        let hub = self.testbed.topology.hub().name.value.clone();
        let b = Self::bindings();
        self.wakeups.watch(&hub, &b.api_version, &b.kind).await;
        loop {
            changes.borrow_and_update();
            self.decisions().await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Records the decisions that bindings show and that are new.
    pub(super) async fn decisions(&self) {
        let hub = self.testbed.topology.hub().name.value.clone();
        let Ok(found) = self.objects.select(&hub, &Self::bindings()).await else {
            return;
        };
        for b in found {
            let subject = format!("ResourceBinding {}", super::objects::name_of(&b));
            let Some(d) = decision(&b, subject, self.at()) else {
                continue;
            };
            let mut result = self.result();
            let last = result.decisions.iter().rev().find(|x| x.subject == d.subject);
            if last.is_none_or(|l| l.outcome != d.outcome || l.clusters != d.clusters) {
                if last.is_none_or(|l| l.outcome != d.outcome) {
                    let e = Event::new(d.at, EventKind::Decision, d.subject.clone(), d.outcome.clone());
                    result.events.push(e);
                }
                result.decisions.push(d);
            }
        }
    }

    /// Keeps every relocation record in the evidence.
    pub(super) async fn relocations(&self) {
        let object = ObjectRef {
            api_version: "cfn.akraino.org/v1alpha1".into(),
            kind: "ContextRelocation".into(),
            namespace: None,
            name: None,
            label_selector: None,
        };
        let epoch = self.testbed.clock.now() - self.at();
        for (cluster, _) in self.testbed.clients.clone() {
            let Ok(found) = self.objects.select(&cluster, &object).await else {
                continue;
            };
            for r in found {
                let text = |p: &str| r.pointer(p).and_then(Json::as_str).unwrap_or("?").to_owned();
                let when = |p: &str| r.pointer(p).and_then(Json::as_str)?.parse::<jiff::Timestamp>().ok();
                let at = when("/status/timestamps/detected").map_or_else(|| self.at(), |t| since(epoch, t));
                let end = when("/status/timestamps/switched").map(|t| since(epoch, t));
                let detail = format!(
                    "{} to {}: {}",
                    text("/spec/source/site"),
                    text("/spec/target/site"),
                    text("/status/state")
                );
                let mut e = Event::new(at, EventKind::Relocation, text("/spec/subject"), detail)
                    .at_place(text("/spec/source/site"));
                e.until = end;
                self.event(e);
            }
        }
    }
}

fn since(epoch: jiff::Timestamp, t: jiff::Timestamp) -> Duration {
    Duration::try_from(t.duration_since(epoch)).unwrap_or_default()
}

/// A binding's decision with its reasons; none while there is none.
fn decision(b: &Json, subject: String, at: Duration) -> Option<Decision> {
    let clusters = b.pointer("/spec/clusters").and_then(Json::as_array);
    let scheduled = b
        .pointer("/status/conditions")
        .and_then(Json::as_array)
        .and_then(|c| c.iter().find(|c| c["type"] == "Scheduled"));
    let outcome = match (scheduled.map(|s| s["status"].as_str().unwrap_or_default()), clusters) {
        (Some("False"), _) => scheduled
            .and_then(|s| s["message"].as_str())
            .unwrap_or("not schedulable")
            .to_owned(),
        (_, Some(c)) if !c.is_empty() => c
            .iter()
            .map(|c| match c["replicas"].as_i64() {
                Some(n) => format!("{}: {n}", c["name"].as_str().unwrap_or_default()),
                None => c["name"].as_str().unwrap_or_default().to_owned(),
            })
            .collect::<Vec<_>>()
            .join(", "),
        _ => return None,
    };
    let explained = b
        .pointer("/status/explanation")
        .and_then(Json::as_array)
        .cloned()
        .unwrap_or_default();
    let clusters = explained
        .iter()
        .map(|e| {
            let filtered = e["filtered"].as_str().map(str::to_owned);
            let mut scores: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
            for (k, v) in e["scores"].as_object().into_iter().flatten() {
                scores.insert(k.clone(), v.to_string());
            }
            for (k, v) in e.as_object().into_iter().flatten() {
                if !["cluster", "filtered", "scores", "replicas"].contains(&k.as_str()) && !v.is_null() {
                    scores.insert(k.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned));
                }
            }
            ClusterDecision {
                cluster: e["cluster"].as_str().unwrap_or_default().to_owned(),
                feasible: filtered.is_none(),
                reasons: filtered.into_iter().collect(),
                scores,
                replicas: e["replicas"].as_i64(),
            }
        })
        .collect();
    Some(Decision {
        at,
        subject,
        outcome,
        clusters,
    })
}
