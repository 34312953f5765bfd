//! The components as processes of their own, between embedded clusters that are processes too: what containers run.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::names::{BOOTSTRAP_ACCOUNT, CFN_NAMESPACE};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(dir: &Path, name: &str, args: &[&str]) -> Self {
        Self::with_env(dir, name, args, &[])
    }

    fn with_env(dir: &Path, name: &str, args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cfn"))
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Tells it to end, as a kubelet does, and waits until it has.
    async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.end().await
    }

    async fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process ends", async || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.said());
        }
    }
}

async fn until(what: &str, mut f: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !f().await {
        assert!(tokio::time::Instant::now() < end, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    l.local_addr().unwrap().port()
}

/// An embedded cluster as a process; its kubeconfig's path, and a client.
async fn cluster(dir: &Path, name: &str, hub: bool) -> (Process, String, Client) {
    let path = dir.join(format!("{name}.kubeconfig"));
    let file = path.to_str().unwrap().to_owned();
    let mut args = vec!["apiserver", "--name", name, "--kubeconfig", &file];
    if hub {
        args.extend(["--hub", "--nodes", "0"]);
    }
    let process = Process::start(dir, name, &args);
    let mut client = None;
    until("a cluster", async || {
        let Ok(k) = kube::config::Kubeconfig::read_from(&path) else {
            return false;
        };
        let options = kube::config::KubeConfigOptions::default();
        let Ok(config) = kube::Config::from_custom_kubeconfig(k, &options).await else {
            return false;
        };
        client = Client::try_from(config).ok();
        client.is_some()
    })
    .await;
    (process, file, client.unwrap())
}

/// A kubeconfig like `admin`, with a token for asking to join.
async fn bootstrap(hub: &Client, admin: &str, path: &Path) -> String {
    let params = PatchParams::apply("test").force();
    let apply = async |kind: &str, ns: Option<&str>, name: &str| {
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        let object: kube::api::DynamicObject = serde_json::from_value(object).unwrap();
        let gvk = kube::core::GroupVersionKind::gvk("", "v1", kind);
        let resource = kube::core::ApiResource::from_gvk(&gvk);
        let api: Api<kube::api::DynamicObject> = match ns {
            Some(ns) => Api::namespaced_with(hub.clone(), ns, &resource),
            None => Api::all_with(hub.clone(), &resource),
        };
        api.patch(name, &params, &Patch::Apply(&object)).await.unwrap();
    };
    apply("Namespace", None, CFN_NAMESPACE).await;
    apply("ServiceAccount", Some(CFN_NAMESPACE), BOOTSTRAP_ACCOUNT).await;
    let request = http::Request::post(format!(
        "/api/v1/namespaces/{CFN_NAMESPACE}/serviceaccounts/{BOOTSTRAP_ACCOUNT}/token"
    ))
    .header("content-type", "application/json")
    .body(
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
            .to_string()
            .into_bytes(),
    )
    .unwrap();
    let answer: Value = hub.request(request).await.unwrap();
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let mut config: Value = serde_yaml::from_str(&std::fs::read_to_string(admin).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"token": token});
    std::fs::write(path, config.to_string()).unwrap();
    token
}

async fn http(port: u16, path: &str) -> Option<(u16, String)> {
    #[allow(clippy::disallowed_methods, reason = "a program outside asks")]
    let mut s = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    s.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .ok()?;
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    let whole = |t: &str| {
        let (head, body) = t.split_once("\r\n\r\n")?;
        let length = head
            .lines()
            .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))?;
        (body.len() >= length.parse().ok()?).then_some(())
    };
    while whole(&text).is_none() {
        match s.read(&mut buffer).await.ok()? {
            0 => break,
            n => text.push_str(&String::from_utf8_lossy(&buffer[..n])),
        }
    }
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text))
}

async fn is(port: u16, path: &str, status: u16) -> bool {
    http(port, path).await.is_some_and(|(s, _)| s == status)
}

