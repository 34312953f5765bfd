//! What runs on nodes, as their container runtimes say. A command is kept open in every node that was asked once, so that
//! asking often costs little.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures::{Stream, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use super::engine::Engine;
use crate::lane::RunningPod;

/// How long a runtime may take to answer.
const ANSWER: Duration = Duration::from_secs(10);

type Says = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

struct Session {
    says: Says,
    hears: Pin<Box<dyn AsyncWrite + Send>>,
}

/// The nodes that were asked.
#[derive(Default)]
pub struct Sessions(Mutex<BTreeMap<String, Session>>);

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    containers: Vec<CriContainer>,
}

#[derive(Deserialize)]
struct CriContainer {
    metadata: CriMetadata,
    #[serde(default)]
    state: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct CriMetadata {
    #[serde(default)]
    attempt: u64,
}

/// Pods in the CRI's list of containers, as `crictl ps -o json` prints it. A container's attempt counts its restarts.
///
/// # Errors
/// Text that is no such list.
pub fn pods(json: &str) -> Result<Vec<RunningPod>, serde_json::Error> {
    let list: List = serde_json::from_str(json)?;
    let mut found: BTreeMap<String, RunningPod> = BTreeMap::new();
    for c in list.containers {
        if c.state != "CONTAINER_RUNNING" {
            continue;
        }
        let label = |l: &str| {
            c.labels
                .get(&format!("io.kubernetes.pod.{l}"))
                .cloned()
                .unwrap_or_default()
        };
        let pod = found.entry(label("uid")).or_insert_with(|| RunningPod {
            namespace: label("namespace"),
            name: label("name"),
            uid: label("uid"),
            restarts: 0,
        });
        pod.restarts += c.metadata.attempt;
    }
    Ok(found.into_values().collect())
}

impl Sessions {
    /// What runs on the node in this container.
    ///
    /// # Errors
    /// What the engine or the runtime said, in words.
    pub async fn ask(&self, engine: &Engine, container: &str, command: &[String]) -> Result<Vec<RunningPod>, String> {
        let kept = self.0.lock().await.remove(container);
        let mut session = match kept {
            Some(s) => s,
            None => open(engine, container, command).await?,
        };
        let answer = tokio::time::timeout(ANSWER, line(&mut session)).await;
        let text = answer.map_err(|_| format!("the runtime in {container} does not answer"))??;
        self.0.lock().await.insert(container.to_owned(), session);
        pods(&text).map_err(|e| format!("what runs in {container}: {e}: {text}"))
    }

    /// Forgets a node, whose container ends.
    pub async fn forget(&self, container: &str) {
        self.0.lock().await.remove(container);
    }
}

async fn open(engine: &Engine, container: &str, command: &[String]) -> Result<Session, String> {
    let fail = |e: bollard::errors::Error| e.to_string();
    let list = command.join(" ");
    let script = format!("while read -r _; do {list} 2>&1 | tr -d '\\n'; echo; done");
    let config = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        cmd: Some(vec!["sh", "-c", &script]),
        ..CreateExecOptions::default()
    };
    let docker = engine.docker();
    let id = docker.create_exec(container, config).await.map_err(fail)?.id;
    let started = docker.start_exec(&id, None::<StartExecOptions>).await.map_err(fail)?;
    match started {
        StartExecResults::Attached { output, input } => Ok(Session {
            says: output,
            hears: input,
        }),
        StartExecResults::Detached => Err("the engine detached a command that was attached".to_owned()),
    }
}

async fn line(s: &mut Session) -> Result<String, String> {
    let io = |e: std::io::Error| e.to_string();
    s.hears.write_all(b"\n").await.map_err(io)?;
    s.hears.flush().await.map_err(io)?;
    let mut text = Vec::new();
    while let Some(part) = s.says.next().await {
        text.extend_from_slice(&part.map_err(|e| e.to_string())?.into_bytes());
        if text.ends_with(b"\n") {
            return Ok(String::from_utf8_lossy(&text).trim().to_owned());
        }
    }
    Err("the command ended".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_gathered_into_pods() {
        let of = |pod: &str, container: &str, attempt: u64, state: &str| {
            serde_json::json!({
                "id": "x", "podSandboxId": "y", "metadata": {"name": container, "attempt": attempt},
                "state": state,
                "labels": {
                    "io.kubernetes.container.name": container, "io.kubernetes.pod.name": pod,
                    "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": format!("uid-{pod}"),
                },
            })
        };
        let json = serde_json::json!({"containers": [
            of("a", "app", 1, "CONTAINER_RUNNING"),
            of("a", "side", 2, "CONTAINER_RUNNING"),
            of("b", "app", 0, "CONTAINER_RUNNING"),
            of("c", "app", 4, "CONTAINER_EXITED"),
        ]});
        let seen: Vec<(String, u64)> = pods(&json.to_string())
            .unwrap()
            .into_iter()
            .map(|p| (p.name, p.restarts))
            .collect();
        assert_eq!(seen, [("a".to_owned(), 3), ("b".to_owned(), 0)]);
        assert!(pods("{}").unwrap().is_empty());
        assert!(pods("connection refused").is_err());
    }
}
