//! The real kubectl against a cluster on a socket: every command that a testbed's user reaches for exits 0. Ignored, with
//! the reason in its name, where there is no kubectl.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use cfn_net::Transport;

/// kubectl with a home of its own.
fn kubectl(home: &Path) -> Command {
    let mut c = Command::new("kubectl");
    c.env("KUBECONFIG", home.join("config"))
        .env("HOME", home)
        .current_dir(home);
    c
}

fn run(home: &Path, args: &str, input: &str) -> String {
    let mut child = kubectl(home)
        .args(args.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "kubectl {args}: {}\n{text}{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx}]}
"#;

const SETTINGS: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: b}\n";

const WIDGETS: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: string, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: string, description: How big it is.}}}
"#;

fn commands(home: &Path) {
    let k = |args: &str| run(home, args, "");
    let apply = |args: &str, yaml: &str| run(home, args, yaml);
    assert!(k("version").contains("+cfn"));
    assert!(k("get namespaces").contains("kube-system"));
    assert!(k("api-resources").contains("deployments"));
    assert!(k("explain deployment.spec.replicas").contains("replicas <integer>"));
    assert_eq!(k("auth can-i create pods").trim(), "yes");
    k("create namespace team");
    k("create configmap x --from-literal=a=b -n team");
    assert!(apply("apply -f -", SETTINGS).contains("created"));
    assert!(apply("apply -f -", SETTINGS).contains("unchanged"));
    apply("apply --server-side --force-conflicts -f -", SETTINGS);
    apply("apply --server-side -f -", SETTINGS);
    k("patch configmap settings -p {\"data\":{\"c\":\"d\"}}");
    k("patch configmap settings --type=json -p [{\"op\":\"remove\",\"path\":\"/data/c\"}]");
    k("label configmap settings tier=one");
    k("annotate configmap settings note=x");
    assert!(k("get configmap settings -o jsonpath={.data.a}").contains('b'));
    apply("replace -f -", SETTINGS);
    // Nodes come up by themselves.
    k("wait --for=condition=Ready node/node1 node/node2 --timeout=20s");
    assert!(apply("apply -f -", WEB).contains("created"));
    k("rollout status deployment/web --timeout=30s");
    k("wait --for=condition=Available deployment/web --timeout=30s");
    k("scale deployment web --replicas=3");
    k("rollout status deployment/web --timeout=30s");
    let pods = k("get pods -l app=web -o wide");
    assert_eq!(pods.matches("Running").count(), 3, "{pods}");
    assert!(k("get deployment web").contains("3/3"));
    assert!(k("get all").contains("deployment.apps/web"));
    assert!(k("describe deployment web").contains("Replicas:"));
    assert!(k("describe node node1").contains("InternalIP"));
    assert!(k("describe pods -l app=web").contains("Running"));
    k("get events");
    k("set image deployment/web c=nginx:2");
    k("rollout status deployment/web --timeout=30s");
    assert!(k("rollout history deployment/web").contains('2'));
    k("rollout undo deployment/web");
    k("rollout status deployment/web --timeout=30s");
    k("rollout restart deployment/web");
    k("rollout status deployment/web --timeout=30s");
    k("logs deployment/web");
    k("run talk --image=busybox:1.37 --restart=Never -- sleep 600");
    k("wait --for=condition=Ready pod/talk --timeout=20s");
    assert_eq!(
        run(home, "exec -i talk -- sh", "echo one\necho two\nexit\n"),
        "one\ntwo\n"
    );
    assert_eq!(run(home, "exec -i talk -- cat", "three\n"), "three\n");
    k("delete pod talk --now");
    k("expose deployment web --port=80");
    assert!(k("get service web").contains("10.96."));
    watch(home);
    k("cordon node1");
    assert!(k("get nodes").contains("SchedulingDisabled"));
    k("drain node1 --timeout=60s");
    let left = k("get pods -o jsonpath={.items[*].spec.nodeName}");
    assert!(!left.contains("node1"), "{left}");
    k("uncordon node1");
    k("taint node node2 key=value:NoSchedule");
    let services = k("get apiservices");
    assert!(services.contains("v1.apps") && services.contains("Local"), "{services}");
    apply("apply -f -", WIDGETS);
    k("wait --for=condition=Available apiservice/v1.example.com --timeout=20s");
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: big}\n";
    apply("apply -f -", widget);
    apply("apply -f -", widget);
    assert!(k("get widgets").contains("big"));
    assert!(k("explain widget.spec.size").contains("How big it is."));
    k("delete crd widgets.example.com --timeout=20s");
    assert!(!k("get apiservices").contains("v1.example.com"));
    k("delete deployment web");
    k("delete service web");
    k("wait --for=delete pods -l app=web --timeout=60s");
    k("delete namespace team --timeout=30s");
    assert!(k("get all --all-namespaces").contains("service/kubernetes"));
}

/// `get -w` shows what is there and what comes.
fn watch(home: &Path) {
    let mut child = kubectl(home)
        .args(["get", "configmaps", "-w"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |what: &str| {
        let found = lines.by_ref().map_while(Result::ok).any(|l| l.contains(what));
        assert!(found, "{what} was not seen");
    };
    until("settings");
    run(home, "create configmap seen-later --from-literal=a=b", "");
    until("seen-later");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn main() {
    let mut found = Command::new("kubectl");
    found.args(["version", "--client"]);
    common::with_program(
        "kubectl_is_at_home",
        found,
        "there is no kubectl in PATH",
        kubectl_is_at_home,
    );
}

async fn kubectl_is_at_home() {
    let (cluster, net) = common::cluster(Transport::Tcp, true).await;
    let _nodes = common::nodes(&cluster, &net, 2).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config"), cluster.kubeconfig()).unwrap();
    let path = home.path().to_owned();
    tokio::task::spawn_blocking(move || commands(&path)).await.unwrap();
    cluster.stop().await;
}
