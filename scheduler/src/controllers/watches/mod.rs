//! The watches: they keep the caches and say which keys must be looked at.

mod binding;
mod cluster;
mod computing;
mod policy;
mod template;
mod work;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy};
use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::config::ResourceInterpreterCustomization;
use cfn_api::karmada::overrides::{ClusterOverridePolicy, OverridePolicy};
use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy};
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_api::karmada::taint::ClusterTaintPolicy;
use cfn_api::karmada::work::{ClusterResourceBinding, ResourceBinding, Work};
use cfn_api::names;
use cfn_net::watch::watch;
use futures::StreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use serde::de::DeserializeOwned;

use crate::controllers::hub::{Gvk, Hub, Key};
use crate::controllers::namespaces::InMembers;
use crate::controllers::schedule;

pub(super) use cluster::ready;

/// Starts the watches that the controllers wait for.
pub(in crate::controllers) fn start(hub: &Arc<Hub>) {
    let client = || hub.options.client.clone();
    base(hub, Api::<Cluster>::all(client()), Hub::saw_cluster, Hub::lost_cluster);
    base(hub, Api::<ComputingMetric>::all(client()), Hub::saw_metric, |h, k| {
        h.lost_metric(&k.name)
    });
    base(
        hub,
        Api::<ComputingPolicy>::all(client()),
        Hub::saw_computing,
        Hub::lost_computing,
    );
    converted::<PropagationPolicy, _>(hub, Hub::saw_policy, Hub::lost_policy);
    converted::<ClusterPropagationPolicy, _>(hub, Hub::saw_policy, Hub::lost_policy);
    for resource in [
        ApiResource::erase::<ResourceBinding>(&()),
        ApiResource::erase::<ClusterResourceBinding>(&()),
    ] {
        base_with(hub, hub.api(&resource, ""), true, Hub::saw_binding, Hub::lost_binding);
    }
    base(hub, Api::<Work>::all(client()), Hub::saw_work, Hub::lost_work);
    let leases: Api<Lease> = Api::namespaced(client(), names::LEASE_NAMESPACE);
    base(hub, leases, Hub::saw_lease, Hub::lost_lease);
    converted::<OverridePolicy, _>(hub, Hub::saw_override, Hub::lost_override);
    converted::<ClusterOverridePolicy, _>(hub, Hub::saw_override, Hub::lost_override);
    let saw = |h: &Hub, r: WorkloadRebalancer| {
        let name = r.metadata.name.clone().unwrap_or_default();
        h.state().rebalancers.insert(name.clone(), Arc::new(r));
        h.rebalance.add(name);
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().rebalancers.remove(&k.name);
    };
    base(hub, Api::<WorkloadRebalancer>::all(client()), saw, lost);
    let saw = |h: &Hub, n: Namespace| {
        let name = n.metadata.name.clone().unwrap_or_default();
        h.state().namespaces.insert(name.clone(), Arc::new(n));
        h.namespace.add(InMembers::all(&name));
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().namespaces.remove(&k.name);
        h.namespace.add(InMembers::all(&k.name));
    };
    base(hub, Api::<Namespace>::all(client()), saw, lost);
    let saw = |h: &Hub, p: ClusterTaintPolicy| {
        let name = p.metadata.name.clone().unwrap_or_default();
        h.state().taint_policies.insert(name, Arc::new(p));
        h.judge_all();
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().taint_policies.remove(&k.name);
    };
    base(hub, Api::<ClusterTaintPolicy>::all(client()), saw, lost);
    let saw = |h: &Hub, q: FederatedResourceQuota| {
        let key = Key::of(&q.metadata);
        let mut state = h.state();
        let old = state.quotas.insert(key.clone(), Arc::new(q.clone()));
        if old.is_none_or(|o| o.spec != q.spec) {
            schedule::stir(h, &state);
        }
        drop(state);
        h.quota.add(key);
    };
    let lost = |h: &Hub, k: &Key| {
        let mut state = h.state();
        state.quotas.remove(k);
        schedule::stir(h, &state);
        drop(state);
        h.quota.add(k.clone());
    };
    base(hub, Api::<FederatedResourceQuota>::all(client()), saw, lost);
    let saw = |h: &Hub, c: ResourceInterpreterCustomization| {
        h.customized(&c.metadata.name.clone().unwrap_or_default(), Some(c.spec));
    };
    let lost = |h: &Hub, k: &Key| h.customized(&k.name, None);
    base(hub, Api::<ResourceInterpreterCustomization>::all(client()), saw, lost);
    let saw = |h: &Hub, c: PriorityClass| {
        let name = c.metadata.name.clone().unwrap_or_default();
        h.state().priorities.insert(name, c.value.unwrap_or(0));
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().priorities.remove(&k.name);
    };
    base(hub, Api::<PriorityClass>::all(client()), saw, lost);
    base(
        hub,
        Api::<CertificateSigningRequest>::all(client()),
        Hub::saw_request,
        |h, k| {
            h.state().requests.remove(&k.name);
        },
    );
}

