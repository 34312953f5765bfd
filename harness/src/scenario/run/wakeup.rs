//! Tells waiting conditions that something changed, so that none has to poll: a watch per cluster and kind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::objects::Objects;

/// Counts changes of every kind that was ever asked about.
pub struct Wakeups {
    objects: Arc<Objects>,
    changes: watch::Sender<u64>,
    watched: Mutex<BTreeSet<(String, String, String)>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Wakeups {
    /// Nothing is watched yet.
    pub fn new(objects: Arc<Objects>) -> Self {
        Self {
            objects,
            changes: watch::channel(0).0,
            watched: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// A receiver that sees every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Starts watching a kind in a cluster, if nobody did.
    pub async fn watch(&self, cluster: &str, api_version: &str, kind: &str) {
        let key = (cluster.to_owned(), api_version.to_owned(), kind.to_owned());
        if self
            .watched
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .contains(&key)
        {
            return;
        }
        let Ok((client, resource, _)) = self.objects.kind(cluster, api_version, kind).await else {
            return;
        };
        if !self
            .watched
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(key)
        {
            return;
        }
        let api: Api<DynamicObject> = Api::all_with(client, &resource);
        let changes = self.changes.clone();
        self.tasks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .spawn(async move {
                let mut events = std::pin::pin!(cfn_net::watch::watch(api, watcher::Config::default()));
                while let Some(event) = events.next().await {
                    if event.is_ok() {
                        changes.send_modify(|n| *n += 1);
                    }
                }
            });
    }

    /// Ends the watches.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        tasks.shutdown().await;
    }
}
