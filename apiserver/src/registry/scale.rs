//! The scale subresource: one view (`autoscaling/v1` Scale) on every resource that has replicas.

use std::sync::Arc;

use serde_json::{Value, json};

use super::identity::same_name;
use super::policy::Review;
use super::update::Proposal;
use super::{Call, PatchKind, Resource, Server, Target, text};
use crate::patch::{self, ApplyError, Conflict};
use crate::schema::{self, SchemaRef};
use crate::select::LabelSelector;
use crate::status::{Cause, Status};
use crate::store::Object;

/// Version and kind of what is shown.
const SCALE: (&str, &str) = ("autoscaling/v1", "Scale");

/// JSON pointers of replicas wanted, replicas seen and the selector's text.
fn paths(r: &Resource) -> (String, String, Option<String>) {
    match r.custom.as_ref().and_then(|c| c.scale.as_ref()) {
        Some(s) => (s.spec_replicas.clone(), s.status_replicas.clone(), s.selector.clone()),
        None => ("/spec/replicas".into(), "/status/replicas".into(), None),
    }
}

/// The Scale of an object.
fn scale_of(r: &Resource, o: &Arc<Object>) -> Value {
    let v = &o.value();
    let (spec, status, selector) = paths(r);
    let number = |p: &str| v.pointer(p).and_then(Value::as_i64).unwrap_or(0);
    let mut s = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {}, "spec": {}, "status": {"replicas": number(&status)}});
    for k in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(x) = v["metadata"].get(k) {
            s["metadata"][k] = x.clone();
        }
    }
    if number(&spec) != 0 {
        s["spec"]["replicas"] = json!(number(&spec));
    }
    let selector = match (&r.custom, selector) {
        (Some(_), Some(p)) => v.pointer(&p).and_then(Value::as_str).map(str::to_owned),
        (Some(_), None) => None,
        (None, _) if r.is("", "replicationcontrollers") => {
            Some(LabelSelector::from_map(&v["spec"]["selector"]).to_string())
        }
        (None, _) => LabelSelector::from_object(&v["spec"]["selector"])
            .ok()
            .map(|s| s.to_string()),
    };
    if let Some(t) = selector.filter(|t| !t.is_empty()) {
        s["status"]["selector"] = json!(t);
    }
    s
}

