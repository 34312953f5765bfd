//! A controller's loop, and what it makes of errors.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::Hub;
use crate::controllers::queue::Queue;

/// Keys that one controller works on at the same time.
pub(super) const WORKERS: usize = 32;

/// Runs a reconciler over a queue for ever, several keys at once. A failure is tried again, later each time.
pub(in crate::controllers) async fn work<K, F>(
    hub: &Arc<Hub>,
    what: &'static str,
    queue: impl Fn(&Hub) -> &Queue<K>,
    reconcile: impl Fn(Arc<Hub>, K) -> F,
) where
    K: Ord + Clone + std::fmt::Debug,
    F: Future<Output = Result<(), kube::Error>>,
{
    hub.synced().await;
    let queue = queue(hub);
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((key, result)) = running.next(), if !running.is_empty() => {
                let key: K = key;
                queue.done(&key);
                match result {
                    Ok(()) => queue.forget(&key),
                    Err(e) => {
                        let e: kube::Error = e;
                        tracing::debug!(controller = what, ?key, error = %e, "will be tried again");
                        queue.retry(key);
                    }
                }
            }
            key = queue.pop(), if running.len() < WORKERS => {
                let run = reconcile(Arc::clone(hub), key.clone());
                running.push(async move { (key, run.await) });
            }
        }
    }
}

/// Whether an error says that the object is not there.
pub(in crate::controllers) fn not_found(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 404)
}

/// Whether an error says that the object exists already or is not what we thought.
pub(in crate::controllers) fn conflict(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 409)
}

/// Deletes, and does not mind if it is gone.
pub(in crate::controllers) fn gone<T>(r: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match r {
        Ok(_) => Ok(()),
        Err(e) if not_found(&e) => Ok(()),
        Err(e) => Err(e),
    }
}

/// The duration from `now` to `at`, nothing when it is past.
pub(in crate::controllers) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
