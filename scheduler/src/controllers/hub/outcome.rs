//! What a decision leaves to be said.

use cfn_api::conditions;
use cfn_api::karmada::work::{ClusterExplanation, ResourceBindingStatus, SCHEDULED};
use jiff::Timestamp;

/// What the scheduler has to say about a binding.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::controllers) struct Outcome {
    /// The Scheduled condition: status, reason, message. `None` leaves it as it is.
    pub condition: Option<(&'static str, &'static str, String)>,
    /// The generation that was decided on.
    pub generation: Option<i64>,
    /// The affinity group in force.
    pub affinity: Option<String>,
    /// When a decision was made.
    pub scheduled_at: Option<Timestamp>,
    /// The reasons, where they are to be kept.
    pub explanation: Option<Vec<ClusterExplanation>>,
    /// When it was said.
    pub at: Timestamp,
}

impl Outcome {
    /// Writes it into a status.
    pub(in crate::controllers) fn tell(&self, status: &mut ResourceBindingStatus) {
        if let Some((value, reason, message)) = &self.condition {
            conditions::set(&mut status.conditions, SCHEDULED, value, reason, message, self.at);
        }
        if self.generation.is_some() {
            status.scheduler_observed_generation = self.generation;
        }
        if self.affinity.is_some() {
            status.scheduler_observing_affinity_name.clone_from(&self.affinity);
        }
        if let Some(at) = self.scheduled_at {
            status.last_scheduled_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        }
        if let Some(e) = &self.explanation {
            status.explanation.clone_from(e);
        }
    }
}
