//! Conversion of custom resources by a webhook (`apiextensions-apiserver/pkg/apiserver/conversion`).
//!
//! What an object is in another version is kept with the object itself, which never changes; an object whose version is
//! not known yet is noted, and the operation that needs it runs again once the webhook was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, Resource, Server, convert, text};
use crate::patch::unfolded;
use crate::schema::{self, quote};
use crate::status::Status;
use crate::store::{Object, Revision};
use crate::webhook::{self, Hooks, ask_first};

/// How long a conversion may take (upstream: a webhook's default).
const TIMEOUT: Duration = Duration::from_secs(30);

/// The webhook of one definition, in one generation of it.
#[derive(Debug)]
pub struct Conversion {
    /// `clientConfig`.
    config: Value,
    /// The ConversionReview's version.
    review: &'static str,
    /// Tells this generation's conversions from others'.
    id: String,
    /// By version, uid and revision: objects that somebody needs.
    missing: Mutex<BTreeMap<(String, String, Revision), Arc<Object>>>,
}

impl Conversion {
    /// That of a definition; `None`: its versions differ in name only.
    #[must_use]
    pub fn of(crd: &Value) -> Option<Self> {
        let c = &crd["spec"]["conversion"];
        if c["strategy"] != "Webhook" {
            return None;
        }
        let versions = c["webhook"]["conversionReviewVersions"]
            .as_array()
            .into_iter()
            .flatten();
        let known = |v: &Value| match v.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        };
        Some(Self {
            config: c["webhook"]["clientConfig"].clone(),
            review: versions.into_iter().find_map(known).unwrap_or("v1"),
            id: format!("{}/{}", text(crd, "/metadata/uid"), crd["metadata"]["generation"]),
            missing: Mutex::default(),
        })
    }

    fn id(&self, api_version: &str) -> String {
        format!("{api_version} {}", self.id)
    }

    /// An object in `api_version`, if that was asked for already; it is noted otherwise.
    fn known(&self, o: &Arc<Object>, api_version: &str) -> Option<Arc<Object>> {
        let found = o.shown(&self.id(api_version));
        if found.is_none() {
            let key = (
                api_version.to_owned(),
                text(&o.value(), "/metadata/uid").to_owned(),
                o.revision,
            );
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.insert(key, o.clone());
        }
        found
    }

    fn review(&self, uid: &str, desired: &str, objects: &[&Value]) -> Value {
        json!({"kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{}", self.review),
            "request": {"uid": uid, "desiredAPIVersion": desired, "objects": objects}})
    }

    /// The objects of an answer, checked as upstream does.
    fn read(&self, answer: &Value, uid: &str, desired: &str, asked: &[&Value]) -> Result<Vec<Value>, String> {
        let api = format!("apiextensions.k8s.io/{}", self.review);
        webhook::expect(answer, &api, "ConversionReview")?;
        let r = &answer["response"];
        if !r.is_object() {
            return Err("no response provided".into());
        }
        if self.review == "v1" && text(r, "/uid") != uid {
            return Err(format!(
                "expected response.uid={}, got {}",
                quote(uid),
                quote(text(r, "/uid"))
            ));
        }
        let status = text(r, "/result/status");
        if status != "Success" {
            return Err(match text(r, "/result/message") {
                "" => format!("response.result.status was '{status}', not 'Success'"),
                m => m.to_owned(),
            });
        }
        let objects = r["convertedObjects"].as_array().cloned().unwrap_or_default();
        if objects.len() != asked.len() {
            return Err(format!("returned {} objects, expected {}", objects.len(), asked.len()));
        }
        let each = objects.into_iter().zip(asked).enumerate();
        each.map(|(i, (new, old))| {
            restored(new, old, desired).map_err(|e| format!("returned invalid converted object at index {i}: {e}"))
        })
        .collect()
    }
}

