//! One relocation of one context, as a state machine: detect, decide, send, acknowledge, switch, clean up.
//!
//! Roles and steps are those of 3GPP TS 23.558 (EDGEAPP) clause 8.8: the source and the target EAS, detection, decision,
//! execution, post-ACR clean-up; a prediction is an allowed trigger, the context may be pushed by the source or pulled by
//! the target. States are those of ETSI GS MEC 021: the application's `INTERHOST_MOVEOUT_TRIGGERED` ->
//! `INTERHOST_MOVEOUT_COMPLETED` | `INTERHOST_MOVEOUT_FAILED` and the context's `NOT_TRANSFERRED` ->
//! `USER_CONTEXT_TRANSFER_COMPLETED`.

use serde::{Deserialize, Serialize};

pub use cfn_api::cfn::{ContextState, Instance, MobilityState, Trigger};

use crate::units::Micros;

/// CATS service id of the roadside service.
pub const SERVICE: &str = "cfn-v2x-roadside";

/// CATS contact instance of the roadside service at a site.
#[must_use]
pub fn instance(site: &str) -> Instance {
    Instance {
        site: site.to_owned(),
        instance: format!("{SERVICE}/{site}"),
    }
}

/// When what happened, microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamps {
    /// The move was seen or foreseen.
    pub detected: Option<Micros>,
    /// It was decided to relocate.
    pub decided: Option<Micros>,
    /// The context left the source.
    pub sent: Option<Micros>,
    /// The target has it.
    pub acknowledged: Option<Micros>,
    /// The target serves the vehicle.
    pub switched: Option<Micros>,
    /// The source has forgotten the context.
    pub cleaned_up: Option<Micros>,
}

/// A step that is not allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The relocation has ended.
    #[error("the relocation has ended as {0:?}")]
    Ended(MobilityState),
    /// An earlier step is missing.
    #[error("{0} comes before {1}")]
    Order(&'static str, &'static str),
}

/// Why a relocation ended without a switch and without an error: the vehicle went elsewhere.
pub const WITHDRAWN: &str = "Withdrawn: the vehicle did not cross";

/// One relocation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relocation {
    /// Number at the site that keeps the record.
    pub id: u64,
    /// Whose context.
    pub vehicle: String,
    /// Site it leaves (S-EAS).
    pub source: String,
    /// Site it goes to (T-EAS).
    pub target: String,
    /// What set it off.
    pub trigger: Trigger,
    /// The application (MEC 021).
    pub state: MobilityState,
    /// The context (MEC 021).
    pub context_state: ContextState,
    /// When what happened.
    pub stamps: Stamps,
    /// Last update in what was sent.
    pub sequence: u64,
    /// Size of the snapshot sent, bytes.
    pub bytes: u64,
    /// Attempts to send.
    pub attempts: u32,
    /// Why it failed.
    pub reason: Option<String>,
}

impl Relocation {
    /// Detected (foreseen or seen) at `at`.
    #[must_use]
    pub fn detect(id: u64, vehicle: &str, source: &str, target: &str, trigger: Trigger, at: Micros) -> Self {
        Self {
            id,
            vehicle: vehicle.to_owned(),
            source: source.to_owned(),
            target: target.to_owned(),
            trigger,
            state: MobilityState::InterhostMoveoutTriggered,
            context_state: ContextState::NotTransferred,
            stamps: Stamps {
                detected: Some(at),
                ..Stamps::default()
            },
            sequence: 0,
            bytes: 0,
            attempts: 0,
            reason: None,
        }
    }

    /// Neither completed nor failed.
    #[must_use]
    pub fn open(&self) -> bool {
        self.state == MobilityState::InterhostMoveoutTriggered
    }

    /// Ended because the vehicle went elsewhere.
    #[must_use]
    pub fn withdrawn(&self) -> bool {
        self.reason.as_deref() == Some(WITHDRAWN)
    }

    fn check(&self) -> Result<(), TransitionError> {
        if self.open() {
            Ok(())
        } else {
            Err(TransitionError::Ended(self.state))
        }
    }

