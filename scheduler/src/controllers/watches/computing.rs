//! Measurements and ComputingPolicies.

use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy};

use crate::controllers::hub::{Binding, Hub, Key, State};

impl Hub {
    pub(super) fn saw_metric(&self, m: ComputingMetric) {
        let name = m.metadata.name.clone().unwrap_or_default();
        let mut state = self.state();
        let old = state.metrics.insert(name.clone(), Arc::new(m.clone()));
        let essence = |m: &ComputingMetric| m.status.as_ref().map(|s| (s.l0.clone(), s.accelerators.clone()));
        let changed = old.is_none_or(|o| o.spec != m.spec || essence(&o) != essence(&m));
        state.fleet.measure(&name, Some(m));
        if changed {
            self.reconsider(&state);
        }
    }

    pub(super) fn lost_metric(&self, name: &str) {
        let mut state = self.state();
        state.metrics.remove(name);
        state.fleet.measure(name, None);
        self.reconsider(&state);
    }

    /// Everything with a ComputingPolicy may be better off elsewhere now.
    pub(super) fn reconsider(&self, state: &State) {
        for (key, b) in &state.bindings {
            if state.computing_policy(b).is_some() {
                self.schedule.add(key.clone());
            }
        }
    }

    pub(super) fn saw_computing(&self, p: ComputingPolicy) {
        let mut state = self.state();
        let key = Key::of(&p.metadata);
        let old = state.computing.insert(key.clone(), Arc::new(p.clone()));
        if old.is_some_and(|o| o.spec == p.spec) {
            return;
        }
        self.resettle(&mut state, &key.ns);
    }

    pub(super) fn lost_computing(&self, key: &Key) {
        let mut state = self.state();
        state.computing.remove(key);
        self.resettle(&mut state, &key.ns);
    }

    pub(super) fn resettle(&self, state: &mut State, ns: &str) {
        let bindings: Vec<Arc<Binding>> = state
            .bindings
            .iter()
            .filter(|(k, _)| k.ns == ns)
            .map(|(_, b)| Arc::clone(b))
            .collect();
        for b in bindings {
            state.settle(&b);
            self.schedule.add(b.key());
        }
    }
}
