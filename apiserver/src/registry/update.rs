//! Replacing, and what every change of an object that exists goes through.

use std::sync::Arc;

use serde_json::{Value, json};

use super::convert::{convert, differs};
use super::create::track;
use super::identity::{nameless, same_name, same_namespace};
use super::kept::{forget_empty, gone, keep_metadata, same_but_for_times};
use super::meta::{metadata, same_spec, single_owners};
use super::policy::Review;
use super::quota::Charges;
use super::server::{check_type, refuse};
use super::strategy::{
    count_template, counts_what_is_sent, generation, keep_beside, may_be_unconditional, may_create_by_update,
    reset_fields, storage_prefix,
};
use super::{Call, Custom, Resource, Server, text};
use crate::defaults;
use crate::patch;
use crate::schema;
use crate::status::{Cause, Status};
use crate::store::{Expect, Key, Object, StoreError};

/// What a write is about.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Resource in the version asked for.
    pub resource: &'a Resource,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// Subresource.
    pub subresource: Option<&'a str>,
}

/// What a write did.
#[derive(Debug, Clone)]
pub struct Written {
    /// The object after it.
    pub object: Arc<Object>,
    /// Whether it is new.
    pub created: bool,
}

/// A new state that a change proposes.
pub(super) struct Proposal {
    pub value: Value,
    /// Ownership of fields is in it already (an apply).
    pub tracked: bool,
    /// A patch made it: the uid that it names is no precondition, and another one is for validation to refuse.
    pub patched: bool,
}

/// How often a change that names no resourceVersion is tried on newer states before it is a conflict
/// (`patch.go`: maxRetryWhenPatchConflicts).
const RETRIES: u32 = 5;

/// Proposes a new state of an object.
type Change<'a> = dyn FnMut(&mut Call, &Arc<Object>) -> Result<Proposal, Status> + 'a;

impl Server {
    /// Replaces an object (or what a subresource shows of it).
    ///
    /// # Errors
    /// 404, 409 when `value` has another resourceVersion or uid, 422.
    pub fn update(&self, call: &mut Call, t: &Target<'_>, mut value: Value) -> Result<Written, Status> {
        let r = t.resource;
        if r.custom.is_none() {
            check_type(r, &mut value)?;
            self.fit_schema(call, r, &mut value)?;
        }
        {
            let m = metadata(&mut value);
            let name = m.get("name").and_then(Value::as_str).unwrap_or_default();
            match name {
                "" if call.validation.is_some() => return Err(nameless(t.name)),
                "" => drop(m.insert("name".into(), json!(t.name))),
                name => same_name(name, t.name)?,
            }
            if r.namespaced {
                same_namespace(
                    m.get("namespace").and_then(Value::as_str).unwrap_or_default(),
                    t.namespace,
                )?;
                m.insert("namespace".into(), json!(t.namespace));
            }
        }
        if r.custom.is_some() {
            check_type(r, &mut value)?;
            self.fit_schema(call, r, &mut value)?;
        }
        if call.validation.is_some() {
            call.warnings.extend(single_owners(&mut value, false));
        }
        let asked = text(&value, "/metadata/resourceVersion").to_owned();
        if t.subresource.is_none()
            && asked.is_empty()
            && may_create_by_update(r)
            && self.stored(r, t.namespace, t.name).is_err()
        {
            let object = self.create(call, r, t.namespace, Some(t.name), value)?;
            return Ok(Written { object, created: true });
        }
        let named = !matches!(asked.as_str(), "" | "0");
        let once = named;
        self.modify(call, t, once, &mut |_, _| {
            Ok(Proposal {
                value: value.clone(),
                tracked: false,
                patched: false,
            })
        })
    }

