//! Works.

use std::sync::Arc;

use cfn_api::karmada::work::Work;
use cfn_api::names;

use crate::controllers::hub::{Hub, Key};
use crate::controllers::namespaces::InMembers;
use crate::controllers::quota;
use crate::controllers::watches::known;

impl Hub {
    pub(in crate::controllers) fn saw_work(&self, w: Work) {
        let key = Key::of(&w.metadata);
        let mut state = self.state();
        let old = state.works.get(&key).cloned();
        if known(old.as_ref().map(|o| &o.metadata), &w.metadata) {
            return;
        }
        if let Some(id) = owner_id(&w) {
            state.works_of.entry(id).or_default().insert(key.clone());
        }
        let owner = owner(&w);
        let quota = quota::of_work(&w);
        let namespace = namespace_of(&w);
        let leaving = w.metadata.deletion_timestamp.is_some();
        let meta = |w: &Work| (w.metadata.labels.clone(), w.metadata.annotations.clone());
        let order = old
            .as_ref()
            .is_none_or(|o| o.spec != w.spec || meta(o) != meta(&w) || leaving);
        let told = old.as_ref().is_none_or(|o| o.status != w.status);
        state.works.insert(key.clone(), Arc::new(w));
        if let Some(b) = owner.as_ref().and_then(|k| state.bindings.get(k).cloned()) {
            let targets = state.placed(&b.key(), &b).to_vec();
            if told {
                state.expect(&b, &targets);
                self.release_later(&targets);
            }
        }
        drop(state);
        if let Some(owner) = owner {
            if order && old.is_some() {
                self.bind.add(owner.clone());
            }
            if told || order {
                self.touch(owner);
            }
        }
        if let Some(q) = quota.filter(|_| told) {
            self.quota.add(q);
        }
        if let Some(n) = namespace.filter(|_| order && old.is_some()) {
            self.namespace.add(in_member(&n, &key));
        }
        if leaving {
            self.cluster_of(&key);
        }
    }

    pub(super) fn lost_work(&self, key: &Key) {
        let mut state = self.state();
        let old = state.works.remove(key);
        if let Some(id) = old.as_deref().and_then(owner_id)
            && let Some(keys) = state.works_of.get_mut(&id)
        {
            keys.remove(key);
            if keys.is_empty() {
                state.works_of.remove(&id);
            }
        }
        drop(state);
        if let Some(owner) = old.as_deref().and_then(owner) {
            self.bind.add(owner);
        }
        if let Some(n) = old.as_deref().and_then(namespace_of) {
            self.namespace.add(in_member(&n, key));
        }
        if let Some(q) = old.as_deref().and_then(quota::of_work) {
            self.quota.add(q);
        }
        self.cluster_of(key);
    }

    /// A cluster that is leaving waits for its Works to go.
    pub(super) fn cluster_of(&self, work: &Key) {
        if let Some(cluster) = work.ns.strip_prefix(names::EXECUTION_SPACE_PREFIX) {
            let leaving = self
                .state()
                .clusters
                .get(cluster)
                .is_some_and(|c| c.metadata.deletion_timestamp.is_some());
            if leaving {
                self.cluster.add(cluster.to_owned());
            }
        }
    }
}

/// The namespace that a Work is of, where it is one of the namespace controller's.
fn in_member(namespace: &str, work: &Key) -> InMembers {
    match work.ns.strip_prefix(names::EXECUTION_SPACE_PREFIX) {
        Some(cluster) => InMembers::one(namespace, cluster),
        None => InMembers::all(namespace),
    }
}

fn namespace_of(w: &Work) -> Option<String> {
    let mut owners = w.metadata.owner_references.iter().flatten();
    owners
        .find(|o| o.kind == "Namespace" && o.api_version == "v1")
        .map(|o| o.name.clone())
}

fn annotation<'a>(w: &'a Work, name: &str) -> Option<&'a str> {
    w.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The binding of a Work.
fn owner(w: &Work) -> Option<Key> {
    if let Some(name) = annotation(w, crate::controllers::hub::CLUSTER_BINDING_NAME) {
        return Some(Key::new("", name));
    }
    Some(Key::new(
        annotation(w, names::RESOURCE_BINDING_NAMESPACE)?,
        annotation(w, names::RESOURCE_BINDING_NAME)?,
    ))
}

fn owner_id(w: &Work) -> Option<String> {
    let labels = w.metadata.labels.as_ref()?;
    labels
        .get(names::RESOURCE_BINDING_ID)
        .or_else(|| labels.get(crate::controllers::hub::CLUSTER_BINDING_ID))
        .cloned()
}
