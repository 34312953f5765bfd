//! A cluster with a data directory, in a process that is killed at any moment.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cfn_apiserver::cluster::{Cluster, ClusterOptions};
use cfn_net::{ClientConfig, Identity, Net, Seed, SystemClock, Transport};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Notify;

const DIR: &str = "CFN_TEST_DATA_DIR";
const READY: &str = "ready: ";

fn options(dir: &Path, net: Net) -> ClusterOptions {
    ClusterOptions {
        bootstrap_token: "abcdef.0123456789abcdef".into(),
        data_dir: Some(dir.to_owned()),
        ..ClusterOptions::new("kept", net, Arc::new(SystemClock), Seed(7))
    }
}

/// The process that is killed: serves until then.
#[tokio::test]
#[ignore = "the process that the other tests start"]
async fn serve_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let net = Net::new(Transport::Tcp, Seed(7));
    net.add_host("kept", "here");
    let cluster = Cluster::start(options(Path::new(&dir), net)).await.unwrap();
    let config = cluster.admin_config();
    let Identity::Certificate { cert_pem, key_pem } = config.identity else {
        panic!("an administrator has a certificate")
    };
    let who = json!({"port": cluster.socket().unwrap().port(), "ca": config.ca_pem, "cert": cert_pem, "key": key_pem});
    println!("\n{READY}{who}");
    std::future::pending::<()>().await;
}

/// A running server process.
struct Process {
    child: Child,
    who: Value,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    fn start(dir: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "serve_until_killed",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It prints the line or ends, and then so does its output.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.map_while(Result::ok).find(|l| l.starts_with(READY));
        let who = serde_json::from_str(line.expect("it starts").strip_prefix(READY).unwrap()).unwrap();
        Self { child, who }
    }

    /// SIGKILL.
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn client(&self) -> Client {
        let text = |k: &str| self.who[k].as_str().unwrap().to_owned();
        let config = ClientConfig {
            server: format!("https://127.0.0.1:{}", self.who["port"]),
            ca_pem: text("ca"),
            identity: Identity::Certificate {
                cert_pem: text("cert"),
                key_pem: text("key"),
            },
            timeout: Duration::from_secs(30),
        };
        config.client(&Net::new(Transport::Host, Seed(1)), "test").unwrap()
    }
}

fn map(name: &str, data: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": data}})).unwrap()
}

fn revision(o: &impl ResourceExt) -> u64 {
    o.resource_version().unwrap().parse().unwrap()
}

/// What the outside was told.
#[derive(Default)]
struct Told {
    /// name -> (revision, data) of the last write that was acknowledged.
    acknowledged: Mutex<BTreeMap<String, (u64, String)>>,
    count: AtomicUsize,
    more: Notify,
    /// The highest revision anybody saw, writers and watchers.
    highest: AtomicU64,
}

impl Told {
    fn saw(&self, o: &ConfigMap) -> u64 {
        let r = revision(o);
        self.highest.fetch_max(r, Ordering::SeqCst);
        r
    }

    fn acknowledged(&self, o: &ConfigMap) {
        let told = (self.saw(o), o.data.as_ref().unwrap()["k"].clone());
        self.acknowledged.lock().unwrap().insert(o.name_any(), told);
        self.count.fetch_add(1, Ordering::SeqCst);
        self.more.notify_one();
    }
}

/// Creates and changes objects until the server is gone.
async fn write(api: Api<ConfigMap>, who: String, told: Arc<Told>) {
    for n in 0.. {
        let Ok(o) = api
            .create(&PostParams::default(), &map(&format!("{who}-{n}"), "new"))
            .await
        else {
            return;
        };
        told.acknowledged(&o);
        let mut o = o;
        o.data = map("", "changed").data;
        let Ok(o) = api.replace(&o.name_any(), &PostParams::default(), &o).await else {
            return;
        };
        told.acknowledged(&o);
    }
}

