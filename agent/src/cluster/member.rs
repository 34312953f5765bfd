//! What every part of an agent needs, and the retries they share.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::ClusterAgentOptions;
use super::customize::Rules;
use super::metric::Compute;

/// The two API servers and the options.
#[derive(Clone)]
pub struct Context {
    /// The hub, with the agent's own identity.
    pub hub: kube::Client,
    /// The member.
    pub member: kube::Client,
    /// The options.
    pub options: Arc<ClusterAgentOptions>,
    /// What the last report saw of the member's compute; `None` before the first.
    pub inventory: Arc<watch::Sender<Option<Compute>>>,
    /// How kinds are read that nobody built in.
    pub rules: Rules,
}

impl Context {
    /// A context whose inventory is not known yet.
    #[must_use]
    pub fn new(hub: kube::Client, options: ClusterAgentOptions) -> Self {
        let member = options.member.clone();
        Self {
            hub,
            member,
            options: Arc::new(options),
            inventory: Arc::new(watch::Sender::new(None)),
            rules: Rules::default(),
        }
    }
}

/// First and longest pause between two tries.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

/// Tries `f` until it works; the pause doubles from 20 ms to 2 s.
pub async fn until_ok<T, E: Display, F: Future<Output = Result<T, E>>>(what: &str, mut f: impl FnMut() -> F) -> T {
    let mut pause = FIRST;
    loop {
        match f().await {
            Ok(v) => return v,
            Err(e) => tracing::debug!("{what}: {e}; again in {pause:?}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// Whether the API server answered "not found".
#[must_use]
pub fn is_not_found(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 404)
}

/// Whether the API server answered "conflict" or "already exists".
#[must_use]
pub fn is_conflict(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 409)
}
