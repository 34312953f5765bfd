//! Removing what testbeds left: on purpose (`down`), after a cancelled start, and after a process that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt;

use super::engine::{Engine, EngineError};
use super::kind;
use super::plan::{OWNER, TESTBED};

/// How many containers are removed at once.
const AT_ONCE: usize = 16;

/// The process that owns a testbed: `<pid>.<start>@<boot>.<pid namespace>`, so that neither another machine, nor another
/// container, nor a later process with the same number is taken for it.
#[must_use]
pub fn owner() -> String {
    format!(
        "{}@{}",
        process(&std::process::id().to_string()).unwrap_or_default(),
        here()
    )
}

/// `<pid>.<start>` of a process that lives.
fn process(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(format!("{pid}.{}", started(&stat)?))
}

/// When a process started, as `/proc/PID/stat` says; none of one that has ended and that its parent has not buried yet.
fn started(stat: &str) -> Option<&str> {
    // After the command, which may hold anything and ends with the last parenthesis; the start is the 22nd field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.nth(18).filter(|_| !matches!(state, "Z" | "X"))
}

fn here() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits = |s: &str| s.chars().filter(char::is_ascii_digit).collect::<String>();
    format!("{}.{}", boot.trim(), digits(&namespace.display().to_string()))
}

/// Whether an owner's process is gone for sure. One on another machine, or in another container, is not ours to judge.
#[must_use]
pub fn is_gone(owner: &str) -> bool {
    let Some((who, place)) = owner.split_once('@') else {
        return false;
    };
    let pid = who.split('.').next().unwrap_or_default();
    place == here() && process(pid).as_deref() != Some(who)
}

/// Removes the containers and networks of testbeds whose process is gone; says which.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn leftovers(engine: &Engine) -> Result<Vec<String>, EngineError> {
    let mut gone = BTreeSet::new();
    for (testbed, owner) in all(engine).await? {
        if is_gone(&owner) {
            remove(engine, &format!("{TESTBED}={testbed}")).await?;
            gone.insert(testbed);
        }
    }
    Ok(gone.into_iter().collect())
}

/// Every testbed on this engine, and its owner.
///
/// # Errors
/// When the engine cannot be asked.
pub async fn all(engine: &Engine) -> Result<BTreeMap<String, String>, EngineError> {
    let mut found = BTreeMap::new();
    for (_, labels) in engine.networks(TESTBED).await? {
        if let (Some(t), Some(o)) = (labels.get(TESTBED), labels.get(OWNER)) {
            found.insert(t.clone(), o.clone());
        }
    }
    for c in engine.containers(TESTBED).await? {
        let labels = c.labels.unwrap_or_default();
        if let (Some(t), Some(o)) = (labels.get(TESTBED), labels.get(OWNER)) {
            found.insert(t.clone(), o.clone());
        }
    }
    Ok(found)
}

/// Removes every container and network that bears a label; says how many containers there were.
///
/// # Errors
/// When the engine refuses.
pub async fn remove(engine: &Engine, label: &str) -> Result<usize, EngineError> {
    let containers = engine.containers(label).await?;
    let names: Vec<String> = containers.into_iter().filter_map(|c| c.id).collect();
    let mut count = names.len();
    let mut last = remove_each(engine, names).await;
    for (network, _) in engine.networks(label).await? {
        // A removal that somebody else began may take a moment yet, and so may a kind that was killed.
        for _ in 0..50 {
            let made = made_by_kind(&network, engine.attached_with(&network, kind::CLUSTER).await?);
            count += made.len();
            remove_each(engine, made).await?;
            last = engine.remove_network(&network).await;
            if last.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    // Those of a testbed that came from a snapshot have names, and do not go with their containers.
    for volume in engine.volumes(label).await? {
        engine.remove_volume(&volume).await?;
    }
    last.map(|()| count)
}

async fn remove_each(engine: &Engine, names: Vec<String>) -> Result<(), EngineError> {
    let removed: Vec<Result<(), EngineError>> = futures::stream::iter(names)
        .map(|name| async move { engine.remove(&name).await })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    removed.into_iter().collect()
}

/// Which of the containers in a testbed's network were made by kind for it: they do not bear our labels. What somebody
/// else put there, to look at it, is not ours to remove.
fn made_by_kind(network: &str, containers: Vec<(String, String)>) -> Vec<String> {
    let ours = format!("{network}-");
    let all = containers.into_iter();
    all.filter(|(_, cluster)| cluster.starts_with(&ours))
        .map(|(id, _)| id)
        .collect()
}

/// Removes a testbed when it is dropped without [`Ward::disarm`]: a start that was cancelled, a test that panicked.
#[derive(Debug)]
pub struct Ward(Option<String>);

impl Ward {
    /// Of the testbed of this name.
    #[must_use]
    pub fn new(testbed: &str) -> Self {
        Self(Some(testbed.to_owned()))
    }

    /// It is removed already.
    pub fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let Some(testbed) = self.0.take() else { return };
        // A drop cannot wait for the runtime that it may be running on.
        let removal = std::thread::spawn(move || {
            let rt = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(rt) = rt else { return };
            rt.block_on(async {
                let label = format!("{TESTBED}={testbed}");
                match Engine::connect().await {
                    Ok(engine) => {
                        if let Err(e) = remove(&engine, &label).await {
                            tracing::warn!("removing {testbed}: {e}");
                        }
                    }
                    Err(e) => tracing::warn!("removing {testbed}: {e}"),
                }
            });
        });
        let _ = removal.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_has_not_started() {
        let stat = |state: &str| format!("7 (a ) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        for (state, start) in [("S", Some("4711")), ("R", Some("4711")), ("Z", None), ("X", None)] {
            assert_eq!(started(&stat(state)), start, "{state}");
        }
        assert_eq!(started("7 (short) S 1"), None);
    }

    #[test]
    fn of_kinds_containers_only_those_of_the_testbed_are_removed() {
        for (network, cluster, ours) in [
            ("cfn-101", "cfn-101-hub", true),
            ("cfn-101", "cfn-101-edge-a", true),
            ("cfn-101", "cfn-1010-hub", false),
            ("cfn-101", "kind", false),
            ("cfn-101", "", false),
        ] {
            let made = made_by_kind(network, vec![("id".to_owned(), cluster.to_owned())]);
            assert_eq!(!made.is_empty(), ours, "{cluster} in {network}");
        }
    }

    #[test]
    fn only_a_process_that_is_gone_for_sure_is_gone() {
        let own = owner();
        let (who, place) = own.split_once('@').unwrap();
        let (pid, start) = who.split_once('.').unwrap();
        for (owner, gone) in [
            (own.clone(), false),
            (format!("{pid}.{}@{place}", start.parse::<u64>().unwrap() + 1), true),
            (format!("4194304999.1@{place}"), true),
            (format!("{pid}.1@another-boot.1"), false),
            ("nonsense".to_owned(), false),
        ] {
            assert_eq!(is_gone(&owner), gone, "{owner}");
        }
    }
}
