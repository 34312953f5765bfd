//! Server-side apply (`sigs.k8s.io/structured-merge-diff/v6/merge`, and the managers around it in
//! `k8s.io/apimachinery/pkg/util/managedfields/internal`).
//!
//! Left out: conversion of other managers' sets between versions (a set is read against the version at hand), and
//! adapting sets to schemas that changed between atomic and granular.

use super::compare;
use super::fieldset::FieldSet;
use super::managed::{self, Managed, Operation, Owned, Owner};
use super::path::{self, PathElement};
use super::typed;
use crate::registry::group_version;
use crate::schema::{SchemaRef, is_api_type, quote};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

/// Annotation in which `kubectl apply` keeps what it last applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Owner of what was there before anybody applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// A field that another manager owns and that the applied object would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The manager that owns the field.
    pub manager: String,
    /// Its operation: `Apply` or `Update`.
    pub operation: &'static str,
    /// Its apiVersion; empty for applies.
    pub api_version: String,
    /// Its subresource, empty for none.
    pub subresource: String,
    /// The field, as Kubernetes prints it: `.spec.replicas`.
    pub field: String,
}

impl Conflict {
    /// `metav1.StatusCause.message`; its reason is `FieldManagerConflict`, its field [`Conflict::field`].
    pub fn message(&self) -> String {
        format!("conflict with {}", self.owner())
    }

    fn owner(&self) -> String {
        let mut text = quote(&self.manager);
        if !self.subresource.is_empty() {
            let _ = write!(text, " with subresource {}", quote(&self.subresource));
        }
        if self.operation == "Update" {
            let _ = write!(text, " using {}", self.api_version);
        }
        text
    }
}

/// Why an apply failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Fields of others would change: HTTP 409, `force` overrules. Never empty.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// The applied object names its managedFields, or is of another version: HTTP 400.
    #[error("{0}")]
    BadRequest(String),
    /// The applied object does not fit the schema (unknown fields, elements twice), and what of it: HTTP 500 upstream.
    #[error("{0}")]
    NotTyped(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.owner(),
            only.field
        );
    }
    let mut by_owner: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for conflict in conflicts {
        by_owner.entry(conflict.owner()).or_default().push(&conflict.field);
    }
    let mut lines = Vec::new();
    for (owner, fields) in by_owner {
        lines.push(format!("conflicts with {owner}:"));
        lines.extend(fields.into_iter().map(|field| format!("- {field}")));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

/// Fields that are in no manager's set.
static NEVER_OWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_names(&[
        "apiVersion",
        "kind",
        "metadata",
        "metadata.name",
        "metadata.namespace",
        "metadata.creationTimestamp",
        "metadata.selfLink",
        "metadata.uid",
        "metadata.clusterName",
        "metadata.generation",
        "metadata.managedFields",
        "metadata.resourceVersion",
    ])
});

/// Server-side apply: the merged object with its `metadata.managedFields` brought up to date. The caller then
/// defaults, prunes and validates it as any other update.
///
/// `live` is the object as stored, in the version of `schema`, or `None` when it is to be created; `now` an RFC 3339
/// time in seconds; `reset_fields` are field paths (`.status`) that this endpoint may not own.
///
/// # Errors
/// See [`ApplyError`].
#[allow(clippy::too_many_arguments)]
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    schema: &SchemaRef,
    force: bool,
    subresource: &str,
    now: &str,
    reset_fields: &[&str],
) -> Result<Value, ApplyError> {
    let api_version = applied["apiVersion"].as_str().unwrap_or_default();
    // Who names no entries that could be read names none.
    if let Some(entries) = applied["metadata"]["managedFields"].as_array()
        && entries.iter().all(Value::is_object)
    {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    match typed::errors(schema, applied).as_slice() {
        [] => {}
        [only] => return Err(ApplyError::NotTyped(only.clone())),
        all => return Err(ApplyError::NotTyped(format!("errors:\n  {}", all.join("\n  ")))),
    }
    let empty = json!({"apiVersion": applied["apiVersion"], "kind": applied["kind"]});
    let request = Request {
        schema,
        applied,
        owner: Owner::new(manager, Operation::Apply, api_version, subresource),
        api_version,
        reset: FieldSet::of_names(reset_fields),
    };
    let mut current = live.cloned().unwrap_or_else(|| empty.clone());
    let mut managed = managed::decode(&current["metadata"]["managedFields"]).unwrap_or_default();
    managed::set_aside(&mut current);
    if managed.is_empty() {
        // What was there before anybody was asked belongs to somebody too.
        let reset = &request.reset;
        record_update(
            &empty,
            &current,
            &mut managed,
            BEFORE_FIRST_APPLY,
            api_version,
            "",
            schema,
            now,
            reset,
        );
    }
    let mut result = request.run(&current, managed.clone(), force);
    if let Err(conflicts) = &result
        && manager == "kubectl"
        && let Some(allowed) = last_applied_fields(schema, &current, api_version)
    {
        // kubectl taking over from its client-side apply may change what that applied last.
        let rest: Vec<_> = conflicts
            .iter()
            .filter(|(_, path)| !allowed.has(path))
            .cloned()
            .collect();
        result = if rest.is_empty() {
            request.run(&current, managed, true)
        } else {
            Err(rest)
        };
    }
    let (mut object, mut managed) = result.map_err(|conflicts| {
        ApplyError::Conflicts(
            conflicts
                .into_iter()
                .map(|(owner, path)| conflict(owner, &path))
                .collect(),
        )
    })?;
    if !path::same(&object, &current)
        && let Some(owned) = managed.get_mut(&request.owner)
    {
        owned.time = time_of(subresource, now);
    }
    if manager == "kubectl"
        && object["metadata"]["annotations"][LAST_APPLIED]
            .as_str()
            .is_some_and(|t| !t.is_empty())
    {
        let mut config = applied.clone();
        if let Some(annotations) = config
            .pointer_mut("/metadata/annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove(LAST_APPLIED);
        }
        object["metadata"]["annotations"][LAST_APPLIED] = format!("{config}\n").into();
    }
    managed::encode(&mut object, &managed);
    Ok(object)
}

fn conflict(owner: Owner, path: &[PathElement]) -> Conflict {
    let (operation, api_version) = match owner.operation {
        Operation::Apply => ("Apply", String::new()),
        Operation::Update => ("Update", owner.api_version().to_owned()),
    };
    Conflict {
        operation,
        api_version,
        field: path::display(path),
        manager: owner.manager,
        subresource: owner.subresource,
    }
}

/// Fields in conflict, with their owners.
type Conflicts = Vec<(Owner, Vec<PathElement>)>;

/// One apply.
struct Request<'a> {
    schema: &'a SchemaRef,
    applied: &'a Value,
    owner: Owner,
    api_version: &'a str,
    reset: FieldSet,
}

