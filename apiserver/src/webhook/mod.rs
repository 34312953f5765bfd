//! What only a program outside can say: admission webhooks and conversion webhooks.
//!
//! The registry is synchronous and holds no lock over a wait. An operation that needs a webhook's answer notes what it
//! wants to ask (`Hooks::ask`) and gives up; `Server::with_hooks` asks, and runs the operation again with the answers
//! at hand, on whatever is stored by then, until nothing is wanted any more. An operation is thus a function of the
//! request, the store and the answers; where one of them changed (somebody else wrote the object meanwhile) the webhook is
//! asked again, as kube-apiserver does when a write conflicts.

mod client;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::digest::{hex, sha256};
use crate::registry::{Call, Resource, Server};
use crate::status::Status;

pub use client::Caller;
pub(crate) use client::in_words;

/// How often an operation is run again at most: an object with that many webhooks, or that is written by others that
/// often meanwhile.
pub(crate) const ROUNDS: u32 = 64;

/// One question to a webhook.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// `clientConfig` of its registration.
    pub(crate) config: Value,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// An AdmissionReview or ConversionReview.
    pub(crate) body: Value,
    key: String,
}

/// What a webhook said: the uid it was asked with, and its answer (JSON) or why there is none, in client-go's words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) uid: String,
    pub(crate) said: Result<Value, String>,
}

/// What one operation asked and was told.
#[derive(Debug, Clone, Default)]
pub struct Hooks {
    answers: BTreeMap<String, Answer>,
    wanted: Vec<Ask>,
    /// Uid and time of the object that is created: the same each time the operation is run.
    born: Option<(String, String)>,
    /// Names that were generated for it, by attempt.
    names: Vec<String>,
    /// What else was drawn at random.
    drawn: BTreeMap<&'static str, Value>,
}

/// An answer is a review of this version and kind, or is none; the words are upstream's (`request.VerifyAdmissionResponse`,
/// `webhook.getConvertedObjectsFromResponse`).
pub(crate) fn expect(answer: &Value, version: &str, kind: &str) -> Result<(), String> {
    let got = |field: &str| answer[field].as_str().unwrap_or_default();
    if (got("apiVersion"), got("kind")) == (version, kind) {
        return Ok(());
    }
    Err(format!(
        "expected webhook response of {version}, Kind={kind}, got {}, Kind={}",
        got("apiVersion"),
        got("kind")
    ))
}

/// What makes a question the same one: everything but its uid and who owned which field when.
fn key(config: &Value, body: &Value) -> String {
    let mut body = body.clone();
    if let Some(r) = body.get_mut("request").and_then(Value::as_object_mut) {
        r.remove("uid");
        let mut forget = |o: &mut Value| {
            if let Some(m) = o.pointer_mut("/metadata").and_then(Value::as_object_mut) {
                m.remove("managedFields");
            }
        };
        for k in ["object", "oldObject"] {
            r.get_mut(k).map(&mut forget);
        }
        let objects = r.get_mut("objects").and_then(Value::as_array_mut);
        objects.into_iter().flatten().for_each(forget);
    }
    hex(&sha256([config.to_string(), body.to_string()]))
}

impl Hooks {
    /// The answer to a question; `None`: it is noted to be asked.
    pub(crate) fn ask(&mut self, config: &Value, timeout: Duration, body: Value) -> Option<&Answer> {
        let key = key(config, &body);
        if !self.answers.contains_key(&key) {
            if self.wanted.iter().all(|a| a.key != key) {
                self.wanted.push(Ask {
                    config: config.clone(),
                    timeout,
                    body,
                    key,
                });
            }
            return None;
        }
        self.answers.get(&key)
    }

    /// Uid and time of the object that is created.
    pub(crate) fn born(&mut self, make: impl FnOnce() -> (String, String)) -> (String, String) {
        self.born.get_or_insert_with(make).clone()
    }

    /// The name generated at an attempt (0, 1, ...).
    pub(crate) fn name(&mut self, attempt: usize, make: impl FnOnce() -> String) -> String {
        if attempt >= self.names.len() {
            self.names.push(make());
        }
        self.names[attempt.min(self.names.len() - 1)].clone()
    }

    /// What was drawn for `what`.
    pub(crate) fn drawn<T: DeserializeOwned>(&self, what: &str) -> Option<T> {
        self.drawn.get(what).and_then(|v| T::deserialize(v).ok())
    }

    /// Keeps it for the next run.
    pub(crate) fn keep_drawn(&mut self, what: &'static str, value: &impl Serialize) {
        self.drawn.insert(what, serde_json::json!(value));
    }

    /// Whether something is to be asked before the operation can be done.
    pub(crate) fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }
}

/// The refusal of an operation that asks something else each time.
pub(crate) fn asked_too_often() -> Status {
    Status::internal("webhooks were asked too often for one request")
}

/// The reason of [`ask_first`].
const ASK_FIRST: &str = "AskFirst";

/// The refusal of an operation that has to ask first; told to nobody.
pub(crate) fn ask_first() -> Status {
    Status::new(500, ASK_FIRST, "a webhook has to be asked first")
}

impl Server {
    /// Runs an operation, with the answers of the webhooks that it asks for. `call` is as the last run left it.
    ///
    /// # Errors
    /// The operation's.
    pub(crate) async fn with_hooks<T>(
        &self,
        call: &mut Call,
        resource: &Resource,
        mut operation: impl FnMut(&mut Call) -> Result<T, Status>,
    ) -> Result<T, Status> {
        // What the operation may take away; nearly all are done at once.
        let before = call.clone();
        for _ in 0..ROUNDS {
            match operation(call) {
                Err(s) if s.reason == ASK_FIRST => {}
                done => return done,
            }
            if let Some(hooks) = &mut call.hooks {
                self.answer(hooks).await;
            }
            self.convert_missing(resource).await?;
            let hooks = call.hooks.take();
            *call = Call {
                hooks,
                ..before.clone()
            };
        }
        Err(asked_too_often())
    }

    /// Asks all that is wanted, at once, and keeps the answers.
    pub(crate) async fn answer(&self, hooks: &mut Hooks) {
        let asks = std::mem::take(&mut hooks.wanted);
        let all = asks.into_iter().map(|a| async move {
            let uid = a.body["request"]["uid"].as_str().unwrap_or_default().to_owned();
            let said = self.call_webhook(&a).await;
            (a.key, Answer { uid, said })
        });
        hooks.answers.extend(futures::future::join_all(all).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_question_is_the_same_whatever_its_uid() {
        let ask = |uid: &str, time: &str, data: &str| {
            key(
                &json!({"url": "u"}),
                &json!({"request": {"uid": uid, "object": {"metadata": {"name": "a", "managedFields": [{"time": time}]}, "data": data}}}),
            )
        };
        assert_eq!(ask("1", "t1", "x"), ask("2", "t2", "x"));
        assert_ne!(ask("1", "t1", "x"), ask("1", "t1", "y"));
    }
}
