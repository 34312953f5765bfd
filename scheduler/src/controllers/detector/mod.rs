//! The detector: policies claim templates, claimed templates get bindings (Karmada's `pkg/detector`). A claim stays
//! while its policy exists and selects the template; with the gate `PolicyPreemption` (off by default, as in Karmada) a
//! policy with `preemption: Always` takes it from one of lower priority, or from a cluster-wide one.

mod bind;
mod claim;
mod complete;

use std::sync::Arc;

use cfn_api::names;
use serde_json::json;

use crate::controllers::hub::{Detect, Gvk, Hub, Key, gone, not_found, work};
use crate::controllers::{name, watches};
use bind::{bind, orphaned};
use claim::{claim, claim_patch, find, id_label, unclaim};
use complete::{complete, complete_override, policy_resource};

pub(super) use claim::{CLAIM_ANNOTATIONS, CLAIM_LABELS, claimant, fit};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "detector",
        |h| &h.detect,
        |hub, key| async move {
            match key {
                Detect::Policy(key) => policy(&hub, &key).await,
                Detect::Override(key) => complete_override(&hub, &key).await,
                Detect::Template(gvk, key) => template(&hub, &gvk, &key).await,
            }
        },
    )
    .await;
}

/// A policy appeared, changed or went.
async fn policy(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let Some(policy) = hub.state().policies.get(key).cloned() else {
        release(hub, key).await?;
        return Ok(());
    };
    if policy.meta.deletion_timestamp.is_some() {
        release(hub, key).await?;
        if policy.meta.finalizers.iter().flatten().next().is_some() {
            gone(
                hub.patch(&policy_resource(key), key, &json!({"metadata": {"finalizers": null}}))
                    .await,
            )?;
        }
        return Ok(());
    }
    let kept = complete(hub, key, &policy).await?;
    let mut failed = None;
    for s in &kept.spec.resource_selectors {
        let gvk = Gvk {
            api_version: s.api_version.clone(),
            kind: s.kind.clone(),
        };
        if let Err(e) = watches::templates(hub, &gvk).await {
            // The kind may not be served yet; the other selectors do not wait for it.
            failed = Some(e);
            continue;
        }
        let keys: Vec<Key> = hub
            .state()
            .templates
            .get(&gvk)
            .map(|t| t.objects.keys().cloned().collect())
            .unwrap_or_default();
        for k in keys {
            hub.detect.add(Detect::Template(gvk.clone(), k));
        }
    }
    // Templates that it no longer selects.
    for (gvk, k) in claimed_by(hub, key) {
        hub.detect.add(Detect::Template(gvk, k));
    }
    failed.map_or(Ok(()), Err)
}

fn claimed_by(hub: &Hub, policy: &Key) -> Vec<(Gvk, Key)> {
    let state = hub.state();
    let all = state
        .templates
        .iter()
        .flat_map(|(g, t)| t.objects.iter().map(move |(k, o)| (g, k, o)));
    all.filter(|(_, _, o)| claimant(&o.metadata).as_ref() == Some(policy))
        .map(|(g, k, _)| (g.clone(), k.clone()))
        .collect()
}

/// Takes a policy's claims back. Bindings stay as they are, as in Karmada.
async fn release(hub: &Hub, policy: &Key) -> Result<(), kube::Error> {
    for (gvk, key) in claimed_by(hub, policy) {
        let resource = hub.state().templates.get(&gvk).and_then(|t| t.resource.clone());
        let Some(resource) = resource else { continue };
        unclaim(hub, &resource, &key).await?;
        hub.detect.add(Detect::Template(gvk, key));
    }
    let bindings: Vec<Key> = hub
        .state()
        .bindings
        .iter()
        .filter(|(_, b)| claimant(&b.meta).as_ref() == Some(policy))
        .map(|(k, _)| k.clone())
        .collect();
    for key in bindings {
        unclaim(hub, &Hub::binding_resource(&key), &key).await?;
    }
    Ok(())
}

/// A template appeared, changed or went; or a policy that may mean it did.
async fn template(hub: &Arc<Hub>, gvk: &Gvk, key: &Key) -> Result<(), kube::Error> {
    let (object, resource) = {
        let state = hub.state();
        let Some(t) = state.templates.get(gvk) else {
            return Ok(());
        };
        (t.objects.get(key).cloned(), t.resource.clone())
    };
    let binding_key = Key {
        ns: key.ns.clone(),
        name: names::binding_name(&gvk.kind, &key.name),
    };
    hub.needed_by(key);
    let Some(object) = object else {
        return orphaned(hub, gvk, &binding_key).await;
    };
    let Some(resource) = resource else { return Ok(()) };
    if object.metadata.deletion_timestamp.is_some() || name::reserved(&key.ns) {
        return Ok(());
    }
    let Some((policy_key, policy)) = find(hub, gvk, key, &object.metadata) else {
        if claimant(&object.metadata).is_some() {
            unclaim(hub, &resource, key).await?;
            if hub.state().bindings.contains_key(&binding_key) {
                unclaim(hub, &Hub::binding_resource(&binding_key), &binding_key).await?;
            }
        }
        return Ok(());
    };
    if !policy
        .meta
        .labels
        .as_ref()
        .is_some_and(|l| l.contains_key(id_label(&policy_key)))
    {
        // Its id is being written; the policy's next event brings us back.
        hub.detect.add(Detect::Policy(policy_key));
        return Ok(());
    }
    let (labels, annotations) = claim(&policy_key, &policy);
    if let Some(patch) = claim_patch(&object.metadata, &labels, &annotations) {
        let written = hub.patch(&resource, key, &patch).await;
        match written {
            Ok(o) => hub.claimed_template(gvk, o),
            Err(e) if not_found(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    bind(hub, gvk, &object, &binding_key, &policy, labels, annotations).await
}
