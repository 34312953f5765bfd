//! `cfn apiserver --data-dir`: a cluster with nodes and pods that is killed and goes on, and directories it refuses.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    child: Child,
    output: BufReader<ChildStdout>,
    config: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path, config: &Path) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_cfn"));
    c.args(["apiserver", "--nodes", "2", "--data-dir"])
        .arg(dir)
        .arg("--kubeconfig")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    c
}

impl Server {
    /// Started and serving; the lines it said until then.
    fn start(dir: &Path, config: &Path) -> (Self, Vec<String>) {
        let mut child = command(dir, config).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = Vec::new();
        while said.last().is_none_or(|l: &String| !l.starts_with("serving at ")) {
            let mut line = String::new();
            assert!(output.read_line(&mut line).unwrap() > 0, "it ended: {said:?}");
            said.push(line);
        }
        let config = config.to_owned();
        (Self { child, output, config }, said)
    }

    async fn client(&self) -> Client {
        let k = kube::config::Kubeconfig::read_from(&self.config).unwrap();
        let config = kube::Config::from_custom_kubeconfig(k, &Default::default())
            .await
            .unwrap();
        Client::try_from(config).unwrap()
    }

    /// SIGKILL.
    fn kill(&mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut rest = String::new();
        let _ = self.output.read_to_string(&mut rest);
        rest
    }
}

async fn until(what: &str, mut f: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !f().await {
        assert!(tokio::time::Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_cluster_that_is_killed_goes_on_with_its_nodes_and_pods() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = (dir.path().join("data"), dir.path().join("config"));
    let (mut server, said) = Server::start(&data, &config);
    assert_eq!(said.len(), 1, "{said:?}");
    let client = server.client().await;
    let api: Api<Deployment> = Api::default_namespaced(client.clone());
    let d = json!({"metadata": {"name": "d"}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "registry.example/x:1"}]}}}});
    api.create(&PostParams::default(), &serde_json::from_value(d).unwrap())
        .await
        .unwrap();
    let ready = async |api: &Api<Deployment>| {
        let d = api.get("d").await.unwrap();
        d.status.and_then(|s| s.ready_replicas) == Some(3)
    };
    until("all replicas are ready", async || ready(&api).await).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let names = async |pods: &Api<Pod>| {
        let list = pods.list(&ListParams::default()).await.unwrap();
        list.items.iter().map(|p| (p.name_any(), p.uid())).collect::<Vec<_>>()
    };
    let before = names(&pods).await;
    server.kill();

    // Another kubeconfig is written; the first one is good still.
    let (mut again, said) = Server::start(&data, &dir.path().join("config2"));
    assert!(said[0].contains(" were kept"), "{said:?}");
    assert_eq!(names(&pods).await, before, "the same pods");
    let api: Api<Deployment> = Api::default_namespaced(again.client().await);
    until("all replicas are ready again", async || ready(&api).await).await;
    let nodes: Api<Node> = Api::all(client);
    until("nodes are ready", async || {
        let list = nodes.list(&ListParams::default()).await.unwrap();
        let conditions = |n: &Node| n.status.clone().and_then(|s| s.conditions).unwrap_or_default();
        let ready = |n: &Node| conditions(n).iter().any(|c| c.type_ == "Ready" && c.status == "True");
        list.items.len() == 2 && list.items.iter().all(ready)
    })
    .await;
    // Scaling works: controllers and scheduler go on.
    let scale = kube::api::Patch::Merge(json!({"spec": {"replicas": 4}}));
    api.patch("d", &Default::default(), &scale).await.unwrap();
    until("one more runs", async || {
        api.get("d").await.unwrap().status.and_then(|s| s.ready_replicas) == Some(4)
    })
    .await;
    again.kill();
}

/// Exit code and what was said on standard error.
fn refused(data: &Path, config: &Path) -> (Option<i32>, String) {
    let output = command(data, config).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).replace('\n', " "),
    )
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (data, config) = (dir.path().join("data"), dir.path().join("config"));
    let (mut server, _) = Server::start(&data, &config);
    let (code, why) = refused(&data, &dir.path().join("other"));
    assert_eq!(code, Some(3), "{why}");
    assert!(why.contains("in use by another process"), "{why}");
    server.kill();
    let logs = std::fs::read_dir(data.join("store"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let log = logs.filter(|p| p.to_string_lossy().contains("/log-")).max().unwrap();
    // A torn tail is cut and named.
    let mut f = std::fs::File::options().append(true).open(&log).unwrap();
    f.write_all(b"frm1torn").unwrap();
    drop(f);
    let mut child = command(&data, &config).stderr(Stdio::piped()).spawn().unwrap();
    let mut warning = String::new();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    while !warning.contains("warning: ") {
        warning.clear();
        assert!(errors.read_line(&mut warning).unwrap() > 0, "no warning");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        warning.contains(log.file_name().unwrap().to_str().unwrap()) && warning.contains("8 bytes"),
        "{warning}"
    );
    // A broken middle refuses.
    let mut f = std::fs::File::options().write(true).open(&log).unwrap();
    f.seek(SeekFrom::Start(60)).unwrap();
    f.write_all(b"####").unwrap();
    drop(f);
    let (code, why) = refused(&data, &config);
    assert_eq!(code, Some(3), "{why}");
    assert!(why.contains("corrupt at byte 20"), "{why}");
}
