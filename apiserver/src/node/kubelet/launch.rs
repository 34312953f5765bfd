//! How a container is started, and what its pod's status is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::preparation::Preparation;
use super::{Kubelet, Pod, soonest};
use crate::controllers::object::Object;
use crate::node::events::Told;
use crate::node::pull;
use crate::node::runtime::{Start, View};
use crate::node::status::{self, Facts, Named};

/// How soon a pod without a sandbox is tried again.
const SANDBOX_RETRY: Duration = Duration::from_secs(2);

impl Kubelet {
    /// A pod that has no address waits until another one leaves; that is told once.
    pub(super) fn wait_for_sandbox(&mut self, uid: &str, pod: &mut Pod, next: &mut Option<Instant>) {
        if pod.sent.is_none() {
            let told = Told {
                warning: true,
                reason: "FailedCreatePodSandBox",
                message: "Failed to create pod sandbox: no IP addresses available in range set".to_owned(),
                container: None,
            };
            self.record(&pod.object, &told);
        }
        let status = self.status(uid, pod, &BTreeMap::new());
        self.tell(uid, pod, status);
        soonest(next, Instant::now() + SANDBOX_RETRY);
    }

    /// Starts a container, or lets it wait for its image.
    pub(super) fn create(&mut self, uid: &str, pod: &mut Pod, c: &Value, next: &mut Option<Instant>) {
        let (name, image) = (c.name_of(), c.text("/image"));
        let mut pulls = pod.pulls.remove(image);
        let missing = pull::missing(image, c.text("/imagePullPolicy"), &mut pulls, Instant::now());
        if let Some(p) = pulls {
            pod.pulls.insert(image.to_owned(), p);
        }
        let Some(missing) = missing else {
            if pod.waiting.get(name).is_some_and(pull::is_for_image) {
                pod.waiting.remove(name);
            }
            return self.launch(uid, pod, c);
        };
        soonest(next, missing.again);
        pod.waiting.insert(name.to_owned(), missing.waiting);
        for told in missing.told {
            let told = Told {
                container: Some(name.to_owned()),
                ..told
            };
            self.record(&pod.object, &told);
        }
    }

    fn launch(&mut self, uid: &str, pod: &mut Pod, c: &Value) {
        let name = c.name_of().to_owned();
        pod.resources.started(&name);
        match self.o.workloads.find_for(&pod.object, c) {
            None => {
                let restarts = served_restarts(&pod.object, &name);
                self.runtime.start(
                    uid,
                    Start {
                        container: name,
                        image: c.text("/image").to_owned(),
                        has_startup_probe: c.get("startupProbe").is_some(),
                        restarts,
                        builtin: None,
                    },
                );
            }
            Some(workload) => {
                pod.preparing.insert(name);
                let ip = self.runtime.address(uid);
                let job = Preparation {
                    o: self.o.clone(),
                    rest: self.rest.clone(),
                    runtime: self.runtime.clone(),
                    uid: uid.to_owned(),
                    pod: pod.object.clone(),
                    container: c.clone(),
                    host_ip: self.host_ip.clone(),
                    pod_ip: ip,
                    has_files: workload.has_files(),
                    services: self.services.clone(),
                    cancel: self.cancel.clone(),
                };
                let (tell, cancel) = (self.messages.clone(), self.cancel.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        () = cancel.cancelled() => {}
                        m = job.run() => { let _ = tell.send(m); }
                    }
                });
            }
        }
    }

    pub(super) fn seed(&self, pod: &Pod, container: &str, v: &View) -> cfn_net::Seed {
        let key = format!(
            "{}/{}/{container}/{}",
            pod.object.namespace(),
            pod.object.name(),
            v.restarts
        );
        self.o.seed.child(&key)
    }

    pub(super) fn status(&self, uid: &str, pod: &Pod, views: &BTreeMap<String, View>) -> Value {
        let host_network = pod.object.flag("/spec/hostNetwork");
        let ip = if host_network {
            Some(self.host_ip.clone())
        } else {
            self.runtime.address(uid)
        };
        status::status(&Facts {
            pod: &pod.object,
            old: pod.sent.as_ref().unwrap_or(&pod.object),
            views,
            waiting: &pod.waiting,
            resources: &pod.resources,
            pod_ip: ip.as_deref(),
            host_ip: &self.host_ip,
            started: pod.started,
            now: self.o.clock.now(),
        })
    }
}

/// Restarts of a container this disk knows nothing of: it ran before when the served status has its id.
pub(super) fn served_restarts(pod: &Value, container: &str) -> u32 {
    let all = pod
        .items("/status/containerStatuses")
        .iter()
        .chain(pod.items("/status/initContainerStatuses"));
    let found = all
        .filter(|c| !c.text("/containerID").is_empty())
        .find(|c| c.name_of() == container);
    found
        .and_then(|c| c.int("/restartCount"))
        .map_or(0, |n| u32::try_from(n).unwrap_or(0) + 1)
}