/// The converted object with the metadata that a conversion may not change.
fn restored(mut new: Value, old: &Value, desired: &str) -> Result<Value, String> {
    if new["apiVersion"] != desired {
        return Err(format!(
            "invalid groupVersion (expected: {desired}, received: {})",
            text(&new, "/apiVersion")
        ));
    }
    for (what, at) in [
        ("kind", "/kind"),
        ("name", "/metadata/name"),
        ("namespace", "/metadata/namespace"),
        ("UID", "/metadata/uid"),
    ] {
        if text(&new, at) != text(old, at) {
            return Err(format!(
                "must have the same {what}: {} != {}",
                text(&new, at),
                text(old, at)
            ));
        }
    }
    let mut metadata = old["metadata"].clone();
    for k in ["labels", "annotations"] {
        match new["metadata"].get(k) {
            Some(v) => metadata[k] = v.clone(),
            None => drop(metadata.as_object_mut().map(|m| m.remove(k))),
        }
    }
    new["metadata"] = metadata;
    Ok(new)
}

/// `group/version, Kind=kind`, as Go prints it.
fn gvk(v: &Value) -> String {
    format!("{}, Kind={}", text(v, "/apiVersion"), text(v, "/kind"))
}

/// What a client is told.
fn failed(of: &Value, why: &str) -> Status {
    let between = if why.starts_with("returned ") { "" } else { "failed: " };
    Status::new(500, "", format!("conversion webhook for {} {between}{why}", gvk(of)))
}

impl Resource {
    /// Whether only a webhook can say what its objects are in another version.
    #[must_use]
    pub fn is_converted_by_webhook(&self) -> bool {
        self.conversion().is_some()
    }

    fn conversion(&self) -> Option<&Conversion> {
        self.custom.as_ref()?.conversion.as_deref()
    }

    /// A stored object in this version: itself where the versions are the same.
    ///
    /// # Errors
    /// When a webhook has to convert it first.
    pub fn present(&self, o: &Arc<Object>) -> Result<Arc<Object>, Status> {
        let same = o.is_version(&self.api_version);
        match &self.custom {
            None if same => Ok(o.clone()),
            None => {
                let v = convert::convert((*o.value()).clone(), &self.api_version, false);
                Ok(Arc::new(Object::new(v, o.revision)))
            }
            Some(c) if !same && c.conversion.is_some() => {
                let hook = c.conversion.as_ref().and_then(|h| h.known(o, &self.api_version));
                hook.ok_or_else(ask_first)
            }
            Some(c) if same && !c.has_defaults => Ok(o.clone()),
            Some(c) => Ok(self.coerced(o, &c.shown_id)),
        }
    }

    /// A custom resource as its definition has it today: it may have been stored before, or in another version.
    fn coerced(&self, o: &Arc<Object>, id: &str) -> Arc<Object> {
        if let Some(known) = o.shown(id) {
            return known;
        }
        let stored = o.value();
        let same = stored["apiVersion"] == *self.api_version;
        let shown = if same && schema::has_defaults(&self.schema(), &stored) {
            o.clone()
        } else {
            let mut v = (*stored).clone();
            if !same {
                v = convert::convert(v, &self.api_version, true);
                self.prune(&mut v);
            }
            schema::apply_defaults(&self.schema(), &mut v);
            Arc::new(Object::new(v, o.revision))
        };
        o.set_shown(id.to_owned(), &shown);
        shown
    }

    /// What this version does not know goes from what was another one (`schemaCoercingConverter`).
    fn prune(&self, v: &mut Value) {
        schema::prune(&self.schema(), v);
    }

    /// What was just written, in this version, where `shown` is what it was before the write: with its new metadata.
    pub(super) fn present_written(&self, o: &Arc<Object>, shown: impl FnOnce() -> Value) -> Arc<Object> {
        let Some(c) = self
            .conversion()
            .filter(|_| o.value()["apiVersion"] != *self.api_version)
        else {
            // Without a webhook nothing has to be asked.
            return self.present(o).unwrap_or_else(|_| o.clone());
        };
        let mut v = shown();
        v["metadata"] = o.value()["metadata"].clone();
        let shown = Arc::new(Object::new(v, o.revision));
        o.set_shown(c.id(&self.api_version), &shown);
        shown
    }
}