impl Request<'_> {
    /// Merges, removes what is no longer applied, and settles who owns what (Updater.Apply).
    fn run(&self, live: &Value, mut managed: Managed, force: bool) -> Result<(Value, Managed), Conflicts> {
        let merged = typed::merge(self.schema, live, self.applied);
        let last = managed.remove(&self.owner);
        let mut set = typed::field_set(self.schema, self.applied);
        set.subtract_whole(&self.reset);
        let time = last.as_ref().and_then(|owned| owned.time.clone());
        managed.insert(
            self.owner.clone(),
            Owned {
                set,
                api_version: self.api_version.to_owned(),
                time,
            },
        );
        let object = match last {
            Some(last) if !last.set.is_empty() => prune(self.schema, &merged, &managed, &last.set),
            _ => merged,
        };
        let comparison = compare::compare(self.schema, live, &object);
        let comparison = comparison.without(&self.reset);
        let mut changed = comparison.modified;
        changed.absorb(comparison.added);
        settle(
            &changed,
            &comparison.removed,
            &mut managed,
            &self.owner,
            (self.api_version, live["kind"].as_str().unwrap_or_default()),
            force,
        )?;
        if let Some(owned) = managed.get_mut(&self.owner) {
            owned.set.subtract(&NEVER_OWNED);
            if owned.set.is_empty() {
                managed.remove(&self.owner);
            }
        }
        Ok((object, managed))
    }
}

/// Removes from the merged object what this manager applied last time, does not apply now, and nobody else owns.
fn prune(schema: &SchemaRef, merged: &Value, managed: &Managed, last: &FieldSet) -> Value {
    let named = |set: &FieldSet| set.with_named_fields(schema);
    let pruned = typed::remove(schema, merged, &named(last));
    // Back comes what anybody owns (this manager's new set included) ...
    let owned = managed
        .values()
        .fold(FieldSet::default(), |all, owned| all.union(&owned.set));
    let merged_set = named(&typed::field_set(schema, merged));
    let pruned_set = named(&typed::field_set(schema, &pruned));
    let pruned = typed::remove(
        schema,
        merged,
        &merged_set.difference(&pruned_set.union(&named(&owned))),
    );
    // ... and what this manager did not apply last time.
    let pruned_set = named(&typed::field_set(schema, &pruned));
    typed::remove(
        schema,
        merged,
        &merged_set.difference(&pruned_set).intersection(&named(last)),
    )
}

/// Whether what somebody owns of one version can be told of an object of another: there is such a version, and they are
/// of one group. Events are in two.
fn convertible(owned: &str, of: &str, kind: &str) -> bool {
    fn group(version: &str) -> &str {
        match group_version(version).0 {
            "events.k8s.io" => "",
            group => group,
        }
    }
    owned == of || group(owned) == group(of) && (!is_api_type(of, kind) || is_api_type(owned, kind))
}

