//! Reports pod statuses: the latest of each pod wins, and none is lost while the API server is out of reach
//! (`pkg/kubelet/status/status_manager.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};

use super::kubelet::Message;
use super::rest::Rest;
use crate::controllers::object::Object;

/// One report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub namespace: String,
    pub name: String,
    pub status: Value,
    /// The pod has ended and is to go.
    pub delete: bool,
}

/// Reports to be made, by pod UID.
#[derive(Default)]
pub(crate) struct Writer {
    pending: Mutex<(BTreeMap<String, Report>, BTreeSet<String>)>,
    wake: Notify,
}

impl Writer {
    fn pending(&self) -> MutexGuard<'_, (BTreeMap<String, Report>, BTreeSet<String>)> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a report; an older one of the pod is forgotten.
    pub(crate) fn put(&self, uid: &str, r: Report) {
        let mut p = self.pending();
        let delete = r.delete || p.0.get(uid).is_some_and(|o| o.delete);
        p.0.insert(uid.to_owned(), Report { delete, ..r });
        drop(p);
        self.wake.notify_one();
    }

    /// Whether a report of the pod is still to be made or being made.
    pub(crate) fn is_busy(&self, uid: &str) -> bool {
        let p = self.pending();
        p.0.contains_key(uid) || p.1.contains(uid)
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.pending().0.remove(uid);
    }

    /// Makes reports, one after the other, for ever.
    pub(crate) async fn run(&self, rest: &Rest, done: &mpsc::UnboundedSender<Message>) {
        let mut wait = Duration::from_millis(50);
        loop {
            let next = {
                let mut p = self.pending();
                let next = p.0.pop_first();
                p.1 = next.iter().map(|(uid, _)| uid.clone()).collect();
                next
            };
            let Some((uid, report)) = next else {
                self.wake.notified().await;
                continue;
            };
            match send(rest, &uid, &report).await {
                Ok(revision) => {
                    wait = Duration::from_millis(50);
                    self.pending().1.clear();
                    let _ = done.send(Message::Reported { uid, revision });
                }
                Err(code) if code == 0 || code == 429 || code >= 500 => {
                    {
                        let mut p = self.pending();
                        p.1.clear();
                        p.0.entry(uid).or_insert(report);
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(2));
                }
                Err(code) => {
                    self.pending().1.clear();
                    if code != 404 && code != 409 {
                        tracing::warn!(pod = report.name, code, "pod status refused");
                    }
                }
            }
        }
    }
}

/// Makes one report; the pod's new revision, or the code of the refusal (0: no answer).
async fn send(rest: &Rest, uid: &str, r: &Report) -> Result<u64, u16> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", r.namespace, r.name);
    let mut status = r.status.clone();
    // Lists with merge keys would keep an address that is no longer.
    for key in ["podIPs", "hostIPs"] {
        if let Some(l) = status.get_mut(key).and_then(Value::as_array_mut) {
            l.insert(0, json!({"$patch": "replace"}));
        }
    }
    let body = json!({"metadata": {"uid": uid}, "status": status});
    let pod = rest.patch(&format!("{path}/status"), &body).await.map_err(|e| {
        tracing::debug!(pod = r.name, %e, "status not reported");
        e.code()
    })?;
    if r.delete {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        rest.delete(&path, &options).await.map_err(|e| e.code())?;
    }
    Ok(pod.text("/metadata/resourceVersion").parse().unwrap_or(0))
}