impl Server {
    /// An object in another version of its resource.
    ///
    /// # Errors
    /// When a webhook has to be asked first, or refuses.
    pub(super) fn converted(
        &self,
        call: &mut Call,
        r: &Resource,
        value: Value,
        api_version: &str,
    ) -> Result<Value, Status> {
        if value["apiVersion"] == api_version {
            return Ok(value);
        }
        let target = self
            .catalog
            .of_kind(api_version, &r.kind)
            .filter(|t| t.custom.is_some());
        let mut value = match r.conversion() {
            None => convert::convert(value, api_version, r.custom.is_some()),
            Some(c) => {
                let review = c.review(&self.uid(), api_version, &[&value]);
                let hooks = call.hooks.get_or_insert_with(Hooks::default);
                let answer = hooks.ask(&c.config, TIMEOUT, review).ok_or_else(ask_first)?;
                let said = answer.said.clone();
                let objects = said.and_then(|a| c.read(&a, &answer.uid, api_version, &[&value]));
                let mut objects = objects.map_err(|e| failed(&value, &e))?;
                objects.pop().ok_or_else(|| Status::internal("no object"))?
            }
        };
        if let Some(target) = target.filter(|_| r.custom.is_some()) {
            target.prune(&mut value);
        }
        Ok(value)
    }

    /// An object as it is stored.
    pub(super) fn to_stored(&self, call: &mut Call, r: &Resource, value: Value) -> Result<Value, Status> {
        self.converted(call, r, value, &r.storage_version)
    }

    /// Asks for all that is noted as missing.
    ///
    /// # Errors
    /// What the webhook says, or why it could not be asked.
    pub(crate) async fn convert_missing(&self, r: &Resource) -> Result<(), Status> {
        let Some(c) = r.conversion() else { return Ok(()) };
        let missing = std::mem::take(&mut *c.missing.lock().unwrap_or_else(PoisonError::into_inner));
        let mut by_version: BTreeMap<String, Vec<Arc<Object>>> = BTreeMap::new();
        for ((version, ..), o) in missing {
            by_version.entry(version).or_default().push(o);
        }
        for (version, objects) in by_version {
            let uid = self.uid();
            let values: Vec<Arc<Value>> = objects.iter().map(Object::value).collect();
            let values: Vec<_> = values.iter().map(|v| unfolded(v)).collect();
            let values: Vec<&Value> = values.iter().map(|v| &**v).collect();
            let mut hooks = Hooks::default();
            let review = c.review(&uid, &version, &values);
            hooks.ask(&c.config, TIMEOUT, review.clone());
            self.answer(&mut hooks).await;
            let said = hooks.ask(&c.config, TIMEOUT, review).map(|a| a.said.clone());
            let said = said.unwrap_or_else(|| Err("not asked".into()));
            let new = said.and_then(|a| c.read(&a, &uid, &version, &values));
            let new = new.map_err(|e| failed(values.first().unwrap_or(&&Value::Null), &e))?;
            let target = self.catalog.of_kind(&version, &r.kind);
            for (o, mut v) in objects.iter().zip(new) {
                if let Some(target) = &target {
                    target.prune(&mut v);
                    schema::apply_defaults(&target.schema(), &mut v);
                }
                o.set_shown(c.id(&version), &Arc::new(Object::new(v, o.revision)));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversion_changes_no_metadata_but_labels_and_annotations() {
        let old = json!({"apiVersion": "x.io/v1", "kind": "T", "metadata": {"name": "a", "uid": "u", "resourceVersion": "5"}});
        let new = json!({"apiVersion": "x.io/v2", "kind": "T", "metadata": {"name": "a", "uid": "u", "resourceVersion": "9",
            "labels": {"l": "x"}}, "spec": {}});
        let got = restored(new.clone(), &old, "x.io/v2").unwrap();
        assert_eq!(
            got["metadata"],
            json!({"name": "a", "uid": "u", "resourceVersion": "5", "labels": {"l": "x"}})
        );
        let mut other = new;
        other["metadata"]["name"] = json!("b");
        assert_eq!(
            restored(other, &old, "x.io/v2").unwrap_err(),
            "must have the same name: b != a"
        );
    }
}
