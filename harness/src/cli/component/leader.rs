//! Leader election by a Lease, with the rules and defaults of client-go's `leaderelection`: of several replicas one
//! works, and another takes over when it has not renewed its lease for the lease's duration, as seen on the other's own
//! clock.

use std::time::Duration;

use cfn_net::{Clock, SystemClock};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::CliError;
use super::duration;

/// Flags as Kubernetes' own components have them.
#[derive(Debug, clap::Args)]
pub struct LeaderArgs {
    /// Work only while holding the lease, so that several replicas may run
    #[arg(long, env = "CFN_LEADER_ELECT", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// How long others wait for a leader that is silent
    #[arg(long, default_value = "15s", value_parser = duration)]
    leader_elect_lease_duration: Duration,
    /// A leader that could not renew for so long ends
    #[arg(long, default_value = "10s", value_parser = duration)]
    leader_elect_renew_deadline: Duration,
    /// Between two tries
    #[arg(long, default_value = "2s", value_parser = duration)]
    leader_elect_retry_period: Duration,
}

/// A candidate.
pub struct Election {
    api: Api<Lease>,
    name: &'static str,
    /// Who we are: different for every process.
    me: String,
    lease: Duration,
    deadline: Duration,
    retry: Duration,
}

impl Election {
    /// None when nobody is elected.
    pub fn new(args: &LeaderArgs, client: &kube::Client, namespace: &str, name: &'static str) -> Option<Self> {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "cfn".into());
        args.leader_elect.then(|| Self {
            api: Api::namespaced(client.clone(), namespace),
            name,
            me: format!("{host}_{:016x}", cfn_net::Seed::unpredictable().0),
            lease: args.leader_elect_lease_duration,
            deadline: args.leader_elect_renew_deadline,
            retry: args.leader_elect_retry_period,
        })
    }

    /// Waits to be elected, then works until the work ends, `cancel`, or the lease is lost; gives the lease back.
    pub async fn lead<F>(&self, work: impl FnOnce() -> F, cancel: &CancellationToken) -> Result<(), CliError>
    where
        F: Future<Output = Result<(), CliError>>,
    {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            () = self.acquire() => {}
        }
        tracing::info!(lease = self.name, "leading");
        let done = tokio::select! {
            biased;
            r = work() => r,
            () = self.renew() => Err(CliError::Failed(format!("the lease {} was lost", self.name))),
        };
        if done.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.release()).await;
        }
        done
    }

    async fn acquire(&self) {
        // What was last seen of the holder, and when, on our clock.
        let mut seen: Option<(LeaseSpec, Instant)> = None;
        loop {
            match self.attempt(&mut seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(e) => tracing::debug!("asking for the lease {}: {e}", self.name),
            }
            tokio::time::sleep(self.retry).await;
        }
    }

    /// One try to hold or renew.
    async fn attempt(&self, seen: &mut Option<(LeaseSpec, Instant)>) -> kube::Result<bool> {
        let now = MicroTime(SystemClock.now());
        let Some(mut lease) = self.api.get_opt(self.name).await? else {
            let fresh = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.to_owned()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(None, now)),
            };
            return self.api.create(&PostParams::default(), &fresh).await.map(|_| true);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        if !may_take(&spec, &self.me, seen, Instant::now()) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(Some(&spec), now));
        // The resource version makes it one winner.
        self.api
            .replace(self.name, &PostParams::default(), &lease)
            .await
            .map(|_| true)
    }

    fn spec(&self, before: Option<&LeaseSpec>, now: MicroTime) -> LeaseSpec {
        let ours = before.is_some_and(|b| b.holder_identity.as_deref() == Some(&self.me));
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.lease.as_secs().max(1)).ok(),
            acquire_time: match before {
                Some(b) if ours => b.acquire_time.clone(),
                _ => Some(now.clone()),
            },
            renew_time: Some(now),
            lease_transitions: Some(if ours || before.is_none() {
                transitions
            } else {
                transitions + 1
            }),
            ..LeaseSpec::default()
        }
    }

    /// Returns when the lease could not be renewed in time.
    async fn renew(&self) {
        let mut good = Instant::now();
        let mut seen = None;
        loop {
            tokio::time::sleep(self.retry).await;
            match tokio::time::timeout(self.deadline, self.attempt(&mut seen)).await {
                Ok(Ok(true)) => good = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(_)) | Err(_) if good.elapsed() >= self.deadline => return,
                Ok(Err(e)) => tracing::debug!("renewing the lease {}: {e}", self.name),
                Err(_) => {}
            }
        }
    }

    async fn release(&self) -> kube::Result<()> {
        let Some(mut lease) = self.api.get_opt(self.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.me) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            self.api.replace(self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }
}

/// Whether the lease is ours, free, or has not changed for its duration while we looked.
fn may_take(spec: &LeaseSpec, me: &str, seen: &mut Option<(LeaseSpec, Instant)>, now: Instant) -> bool {
    match spec.holder_identity.as_deref() {
        None | Some("") => return true,
        Some(h) if h == me => return true,
        Some(_) => {}
    }
    match seen {
        Some((before, at)) if before == spec => {
            let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
            now.duration_since(*at) > Duration::from_secs(duration)
        }
        _ => {
            *seen = Some((spec.clone(), now));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_it_was_seen_unchanged_for_its_duration() {
        let held = |by: &str, n: i32| LeaseSpec {
            holder_identity: Some(by.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(n),
            ..LeaseSpec::default()
        };
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut seen = None;
        assert!(may_take(&held("", 0), "me", &mut seen, start), "free");
        assert!(may_take(&held("me", 0), "me", &mut seen, start), "ours");
        for (n, seconds, taken) in [
            (0, 0, false),
            (0, 15, false),
            (0, 16, true),
            (1, 17, false),
            (1, 30, false),
            (1, 33, true),
        ] {
            assert_eq!(
                may_take(&held("other", n), "me", &mut seen, at(seconds)),
                taken,
                "{n} at {seconds} s"
            );
        }
    }
}