/// Takes changed fields from the other owners, or tells the conflicts unless `force` (Updater.update). Who owns fields of
/// versions that there are not owns nothing.
fn settle(
    changed: &FieldSet,
    removed: &FieldSet,
    managed: &mut Managed,
    owner: &Owner,
    (api_version, kind): (&str, &str),
    force: bool,
) -> Result<(), Conflicts> {
    managed.retain(|other, owned| other == owner || convertible(&owned.api_version, api_version, kind));
    let others = || managed.iter().filter(|(other, _)| *other != owner);
    if !force {
        let conflicts: Conflicts = others()
            .flat_map(|(other, owned)| {
                owned
                    .set
                    .intersection(changed)
                    .paths()
                    .into_iter()
                    .map(|path| (other.clone(), path))
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    for (other, owned) in managed.iter_mut() {
        if other != owner {
            owned.set.subtract(changed);
            owned.set.subtract(removed);
        }
    }
    managed.retain(|_, owned| !owned.set.is_empty());
    Ok(())
}

/// Fields in which the object still is as `kubectl apply` last applied it.
fn last_applied_fields(schema: &SchemaRef, live: &Value, api_version: &str) -> Option<FieldSet> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != api_version {
        return None;
    }
    let comparison = compare::compare(schema, &last, live);
    let set = typed::field_set(schema, &last);
    Some(
        set.difference(&comparison.modified)
            .difference(&comparison.added)
            .difference(&comparison.removed),
    )
}

/// Brings `new.metadata.managedFields` up to date after a create (`old` is `None`), update or patch that is not an
/// apply, as `manager`'s `Update` at `now` (RFC 3339, seconds).
///
/// `new` is the object as it will be stored (defaulted, pruned); its apiVersion is that of the request.
/// `reset_fields` are field paths (`.status`) that this endpoint may not own.
pub fn track_update(
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    subresource: &str,
    schema: &SchemaRef,
    now: &str,
    reset_fields: &[&str],
) {
    let api_version = new["apiVersion"].as_str().unwrap_or_default().to_owned();
    // What an object of this kind has always is nobody's.
    let live = match old {
        Some(old) => Cow::Borrowed(old),
        None => crate::schema::nothing(&api_version, new["kind"].as_str().unwrap_or_default()),
    };
    let live = &*live;
    let mut managed = managed::from_live_or_new(live, new, subresource);
    managed::set_aside(new);
    // Objects that are not tracked stay so until somebody applies.
    if !managed.is_empty() || old.is_none() {
        let reset = FieldSet::of_names(reset_fields);
        record_update(
            live,
            new,
            &mut managed,
            manager,
            &api_version,
            subresource,
            schema,
            now,
            &reset,
        );
    }
    managed::encode(new, &managed);
}

/// Takes from who owns fields in another version what a change changed there: `live` became `new`, both in `api_version`.
/// Their owners are told in `object` (Updater.update compares in each owner's version).
pub fn release(object: &mut Value, live: &Value, new: &Value, api_version: &str, schema: &SchemaRef) {
    let mut managed = managed::decode(&object["metadata"]["managedFields"]).unwrap_or_default();
    let comparison = compare::compare(schema, live, new);
    for owned in managed.values_mut().filter(|owned| owned.api_version == api_version) {
        for changed in [&comparison.modified, &comparison.added, &comparison.removed] {
            owned.set.subtract(changed);
        }
    }
    managed.retain(|_, owned| !owned.set.is_empty());
    managed::encode(object, &managed);
}

/// When fields became somebody's: those of scale are told as the object's without a time
/// (`fieldmanager.ScaleHandler.ToParent`).
fn time_of(subresource: &str, now: &str) -> Option<String> {
    (subresource != "scale").then(|| now.to_owned())
}

/// Records that `manager` made `live` into `new`.
#[allow(clippy::too_many_arguments)]
fn record_update(
    live: &Value,
    new: &Value,
    managed: &mut Managed,
    manager: &str,
    api_version: &str,
    subresource: &str,
    schema: &SchemaRef,
    now: &str,
    reset: &FieldSet,
) {
    let owner = Owner::new(manager, Operation::Update, api_version, subresource);
    // That `live` may have managedFields, and `new` has none, is of no account: nobody owns them.
    let comparison = compare::compare(schema, live, new).without(reset);
    let mut own = comparison.modified;
    own.absorb(comparison.added);
    // Everybody loses what changed, this manager's own earlier set included: it gets the fields back just below.
    let nobody = Owner::new("current-operation", Operation::Apply, "", "");
    let kind = new["kind"].as_str().unwrap_or_default();
    let settled = settle(&own, &comparison.removed, managed, &nobody, (api_version, kind), true);
    debug_assert!(settled.is_ok(), "forced updates have no conflicts");
    own.subtract(&NEVER_OWNED);
    if !own.is_empty() {
        if let Some(previous) = managed.remove(&owner) {
            own.absorb(previous.set);
        }
        let owned = Owned {
            set: own,
            api_version: api_version.to_owned(),
            time: time_of(subresource, now),
        };
        managed.insert(owner, owned);
    }
    managed::cap(managed);
}
