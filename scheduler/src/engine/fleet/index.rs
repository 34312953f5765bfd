//! What the filters and the estimate read of all members at once, kept up to date member by member.
//!
//! A member has a slot; sets of members are sets of slots, amounts are columns by slot. A change of one member touches
//! its own bits and numbers only.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Taint;

use super::bits::{Bits, Posting};
use super::member::Member;
use crate::engine::affinity::zones;
use crate::engine::estimate::free;
use crate::engine::filter::keeps_away;
use crate::engine::quantity::Amount;

/// A taint that keeps new replicas away, as key, value and effect.
type TaintKey = (String, String, String);

/// Amounts of one resource by slot; thousandths of cpu, whole units of the rest. Nothing and unknown are both 0.
pub(in crate::engine) type Column = Vec<i64>;

#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Index {
    /// Slots that can be chosen: in use, and not on their way out.
    pub live: Bits,
    /// Slots whose list of APIs is not known to be complete.
    pub incomplete: Bits,
    /// Slots whose room is told by grades of nodes.
    pub modelled: Bits,
    apis: BTreeMap<String, BTreeMap<String, Posting>>,
    labels: BTreeMap<String, BTreeMap<String, Posting>>,
    pub regions: BTreeMap<String, Posting>,
    pub providers: BTreeMap<String, Posting>,
    pub zones: BTreeMap<String, Posting>,
    /// By the whole list of a member's zones.
    zone_lists: BTreeMap<Vec<String>, Posting>,
    taints: BTreeMap<Vec<TaintKey>, Posting>,
    columns: BTreeMap<String, Column>,
    /// Place of the slot's name among all names.
    pub order: Vec<u64>,
}

fn put<K: Ord>(map: &mut BTreeMap<K, Posting>, key: K, slot: u32, is: bool) {
    if is {
        map.entry(key).or_default().insert(slot);
    } else if let Some(p) = map.get_mut(&key) {
        p.remove(slot);
        if p.is_empty() {
            map.remove(&key);
        }
    }
}

fn given(value: Option<&String>) -> Option<String> {
    value.filter(|v| !v.is_empty()).cloned()
}

impl Index {
    /// Adds (or takes out) what `member` says under `slot`.
    pub(super) fn enter(&mut self, slot: u32, member: &Member, is: bool) {
        self.live.put(slot, is && !member.deleting());
        self.incomplete.put(slot, is && !member.apis_complete);
        self.modelled.put(slot, is && member.models.is_some());
        for (version, kinds) in member.apis.iter() {
            let by_kind = self.apis.entry(version.clone()).or_default();
            for kind in kinds {
                put(by_kind, kind.clone(), slot, is);
            }
        }
        let cluster = &member.cluster;
        for (key, value) in cluster.metadata.labels.iter().flatten() {
            let by_value = self.labels.entry(key.clone()).or_default();
            put(by_value, value.clone(), slot, is);
        }
        if let Some(r) = given(cluster.spec.region.as_ref()) {
            put(&mut self.regions, r, slot, is);
        }
        if let Some(p) = given(cluster.spec.provider.as_ref()) {
            put(&mut self.providers, p, slot, is);
        }
        let list: Vec<String> = zones(cluster).map(str::to_owned).collect();
        for z in &list {
            put(&mut self.zones, z.clone(), slot, is);
        }
        put(&mut self.zone_lists, list, slot, is);
        let taints: Vec<TaintKey> = cluster
            .spec
            .taints
            .iter()
            .filter(|t| keeps_away(t))
            .map(|t| (t.key.clone(), t.value.clone().unwrap_or_default(), t.effect.clone()))
            .collect();
        if !taints.is_empty() {
            put(&mut self.taints, taints, slot, is);
        }
        self.set_room(slot, if is { free(cluster) } else { BTreeMap::new() });
    }

    /// Replaces what is free in a slot.
    pub(super) fn set_room(&mut self, slot: u32, free: BTreeMap<String, Amount>) {
        let at = slot as usize;
        for column in self.columns.values_mut() {
            if let Some(v) = column.get_mut(at) {
                *v = 0;
            }
        }
        for (resource, amount) in free {
            let n = if resource == "cpu" {
                amount.milli()
            } else {
                amount.value()
            };
            let column = self.columns.entry(resource).or_default();
            if column.len() <= at {
                column.resize(at + 1, 0);
            }
            column[at] = n;
        }
    }

    pub(in crate::engine) fn column(&self, resource: &str) -> Option<&Column> {
        self.columns.get(resource)
    }

    /// Members that serve a kind.
    pub(in crate::engine) fn serving(&self, group_version: &str, kind: &str) -> Bits {
        let mut bits = Bits::default();
        if let Some(p) = self.apis.get(group_version).and_then(|kinds| kinds.get(kind)) {
            p.add_to(&mut bits);
        }
        bits
    }

    /// Members with a label of this key whose value `is` right.
    pub(in crate::engine) fn labelled(&self, key: &str, mut is: impl FnMut(&str) -> bool) -> Bits {
        let mut bits = Bits::default();
        for (value, posting) in self.labels.get(key).into_iter().flatten() {
            if is(value) {
                posting.add_to(&mut bits);
            }
        }
        bits
    }

    /// Members with exactly this label.
    pub(in crate::engine) fn label(&self, key: &str, value: &str) -> Bits {
        let mut bits = Bits::default();
        if let Some(p) = self.labels.get(key).and_then(|v| v.get(value)) {
            p.add_to(&mut bits);
        }
        bits
    }

    /// By value of a label.
    pub(in crate::engine) fn values(&self, key: &str) -> Option<&BTreeMap<String, Posting>> {
        self.labels.get(key)
    }

    /// Members whose list of zones `is` right.
    pub(in crate::engine) fn zoned(&self, mut is: impl FnMut(&[String]) -> bool) -> Bits {
        let mut bits = Bits::default();
        for (list, posting) in &self.zone_lists {
            if is(list) {
                posting.add_to(&mut bits);
            }
        }
        bits
    }

    /// Members with a taint that is not tolerated.
    pub(in crate::engine) fn tainted(&self, mut tolerated: impl FnMut(&Taint) -> bool) -> Bits {
        let mut bits = Bits::default();
        for (list, posting) in &self.taints {
            let all = list.iter().all(|(key, value, effect)| {
                tolerated(&Taint {
                    key: key.clone(),
                    value: Some(value.clone()),
                    effect: effect.clone(),
                    time_added: None,
                })
            });
            if !all {
                posting.add_to(&mut bits);
            }
        }
        bits
    }
}
