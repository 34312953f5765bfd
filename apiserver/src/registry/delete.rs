//! Deleting: grace, finalizers, propagation, preconditions
//! (`apiserver/pkg/registry/generic/registry/store.go`, `rest/delete.go`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::kept::gone;
use super::meta::{finalizers, metadata, rfc3339, set_finalizers};
use super::policy::Review;
use super::{Call, ListOptions, Resource, Server, text};
use crate::schema::quote;
use crate::status::Status;
use crate::store::{Expect, Key, Object, StoreError};

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They are let go.
    Orphan,
    /// They go afterwards.
    Background,
    /// They go first.
    Foreground,
}

/// `metav1.DeleteOptions`.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds the object has to end; `None`: its own.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of dependents; `None`: the kind's default.
    pub propagation: Option<Propagation>,
    /// The uid it must have.
    pub uid: Option<String>,
    /// The resourceVersion it must have.
    pub resource_version: Option<String>,
    /// Whether it says the old way that dependents go, too: what is not gone at once is accepted only.
    pub lets_go: bool,
}

impl DeleteOptions {
    /// From what a request says, and what else is wrong with it (`ValidateDeleteOptions`).
    ///
    /// # Errors
    /// 422 for a policy that does not exist.
    pub fn from_body(v: &Value, wrong: Option<crate::status::Cause>) -> Result<Self, Status> {
        use crate::status::Cause;
        let mut causes = Vec::new();
        let orphans = v["orphanDependents"].as_bool();
        let policy = v["propagationPolicy"].as_str();
        if let (Some(policy), true) = (policy, orphans.is_some()) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", &policy.into(), detail));
        }
        let propagation = match policy {
            None => orphans.map(|o| match o {
                true => Propagation::Orphan,
                false => Propagation::Background,
            }),
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let text = format!(
                    "Unsupported value: {}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
                    quote(other)
                );
                causes.push(Cause::new("FieldValueNotSupported", "propagationPolicy", text));
                None
            }
        };
        causes.extend(wrong);
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        // Empty ones are asked for, too.
        let said = |p: &str| v.pointer(p).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            grace_period_seconds: v["gracePeriodSeconds"].as_i64(),
            propagation,
            uid: said("/preconditions/uid"),
            resource_version: said("/preconditions/resourceVersion"),
            lets_go: orphans == Some(false),
        })
    }
}

/// What a delete did.
#[derive(Debug, Clone)]
pub struct Deleted {
    /// The object's last, or current, state.
    pub object: Arc<Object>,
    /// Whether it is gone now.
    pub now: bool,
}

impl Server {
    /// Deletes an object, or marks it when something holds it.
    ///
    /// # Errors
    /// 404, 409 when a precondition does not hold.
    pub fn delete(
        &self,
        call: &mut Call,
        r: &Resource,
        ns: &str,
        name: &str,
        o: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        // Also of one that there is not.
        warn_of_orphans(call, r, o);
        // An address is not given out for a service that goes meanwhile.
        let _exclusive = self.exclusive_for(r, "").filter(|_| r.is("", "services"));
        loop {
            let stored = self.stored(r, ns, name)?;
            preconditions(r, name, &stored.value(), o)?;
            self.admit_delete(r, name)?;
            let shown = r.present(&stored)?;
            self.review_delete(call, r, ns, &shown)?;
            let (new, goes) = mark(r, &stored.value(), o, self.clock.now());
            if call.dry_run {
                let object = match new == *stored.value() {
                    true => shown,
                    false => r.present(&Arc::new(Object::new(new, stored.revision)))?,
                };
                return Ok(Deleted { object, now: goes });
            }
            let key = Key::new(if r.namespaced { ns } else { "" }, name);
            let done = if goes {
                self.store.remove(&r.storage, &key, stored.revision, new)
            } else if new == *stored.value() {
                return Ok(Deleted {
                    object: shown,
                    now: false,
                });
            } else {
                self.store.put(&r.storage, key, Expect::Revision(stored.revision), new)
            };
            match done {
                Ok(object) => {
                    self.written(r, Some(&shown), (!goes).then_some(&object));
                    return Ok(Deleted {
                        object: r.present_written(&object, || (*shown.value()).clone()),
                        now: goes,
                    });
                }
                Err(StoreError::Absent) => return Err(Status::not_found(&r.group, &r.plural, name)),
                Err(_) => {}
            }
        }
    }