    /// Reads, lets `change` propose a new state (in the version asked for), checks and writes it; again on newer
    /// states unless `once`.
    pub(super) fn modify(
        &self,
        call: &mut Call,
        t: &Target<'_>,
        once: bool,
        change: &mut Change<'_>,
    ) -> Result<Written, Status> {
        let r = t.resource;
        let _exclusive = self.exclusive_for(r, t.namespace);
        for _ in 0..=RETRIES {
            let stored = self.stored(r, t.namespace, t.name)?;
            let old = r.present(&stored)?;
            let p = change(call, &old)?;
            let proposed = text(&p.value, "/metadata/resourceVersion");
            // Nought is as good as none.
            let asked = match proposed {
                "" => 0,
                text => schema::parse_uint(text).map_err(not_a_number)?,
            };
            let version: u64 = text(&old.value(), "/metadata/resourceVersion")
                .parse()
                .unwrap_or_default();
            if asked != 0 && asked != version {
                return Err(Status::stale(&r.group, &r.plural, t.name));
            }
            let uid = text(&p.value, "/metadata/uid");
            if !p.patched && !uid.is_empty() && uid != text(&old.value(), "/metadata/uid") {
                // What etcd3's storage says, keys and all.
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    storage_key(call, r, t),
                    text(&old.value(), "/metadata/uid")
                );
                return Err(Status::conflict(&r.group, &r.plural, t.name, &why));
            }
            let must = r.custom.is_some() || call.validation.is_some() && !may_be_unconditional(r);
            if must && asked == 0 && !p.tracked {
                let cause = Cause::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
                return Err(Status::invalid(&r.group, &r.plural, t.name, vec![cause]));
            }
            let new = self.settle(call, t, &old.value(), p)?;
            if new == *old.value() {
                return Ok(Written {
                    object: old,
                    created: false,
                });
            }
            let charges = match t.subresource.is_none_or(|s| s == "resize") {
                true => self.check_quotas(r, t.namespace, Some(&old.value()), &new)?,
                false => Charges::new(),
            };
            let key = Key::new(if r.namespaced { t.namespace } else { "" }, t.name);
            let goes = gone(&new);
            let shown = if r.is_converted_by_webhook() {
                new.clone()
            } else {
                Value::Null
            };
            let new = self.to_stored(call, r, new)?;
            if call.dry_run {
                return Ok(Written {
                    object: r.present_written(&Arc::new(Object::new(new, stored.revision)), || shown),
                    created: false,
                });
            }
            let done = if goes {
                self.store.remove(&r.storage, &key, stored.revision, new)
            } else {
                self.store.put(&r.storage, key, Expect::Revision(stored.revision), new)
            };
            match done {
                Ok(object) => {
                    self.written(r, Some(&old), (!goes).then_some(&object));
                    self.charge(t.namespace, &charges);
                    return Ok(Written {
                        object: r.present_written(&object, || shown),
                        created: false,
                    });
                }
                Err(StoreError::Changed | StoreError::Absent) if !once => {}
                Err(StoreError::Absent) => return Err(Status::not_found(&r.group, &r.plural, t.name)),
                Err(_) => return Err(Status::stale(&r.group, &r.plural, t.name)),
            }
        }
        Err(Status::stale(&r.group, &r.plural, t.name))
    }

    /// Takes from who owns fields in other versions what changed there, where versions differ in more than their name.
    fn release_elsewhere(&self, t: &Target<'_>, new: &mut Value) {
        let r = t.resource;
        if r.custom.is_some() || !differs(&r.kind) || patch::is_of_one_version(new, &r.api_version) {
            return;
        }
        let Ok(stored) = self.stored(r, t.namespace, t.name) else {
            return;
        };
        // As upstream's managers get them: both by way of the version asked for.
        let Ok(live) = r.present(&stored) else { return };
        let others = self.catalog.all().into_iter();
        for other in others.filter(|o| o.storage == r.storage && o.api_version != r.api_version) {
            let was = convert((*live.value()).clone(), &other.api_version, false);
            let is = convert(new.clone(), &other.api_version, false);
            patch::release(new, &was, &is, &other.api_version, &other.schema());
        }
    }

    /// Who owns fields in another version of a definition is compared in that version. What is not declared there cannot be,
    /// and then upstream forgets all owners (`FieldManager.UpdateNoErrors`). What a webhook would make of it is not asked.
    fn forget_unknown(&self, r: &Resource, old: &Value, new: &mut Value) {
        let compares = |c: &Arc<Custom>| c.has_other_versions && c.conversion.is_none();
        if !r.custom.as_ref().is_some_and(compares) {
            return;
        }
        let cannot_tell = patch::versions_of_owners(new).into_iter().any(|api_version| {
            let version = super::group_version(&api_version).1;
            let other = self.catalog.find(&r.group, version, &r.plural);
            let other = other.filter(|o| api_version != r.api_version && o.api_version == api_version);
            other.is_some_and(|o| [old, &*new].iter().any(|v| !patch::is_declared(&o.schema(), v)))
        });
        if cannot_tell {
            patch::set_aside(new);
        }
    }

    /// The new state as it may be written: what this endpoint cannot change is as it was, defaults are in, it is valid.
    fn settle(&self, call: &mut Call, t: &Target<'_>, old: &Value, p: Proposal) -> Result<Value, Status> {
        let r = t.resource;
        let mut new = p.value;
        let going = |v: &Value| !v["metadata"]["deletionTimestamp"].is_null();
        let ends = call.validation.is_some() && going(&new) && !going(old);
        let time = new["metadata"]["deletionTimestamp"].clone();
        let uid = text(&new, "/metadata/uid");
        let other = (p.patched && !uid.is_empty() && uid != text(old, "/metadata/uid")).then(|| json!(uid));
        keep_metadata(old, &mut new, p.tracked);
        // Validation refuses them.
        if ends {
            metadata(&mut new).insert("deletionTimestamp".into(), time);
        }
        if let Some(uid) = other {
            metadata(&mut new).insert("uid".into(), uid);
        }
        // The storage takes it out; a dry run does not get there.
        if !call.dry_run {
            metadata(&mut new).remove("selfLink");
        }
        keep_beside(r, t.subresource, call.validation.is_none(), old, &mut new);
        if r.custom.is_none() {
            forget_empty(r, &mut new);
        }
        if call.validation.is_some() && t.subresource == Some("status") {
            defaults::read_status(&r.group, &r.kind, &mut new);
        }
        if r.is("apps", "daemonsets") {
            // Who does not send the count says that it is nought, as far as it is known who owns what.
            let all = metadata(&mut new).entry("annotations").or_insert_with(|| json!({}));
            if all[defaults::TEMPLATE_GENERATION].is_null() {
                all[defaults::TEMPLATE_GENERATION] = json!("0");
            }
        }
        if r.custom.is_none() {
            defaults::default_builtin(&r.group, &r.version, &r.kind, &mut new);
        } else if p.tracked {
            schema::apply_defaults(&r.schema(), &mut new);
        }
        if r.custom.is_none() {
            super::convert::retell(&mut new);
        }
        if !p.tracked {
            let (own, now) = (r.schema(), self.now());
            let sub = t.subresource.unwrap_or_default();
            track(call, r, &mut new, |seen| {
                let reset = reset_fields(r, t.subresource);
                patch::track_update(Some(old), seen, &call.manager, sub, &own, &now, reset);
                self.release_elsewhere(t, seen);
                self.forget_unknown(r, old, seen);
            });
        }
        let client = call.validation.is_some() && t.subresource.is_none();
        if r.is("apps", "daemonsets") {
            count_template(r, client, old, &mut new);
        }
        if call.validation.is_some() && t.subresource == Some("status") {
            defaults::prepare_status(&r.group, &r.kind, old, &mut new);
        }
        let sent = counts_what_is_sent(r) && !same_spec(old, &new, false, true);
        self.admit_update(call, r, t.subresource, old, &mut new)?;
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace: if r.namespaced { t.namespace } else { "" },
            name: None,
            subresource: t.subresource.unwrap_or_default(),
            operation: "UPDATE",
            old: Some(old),
        };
        // The cluster's own parts write objects that were admitted when they were made.
        if call.validation.is_some() {
            self.mutate(&review, &mut new)?;
        }
        // Binding and scale are asked about as what they are, not as the object they change.
        let whole = !matches!(t.subresource, Some("binding" | "scale"));
        if whole && self.mutate_by_webhooks(call, &review, Some(&mut new))? {
            keep_metadata(old, &mut new, false);
            if r.custom.is_some() {
                schema::prune(&r.schema(), &mut new);
                schema::apply_defaults(&r.schema(), &mut new);
            } else {
                defaults::default_builtin(&r.group, &r.version, &r.kind, &mut new);
            }
        }
        if client {
            call.warnings.extend(single_owners(&mut new, true));
            self.check_escalation(call, r, t.namespace, Some(old), &new)?;
        }
        if let Some(generation) = generation(r, t.subresource, client, sent, old, &new) {
            metadata(&mut new).insert("generation".into(), json!(generation));
        }
        let warns = client && r.custom.is_none();
        if same_but_for_times(old, &new) {
            if warns {
                call.warnings
                    .extend(defaults::warnings(&r.group, &r.kind, Some(old), &new));
            }
            // What was allowed once may not be any more, whatever is written.
            if client && r.custom.is_some() {
                self.check(r, (t.name, t.subresource), Some(old), &new, &mut call.warnings)?;
            }
            return Ok(old.clone());
        }
        // A custom resource's scale is checked with all of its object.
        if t.subresource
            .is_none_or(|s| s == "status" || s == "scale" && r.custom.is_some())
        {
            let status = t.subresource == Some("status") && r.custom.is_none();
            if !status {
                self.check(r, (t.name, t.subresource), Some(old), &new, &mut call.warnings)?;
            }
        }
        if call.validation.is_some() && r.custom.is_none() {
            if warns {
                call.warnings
                    .extend(defaults::warnings(&r.group, &r.kind, Some(old), &new));
            }
            schema::write_always(&r.api_version, &r.kind, &mut new);
        }
        if r.is("", "persistentvolumeclaims") && t.subresource.is_none() {
            self.check_growth(old, &new)?;
        }
        // The cluster's own parts write what they counted.
        if let Some(sub) = t
            .subresource
            .filter(|_| r.custom.is_none() && call.validation.is_some())
        {
            let of = (&*r.group, &*r.kind);
            let (meta, was) = (&new["metadata"], &old["metadata"]);
            let mut errors = match whole {
                true => defaults::validate_updated(of, r.namespaced, false, meta, was),
                false => Vec::new(),
            };
            errors.extend(defaults::validate_subresource(of, sub, old, &new));
            if r.is("apiextensions.k8s.io", "customresourcedefinitions") {
                errors.extend(crate::crd::errors(&new, Some(old), true));
            }
            refuse(r, t.name, &errors)?;
        }
        if call.validation.is_some() {
            self.check_pod_security(call, &review, &new)?;
            self.check_signer(&review, &new)?;
            if r.is("", "pods") && t.subresource == Some("ephemeralcontainers") {
                self.check_ephemeral_secrets(t.namespace, &new)?;
            }
            self.check_policies(&review, Some(&new), &mut call.warnings)?;
        }
        if whole {
            self.validate_by_webhooks(call, &review, Some(&new))?;
        }
        if r.is("", "pods") && t.subresource == Some("resize") {
            self.check_room(old, &new)?;
        }
        Ok(new)
    }
}

/// What Go says of a resourceVersion that is no number.
pub(super) fn not_a_number(why: String) -> Status {
    Status::new(500, "", why)
}

/// Where kube-apiserver keeps an object in etcd; a dry run asks above where the prefix is put before it.
fn storage_key(call: &Call, r: &Resource, t: &Target<'_>) -> String {
    // A dry run, and the server of definitions, tell of their keys without the prefix.
    let root = if call.dry_run || r.group == "apiextensions.k8s.io" {
        ""
    } else {
        "/registry"
    };
    let prefix = storage_prefix(r);
    match t.namespace {
        ns if r.namespaced => format!("{root}/{prefix}/{ns}/{}", t.name),
        _ => format!("{root}/{prefix}/{}", t.name),
    }
}
