//! Creating.

use std::sync::Arc;

use serde_json::{Value, json};

use super::identity::{same_name, same_namespace};
use super::meta::{drop_nulls, metadata, single_owners};
use super::policy::Review;
use super::server::{check_type, refuse};
use super::strategy::{first_status, keeps_status_on_create, reset_fields};
use super::{Call, FieldValidation, Resource, Server, text};
use crate::defaults;
use crate::patch;
use crate::schema::{self, FieldError};
use crate::status::{Cause, Status};
use crate::store::{Expect, Key, Object, StoreError};

/// Refuses a body of a resource's kind that its decoder cannot read.
pub(super) fn not_handled(r: &Resource, why: &str) -> Status {
    Status::not_handled(&r.kind, &r.version, &r.kind, why)
}

impl Server {
    /// Creates `value`; `name` is given when it stands elsewhere (a patch that creates).
    ///
    /// # Errors
    /// 409 when it is there, 404 or 403 for its namespace, 400 and 422 when it is wrong.
    pub fn create(
        &self,
        call: &mut Call,
        r: &Resource,
        ns: &str,
        name: Option<&str>,
        value: Value,
    ) -> Result<Arc<Object>, Status> {
        self.create_new(call, r, (ns, name), value, false)
    }

    /// As [`Server::create`]; with `applied` it is in `value` already who owns what of it.
    pub(super) fn create_new(
        &self,
        call: &mut Call,
        r: &Resource,
        (ns, name): (&str, Option<&str>),
        mut value: Value,
        applied: bool,
    ) -> Result<Arc<Object>, Status> {
        check_type(r, &mut value)?;
        self.fit_schema(call, r, &mut value)?;
        if r.is("", "limitranges") && name.is_none() {
            self.name_limit_range(call, &mut value);
        }
        let generate = identify(r, ns, name, &mut value)?;
        self.check_namespace(r, ns, &value)?;
        if call.validation.is_some() {
            call.warnings.extend(single_owners(&mut value, false));
        }
        {
            let m = metadata(&mut value);
            if !call.dry_run && m.get("resourceVersion").and_then(Value::as_str).is_some_and(is_version) {
                return Err(Status::new(
                    500,
                    "",
                    "resourceVersion should not be set on objects to be created",
                ));
            }
            for k in ["uid", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
                m.remove(k);
            }
            // The storage takes it out; a dry run does not get there.
            if !call.dry_run {
                m.remove("resourceVersion");
            }
            for k in ["finalizers", "ownerReferences", "labels", "annotations"] {
                let empty = |v: &Value| {
                    v.as_array().is_some_and(Vec::is_empty) || v.as_object().is_some_and(serde_json::Map::is_empty)
                };
                if m.get(k).is_some_and(empty) {
                    m.remove(k);
                }
            }
            let born = || (self.uid(), self.now());
            let (uid, now) = match &mut call.hooks {
                Some(h) => h.born(born),
                None => born(),
            };
            m.insert("uid".into(), json!(uid));
            m.insert("creationTimestamp".into(), json!(now));
            if r.has_generation() {
                m.insert("generation".into(), json!(1));
            }
        }
        if r.has_status() && !keeps_status_on_create(r) {
            value.as_object_mut().map(|m| m.remove("status"));
            if let Some(first) = first_status(r) {
                value["status"] = first;
            }
        }
        let Some(base) = generate else {
            return self.create_named(call, r, ns, value, applied, false);
        };
        // As often as Kubernetes 1.32 and later where a generated name is taken.
        for attempt in 0.. {
            let name = || self.generated_name(&base);
            let name = match &mut call.hooks {
                Some(h) => h.name(attempt, name),
                None => name(),
            };
            metadata(&mut value).insert("name".into(), json!(name));
            match self.create_named(call, r, ns, value.clone(), applied, true) {
                Err(s) if s.is_already_exists() && attempt < 8 => {}
                other => return other,
            }
        }
        unreachable!("the loop returns")
    }

