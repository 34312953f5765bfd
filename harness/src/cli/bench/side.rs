//! One API server that is measured, and what asks it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cfn_net::client::ClientError;
use cfn_net::raw::{self, Connection};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::measure::BenchError;
use crate::access::{Target, config};
use crate::cli::CliError;
use crate::cli::component::{HERE, net};
use crate::input::Problem;

/// Requests in flight.
pub(super) const PARALLEL: usize = 64;
/// How long a pod may take to run, and any request.
pub(super) const RUNNING: Duration = Duration::from_secs(120);

/// An API server: its client library, and what connects to it without one where it is the server that is measured.
pub(super) struct Side {
    pub(super) client: Client,
    server: raw::Server,
}

impl Side {
    /// That of a kubeconfig. Nothing is connected yet.
    pub(super) fn of(path: &Path) -> Result<Self, CliError> {
        let target = Target {
            path: path.to_owned(),
            context: None,
        };
        let config = config(Some(&target), RUNNING)?;
        let wrong = |e: ClientError| CliError::from(Problem::of_file(path.display().to_string(), e.to_string()));
        let net = net();
        Ok(Self {
            client: config.client(&net, HERE).map_err(wrong)?,
            server: raw::Server::new(&config, &net, HERE).map_err(wrong)?,
        })
    }

    pub(super) async fn connect(&self) -> Result<Connection, BenchError> {
        self.server.connect().await.map_err(broken("connecting"))
    }

    /// The events of a watch.
    pub(super) async fn watch(&self, path: &str) -> Result<Events, BenchError> {
        let mut connection = self.connect().await?;
        let asked = connection.ask(Method::GET, path, Bytes::new()).await;
        let answer = asked.map_err(broken("watching"))?;
        Ok(Events {
            _connection: connection,
            answer,
            lines: Vec::new(),
        })
    }
}

/// The events of a watch, as far as they are read.
pub(super) struct Events {
    _connection: Connection,
    answer: raw::Answer,
    lines: Vec<u8>,
}

/// What is read of an event.
#[derive(serde::Deserialize)]
pub(super) struct Seen {
    pub(super) object: SeenObject,
}

#[derive(serde::Deserialize)]
pub(super) struct SeenObject {
    pub(super) metadata: SeenMetadata,
    #[serde(default)]
    pub(super) status: SeenStatus,
}

#[derive(serde::Deserialize)]
pub(super) struct SeenMetadata {
    #[serde(default)]
    pub(super) name: String,
}

#[derive(Default, serde::Deserialize)]
pub(super) struct SeenStatus {
    #[serde(default)]
    pub(super) phase: String,
}

impl Events {
    /// The next one; `None`: the watch ended.
    pub(super) async fn next(&mut self) -> Result<Option<Seen>, BenchError> {
        let what = "watching";
        loop {
            if let Some(end) = self.lines.iter().position(|b| *b == b'\n') {
                let seen = serde_json::from_slice(&self.lines[..end]);
                self.lines.drain(..=end);
                return seen.map(Some).map_err(|e| broken(what)(e.into()));
            }
            match self.answer.next().await.map_err(broken(what))? {
                Some(part) => self.lines.extend_from_slice(&part),
                None => return Ok(None),
            }
        }
    }
}

pub(super) fn broken(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    move |why| BenchError::Connection { what: what.into(), why }
}

/// Creates an object, and reads the answer without making objects of it.
pub(super) async fn post(connection: &mut Connection, path: &str, object: &Value) -> Result<(), BenchError> {
    let what = || format!("creating {}", object["metadata"]["name"]);
    let answer = connection.ask(Method::POST, path, object.to_string().into()).await;
    let answer = answer.map_err(|why| broken(what())(why))?;
    let status = answer.status;
    let body = answer.whole().await.map_err(|why| broken(what())(why))?;
    if status != http::StatusCode::CREATED {
        return Err(BenchError::Answered {
            what: what(),
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
        });
    }
    Ok(())
}

/// Creates a ConfigMap.
pub(super) async fn create(connection: &mut Connection, ns: &str, name: &str) -> Result<(), BenchError> {
    let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": "value"}});
    post(connection, &format!("/api/v1/namespaces/{ns}/configmaps"), &made).await
}

/// Creates many ConfigMaps, [`PARALLEL`] at a time, each time over a connection of its own; returns when these were open and
/// the first was sent.
pub(super) async fn create_many(side: &Side, ns: &str, prefix: &'static str, n: usize) -> Result<Instant, BenchError> {
    let connections = (0..PARALLEL.min(n)).map(|_| side.connect());
    let connections = futures::future::try_join_all(connections).await?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers: JoinSet<Result<(), BenchError>> = JoinSet::new();
    let start = Instant::now();
    for mut connection in connections {
        let (next, ns) = (next.clone(), ns.to_owned());
        workers.spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= n {
                    return Ok(());
                }
                create(&mut connection, &ns, &format!("{prefix}-{i}")).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.map_err(|e| broken("creating ConfigMaps")(std::io::Error::other(e)))??;
    }
    Ok(start)
}
