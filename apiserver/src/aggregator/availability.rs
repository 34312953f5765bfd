//! Whether servers behind this one can be reached (`kube-aggregator/pkg/controllers/status/remote`): looked at when an
//! APIService, its service or the slices of that change, every half minute, and soon again where it failed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::remote::Remote;
use super::{SERVERS, shown};
use crate::endpoints;
use crate::http::host_port;
use crate::local::Gvr;
use crate::registry::{Condition, Server};
use crate::schema::quote;
use crate::store::Key;
use crate::webhook::in_words;

const SERVICES: Gvr = Gvr::new("", "v1", "services");
const SLICES: Gvr = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
/// How many places are tried.
const ATTEMPTS: usize = 5;
/// How often one that is well is looked at again (the informer's resync).
const AGAIN: Duration = Duration::from_secs(30);
/// The first and the longest wait after a failure (the queue's rate limiter).
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(30));

/// When one is looked at next, and how often it failed on end.
#[derive(Debug, Clone, Copy)]
struct Turn {
    at: Instant,
    failures: u32,
}

/// What looking at one came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is told what it is; only a change, or time, makes it another.
    Settled,
    /// It was not reached, or somebody else wrote meanwhile.
    Failed,
    Gone,
}

/// How long to wait after so many failures on end.
fn backoff(failures: u32) -> Duration {
    let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(20));
    BACKOFF.0.saturating_mul(factor).min(BACKOFF.1)
}

/// What looking at one comes to; one that panics has failed, and is not looked at for ever.
async fn unbroken(look: impl Future<Output = Outcome>) -> Outcome {
    let done = AssertUnwindSafe(look).catch_unwind().await;
    done.unwrap_or(Outcome::Failed)
}

/// Keeps the conditions of APIServices true until `cancel`.
pub(crate) async fn keep_watch(server: Arc<Server>, cancel: CancellationToken) {
    let mut turns: BTreeMap<String, Turn> = BTreeMap::new();
    // Those that are looked at, and of them those that became due again meanwhile.
    let (mut busy, mut again) = (BTreeSet::new(), BTreeSet::new());
    let mut running: JoinSet<(String, Outcome)> = JoinSet::new();
    let names: Vec<String> = server.remotes().iter().map(|r| r.name.clone()).collect();
    server.aggregation.look_at(names);
    loop {
        let now = Instant::now();
        for name in server.aggregation.take_due() {
            if busy.contains(&name) {
                again.insert(name);
                continue;
            }
            let failures = turns.get(&name).map_or(0, |t| t.failures);
            turns.insert(name, Turn { at: now, failures });
        }
        for name in turns.iter().filter(|(_, t)| t.at <= now).map(|(n, _)| n) {
            if busy.insert(name.clone()) {
                let (server, name) = (server.clone(), name.clone());
                running.spawn(async move {
                    let outcome = unbroken(server.look(&name)).await;
                    (name, outcome)
                });
            }
        }
        let next = turns
            .iter()
            .filter(|(n, _)| !busy.contains(*n))
            .map(|(_, t)| t.at)
            .min();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            Some(done) = running.join_next(), if !running.is_empty() => {
                let Ok((name, outcome)) = done else { continue };
                busy.remove(&name);
                let (now, soon) = (Instant::now(), again.remove(&name));
                let failures = turns.get(&name).map_or(0, |t| t.failures);
                let (wait, failures) = match outcome {
                    Outcome::Gone if !soon => {
                        turns.remove(&name);
                        continue;
                    }
                    Outcome::Gone | Outcome::Settled => (AGAIN, 0),
                    Outcome::Failed => (backoff(failures + 1), failures + 1),
                };
                let at = if soon { now } else { now + wait };
                turns.insert(name, Turn { at, failures });
            }
            () = server.aggregation.wake.notified() => {}
            () = timer => {}
        }
    }
}

/// A condition that says no.
fn refused(reason: &'static str, message: String) -> Condition {
    Condition {
        kind: "Available",
        holds: false,
        reason,
        message,
    }
}

/// What the service and its slices say against it.
fn unserved(to: &Remote, service: Option<&Value>, slices: &[Arc<Value>]) -> Option<Condition> {
    let named = shown(&to.namespace, &to.service);
    let Some(service) = service else {
        return Some(refused("ServiceNotFound", format!("{named} is not present")));
    };
    if service["spec"]["type"] != "ClusterIP" {
        return None;
    }
    let Some(port) = endpoints::port_name(service, "port", to.port, None) else {
        let why = format!("{named} is not listening on port {}", to.port);
        return Some(refused("ServicePortError", why));
    };
    if slices.is_empty() {
        return Some(refused(
            "EndpointsNotFound",
            format!("cannot find endpointslices for {named}"),
        ));
    }
    if !slices.iter().any(|s| has_ready(s, port)) {
        let why = format!(
            "endpointslices for {named} have no addresses with port name {}",
            quote(port)
        );
        return Some(refused("MissingEndpoints", why));
    }
    None
}

/// Whether a slice has a ready endpoint, and a port of this name.
fn has_ready(slice: &Value, port: &str) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let mut ports = slice["ports"].as_array().into_iter().flatten();
    endpoints.any(|e| e["conditions"]["ready"] != false)
        && ports.any(|p| p["name"].as_str().unwrap_or_default() == port && p["port"].is_number())
}

