//! Carrying out Works: what the hub wrote into the cluster's execution namespace is applied in the member, kept so,
//! reported, and taken away when the Work goes (Karmada's execution and work-status controllers).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::work::{APPLIED, ManifestStatus, ResourceIdentifier, Work, WorkStatus};
use cfn_api::names;
use futures::stream::{FuturesUnordered, SelectAll};
use futures::{Stream, StreamExt};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::discovery::ApiResource;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::sleep_until;

use super::customize::Rules;
use super::member::{Context, is_not_found};
use super::object::Tree;
use super::queue::Queue;
use super::register::MANAGER;

/// Works carried out at the same time.
const CONCURRENCY: usize = 16;
/// Changes within this time are one report: a workload that has just become healthy says so in several writes.
const COALESCE: Duration = Duration::from_millis(25);
/// So long a report waits while what was applied is still on its way: the states in between are of no use to anybody,
/// and the hub is told each thing that lasts.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// So much longer for each other report that waits, ...
const CROWD: Duration = Duration::from_millis(10);
/// ... and at most so long: as the hub makes statuses wait while there is something to dispatch.
const PATIENCE: Duration = Duration::from_secs(10);

/// A kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Gvk {
    group: String,
    version: String,
    kind: String,
}

impl Gvk {
    fn for_kube(&self) -> kube::core::GroupVersionKind {
        kube::core::GroupVersionKind::gvk(&self.group, &self.version, &self.kind)
    }
}

/// An object in the member: kind, namespace, name.
type ObjectKey = (Gvk, String, String);
type MemberEvents = Pin<Box<dyn Stream<Item = (Gvk, watcher::Result<watcher::Event<Tree>>)> + Send>>;

/// What came of one Work.
struct Outcome {
    name: String,
    ok: bool,
    /// Kinds that it has, to be watched.
    kinds: Vec<(Gvk, ApiResource)>,
    /// What was applied.
    applied: Vec<(ObjectKey, Arc<Value>)>,
    /// The Work as the hub answered when its status was written.
    written: Option<Work>,
}

struct State {
    works: BTreeMap<String, Arc<Work>>,
    /// Objects of ours in the member, as last seen.
    objects: BTreeMap<ObjectKey, Arc<Value>>,
    /// Which Work an object belongs to.
    owners: BTreeMap<ObjectKey, String>,
    /// The manifest last applied.
    applied: BTreeMap<ObjectKey, Arc<Value>>,
    /// Kinds whose first list is in.
    listed: BTreeSet<Gvk>,
}