    fn create_named(
        &self,
        call: &mut Call,
        r: &Resource,
        ns: &str,
        mut value: Value,
        applied: bool,
        generated: bool,
    ) -> Result<Arc<Object>, Status> {
        let name = text(&value, "/metadata/name").to_owned();
        let key = Key::new(if r.namespaced { ns } else { "" }, name.as_str());
        let _exclusive = self.exclusive_for(r, ns);
        if r.custom.is_none() {
            defaults::default_builtin(&r.group, &r.version, &r.kind, &mut value);
        }
        if r.custom.is_none() {
            super::convert::retell(&mut value);
        }
        // What admission adds is owned by nobody.
        if !applied {
            let (schema, now) = (r.schema(), self.now());
            track(call, r, &mut value, |seen| {
                patch::track_update(None, seen, &call.manager, "", &schema, &now, reset_fields(r, None));
            });
        }
        self.admit_create(call, r, ns, &mut value)?;
        if r.custom.is_none() {
            defaults::prepare_for_create(&r.group, &r.kind, &mut value, &self.settings.admission);
            // Some of what admission filled in brings defaults of its own.
            defaults::default_builtin(&r.group, &r.version, &r.kind, &mut value);
        }
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace: if r.namespaced { ns } else { "" },
            name: None,
            subresource: "",
            operation: "CREATE",
            old: None,
        };
        self.mutate(&review, &mut value)?;
        if call.hooks.is_some() && self.has_mutating_webhooks() {
            self.mutate_new(call, &review, &mut value, generated)?;
        }
        if call.validation.is_some() {
            call.warnings.extend(single_owners(&mut value, true));
        }
        self.check_escalation(call, r, ns, None, &value)?;
        self.check(r, (&name, None), None, &value, &mut call.warnings)?;
        if call.validation.is_some() && r.custom.is_none() {
            call.warnings
                .extend(defaults::warnings(&r.group, &r.kind, None, &value));
            schema::write_always(&r.api_version, &r.kind, &mut value);
        }
        self.check_pod_security(call, &review, &value)?;
        self.check_signer(&review, &value)?;
        self.check_policies(&review, Some(&value), &mut call.warnings)?;
        self.validate_by_webhooks(call, &review, Some(&value))?;
        let charges = self.check_quotas(r, ns, None, &value)?;
        let shown = r.is_converted_by_webhook().then(|| value.clone());
        let stored = self.to_stored(call, r, value)?;
        // That it is there is found out last, by the storage.
        let generated = !text(&stored, "/metadata/generateName").is_empty();
        if call.dry_run {
            if self.store.get(&r.storage, &key).is_some() {
                return Err(taken(r, &name, generated));
            }
            return Ok(r.present_written(&Arc::new(Object::new(stored, 0)), || shown.unwrap_or_default()));
        }
        let object = self
            .store
            .put(&r.storage, key, Expect::Absent, stored)
            .map_err(|e| match e {
                StoreError::Exists => taken(r, &name, generated),
                e => Status::internal(e),
            })?;
        self.written(r, None, Some(&object));
        self.charge(ns, &charges);
        Ok(r.present_written(&object, || shown.unwrap_or_default()))
    }

    /// Mutating webhooks see a new object before it gets its uid, time and generated name; what they leave out is
    /// filled in again.
    fn mutate_new(
        &self,
        call: &mut Call,
        review: &Review<'_>,
        value: &mut Value,
        generated: bool,
    ) -> Result<(), Status> {
        let r = review.resource;
        let own = ["uid", "creationTimestamp", "name"];
        let own = if generated { &own[..] } else { &own[..2] };
        let mut shown = value.clone();
        own.iter().for_each(|k| drop(metadata(&mut shown).remove(*k)));
        if !self.mutate_by_webhooks(call, review, Some(&mut shown))? {
            return Ok(());
        }
        for k in own.iter().chain(&["namespace"]) {
            if let Some(v) = value["metadata"].get(*k).cloned() {
                metadata(&mut shown).insert((*k).to_owned(), v);
            }
        }
        if let Some(name) = value["metadata"].get("name").cloned() {
            metadata(&mut shown).insert("name".into(), name);
        }
        *value = shown;
        self.after_webhooks(r, value);
        if r.is("", "pods") {
            // The plugins of this server are asked again, too: a container that was added gets the token.
            let ns = review.namespace;
            self.admit_new_pod(call, ns, value)?;
        }
        Ok(())
    }

    /// What a webhook changed gets defaults as what a client sends does.
    pub(super) fn after_webhooks(&self, r: &Resource, value: &mut Value) {
        if r.custom.is_some() {
            let schema = r.schema();
            schema::prune(&schema, value);
            schema::apply_defaults(&schema, value);
        } else {
            drop_nulls(value);
            defaults::default_builtin(&r.group, &r.version, &r.kind, value);
            defaults::prepare_for_create(&r.group, &r.kind, value, &self.settings.admission);
            defaults::default_builtin(&r.group, &r.version, &r.kind, value);
        }
    }

    /// Limit ranges without a name get one (`pkg/registry/core/limitrange`).
    fn name_limit_range(&self, call: &mut Call, value: &mut Value) {
        let m = metadata(value);
        let said = |k: &str| m.get(k).and_then(Value::as_str).is_some_and(|n| !n.is_empty());
        if !said("name") && !said("generateName") {
            let name = call.once("limit range", || self.uid());
            metadata(value).insert("name".into(), json!(name));
        }
    }

    /// 404 when the namespace is not there, 403 when it goes.
    fn check_namespace(&self, r: &Resource, ns: &str, value: &Value) -> Result<(), Status> {
        if !r.namespaced {
            return Ok(());
        }
        let namespaces = crate::local::Gvr::new("", "v1", "namespaces");
        let Some(n) = self.store.get(&namespaces, &Key::new("", ns)) else {
            return Err(Status::not_found("", "namespaces", ns));
        };
        if n.value()["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        // plugin/pkg/admission/namespace/lifecycle
        let why = format!("unable to create new content in namespace {ns} because it is being terminated");
        let mut s = Status::forbidden(&r.group, &r.plural, text(value, "/metadata/name"), &why);
        let cause = Cause::new(
            "NamespaceTerminating",
            "metadata.namespace",
            format!("namespace {ns} is being terminated"),
        );
        s.details.get_or_insert_default().causes.push(cause);
        Err(s)
    }

    /// Unknown fields out (with a warning or a refusal), types checked, a custom resource's defaults in.
    pub(crate) fn fit_schema(&self, call: &mut Call, r: &Resource, value: &mut Value) -> Result<(), Status> {
        self.fit(call, r, value).map_err(|why| not_handled(r, &why))
    }

    /// As [`Server::fit_schema`], or why it cannot.
    pub(super) fn fit(&self, call: &mut Call, r: &Resource, value: &mut Value) -> Result<(), String> {
        let twice = std::mem::take(&mut call.duplicates);
        // Custom resources' decoder meets what is twice first, and YAML is read before any.
        let first = r.custom.is_some() || twice.iter().any(|t| t.starts_with("yaml: "));
        match first {
            true => self.fit_by(call, r, value, schema::read, |unknown| [twice, unknown].concat()),
            false => self.fit_by(call, r, value, schema::read, |unknown| [unknown, twice].concat()),
        }
    }

    /// As [`Server::fit`], with a reader of built-in types; `strictly` makes the list of all that a strict decoder minds
    /// of the fields that are not known.
    pub(super) fn fit_by(
        &self,
        call: &mut Call,
        r: &Resource,
        value: &mut Value,
        read: fn(&str, &str, &mut Value) -> Result<(), String>,
        strictly: impl FnOnce(Vec<String>) -> Vec<String>,
    ) -> Result<(), String> {
        let schema = r.schema();
        if let Some(mode) = call.validation {
            let unknown = schema::unknown_fields(&schema, value);
            if r.custom.is_none() {
                read(&r.api_version, &r.kind, value)?;
            }
            let prunes = !unknown.is_empty() && r.custom.is_some();
            let minded = strictly(unknown);
            match mode {
                FieldValidation::Strict if !minded.is_empty() => {
                    return Err(format!("strict decoding error: {}", minded.join(", ")));
                }
                // What YAML's reader told at once is told line by line (`parseYAMLWarnings`).
                FieldValidation::Warn => call.warnings.extend(minded.iter().flat_map(|m| {
                    let lines = m.strip_prefix("yaml: unmarshal errors:\n").unwrap_or(m);
                    lines.lines().map(|l| l.trim().to_owned())
                })),
                _ => {}
            }
            if prunes {
                schema::prune(&schema, value);
            }
        } else if r.custom.is_some() {
            schema::prune(&schema, value);
        } else {
            drop_nulls(value);
        }
        if r.custom.is_some() {
            schema::apply_defaults(&schema, value);
        }
        Ok(())
    }

    /// Validation of the whole object.
    pub(super) fn check(
        &self,
        r: &Resource,
        (name, sub): (&str, Option<&str>),
        old: Option<&Value>,
        value: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        let rule = match r.custom {
            Some(_) => defaults::NameRule::Subdomain,
            None => defaults::name_rule(&r.group, &r.kind),
        };
        let mut errors = match old {
            // Labels that a job has only because its pods get them are not there yet when it is checked.
            None if r.is("batch", "jobs") && defaults::only_generated(&value["metadata"]["labels"]) => {
                let mut metadata = value["metadata"].clone();
                metadata["labels"] = Value::Null;
                defaults::validate_metadata(&metadata, r.namespaced, rule)
            }
            None => defaults::validate_metadata(&value["metadata"], r.namespaced, rule),
            Some(old) => defaults::validate_updated(
                (&r.group, &r.kind),
                r.namespaced,
                r.custom.is_some(),
                &value["metadata"],
                &old["metadata"],
            ),
        };
        if r.is("apiextensions.k8s.io", "customresourcedefinitions") {
            if old.is_none() {
                crate::crd::name_errors(value, &mut errors);
            }
            errors.extend(crate::crd::errors(value, old, sub == Some("status")));
        } else if r.custom.is_some() {
            let found = crate::crd::object::check(r, errors, value, old, sub == Some("status"));
            errors = found.errors;
            warnings.extend(found.warnings.iter().map(ToString::to_string));
        } else {
            let own = defaults::validate_builtin(&r.group, &r.kind, old, value);
            errors = in_order(r, old.is_none(), errors, own);
        }
        refuse(r, name, &errors)
    }
}