/// A watch that the controllers wait for. Who only schedules waits for clusters and bindings alone: the hub, a real
/// Karmada, may not serve the rest.
fn base<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let needed = !hub.options.only_scheduling || K::kind(&()) == Cluster::kind(&());
    base_with(hub, api, needed, saw, lost);
}

/// As [`base`], of a kind that the controllers know in another form: of policies there are two kinds, of a namespace and
/// of the whole hub.
fn converted<K, T>(hub: &Arc<Hub>, saw: fn(&Hub, T), lost: fn(&Hub, &Key))
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Into<T> + 'static,
    T: 'static,
{
    let api: Api<K> = Api::all(hub.options.client.clone());
    base(hub, api, move |h, k| saw(h, k.into()), lost);
}

fn base_with<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    needed: bool,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    if needed {
        hub.waiting.send_modify(|n| *n += 1);
    }
    hub.spawn(follow(Arc::clone(hub), api, needed, saw, lost));
}

/// A watch that nobody waits for: the hub may not serve the kind.
pub(in crate::controllers) fn optional<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    base_with(hub, api, false, saw, lost);
}

/// Watches the templates of a kind from now on. Asks the server for its plural and scope once.
pub(in crate::controllers) async fn templates(hub: &Arc<Hub>, gvk: &Gvk) -> Result<(), kube::Error> {
    if hub.state().templates.contains_key(gvk) {
        return Ok(());
    }
    let (resource, _) = kube::discovery::oneshot::pinned_kind(&hub.options.client, &gvk.full()).await?;
    hub.state().templates.entry(gvk.clone()).or_default().resource = Some(resource.clone());
    let (a, b) = (gvk.clone(), gvk.clone());
    let saw = move |h: &Hub, o: DynamicObject| h.saw_template(&a, o);
    let lost = move |h: &Hub, k: &Key| h.lost_template(&b, k);
    hub.spawn(follow(Arc::clone(hub), hub.api(&resource, ""), false, saw, lost));
    Ok(())
}

async fn follow<K>(hub: Arc<Hub>, api: Api<K>, counted: bool, saw: impl Fn(&Hub, K), lost: impl Fn(&Hub, &Key))
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut counted = counted;
    let mut known: BTreeSet<Key> = BTreeSet::new();
    let mut listed: BTreeSet<Key> = BTreeSet::new();
    let stream = watch(api, Config::default().any_semantic());
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(o)) => {
                listed.insert(Key::of(o.meta()));
                saw(&hub, o);
            }
            Ok(Event::InitDone) => {
                for key in known.difference(&listed) {
                    lost(&hub, key);
                }
                known = std::mem::take(&mut listed);
                if std::mem::take(&mut counted) {
                    hub.waiting.send_modify(|n| *n -= 1);
                }
            }
            Ok(Event::Apply(o)) => {
                known.insert(Key::of(o.meta()));
                saw(&hub, o);
            }
            Ok(Event::Delete(o)) => {
                let key = Key::of(o.meta());
                known.remove(&key);
                lost(&hub, &key);
            }
            Err(e) => tracing::debug!(error = %e, "watch"),
        }
    }
}

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// Whether what is cached is newer: an answer to a write arrives before the watch's older events.
pub(in crate::controllers) fn stale(cached: Option<&ObjectMeta>, seen: &ObjectMeta) -> bool {
    cached.is_some_and(|c| c.uid == seen.uid && version(c) > version(seen))
}

/// Whether that very state is cached, or a newer one: an answer to a write comes by the watch once more.
pub(in crate::controllers) fn known(cached: Option<&ObjectMeta>, seen: &ObjectMeta) -> bool {
    cached.is_some_and(|c| c.uid == seen.uid && version(seen) > 0 && version(c) >= version(seen))
}