/// Carries out Works, for ever.
pub async fn run(ctx: &Context) {
    let namespace = names::execution_namespace(&ctx.options.cluster);
    let works: Api<Work> = Api::namespaced(ctx.hub.clone(), &namespace);
    let mut hub = std::pin::pin!(cfn_net::watch::watch(works.clone(), watcher::Config::default()));
    let mut member: SelectAll<MemberEvents> = SelectAll::new();
    let mut watched: BTreeMap<Gvk, ApiResource> = BTreeMap::new();
    let mut running = FuturesUnordered::new();
    let mut queue = Queue::<String>::default();
    let mut relist: Option<BTreeMap<String, Arc<Work>>> = None;
    let mut state = State {
        works: BTreeMap::new(),
        objects: BTreeMap::new(),
        owners: BTreeMap::new(),
        applied: BTreeMap::new(),
        listed: BTreeSet::new(),
    };
    loop {
        while running.len() < CONCURRENCY {
            let Some(name) = queue.take() else { break };
            let Some(work) = state.works.get(&name) else {
                queue.done(name, true);
                continue;
            };
            let seen: BTreeMap<ObjectKey, Arc<Value>> = keys(work)
                .into_iter()
                .filter_map(|k| state.objects.get(&k).map(|o| (k, o.clone())))
                .collect();
            let last: BTreeMap<ObjectKey, Arc<Value>> = keys(work)
                .into_iter()
                .filter_map(|k| state.applied.get(&k).map(|o| (k, o.clone())))
                .collect();
            let kinds = watched.clone();
            let listed = state.listed.clone();
            running.push(carry_out(
                ctx,
                works.clone(),
                Arc::clone(work),
                seen,
                last,
                kinds,
                listed,
            ));
        }
        let due = queue.next_due();
        tokio::select! {
            biased;
            Some(outcome) = running.next(), if !running.is_empty() => {
                for (key, manifest) in outcome.applied {
                    state.owners.insert(key.clone(), outcome.name.clone());
                    state.applied.insert(key, manifest);
                }
                for (gvk, resource) in outcome.kinds {
                    watched.entry(gvk.clone()).or_insert_with(|| {
                        member.push(events(ctx, gvk, &resource));
                        resource
                    });
                }
                queue.done(outcome.name, outcome.ok);
                // The next report is compared with what the hub has now, though the watch may not have told yet.
                if let Some(w) = outcome.written
                    && state.works.get(&w.name_any()).is_some_and(|old| old.metadata.uid == w.metadata.uid)
                {
                    take(&mut state, &mut queue, w);
                }
            }
            Some(event) = hub.next() => match event {
                Ok(watcher::Event::Init) => relist = Some(BTreeMap::new()),
                Ok(watcher::Event::InitApply(w)) => {
                    if let Some(list) = relist.as_mut() {
                        list.insert(w.name_any(), Arc::new(w));
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    state.works = relist.take().unwrap_or_default();
                    for name in state.works.keys() {
                        queue.add(name.clone());
                    }
                }
                Ok(watcher::Event::Apply(w)) => take(&mut state, &mut queue, w),
                Ok(watcher::Event::Delete(w)) => {
                    let gone = w.name_any();
                    state.works.remove(&gone);
                    let objects: Vec<ObjectKey> =
                        state.owners.iter().filter(|(_, owner)| **owner == gone).map(|(k, _)| k.clone()).collect();
                    for key in objects {
                        state.owners.remove(&key);
                        state.applied.remove(&key);
                    }
                }
                Err(e) => tracing::debug!("watching works of {}: {e}", ctx.options.cluster),
            },
            Some((gvk, event)) = member.next(), if !member.is_empty() => {
                for name in seen(&mut state, &gvk, event) {
                    match report_within(&state, &name, &ctx.rules, queue.waiting()) {
                        Some(delay) => queue.add_within(name, delay),
                        None => queue.add(name),
                    }
                }
            }
            () = async { match due { Some(t) => sleep_until(t).await, None => std::future::pending().await } } => queue.wake(),
        }
    }
}

/// Takes in a Work as the hub has it, unless it is older than what is known.
fn take(state: &mut State, queue: &mut Queue<String>, work: Work) {
    let name = work.name_any();
    let old = state.works.get(&name);
    let revision = |w: &Work| w.resource_version().and_then(|r| r.parse::<u64>().ok());
    if old.is_some_and(|o| o.metadata.uid == work.metadata.uid && revision(o) > revision(&work)) {
        return;
    }
    let same = old.is_some_and(|o| same_order(o, &work));
    state.works.insert(name.clone(), Arc::new(work));
    if !same {
        queue.add(name);
    }
}

/// How long the report of a change in the member can wait; `None`: there is something to be applied.
fn report_within(state: &State, name: &str, rules: &Rules, crowd: usize) -> Option<Duration> {
    let keys = keys(state.works.get(name)?);
    if !keys.iter().all(|k| state.applied.contains_key(k)) {
        return None;
    }
    let crowd = CROWD.saturating_mul(u32::try_from(crowd).unwrap_or(u32::MAX));
    let settled = |k: &ObjectKey| state.objects.get(k).is_some_and(|o| rules.health(o) != "Unhealthy");
    let (least, more) = match keys.iter().all(settled) {
        true => (COALESCE, crowd / 10),
        false => (ON_ITS_WAY, crowd),
    };
    Some((least + more.min(PATIENCE)).min(PATIENCE))
}

/// Whether a change of a Work (usually of its status, by us) leaves nothing to do.
fn same_order(old: &Work, new: &Work) -> bool {
    old.spec == new.spec
        && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
        && old.metadata.annotations == new.metadata.annotations
}

fn events(ctx: &Context, gvk: Gvk, resource: &ApiResource) -> MemberEvents {
    let api: Api<Tree> = Api::all_with(ctx.member.clone(), resource);
    let config = watcher::Config::default().labels(&format!("{}=true", names::MANAGED_LABEL));
    Box::pin(cfn_net::watch::watch(api, config).map(move |e| (gvk.clone(), e)))
}

/// Takes in what was seen in the member; returns the Works that it concerns.
fn seen(state: &mut State, gvk: &Gvk, event: watcher::Result<watcher::Event<Tree>>) -> Vec<String> {
    let key = |o: &Tree| (gvk.clone(), o.namespace().unwrap_or_default(), o.name_any());
    let owner = |o: &Tree| o.annotations().get(names::WORK_NAME).cloned();
    match event {
        Ok(watcher::Event::Init) => {
            state.objects.retain(|k, _| k.0 != *gvk);
            Vec::new()
        }
        Ok(watcher::Event::InitDone) => {
            state.listed.insert(gvk.clone());
            // Whatever of this kind was missing from the list is to be applied again.
            let works = state
                .owners
                .iter()
                .filter(|(k, _)| k.0 == *gvk && !state.objects.contains_key(*k));
            works.map(|(_, w)| w.clone()).collect()
        }
        Ok(watcher::Event::Apply(mut o) | watcher::Event::InitApply(mut o)) => {
            // Items of a list of built-in kinds do not say what they are.
            if o.value["kind"].is_null() {
                let full = gvk.for_kube();
                o.value["apiVersion"] = json!(full.api_version());
                o.value["kind"] = json!(full.kind);
            }
            let k = key(&o);
            let work = owner(&o);
            if let Some(w) = &work {
                state.owners.insert(k.clone(), w.clone());
            }
            state.objects.insert(k, Arc::new(o.value));
            work.into_iter().collect()
        }
        Ok(watcher::Event::Delete(o)) => {
            let k = key(&o);
            state.objects.remove(&k);
            state.applied.remove(&k);
            state.owners.get(&k).cloned().into_iter().collect()
        }
        Err(e) => {
            tracing::debug!("watching {}: {e}", gvk.kind);
            Vec::new()
        }
    }
}

fn gvk(manifest: &Value) -> Gvk {
    let version = manifest["apiVersion"].as_str().unwrap_or_default();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Gvk {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: manifest["kind"].as_str().unwrap_or_default().to_owned(),
    }
}

fn key(manifest: &Value) -> ObjectKey {
    let text = |k: &str| manifest["metadata"][k].as_str().unwrap_or_default().to_owned();
    (gvk(manifest), text("namespace"), text("name"))
}

fn keys(work: &Work) -> Vec<ObjectKey> {
    work.spec.workload.manifests.iter().map(key).collect()
}

async fn carry_out(
    ctx: &Context,
    works: Api<Work>,
    work: Arc<Work>,
    seen: BTreeMap<ObjectKey, Arc<Value>>,
    last: BTreeMap<ObjectKey, Arc<Value>>,
    mut kinds: BTreeMap<Gvk, ApiResource>,
    listed: BTreeSet<Gvk>,
) -> Outcome {
    let name = work.name_any();
    let mut outcome = Outcome {
        name: name.clone(),
        ok: true,
        kinds: Vec::new(),
        applied: Vec::new(),
        written: None,
    };
    for manifest in &work.spec.workload.manifests {
        let gvk = gvk(manifest);
        if !kinds.contains_key(&gvk) {
            match kube::discovery::pinned_kind(&ctx.member, &gvk.for_kube()).await {
                Ok((resource, _)) => {
                    kinds.insert(gvk.clone(), resource.clone());
                    outcome.kinds.push((gvk, resource));
                }
                Err(e) => tracing::debug!("{}: kind {}: {e}", ctx.options.cluster, gvk.kind),
            }
        }
    }
    if work.metadata.deletion_timestamp.is_some() {
        outcome.ok = remove(ctx, &works, &work, &kinds).await.is_ok();
        return outcome;
    }
    let mut status = work.status.clone().unwrap_or_default();
    let now = ctx.options.clock.now();
    if work.spec.suspend_dispatching == Some(true) {
        let message = "Work dispatching is in a suspended state.";
        conditions::set(
            &mut status.conditions,
            "Dispatching",
            "False",
            "SuspendDispatching",
            message,
            now,
        );
        outcome.report(&works, &work, &status).await;
        return outcome;
    }
    if !work.finalizers().iter().any(|f| f == names::WORK_FINALIZER) {
        let mut finalizers = work.finalizers().to_vec();
        finalizers.push(names::WORK_FINALIZER.to_owned());
        let patch = json!({"metadata": {"finalizers": finalizers}});
        if works
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .is_err()
        {
            outcome.ok = false;
            return outcome;
        }
    }
    let total = work.spec.workload.manifests.len();
    let mut errors = Vec::new();
    let mut statuses = Vec::new();
    for (ordinal, manifest) in work.spec.workload.manifests.iter().enumerate() {
        let k = key(manifest);
        let resource = kinds.get(&k.0);
        let unchanged =
            last.get(&k).is_some_and(|l| **l == *manifest) && (seen.contains_key(&k) || !listed.contains(&k.0));
        let live = if unchanged {
            Ok(None)
        } else {
            apply(ctx, &work, manifest, resource, seen.get(&k).map(|o| &**o))
                .await
                .map(Some)
        };
        match live {
            Ok(live) => {
                let known = last.get(&k).filter(|_| unchanged).cloned();
                let applied = known.unwrap_or_else(|| Arc::new(manifest.clone()));
                outcome.applied.push((k.clone(), applied));
                let newest = newest(seen.get(&k).map(|o| &**o), live.as_ref());
                statuses.push(manifest_status(ordinal, &k, newest, &ctx.rules));
            }
            Err(e) => errors.push(e),
        }
    }
    let message = "Work is being dispatched to member clusters.";
    conditions::set(
        &mut status.conditions,
        "Dispatching",
        "True",
        "Dispatching",
        message,
        now,
    );
    if errors.is_empty() {
        let message = "Manifest has been successfully applied";
        conditions::set(
            &mut status.conditions,
            APPLIED,
            "True",
            "AppliedSuccessful",
            message,
            now,
        );
    } else {
        let done = total - errors.len();
        let message = format!("Failed to apply all manifests ({done}/{total}): {}", errors.join("; "));
        conditions::set(&mut status.conditions, APPLIED, "False", "AppliedFailed", &message, now);
    }
    status.manifest_statuses = statuses;
    outcome.report(&works, &work, &status).await;
    outcome.ok &= errors.is_empty();
    outcome
}

impl Outcome {
    /// Writes the Work's status, if it is another than the hub has.
    async fn report(&mut self, works: &Api<Work>, work: &Work, status: &WorkStatus) {
        if work.status.as_ref() == Some(status) {
            return;
        }
        match write(works, work, status).await {
            Ok(written) => self.written = written,
            Err(_) => self.ok = false,
        }
    }
}

/// The newer of what the watch has seen and what the API server answered.
fn newest<'a>(seen: Option<&'a Value>, live: Option<&'a Value>) -> Option<&'a Value> {
    let revision = |v: &Value| {
        v["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|r| r.parse::<u64>().ok())
    };
    match (seen, live) {
        (Some(s), Some(l)) => Some(if revision(s) > revision(l) { s } else { l }),
        (s, l) => l.or(s),
    }
}

fn manifest_status(ordinal: usize, key: &ObjectKey, live: Option<&Value>, rules: &Rules) -> ManifestStatus {
    let (gvk, namespace, name) = key;
    ManifestStatus {
        identifier: ResourceIdentifier {
            ordinal: i32::try_from(ordinal).unwrap_or(i32::MAX),
            group: gvk.group.clone(),
            version: gvk.version.clone(),
            kind: gvk.kind.clone(),
            // Karmada leaves the plural empty.
            resource: String::new(),
            namespace: namespace.clone(),
            name: name.clone(),
        },
        status: live.and_then(|o| rules.status(o)),
        health: Some(live.map_or("Unknown", |o| rules.health(o)).to_owned()),
    }
}

fn api(ctx: &Context, resource: &ApiResource, namespace: &str) -> Api<Tree> {
    if namespace.is_empty() {
        Api::all_with(ctx.member.clone(), resource)
    } else {
        Api::namespaced_with(ctx.member.clone(), namespace, resource)
    }
}

/// Applies one manifest. An object that was there and is not ours is left alone, unless the Work says Overwrite.
async fn apply(
    ctx: &Context,
    work: &Work,
    manifest: &Value,
    resource: Option<&ApiResource>,
    seen: Option<&Value>,
) -> Result<Value, String> {
    let (gvk, namespace, name) = key(manifest);
    let resource = resource.ok_or_else(|| format!("the member does not serve {} {}", gvk.version, gvk.kind))?;
    let api = api(ctx, resource, &namespace);
    let overwrite = work
        .annotations()
        .get(names::CONFLICT_RESOLUTION)
        .is_some_and(|c| c == "overwrite");
    if seen.is_none() && !overwrite {
        match api.get_opt(&name).await {
            Ok(Some(o)) if o.labels().get(names::MANAGED_LABEL).is_none_or(|v| v != "true") => {
                return Err(format!(
                    "resource(kind={}, {namespace}/{name}) already exists in the cluster {} and the {} strategy value is empty, \
                     Karmada will not manage this resource",
                    gvk.kind,
                    ctx.options.cluster,
                    names::CONFLICT_RESOLUTION
                ));
            }
            Ok(_) => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    let params = PatchParams::apply(MANAGER).force();
    let manifest = match seen {
        Some(live) => Cow::Owned(ctx.rules.retain(manifest, live)),
        None => Cow::Borrowed(manifest),
    };
    let applied = api
        .patch(&name, &params, &Patch::Apply(&manifest))
        .await
        .map_err(|e| e.to_string())?;
    Ok(applied.value)
}

/// Takes the Work's objects out of the member, then lets the Work go.
async fn remove(ctx: &Context, works: &Api<Work>, work: &Work, kinds: &BTreeMap<Gvk, ApiResource>) -> kube::Result<()> {
    if work.spec.preserve_resources_on_deletion != Some(true) {
        for manifest in &work.spec.workload.manifests {
            let (gvk, namespace, name) = key(manifest);
            let Some(resource) = kinds.get(&gvk) else { continue };
            let api = api(ctx, resource, &namespace);
            let ours = match api.get_opt(&name).await? {
                Some(o) => o.annotations().get(names::WORK_NAME) == Some(&work.name_any()),
                None => false,
            };
            if ours {
                match api.delete(&name, &DeleteParams::background()).await {
                    Err(e) if !is_not_found(&e) => return Err(e),
                    _ => {}
                }
            }
        }
    }
    let finalizers: Vec<&String> = work
        .finalizers()
        .iter()
        .filter(|f| *f != names::WORK_FINALIZER)
        .collect();
    let patch = json!({"metadata": {"finalizers": finalizers}});
    match works
        .patch(&work.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Err(e) if !is_not_found(&e) => Err(e),
        _ => Ok(()),
    }
}

/// Writes a status; the Work after it, `None` when it is gone.
async fn write(works: &Api<Work>, work: &Work, status: &WorkStatus) -> kube::Result<Option<Work>> {
    let mut status = json!(status);
    super::report::forget(&json!(work.status), &mut status);
    let patch = json!({"status": status});
    match works
        .patch_status(&work.name_any(), &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(written) => Ok(Some(written)),
        Err(e) if is_not_found(&e) => Ok(None),
        Err(e) => Err(e),
    }
}