async fn ready(hub: &Client, member: &str) -> bool {
    let api: Api<Cluster> = Api::all(hub.clone());
    let Ok(c) = api.get(member).await else { return false };
    let status = serde_json::to_value(&c.status).unwrap_or_default();
    status["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduler_and_agent_from_joining_to_leaving() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (_hub_process, hub_file, hub) = cluster(d, "hub", true).await;
    let (_member_process, member_file, member) = cluster(d, "member", false).await;
    let ports = [port(), port()];
    let health = ports.map(|p| format!("127.0.0.1:{p}"));
    let mut scheduler = Process::start(
        d,
        "scheduler",
        &[
            "scheduler",
            "--kubeconfig",
            &hub_file,
            "--auto-approve",
            "--timers",
            "fast",
            "--leader-elect",
            "--health-listen",
            &health[0],
            "--log-format",
            "json",
        ],
    );
    until("the scheduler is ready", async || is(ports[0], "/readyz", 200).await).await;
    let bootstrap_file = d.join("bootstrap.kubeconfig");
    let token = bootstrap(&hub, &hub_file, &bootstrap_file).await;
    let state = d.join("state");
    let agent_args = [
        "agent",
        "--hub-kubeconfig",
        bootstrap_file.to_str().unwrap(),
        "--member-kubeconfig",
        &member_file,
        "--cluster",
        "one",
        "--site",
        "here",
        "--cluster-provider",
        "lab",
        "--cluster-labels",
        "level=edge",
        "--state",
        state.to_str().unwrap(),
        "--timers",
        "fast",
        "--health-listen",
        &health[1],
    ];
    let mut agent = Process::with_env(d, "agent", &agent_args, &[("CFN_LOG", "debug")]);
    until("the agent is ready", async || is(ports[1], "/readyz", 200).await).await;
    until("the member is Ready on the hub", async || ready(&hub, "one").await).await;
    let clusters: Api<Cluster> = Api::all(hub.clone());
    let one = clusters.get("one").await.unwrap();
    assert_eq!(one.spec.provider.as_deref(), Some("lab"));
    assert_eq!(one.labels().get("level").map(String::as_str), Some("edge"));
    let (_, metrics) = http(ports[1], "/metrics").await.unwrap();
    assert!(metrics.contains("cfn_ready{component=\"agent\"} 1"), "{metrics}");

    // What the hub is told runs on the member.
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "cfn.akraino.org/echo:1"}]}}}});
    let policy = json!({"apiVersion": "policy.karmada.io/v1alpha1", "kind": "PropagationPolicy",
        "metadata": {"name": "web", "namespace": "default"}, "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}],
            "placement": {"clusterAffinity": {"clusterNames": ["one"]}}}});
    let deployments: Api<Deployment> = Api::namespaced(hub.clone(), "default");
    deployments
        .create(&PostParams::default(), &serde_json::from_value(deployment).unwrap())
        .await
        .unwrap();
    let policies: Api<cfn_api::karmada::policy::PropagationPolicy> = Api::namespaced(hub.clone(), "default");
    policies
        .create(&PostParams::default(), &serde_json::from_value(policy).unwrap())
        .await
        .unwrap();
    let there: Api<Deployment> = Api::namespaced(member.clone(), "default");
    until("two replicas run on the member", async || {
        let d = there.get_opt("web").await.ok().flatten();
        d.and_then(|d| d.status).and_then(|s| s.ready_replicas) == Some(2)
    })
    .await;

    // Why it is there, asked of the live hub; a binding that is none is told with those that are.
    let explain = |binding: &str| {
        let args = ["explain", binding, "--kubeconfig", &hub_file, "--json"];
        Command::new(env!("CARGO_BIN_EXE_cfn")).args(args).output().unwrap()
    };
    let told: Value = serde_json::from_slice(&explain("web-deployment").stdout).unwrap();
    assert_eq!(told["clusters"], json!([{"name": "one", "replicas": 2}]), "{told}");
    assert_eq!(told["again"], told["clusters"], "{told}");
    assert_eq!(told["explanation"][0]["scores"]["ClusterLocality"], 100.0, "{told}");
    let none = explain("wep-deployment");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(2), "{said}");
    assert!(said.contains("web-deployment"), "{said}");

    // A restart is the same agent: nobody is asked anew.
    let requests: Api<CertificateSigningRequest> = Api::all(hub.clone());
    let asked = async || requests.list(&ListParams::default()).await.unwrap().items.len();
    assert_eq!(asked().await, 1);
    assert!(agent.terminate().await.success(), "{}", agent.said());
    assert!(std::fs::metadata(state.join("agent.key")).is_ok());
    let log = agent.said();
    let key = std::fs::read_to_string(state.join("agent.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!log.contains(&token) && !log.contains(secret), "a secret in the log");
    agent = Process::start(d, "agent-again", &agent_args);
    until("the agent is ready again", async || is(ports[1], "/readyz", 200).await).await;
    assert_eq!(asked().await, 1);

    // Another replica waits for its turn, and takes over from one that ends.
    let leases: Api<Lease> = Api::namespaced(hub.clone(), CFN_NAMESPACE);
    let leader = async || {
        leases
            .get("cfn-scheduler")
            .await
            .unwrap()
            .spec
            .unwrap()
            .holder_identity
            .unwrap()
    };
    let first = leader().await;
    let mut second = Process::start(
        d,
        "scheduler-2",
        &[
            "scheduler",
            "--kubeconfig",
            &hub_file,
            "--timers",
            "fast",
            "--leader-elect",
            "--leader-elect-retry-period",
            "100ms",
        ],
    );
    assert!(scheduler.terminate().await.success(), "{}", scheduler.said());
    until("the second leads", async || {
        let now = leader().await;
        !now.is_empty() && now != first
    })
    .await;
    for line in scheduler.said().lines() {
        let v: Result<Value, _> = serde_json::from_str(line);
        assert!(
            v.is_ok_and(|v| v["level"].is_string()),
            "a line of the log is no JSON: {line}"
        );
    }

    // A member that was removed on the hub leaves, with what the hub had placed there, and has to ask again.
    clusters
        .delete("one", &kube::api::DeleteParams::default())
        .await
        .unwrap();
    assert!(agent.end().await.success(), "{}", agent.said());
    assert!(!state.join("agent.key").exists());
    until("nothing of the hub's is left", async || {
        there.get_opt("web").await.unwrap().is_none()
    })
    .await;
    assert!(second.terminate().await.success(), "{}", second.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_services() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (p, h) = (port(), port());
    let port_text = p.to_string();
    let health = format!("127.0.0.1:{h}");
    let mut echo = Process::with_env(
        d,
        "echo",
        &["workload", "echo", "--listen", "127.0.0.1", "--health-listen", &health],
        &[
            ("PORT", &port_text),
            ("CFN_SERVICE_TIME", "20ms"),
            ("CFN_PLACE", "one/node-1"),
        ],
    );
    until("the service is ready", async || is(h, "/readyz", 200).await).await;
    let (_, answer) = http(p, "/").await.unwrap();
    assert!(answer.ends_with("one/node-1"), "{answer}");
    let order = json!({"from": "client", "to": ["127.0.0.1", "127.0.0.2"], "port": p, "count": 4}).to_string();
    let out = Command::new(env!("CARGO_BIN_EXE_cfn"))
        .args(["client", "load", &order, "--source", "127.0.0.9"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
    let lines: Vec<Value> = String::from_utf8(out.stdout)
        .unwrap()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let by_server: BTreeMap<&str, usize> = lines.iter().fold(BTreeMap::new(), |mut m, l| {
        let took = l["exchange"]["took"].as_f64();
        assert!(took.is_none_or(|t| t >= 0.02), "{l}");
        *m.entry(l["exchange"]["to"].as_str().unwrap()).or_default() += usize::from(took.is_some());
        m
    });
    // Nobody listens at the second: a failure is data.
    assert_eq!(by_server, BTreeMap::from([("127.0.0.1", 2), ("127.0.0.2", 0)]));
    assert!(echo.terminate().await.success());
    let wrong = Command::new(env!("CARGO_BIN_EXE_cfn"))
        .args(["client", "load", "{}"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_agent_listens_where_it_is_told() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let (_process, file, _) = cluster(d, "one", false).await;
    let (p, ca) = (port(), d.join("edge-ca.crt"));
    let listen = format!("127.0.0.1:{p}");
    let store = d.join("store");
    let mut edge = Process::start(
        d,
        "edge",
        &[
            "edge",
            "--kubeconfig",
            &file,
            "--node",
            "node-1",
            "--store",
            store.to_str().unwrap(),
            "--listen",
            &listen,
            "--ca-file",
            ca.to_str().unwrap(),
        ],
    );
    until("the CA is written", async || ca.exists()).await;
    let net = cfn_net::Net::new(cfn_net::Transport::Host, cfn_net::Seed(1));
    let client = cfn_net::ClientConfig {
        server: format!("https://{listen}"),
        ca_pem: std::fs::read_to_string(&ca).unwrap(),
        identity: cfn_net::Identity::Anonymous,
        timeout: Duration::from_secs(5),
    };
    let client = client.client(&net, "kubelet").unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
    assert_eq!(nodes.get("node-1").await.unwrap().name_any(), "node-1");
    // The store is in use: a second one says so, and how to help it.
    let mut other = Process::start(
        d,
        "other",
        &[
            "edge",
            "--kubeconfig",
            &file,
            "--node",
            "node-1",
            "--store",
            store.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
        ],
    );
    assert_eq!(other.end().await.code(), Some(3), "{}", other.said());
    assert!(other.said().contains("cure:"), "{}", other.said());
    assert!(edge.terminate().await.success(), "{}", edge.said());
}