/// Who owns the replicas of an object, as owners of its Scale (`ScaleHandler.ToSubresource`).
fn owners_of_replicas(of: &Value, replicas: &str) -> Value {
    let field = replicas.replace('/', "/f:");
    let all = patch::unfolded(of);
    let entries = all["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owning = entries.filter(|e| e["fieldsV1"].pointer(&field).is_some());
    let owners = owning.map(|e| {
        let mut e = e.clone();
        e["apiVersion"] = json!(SCALE.0);
        e["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
        e
    });
    owners.collect()
}

impl Server {
    /// The scale of an object.
    ///
    /// # Errors
    /// 404.
    pub fn get_scale(&self, r: &Resource, ns: &str, name: &str) -> Result<Value, Status> {
        Ok(scale_of(r, &self.get(r, ns, name)?))
    }

    /// Sets the scale of an object by a Scale.
    ///
    /// # Errors
    /// 404, 409 when stale, 422 for a negative number.
    pub fn put_scale(&self, call: &mut Call, t: &Target<'_>, scale: &Value) -> Result<Value, Status> {
        self.change_scale(call, t, None, &mut |_| Ok(scale.clone()))
    }

    /// Patches the scale of an object.
    ///
    /// # Errors
    /// As [`Server::put_scale`], and 400 for a patch that does not parse.
    pub fn patch_scale(&self, call: &mut Call, t: &Target<'_>, kind: PatchKind, body: &Value) -> Result<Value, Status> {
        let schema = SchemaRef::for_gvk("autoscaling", "v1", "Scale").unwrap_or_else(SchemaRef::opaque);
        let forced = match kind {
            PatchKind::Apply { force } => Some(force),
            _ => None,
        };
        let (said, named) = (text(body, "/apiVersion"), text(body, "/kind"));
        if forced.is_some() && (said, named) != ("autoscaling/v1", "Scale") {
            return Err(super::apply::another_kind(said, named));
        }
        self.change_scale(call, t, forced, &mut |live| {
            let mut spent = body.clone();
            let patched = match kind {
                PatchKind::Json => patch::json_patch(live, body),
                PatchKind::Merge | PatchKind::Apply { .. } => patch::merge_patch(live, body),
                PatchKind::Strategic => patch::spend(live, &mut spent, &schema),
            };
            let patched = patched.map_err(super::patch::refused)?;
            let mut read = patched.clone();
            let (api_version, named) = SCALE;
            match kind {
                PatchKind::Strategic => schema::convert(api_version, named, &mut read).map_err(|why| {
                    let shown = json!(schema::go_value(&spent));
                    Status::invalid("", "", "", vec![Cause::invalid("patch", &shown, &why)])
                })?,
                PatchKind::Apply { .. } => {
                    let replicas = &read["spec"]["replicas"];
                    if !replicas.is_null() && !replicas.is_number() {
                        let what = match schema::json_kind(replicas) {
                            "array" => "list",
                            "object" => "map",
                            "bool" => "boolean",
                            what => what,
                        };
                        let why = format!(
                            "failed to create typed patch object ({}/{}; {api_version}, Kind={named}): .spec.replicas: expected numeric (int or float), got {what}",
                            text(body, "/metadata/namespace"),
                            text(body, "/metadata/name"),
                        );
                        return Err(Status::new(500, "", why));
                    }
                }
                _ => schema::read(api_version, named, &mut read)
                    .map_err(|why| super::patch::unfit_document(SCALE, kind, live, body, &patched, &why))?,
            }
            Ok(read)
        })
    }

    fn change_scale(
        &self,
        call: &mut Call,
        t: &Target<'_>,
        forced: Option<bool>,
        wanted: &mut dyn FnMut(&Value) -> Result<Value, Status>,
    ) -> Result<Value, Status> {
        let r = t.resource;
        let (spec, _, _) = paths(r);
        let t = Target {
            subresource: Some("scale"),
            ..*t
        };
        let done = self.modify(call, &t, false, &mut |call, old| {
            let mut live = scale_of(r, old);
            let owners = owners_of_replicas(&old.value(), &spec);
            // Who writes what nobody owns is not written down (`skipNonAppliedManager`).
            let unowned = owners.as_array().is_none_or(Vec::is_empty);
            live["metadata"]["managedFields"] = owners;
            let scale = wanted(&live)?;
            let named = text(&scale, "/metadata/name");
            if !named.is_empty() {
                same_name(named, t.name)?;
            }
            let n = scale["spec"]["replicas"].as_i64().unwrap_or(0);
            // What a custom resource's may be, its definition says.
            if n < 0 && r.custom.is_none() {
                let cause = Cause::invalid("spec.replicas", &json!(n), "must be greater than or equal to 0");
                return Err(Status::invalid("autoscaling", "Scale", t.name, vec![cause]));
            }
            let before = scale_of(r, old);
            let who = call.circumstances();
            let review = Review {
                call: &who,
                resource: r,
                namespace: if r.namespaced { t.namespace } else { "" },
                name: None,
                subresource: "scale",
                operation: "UPDATE",
                old: Some(&before),
            };
            self.validate_by_webhooks(call, &review, Some(&scale))?;
            let mut v = match forced {
                Some(force) => self.apply_scale(call, &t, force, &old.value(), n)?,
                None => (*old.value()).clone(),
            };
            let rv = text(&scale, "/metadata/resourceVersion");
            if !rv.is_empty() {
                v["metadata"]["resourceVersion"] = json!(rv);
            }
            set(&mut v, &spec, json!(n));
            Ok(Proposal {
                value: v,
                tracked: forced.is_some() || unowned,
                patched: false,
            })
        })?;
        Ok(scale_of(r, &done.object))
    }

    /// An object whose replicas the caller applies: they are the caller's afterwards.
    fn apply_scale(&self, call: &Call, t: &Target<'_>, force: bool, old: &Value, n: i64) -> Result<Value, Status> {
        let r = t.resource;
        let mut applied = json!({"apiVersion": r.api_version, "kind": r.kind, "metadata": {"name": t.name}});
        if r.namespaced {
            applied["metadata"]["namespace"] = json!(t.namespace);
        }
        set(&mut applied, &paths(r).0, json!(n));
        let (schema, now) = (r.schema(), self.now());
        patch::apply(Some(old), &applied, &call.manager, &schema, force, "scale", &now, &[]).map_err(|e| match e {
            ApplyError::Conflicts(mut list) => {
                // All who own replicas own them of the scale (`ScaleHandler.ToSubresource`).
                for c in list.iter_mut().filter(|c| !c.api_version.is_empty()) {
                    "autoscaling/v1".clone_into(&mut c.api_version);
                }
                let cause = |c: &Conflict| Cause::new("FieldManagerConflict", ".spec.replicas", c.message());
                let causes = list.iter().map(cause).collect();
                Status::apply_conflict(ApplyError::Conflicts(list).to_string(), causes)
            }
            other => Status::bad_request(other.to_string()),
        })
    }
}

/// Sets what a JSON pointer points to, with the objects on the way there.
fn set(v: &mut Value, pointer: &str, to: Value) {
    let mut at = v;
    for part in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[part];
    }
    *at = to;
}
