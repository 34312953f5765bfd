//! Watching objects: kube's watcher with a backoff that draws no random numbers.

use std::fmt::Debug;
use std::time::Duration;

use futures::Stream;
use kube::runtime::{WatchStreamExt, utils::Backoff, watcher};
use serde::de::DeserializeOwned;

/// Doubles from `first` to `limit`; a success starts it anew.
#[derive(Debug, Clone)]
struct Doubling {
    first: Duration,
    limit: Duration,
    next: Duration,
}

impl Iterator for Doubling {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let d = self.next;
        self.next = (d * 2).min(self.limit);
        Some(d)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Lists and then watches `api`, for ever: errors are retried after 50 ms, doubling to 2 s. Order of events is the
/// server's.
pub fn watch<K>(
    api: kube::Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let first = Duration::from_millis(50);
    watcher(api, config).backoff(Doubling {
        first,
        limit: Duration::from_secs(2),
        next: first,
    })
}