/// What is wrong with a built-in object: with its metadata first, where its kind's own validation looks at that. Where it
/// does not, `rest.BeforeCreate` does, once nothing else is wrong.
fn in_order(r: &Resource, new: bool, metadata: Vec<FieldError>, own: Vec<FieldError>) -> Vec<FieldError> {
    let (first, last) = match (&*r.group, &*r.kind) {
        ("", "Event") | ("policy", "PodDisruptionBudget") if new => (Vec::new(), metadata),
        // Any name will do for it.
        ("certificates.k8s.io", "CertificateSigningRequest") if new => {
            let named = |e: &FieldError| e.path == "metadata.name" && e.value.is_some();
            metadata.into_iter().partition(|e| !named(e))
        }
        // What it shares with its older form is looked at before.
        ("events.k8s.io", "Event") if new => {
            let (older, newer): (Vec<_>, Vec<_>) = own.into_iter().partition(|e| e.path.starts_with("involvedObject"));
            return [older, metadata, newer].concat();
        }
        _ => (metadata, Vec::new()),
    };
    match [first, own].concat() {
        errors if errors.is_empty() => last,
        errors => errors,
    }
}

/// 409 for a name that is taken; who asked for a generated one may try again (`rest.CheckGeneratedNameError`).
fn taken(r: &Resource, name: &str, generated: bool) -> Status {
    let mut status = Status::already_exists(&r.group, &r.plural, name);
    if generated {
        status.message += ", the server was not able to generate a unique name for the object";
        status.details.get_or_insert_default().retry_after_seconds = 1;
    }
    status
}