    /// Policies and webhooks that are about deleting.
    fn review_delete(&self, call: &mut Call, r: &Resource, ns: &str, old: &Arc<Object>) -> Result<(), Status> {
        // The cluster's own parts are let through by policies, as with their other writes.
        if call.validation.is_none() && call.hooks.is_none() {
            return Ok(());
        }
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace: if r.namespaced { ns } else { "" },
            name: None,
            subresource: "",
            operation: "DELETE",
            old: Some(&old.value()),
        };
        self.mutate_by_webhooks(call, &review, None)?;
        if call.validation.is_some() {
            self.check_policies(&review, None, &mut call.warnings)?;
        }
        self.validate_by_webhooks(call, &review, None)
    }

    /// Deletes everything a list finds; answers what it found.
    ///
    /// # Errors
    /// The first refusal that is not 404.
    pub fn delete_collection(
        &self,
        call: &mut Call,
        r: &Resource,
        ns: Option<&str>,
        which: &ListOptions,
        o: &DeleteOptions,
    ) -> Result<super::List, Status> {
        let list = self.list(r, ns, which)?;
        for object in &list.objects {
            match self.delete(call, r, object.namespace(), object.name(), o) {
                Err(s) if !s.is_not_found() => return Err(s),
                _ => {}
            }
        }
        Ok(list)
    }
}

/// Jobs are the kind whose pods stay unless somebody says otherwise (`pkg/registry/batch/job/storage`).
pub(crate) fn warn_of_orphans(call: &mut Call, r: &Resource, o: &DeleteOptions) {
    let text = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set \
                propagationPolicy=Orphan to suppress this warning";
    if r.is("batch", "jobs") && o.propagation.is_none() && !call.warnings.iter().any(|w| w == text) {
        call.warnings.push(text.to_owned());
    }
}

fn preconditions(r: &Resource, name: &str, v: &Value, o: &DeleteOptions) -> Result<(), Status> {
    let (uid, rv) = (text(v, "/metadata/uid"), text(v, "/metadata/resourceVersion"));
    let differs = |what: &str, want: &str, have: &str, then: &str| {
        let why = format!(
            "the {what} in the precondition ({want}) does not match the {what} in record ({have}). The object might have been {then}"
        );
        Err(Status::conflict(&r.group, &r.kind, name, &why))
    };
    if let Some(want) = o.uid.as_deref().filter(|u| *u != uid) {
        return differs("UID", want, uid, "deleted and then recreated");
    }
    if let Some(want) = o.resource_version.as_deref().filter(|v| *v != rv) {
        return differs("ResourceVersion", want, rv, "modified");
    }
    Ok(())
}