async fn watch(api: Api<ConfigMap>, told: Arc<Told>) {
    let Ok(events) = api.watch(&WatchParams::default(), "0").await else {
        return;
    };
    let mut events = Box::pin(events);
    while let Some(Ok(e)) = events.next().await {
        if let WatchEvent::Added(o) | WatchEvent::Modified(o) = e {
            told.saw(&o);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_outlive_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Told::default());
    let mut first: Option<Client> = None;
    for round in 0..4_usize {
        let mut process = Process::start(dir.path());
        let api: Api<ConfigMap> = Api::default_namespaced(process.client());
        let list = api.list(&ListParams::default()).await.unwrap();
        let now: u64 = list.metadata.resource_version.unwrap().parse().unwrap();
        assert!(now >= told.highest.load(Ordering::SeqCst), "resourceVersion went back");
        let found: BTreeMap<String, (u64, String)> = list
            .items
            .iter()
            .filter(|o| o.name_any() != "kube-root-ca.crt")
            .map(|o| (o.name_any(), (revision(o), o.data.as_ref().unwrap()["k"].clone())))
            .collect();
        for (name, (rev, data)) in told.acknowledged.lock().unwrap().iter() {
            let (r, d) = found
                .get(name)
                .unwrap_or_else(|| panic!("{name} was acknowledged and is lost"));
            // A later write that nobody heard of may be there, too.
            assert!(
                r > rev || (r, d) == (rev, data),
                "{name}: {r} {d}, acknowledged {rev} {data}"
            );
        }
        // The certificate of the first start is good still, and at the same address.
        let first = first.get_or_insert_with(|| process.client());
        Api::<Secret>::all(first.clone())
            .list(&ListParams::default())
            .await
            .unwrap();
        if round == 3 {
            break;
        }
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(watch(api.clone(), told.clone()));
        for w in 0..8 {
            tasks.spawn(write(api.clone(), format!("r{round}-w{w}"), told.clone()));
        }
        // Killed while all of them write, each round at another moment.
        let until = told.count.load(Ordering::SeqCst) + [40, 150, 333][round];
        let enough = async {
            while told.count.load(Ordering::SeqCst) < until {
                told.more.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), enough).await.unwrap();
        process.kill();
        tasks.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let p = PostParams::default();
    let crd: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": {"name": "things.x.io"},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
                {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}
    }))
    .unwrap();
    let things = |v: &str| ApiResource {
        group: "x.io".into(),
        version: v.into(),
        api_version: format!("x.io/{v}"),
        kind: "Thing".into(),
        plural: "things".into(),
    };
    let service: Service =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).unwrap();
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let mut process = Process::start(dir.path());
    let client = process.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions.create(&p, &crd).await.unwrap();
    let thing: DynamicObject =
        serde_json::from_value(json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t"}, "n": 1}))
            .unwrap();
    let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &things("v1"));
    let old = api.create(&p, &thing).await.unwrap();
    // The storage version changes: what is stored stays where it is.
    let mut changed = definitions.get("things.x.io").await.unwrap();
    changed.spec.versions[0].storage = false;
    changed.spec.versions[1].storage = true;
    definitions.replace("things.x.io", &p, &changed).await.unwrap();
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let address = services.create(&p, &service).await.unwrap().spec.unwrap().cluster_ip;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let account = accounts.get("default").await.unwrap();
    let request = serde_json::from_value(token).unwrap();
    let token = accounts.create_token_request("default", &p, &request).await.unwrap();
    let token = token.status.unwrap().token;
    process.kill();

    let process = Process::start(dir.path());
    let client = process.client();
    for v in ["v1", "v2"] {
        let api: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &things(v));
        let again = api.get("t").await.unwrap();
        assert_eq!(
            (again.uid(), again.resource_version()),
            (old.uid(), old.resource_version())
        );
        assert_eq!(again.types.unwrap().api_version, format!("x.io/{v}"));
    }
    let services: Api<Service> = Api::default_namespaced(client.clone());
    assert_eq!(services.get("s").await.unwrap().spec.unwrap().cluster_ip, address);
    // Uids are not drawn again.
    let another = services
        .create(
            &p,
            &serde_json::from_value(json!({"metadata": {"name": "s2"}, "spec": {"ports": [{"port": 80}]}})).unwrap(),
        )
        .await
        .unwrap();
    let all = Api::<Service>::all(client.clone())
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(all.items.iter().filter(|s| s.uid() == another.uid()).count(), 1);
    assert_eq!(
        Api::<ServiceAccount>::default_namespaced(client.clone())
            .get("default")
            .await
            .unwrap()
            .uid(),
        account.uid()
    );
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviews: Api<k8s_openapi::api::authentication::v1::TokenReview> = Api::all(client.clone());
    let review = reviews
        .create(&p, &serde_json::from_value(review).unwrap())
        .await
        .unwrap();
    assert_eq!(review.status.unwrap().authenticated, Some(true));
    // A watch from before the restart is told to list again, one from where its resource was written last goes on.
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut events = Box::pin(maps.watch(&WatchParams::default(), "2").await.unwrap());
    match events.next().await.unwrap().unwrap() {
        WatchEvent::Error(e) => assert_eq!(e.code, 410),
        e => panic!("{e:?}"),
    }
    let now = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .metadata
        .resource_version
        .unwrap();
    let mut events = Box::pin(maps.watch(&WatchParams::default(), &now).await.unwrap());
    let made = maps.create(&p, &map("after", "x")).await.unwrap();
    match events.next().await.unwrap().unwrap() {
        WatchEvent::Added(o) => assert_eq!(o.resource_version(), made.resource_version()),
        e => panic!("{e:?}"),
    }
}