/// Whether etcd3's storage takes a text for the version of something: a number, not nought.
fn is_version(text: &str) -> bool {
    schema::parse_uint(text).is_ok_and(|n| n != 0)
}

/// Lets `with` write down who owns what of an object, as Go writes it: what it writes always is owned, too, and what it
/// leaves out is not.
pub(super) fn track(call: &Call, r: &Resource, value: &mut Value, with: impl FnOnce(&mut Value)) {
    if call.validation.is_none() || r.custom.is_some() {
        return with(value);
    }
    // Upstream gives up on who owns what of an object whose lists have elements without keys.
    if patch::has_keyless(&r.schema(), value) {
        metadata(value).remove("managedFields");
        return;
    }
    if schema::is_given(&r.api_version, &r.kind, value) {
        return with(value);
    }
    let mut seen = value.clone();
    // Lists of owners that are empty say something.
    let owners = patch::set_aside(&mut seen);
    schema::write_given(&r.api_version, &r.kind, &mut seen);
    if let Some(owners) = owners {
        metadata(&mut seen).insert("managedFields".into(), owners);
    }
    with(&mut seen);
    match seen["metadata"].as_object_mut().and_then(|m| m.remove("managedFields")) {
        Some(managed) => drop(metadata(value).insert("managedFields".into(), managed)),
        None => drop(metadata(value).remove("managedFields")),
    }
}

/// Namespace and name as the path has them; the base of the name when one is to be generated.
fn identify(r: &Resource, ns: &str, name: Option<&str>, value: &mut Value) -> Result<Option<String>, Status> {
    let m = metadata(value);
    let said =
        |k: &str, m: &serde_json::Map<String, Value>| m.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
    let of = said("namespace", m);
    if r.namespaced {
        same_namespace(&of, ns)?;
        m.insert("namespace".into(), json!(ns));
    } else {
        m.remove("namespace");
    }
    if let Some(n) = name {
        let own = said("name", m);
        if !own.is_empty() {
            same_name(&own, n)?;
        }
        m.insert("name".into(), json!(n));
    }
    if !said("name", m).is_empty() {
        return Ok(None);
    }
    let base = said("generateName", m);
    // Validation tells who has no name.
    Ok((!base.is_empty()).then_some(base))
}