/// Seconds a pod has to end (`podStrategy.CheckGracefulDelete`); 0 for what ends at once.
fn grace(r: &Resource, v: &Value, o: &DeleteOptions) -> i64 {
    if !r.is("", "pods") {
        return 0;
    }
    let ended = matches!(text(v, "/status/phase"), "Succeeded" | "Failed");
    if text(v, "/spec/nodeName").is_empty() || ended {
        return 0;
    }
    // A negative period counts as one second.
    let g = o
        .grace_period_seconds
        .or(v["spec"]["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(30);
    if g < 0 { 1 } else { g }
}

/// The object as the delete leaves it, and whether it goes at once.
fn mark(r: &Resource, old: &Value, o: &DeleteOptions, now: jiff::Timestamp) -> (Value, bool) {
    let mut v = old.clone();
    let (add, remove): (&[&str], &[&str]) = match o.propagation.or_else(|| default_propagation(r)) {
        Some(Propagation::Orphan) => (&["orphan"], &["foregroundDeletion"]),
        Some(Propagation::Foreground) => (&["foregroundDeletion"], &["orphan"]),
        Some(Propagation::Background) => (&[], &["orphan", "foregroundDeletion"]),
        None => (&[], &[]),
    };
    let mut list = finalizers(&v);
    list.retain(|f| !remove.contains(&f.as_str()));
    for f in add {
        if !list.iter().any(|x| x == f) {
            list.push((*f).to_owned());
        }
    }
    set_finalizers(&mut v, &list);
    let g = grace(r, old, o);
    let already = old["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let marked = !old["metadata"]["deletionTimestamp"].is_null();
    // Grace can only get shorter.
    let g = if marked { already.unwrap_or(0).min(g) } else { g };
    if marked && already == Some(g) && g > 0 {
        return (v, false);
    }
    // Namespaces and definitions are marked by deletes of their own, which know no grace.
    let plain = r.is("", "namespaces") || r.is("apiextensions.k8s.io", "customresourcedefinitions");
    if !marked || already != Some(g) && !plain {
        let m = metadata(&mut v);
        let start = if marked {
            let at: Option<jiff::Timestamp> = text(old, "/metadata/deletionTimestamp").parse().ok();
            let back = jiff::SignedDuration::from_secs(already.unwrap_or(0));
            at.and_then(|t| t.checked_sub(back).ok()).unwrap_or(now)
        } else {
            now
        };
        m.insert(
            "deletionTimestamp".into(),
            json!(rfc3339(
                start
                    .checked_add(jiff::SignedDuration::from_secs(g))
                    .unwrap_or(jiff::Timestamp::MAX)
            )),
        );
        if !plain {
            m.insert("deletionGracePeriodSeconds".into(), json!(g));
        }
        if let Some(n) = m
            .get("generation")
            .and_then(Value::as_i64)
            .filter(|n| *n > 0 && !marked && !plain)
        {
            m.insert("generation".into(), json!(n + 1));
        }
        if r.is("", "namespaces") {
            v["status"]["phase"] = json!("Terminating");
        }
        if r.is("apiextensions.k8s.io", "customresourcedefinitions") && !marked {
            crate::crd::mark(&mut v, &rfc3339(now));
        }
    }
    let goes = gone(&v);
    if goes && !marked && !r.is("", "pods") {
        // What nothing holds goes as it was: it is never marked.
        return (old.clone(), true);
    }
    (v, goes)
}

/// `DefaultGarbageCollectionPolicy` of the kinds that have one.
fn default_propagation(r: &Resource) -> Option<Propagation> {
    (r.is("", "replicationcontrollers") || r.is("batch", "jobs")).then_some(Propagation::Orphan)
}

/// Kinds whose delete answers with the object (`ReturnDeletedObject`).
pub(crate) fn answers_with_object(r: &Resource) -> bool {
    let storage = [
        "storageclasses",
        "csidrivers",
        "csinodes",
        "volumeattachments",
        "volumeattributesclasses",
    ];
    if r.custom.is_none() && r.group == "storage.k8s.io" && storage.contains(&&*r.plural) {
        return true;
    }
    let resource = [
        "deviceclasses",
        "resourceclaims",
        "resourceclaimtemplates",
        "resourceslices",
    ];
    if r.custom.is_none() && r.group == "resource.k8s.io" && resource.contains(&&*r.plural) {
        return true;
    }
    r.custom.is_none()
        && r.group.is_empty()
        && matches!(
            &*r.plural,
            "pods"
                | "services"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "serviceaccounts"
                | "podtemplates"
                | "resourcequotas"
        )
}
