//! Kinds of one's own: the declarative rules of ResourceInterpreterCustomization as far as they concern a member. What
//! stays as the member has it, which part of a status the hub hears, whether an object is healthy. Pure, but for the
//! watch that keeps the rules.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use cfn_api::karmada::config::{
    HealthRule, Requirement, ResourceInterpreterCustomization, ResourceInterpreterCustomizationSpec, RetentionRule,
    StatusRule,
};
use futures::StreamExt;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Map, Value};

use super::feedback;
use super::member::Context;

/// Specs by name: of several for a kind, the first has the word for each operation.
type Specs = BTreeMap<String, ResourceInterpreterCustomizationSpec>;

/// The rules of a hub, as last seen.
#[derive(Debug, Clone, Default)]
pub struct Rules(Arc<RwLock<Specs>>);

impl Rules {
    fn find<R>(&self, object: &Value, rule: impl Fn(&ResourceInterpreterCustomizationSpec) -> Option<R>) -> Option<R> {
        let specs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut meant = specs.values().filter(|s| {
            object["apiVersion"] == s.target.api_version.as_str() && object["kind"] == s.target.kind.as_str()
        });
        meant.find_map(rule)
    }

    fn change(&self, f: impl FnOnce(&mut Specs)) {
        f(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the hub hears of an object's status: what its kind's rule names, else what the built-in rules say.
    #[must_use]
    pub fn status(&self, object: &Value) -> Option<Value> {
        match self.find(object, |s| s.customizations.status_reflection.clone()?.rule) {
            Some(rule) => reflected(&rule, object),
            None => feedback::status(object),
        }
    }

    /// Healthy, Unhealthy or Unknown.
    #[must_use]
    pub fn health(&self, object: &Value) -> &'static str {
        match self.find(object, |s| s.customizations.health_interpretation.clone()?.rule) {
            Some(rule) if healthy(&rule, object) => "Healthy",
            Some(_) => "Unhealthy",
            None => feedback::health(object),
        }
    }

    /// The manifest with what the member's object keeps.
    #[must_use]
    pub fn retain(&self, manifest: &Value, live: &Value) -> Value {
        let mut out = manifest.clone();
        if let Some(rule) = self.find(manifest, |s| s.customizations.retention.clone()?.rule) {
            keep(&rule, &mut out, live);
        }
        out
    }
}

fn reflected(rule: &StatusRule, object: &Value) -> Option<Value> {
    let status = object.get("status")?.as_object()?;
    let named = rule
        .fields
        .iter()
        .filter_map(|f| Some((f.clone(), status.get(f)?.clone())));
    Some(Value::Object(named.collect::<Map<_, _>>()))
}

fn healthy(rule: &HealthRule, object: &Value) -> bool {
    let number = |v: Option<&Value>| v.and_then(Value::as_f64);
    rule.all.iter().all(|r: &Requirement| {
        let value = object.pointer(&r.path);
        let other = |p: &String| object.pointer(p);
        r.equals.as_ref().is_none_or(|e| value == Some(e))
            && r.equals_path
                .as_ref()
                .is_none_or(|p| value.is_some() && value == other(p))
            && r.at_least_path
                .as_ref()
                .is_none_or(|p| number(value).zip(number(other(p))).is_some_and(|(a, b)| a >= b))
    })
}

fn keep(rule: &RetentionRule, manifest: &mut Value, live: &Value) {
    for field in &rule.fields {
        let Some(value) = live.pointer(field) else { continue };
        let mut at = &mut *manifest;
        for part in field.split('/').skip(1) {
            let part = part.replace("~1", "/").replace("~0", "~");
            at = match at {
                Value::Array(list) => match part.parse::<usize>().ok().and_then(|i| list.get_mut(i)) {
                    Some(v) => v,
                    None => return,
                },
                Value::Object(_) | Value::Null => &mut at[part],
                _ => return,
            };
        }
        *at = value.clone();
    }
}

/// Keeps the rules as the hub has them, for ever. A hub that does not let agents see them has none for them.
pub async fn run(ctx: &Context) {
    let api: Api<ResourceInterpreterCustomization> = Api::all(ctx.hub.clone());
    let mut events = std::pin::pin!(cfn_net::watch::watch(api, watcher::Config::default()));
    let mut listed = Specs::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(c)) => {
                listed.insert(c.name_any(), c.spec);
            }
            Ok(watcher::Event::InitDone) => {
                let all = std::mem::take(&mut listed);
                ctx.rules.change(|specs| *specs = all);
            }
            Ok(watcher::Event::Apply(c)) => ctx.rules.change(|specs| {
                specs.insert(c.name_any(), c.spec);
            }),
            Ok(watcher::Event::Delete(c)) => ctx.rules.change(|specs| {
                specs.remove(&c.name_any());
            }),
            Err(e) => tracing::debug!("watching customizations: {e}"),
        }
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(customizations: Value) -> Rules {
        let rules = Rules::default();
        let spec =
            json!({"target": {"apiVersion": "example.io/v1", "kind": "Training"}, "customizations": customizations});
        rules.change(|s| {
            s.insert("a".into(), serde_json::from_value(spec).unwrap());
        });
        rules
    }

    fn training() -> Value {
        json!({"apiVersion": "example.io/v1", "kind": "Training", "spec": {"workers": 3, "paused": true},
            "status": {"phase": "Running", "ready": 2, "secret": "x"}})
    }

    #[test]
    fn rules_tell_and_judge() {
        let r = rules(
            json!({"statusReflection": {"rule": {"fields": ["phase", "ready", "none"]}},
            "healthInterpretation": {"rule": {"all": [{"path": "/status/phase", "equals": "Running"},
                {"path": "/status/ready", "atLeastPath": "/spec/workers"}]}}}),
        );
        let mut t = training();
        assert_eq!(r.status(&t), Some(json!({"phase": "Running", "ready": 2})));
        assert_eq!(r.health(&t), "Unhealthy");
        t["status"]["ready"] = 3.into();
        assert_eq!(r.health(&t), "Healthy");
        // Another kind goes by the built-in rules.
        t["kind"] = "Other".into();
        assert_eq!(r.status(&t), Some(t["status"].clone()));
    }

    #[test]
    fn what_the_member_decides_stays() {
        let r = rules(json!({"retention": {"rule": {"fields": ["/spec/paused", "/spec/node/name", "/spec/absent"]}}}));
        let mut live = training();
        live["spec"]["node"] = json!({"name": "n1"});
        let mut wanted = training();
        wanted["spec"] = json!({"workers": 5, "paused": false});
        let kept = r.retain(&wanted, &live);
        assert_eq!(
            kept["spec"],
            json!({"workers": 5, "paused": true, "node": {"name": "n1"}})
        );
    }
}