    /// Decided to relocate.
    ///
    /// # Errors
    /// When it has ended.
    pub fn decide(&mut self, at: Micros) -> Result<(), TransitionError> {
        self.check()?;
        self.stamps.decided.get_or_insert(at);
        Ok(())
    }

    /// The context up to `sequence` left the source (again, when it is repeated).
    ///
    /// # Errors
    /// Before the decision; when it has ended.
    pub fn send(&mut self, at: Micros, sequence: u64, bytes: u64) -> Result<(), TransitionError> {
        self.check()?;
        if self.stamps.decided.is_none() {
            return Err(TransitionError::Order("decide", "send"));
        }
        self.stamps.sent.get_or_insert(at);
        self.sequence = self.sequence.max(sequence);
        self.bytes = self.bytes.max(bytes);
        self.attempts += 1;
        Ok(())
    }

    /// The target has the context.
    ///
    /// # Errors
    /// Before it was sent; when it has ended.
    pub fn acknowledge(&mut self, at: Micros) -> Result<(), TransitionError> {
        self.check()?;
        if self.stamps.sent.is_none() {
            return Err(TransitionError::Order("send", "acknowledge"));
        }
        self.stamps.acknowledged.get_or_insert(at);
        self.context_state = ContextState::UserContextTransferCompleted;
        Ok(())
    }

    /// The target serves the vehicle: completed.
    ///
    /// # Errors
    /// Before the target has the context; when it has ended.
    pub fn switch(&mut self, at: Micros) -> Result<(), TransitionError> {
        self.check()?;
        if self.stamps.acknowledged.is_none() {
            return Err(TransitionError::Order("acknowledge", "switch"));
        }
        self.stamps.switched = Some(at);
        self.state = MobilityState::InterhostMoveoutCompleted;
        Ok(())
    }

    /// The source has forgotten the context (after the switch), or the copy at the target is withdrawn.
    ///
    /// # Errors
    /// Before the switch.
    pub fn clean_up(&mut self, at: Micros) -> Result<(), TransitionError> {
        if self.open() {
            return Err(TransitionError::Order("switch", "clean up"));
        }
        self.stamps.cleaned_up.get_or_insert(at);
        Ok(())
    }

    /// It failed: the source goes on serving.
    ///
    /// # Errors
    /// When it has ended.
    pub fn fail(&mut self, reason: impl Into<String>) -> Result<(), TransitionError> {
        self.check()?;
        self.state = MobilityState::InterhostMoveoutFailed;
        self.reason = Some(reason.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Relocation {
        Relocation::detect(1, "veh-1", "edge-a", "edge-b", Trigger::Predicted, 10)
    }

    #[test]
    fn the_whole_way() {
        let mut r = new();
        r.decide(11).unwrap();
        r.send(12, 40, 65_536).unwrap();
        r.acknowledge(15).unwrap();
        assert_eq!(r.context_state, ContextState::UserContextTransferCompleted);
        r.switch(100).unwrap();
        r.clean_up(101).unwrap();
        assert_eq!(r.state, MobilityState::InterhostMoveoutCompleted);
        assert_eq!(
            r.stamps,
            Stamps {
                detected: Some(10),
                decided: Some(11),
                sent: Some(12),
                acknowledged: Some(15),
                switched: Some(100),
                cleaned_up: Some(101)
            }
        );
        assert_eq!(
            r.fail("late"),
            Err(TransitionError::Ended(MobilityState::InterhostMoveoutCompleted))
        );
    }

    #[test]
    fn steps_keep_their_order() {
        let mut r = new();
        assert_eq!(r.send(1, 1, 1), Err(TransitionError::Order("decide", "send")));
        assert_eq!(r.acknowledge(1), Err(TransitionError::Order("send", "acknowledge")));
        assert_eq!(r.switch(1), Err(TransitionError::Order("acknowledge", "switch")));
        assert_eq!(r.clean_up(1), Err(TransitionError::Order("switch", "clean up")));
        r.fail("target does not answer").unwrap();
        assert_eq!(r.state, MobilityState::InterhostMoveoutFailed);
        assert_eq!(r.context_state, ContextState::NotTransferred);
        assert_eq!(
            r.decide(2),
            Err(TransitionError::Ended(MobilityState::InterhostMoveoutFailed))
        );
    }
}
