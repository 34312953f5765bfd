//! Keeps the pods' network of this node in step with the cluster's nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::watch;

use super::cluster::Api;
use super::network::{self, Seen, Wanted};
use super::supervise::{Supervisor, command};

/// How often the interface is looked at: it is another one after a network was disconnected and connected again.
const LOOK: Duration = Duration::from_secs(2);

/// The nodes of the cluster, followed for ever.
pub async fn follow(api: Api, nodes: watch::Sender<BTreeMap<String, Seen>>) {
    // A watch is renewed each minute: one that a cut link left hanging does not last.
    let config = watcher::Config::default().timeout(60);
    let mut events = watcher(kube::Api::<Node>::all(api.client()), config)
        .default_backoff()
        .boxed();
    let mut fresh = BTreeMap::new();
    while let Some(event) = events.next().await {
        let set = |n: Node| (n.name_any(), Seen::of(&n));
        match event {
            Ok(watcher::Event::Init) => fresh.clear(),
            Ok(watcher::Event::InitApply(n)) => {
                let (name, seen) = set(n);
                fresh.insert(name, seen);
            }
            Ok(watcher::Event::InitDone) => {
                nodes.send_if_modified(|all| {
                    let changed = *all != fresh;
                    *all = fresh.clone();
                    changed
                });
            }
            Ok(watcher::Event::Apply(n)) => {
                let (name, seen) = set(n);
                nodes.send_if_modified(|all| all.insert(name, seen.clone()) != Some(seen));
            }
            Ok(watcher::Event::Delete(n)) => {
                nodes.send_if_modified(|all| all.remove(&n.name_any()).is_some());
            }
            Err(e) => tracing::debug!("watching nodes: {e}"),
        }
    }
}

/// Applies what the nodes say, for ever.
pub async fn apply(says: Arc<Supervisor>, own: String, mut nodes: watch::Receiver<BTreeMap<String, Seen>>) {
    let (mut have, mut on) = (Wanted::default(), None);
    loop {
        let want = network::wanted(&nodes.borrow_and_update(), &own);
        let interface = network::interface(&command(&["ip", "-j", "-4", "address"]).unwrap_or_default());
        if let Some(now) = &interface
            && (want != have || interface != on)
        {
            if want.pods != have.pods
                && let Some(pods) = &want.pods
            {
                match write_cni(pods) {
                    Ok(()) => says.say(&format!("pods are in {pods}")),
                    Err(e) => says.say(&format!("{}: {e}", network::CNI)),
                }
            }
            let mut all_well = true;
            for (to, by) in &want.routes {
                if let Err(e) = command(&["ip", "route", "replace", to, "via", by, "dev", &now.name]) {
                    says.say(&e);
                    all_well = false;
                }
            }
            for gone in have.routes.keys().filter(|r| !want.routes.contains_key(*r)) {
                let _ = command(&["ip", "route", "del", gone]);
            }
            if all_well {
                (have, on) = (want, interface);
            }
        }
        tokio::select! {
            biased;
            changed = nodes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn write_cni(pods: &str) -> std::io::Result<()> {
    let directory = std::path::Path::new(network::CNI)
        .parent()
        .unwrap_or(std::path::Path::new("/"));
    std::fs::create_dir_all(directory)?;
    let new = directory.join(".new");
    std::fs::write(&new, network::cni(pods))?;
    std::fs::rename(new, network::CNI)
}