impl Server {
    /// Looks at one, and says what it is.
    async fn look(&self, name: &str) -> Outcome {
        let Some(object) = self.store.get(&SERVERS, &Key::new("", name)) else {
            self.aggregation.set_discovered(name, None);
            return Outcome::Gone;
        };
        let Some(to) = Remote::of(&object.peek()) else {
            self.aggregation.set_discovered(name, None);
            return Outcome::Gone;
        };
        let service = self.store.get(&SERVICES, &Key::new(&to.namespace, to.service.as_str()));
        let slices = self.store.list(&SLICES, Some(&to.namespace), None).objects;
        let slices: Vec<Arc<Value>> = slices.iter().map(|s| s.peek()).collect();
        let of_it = |s: &Arc<Value>| s["metadata"]["labels"]["kubernetes.io/service-name"] == *to.service;
        let slices: Vec<Arc<Value>> = slices.into_iter().filter(of_it).collect();
        let service = service.map(|s| s.peek());
        if let Some(refusal) = unserved(&to, service.as_deref(), &slices) {
            self.aggregation.set_discovered(name, None);
            return match self.say(&SERVERS, &object, &refusal) {
                true => Outcome::Settled,
                false => Outcome::Failed,
            };
        }
        let at = match self.probe(&to).await {
            Ok(at) => at,
            Err(why) => {
                self.aggregation.set_discovered(name, None);
                // Whether that could be said or not, it is asked again.
                self.say(&SERVERS, &object, &refused("FailedDiscoveryCheck", why));
                return Outcome::Failed;
            }
        };
        let passed = Condition {
            kind: "Available",
            holds: true,
            reason: "Passed",
            message: "all checks passed".to_owned(),
        };
        let found = self.discover(&to, &at).await;
        // One that answers nothing of what it serves is stale, and asked again.
        let known = found.is_some();
        self.aggregation.set_discovered(name, found);
        // Who is told that it is available finds what it has; how long that may take is bounded.
        match self.say(&SERVERS, &object, &passed) && known {
            true => Outcome::Settled,
            false => Outcome::Failed,
        }
    }

    /// Where it answers for its group and version; or why nowhere.
    async fn probe(&self, to: &Remote) -> Result<(String, u16), String> {
        let mut why = String::new();
        let mut tried = BTreeSet::new();
        for turn in 0..ATTEMPTS {
            let at = self.place_of(to, turn)?;
            if !tried.insert(at.clone()) {
                break;
            }
            let url = format!("https://{}{}", host_port(&at.0, at.1), to.root());
            let root = to.root();
            let wrong = match self.read_remote(to, &at, &root, "*/*").await {
                Ok(told) if told.code.is_success() => return Ok(at),
                Ok(told) => format!("bad status from {url}: {}", told.code.as_u16()),
                Err(e) => format!("Get {}: {}", quote(&url), spoken(&e, to, &at)),
            };
            why = format!("failing or missing response from {url}: {wrong}");
        }
        Err(why)
    }
}

/// An error in the words of Go.
fn spoken(e: &io::Error, to: &Remote, at: &(String, u16)) -> String {
    in_words(e, &at.0, at.1, &to.server_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_service_and_its_slices_say() {
        let to = Remote::of(
            &json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1",
            "service": {"namespace": "n", "name": "s", "port": 7443}}}),
        )
        .unwrap();
        let service =
            |kind: &str, port: u16| json!({"spec": {"type": kind, "ports": [{"name": "https", "port": port}]}});
        let slice = |ready: Value, port: &str| {
            Arc::new(
                json!({"endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
                "ports": [{"name": port, "port": 443}]}),
            )
        };
        let (good, other) = (service("ClusterIP", 7443), service("ClusterIP", 443));
        let external = service("ExternalName", 1);
        for (service, slices, reason) in [
            (None, vec![], Some("ServiceNotFound")),
            (
                Some(&other),
                vec![slice(json!(true), "https")],
                Some("ServicePortError"),
            ),
            (Some(&good), vec![], Some("EndpointsNotFound")),
            (
                Some(&good),
                vec![slice(json!(false), "https")],
                Some("MissingEndpoints"),
            ),
            (Some(&good), vec![slice(json!(true), "http")], Some("MissingEndpoints")),
            (
                Some(&good),
                vec![slice(json!(true), "http"), slice(Value::Null, "https")],
                None,
            ),
            (Some(&external), vec![], None),
        ] {
            assert_eq!(unserved(&to, service, &slices).map(|c| c.reason), reason);
        }
        let told = unserved(&to, Some(&good), &[slice(json!(true), "x")]).unwrap();
        assert_eq!(
            told.message,
            "endpointslices for service/s in \"n\" have no addresses with port name \"https\""
        );
    }

    #[tokio::test]
    async fn a_look_that_panics_has_failed() {
        assert_eq!(unbroken(async { Outcome::Settled }).await, Outcome::Settled);
        assert_eq!(unbroken(async { panic!("as it is meant") }).await, Outcome::Failed);
    }

    #[test]
    fn who_fails_is_asked_later_and_later() {
        let all: Vec<Duration> = [1, 2, 3, 40].map(backoff).into();
        assert_eq!(all, [5, 10, 20, 30_000].map(Duration::from_millis));
    }
}
