//! Stages: the life of simulated containers as data (the idea is kwok's Stage API).

use std::time::Duration;

use cfn_net::Seed;
use rand::RngExt;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::controllers::object::{Object, requirement};

/// Why stages could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StagesError {
    /// The YAML does not parse or says something unknown.
    #[error("stages: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

/// The states of a container that stages know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum State {
    /// To be created.
    Waiting,
    /// Started, not ready.
    Running,
    /// Started and ready.
    Ready,
    /// Asked to end.
    Terminating,
    /// Ended.
    Exited,
}

/// Which containers a stage is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ContainerKind {
    /// An init container (but for sidecars).
    Init,
    /// Any other.
    Main,
}

/// When a stage matches.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// The container's state.
    pub state: State,
    /// The kind of container; any when absent.
    #[serde(default)]
    pub container: Option<ContainerKind>,
    /// Start of the image's name; any when absent.
    #[serde(default)]
    pub image_prefix: Option<String>,
    /// Requirements on the pod's labels, as in a label selector.
    #[serde(default)]
    pub match_labels: Vec<Requirement>,
    /// Requirements on the pod's annotations.
    #[serde(default)]
    pub match_annotations: Vec<Requirement>,
}

/// `key operator values`, as in `matchExpressions`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// Label or annotation.
    pub key: String,
    /// In, NotIn, Exists, DoesNotExist.
    pub operator: String,
    /// For In and NotIn.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How long a stage waits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Delay {
    /// At least.
    #[serde(deserialize_with = "go_duration")]
    pub duration: Duration,
    /// Up to this much more, evenly.
    #[serde(deserialize_with = "go_duration")]
    pub jitter: Duration,
    /// The pod's annotation that says the duration instead.
    pub duration_from: Option<String>,
}

/// Where a stage leads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Next {
    /// The state.
    pub state: State,
    /// Exit code, when the state is Exited.
    #[serde(default)]
    pub exit_code: i32,
    /// The pod's annotation that says the exit code instead.
    #[serde(default)]
    pub exit_code_from: Option<String>,
}

/// One stage.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// For people.
    pub name: String,
    /// When it matches.
    pub when: When,
    /// How long it waits.
    #[serde(default)]
    pub delay: Delay,
    /// Where it leads.
    pub next: Next,
}

/// The stages of a node. [`Default`] are those of `stages.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Stages(pub Vec<Stage>);

impl Default for Stages {
    fn default() -> Self {
        Self::parse(include_str!("stages.yaml")).expect("the embedded stages parse: a test says so")
    }
}

fn go_duration<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let s = String::deserialize(d)?;
    parse_duration(&s).ok_or_else(|| serde::de::Error::custom(format!("'{s}' is no duration such as 1m30s")))
}

pub(crate) use crate::controllers::duration as parse_duration;

/// A step a container will take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// After this long in its state.
    pub after: Duration,
    pub to: State,
    pub exit_code: i32,
}

impl Stages {
    /// Reads stages.
    ///
    /// # Errors
    /// When the YAML does not parse.
    pub fn parse(yaml: &str) -> Result<Self, StagesError> {
        Ok(serde_yaml::from_str(yaml)?)
    }

    /// The next step of a container that is in `state`. `seed` is the container's own.
    pub(crate) fn next(&self, pod: &Value, kind: ContainerKind, image: &str, state: State, seed: Seed) -> Option<Step> {
        let matching = self.0.iter().filter(|s| {
            let w = &s.when;
            w.state == state
                && w.container.is_none_or(|k| k == kind)
                && w.image_prefix.as_deref().is_none_or(|p| image.starts_with(p))
                && w.match_labels.iter().all(|r| r.holds(&|k| pod.label(k)))
                && w.match_annotations.iter().all(|r| r.holds(&|k| pod.annotation(k)))
        });
        matching
            .map(|s| {
                let said = s
                    .delay
                    .duration_from
                    .as_deref()
                    .and_then(|k| pod.annotation(k))
                    .and_then(parse_duration);
                let jitter = match s.delay.jitter {
                    // What the pod says is meant.
                    _ if said.is_some() => Duration::ZERO,
                    Duration::ZERO => Duration::ZERO,
                    j => j.mul_f64(seed.rng(&s.name).random::<f64>()),
                };
                let code = s
                    .next
                    .exit_code_from
                    .as_deref()
                    .and_then(|k| pod.annotation(k))
                    .and_then(|c| c.parse().ok());
                Step {
                    after: said.unwrap_or(s.delay.duration) + jitter,
                    to: s.next.state,
                    exit_code: code.unwrap_or(s.next.exit_code),
                }
            })
            .min_by_key(|s| s.after)
    }
}

impl Requirement {
    fn holds<'a>(&self, get: &dyn Fn(&str) -> Option<&'a str>) -> bool {
        requirement(
            &json!({"key": self.key, "operator": self.operator, "values": self.values}),
            get,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_stages_lead_to_ready() {
        let stages = Stages::default();
        let pod = json!({});
        let to = |kind, state| stages.next(&pod, kind, "x", state, Seed(1)).map(|s| s.to);
        assert_eq!(to(ContainerKind::Main, State::Waiting), Some(State::Running));
        assert_eq!(to(ContainerKind::Main, State::Running), Some(State::Ready));
        assert_eq!(to(ContainerKind::Main, State::Ready), None);
        assert_eq!(to(ContainerKind::Init, State::Running), Some(State::Exited));
        assert_eq!(to(ContainerKind::Main, State::Terminating), Some(State::Exited));
    }

    #[test]
    fn annotations_say_when_and_how_it_ends() {
        let pod = json!({"metadata": {"annotations": {"cfn.akraino.org/exit-after": "5s", "cfn.akraino.org/exit-code": "3"}}});
        let step = Stages::default().next(&pod, ContainerKind::Main, "x", State::Ready, Seed(1));
        assert_eq!(
            step,
            Some(Step {
                after: Duration::from_secs(5),
                to: State::Exited,
                exit_code: 3
            })
        );
    }

    #[test]
    fn unknown_words_are_refused() {
        let e = Stages::parse("- {name: a, when: {state: Nowhere}, next: {state: Ready}}").unwrap_err();
        assert!(e.to_string().contains("Nowhere"), "{e}");
    }
}
