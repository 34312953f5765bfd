//! What interpreted containers find in their network: names, datagrams, host ports, and who is connected to them.

use super::*;
use crate::local::{Ending, Stdio};
use crate::node::shell;

const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.63.0";

/// A pod of one container, with more of its specification.
pub(super) fn pod(name: &str, args: &[&str], more: &Value, container: &Value) -> Value {
    let mut c = json!({"name": "c", "image": AGNHOST, "args": args});
    for (k, v) in container.as_object().unwrap() {
        c[k] = v.clone();
    }
    let mut spec = json!({"containers": [c]});
    for (k, v) in more.as_object().unwrap() {
        spec[k] = v.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "spec": spec,
        "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}})
}

pub(super) async fn interpreted(seed: u64) -> Bed {
    let mut workloads = Workloads::default();
    shell::register(&mut workloads);
    bed(seed, workloads).await
}

/// What a command in a pod prints, and its exit code.
async fn run(n: &NodeHandle, pod: &str, script: &str) -> (String, i32) {
    // A program of the image is no command of its shell.
    let argv: Vec<String> = match script.starts_with("/agnhost ") {
        true => script.split(' ').map(str::to_owned).collect(),
        false => ["sh", "-c", script].map(str::to_owned).into(),
    };
    let (stdio, heard) = Stdio::heard(None, false);
    let running = n.hook().exec("default", pod, "c", &argv, stdio);
    let code = running.unwrap_or_else(|| panic!("{script} is not understood")).await;
    let text = String::from_utf8(heard.lock().unwrap().concat()).unwrap();
    (text, code)
}

#[tokio::test(start_paused = true)]
async fn names_datagrams_and_host_ports() {
    let b = interpreted(31).await;
    let (one, two) = (b.node("n1", 1).await, b.node("n2", 2).await);
    let l = b.local();
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec});
    let ports = json!([{"name": "http", "port": 80, "targetPort": 8080},
        {"name": "udp", "port": 80, "targetPort": 8081, "protocol": "UDP"}]);
    for s in [
        service("web", json!({"selector": {"app": "web"}, "ports": ports})),
        service(
            "pods",
            json!({"selector": {"app": "web"}, "clusterIP": "None", "ports": ports}),
        ),
        service(
            "far",
            json!({"type": "ExternalName", "externalName": "foo.example.com"}),
        ),
    ] {
        l.create(&Gvr::new("", "v1", "services"), "default", s).unwrap();
    }
    let exposed = json!({"ports": [{"containerPort": 8080, "hostPort": 4000, "hostIP": "127.0.0.1"}]});
    let more = json!({"nodeName": "n1", "hostname": "h", "subdomain": "pods",
        "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["alias"]}]});
    for p in [
        pod("web", &["netexec"], &more, &exposed),
        pod("away", &["pause"], &json!({"nodeName": "n2"}), &json!({})),
        pod(
            "host",
            &["pause"],
            &json!({"nodeName": "n1", "hostNetwork": true}),
            &json!({}),
        ),
        pod(
            "other",
            &["pause"],
            &json!({"nodeName": "n1", "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["10.96.0.10"], "searches": ["svc.cluster.local"]}}),
            &json!({}),
        ),
    ] {
        l.create(&PODS, "default", p).unwrap();
    }
    b.until("all ready", 30, |l| ready_pods(l).len() == 4).await;
    // Slices are there a moment after their pods.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ip = l.get(&PODS, "default", "web").unwrap().text("/status/podIP").to_owned();
    let services = list(&l, &Gvr::new("", "v1", "services"));
    let cluster_ip = services.iter().find(|s| s["metadata"]["name"] == "web").unwrap()["spec"]["clusterIP"].clone();
    let cluster_ip = cluster_ip.as_str().unwrap();
    let reversed = cluster_ip.split('.').rev().collect::<Vec<_>>().join(".");
    let silent = format!("http://{ip}:8080/dial?protocol=udp&host={ip}&port=8081&request=nope");
    for (from, script, expected) in [
        ("web", "dig +short +search web", format!("{cluster_ip}\n")),
        (
            "web",
            "dig +short web.default.svc.cluster.local A",
            format!("{cluster_ip}\n"),
        ),
        ("web", "dig +short web", String::new()),
        ("web", "dig +short +search pods", format!("{ip}\n")),
        ("web", "dig +short +search h.pods", format!("{ip}\n")),
        (
            "web",
            "dig +short +search _http._tcp.web SRV",
            "0 100 80 web.default.svc.cluster.local.\n".into(),
        ),
        (
            "web",
            "dig +short +search _http._tcp.pods SRV",
            "0 100 8080 h.pods.default.svc.cluster.local.\n".into(),
        ),
        ("web", "dig +short +search far CNAME", "foo.example.com.\n".into()),
        (
            "web",
            &format!("dig +short -x {cluster_ip}"),
            "web.default.svc.cluster.local.\n".into(),
        ),
        (
            "web",
            &format!("dig +short {reversed}.in-addr.arpa PTR"),
            "web.default.svc.cluster.local.\n".into(),
        ),
        (
            "web",
            &format!("dig +short -x {ip}"),
            "h.pods.default.svc.cluster.local.\n".into(),
        ),
        ("web", "getent hosts alias", "1.2.3.4         alias\n".into()),
        (
            "web",
            "getent hosts h",
            format!("{ip:<15} h.pods.default.svc.cluster.local h\n"),
        ),
        ("web", "getent hosts nope || echo $?", "2\n".into()),
        (
            "web",
            "getent ahosts alias",
            "1.2.3.4         STREAM alias\n1.2.3.4         DGRAM  \n1.2.3.4         RAW    \n".into(),
        ),
        (
            "web",
            "nslookup -type=TXT web || echo $?",
            "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\n*** Can't find web: No answer\n\n1\n".into(),
        ),
        (
            "web",
            "nslookup nope.default.svc.cluster.local. || echo $?",
            "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10#53\n\n\
             ** server can't find nope.default.svc.cluster.local.: NXDOMAIN\n\n1\n"
                .into(),
        ),
        (
            "web",
            "/agnhost dns-suffix",
            "default.svc.cluster.local,svc.cluster.local,cluster.local\n".into(),
        ),
        ("other", "/agnhost dns-suffix", "svc.cluster.local\n".into()),
        ("other", "dig +short +search web.default", format!("{cluster_ip}\n")),
        ("host", "/agnhost dns-server-list", "127.0.0.1\n".into()),
        (
            "host",
            "dig +short web.default.svc.cluster.local",
            ";; communications error: timed out\n;; no servers could be reached\n".into(),
        ),
        ("away", "curl -s http://web/hostname", "h".into()),
        ("away", "echo hostname | nc -u -w 5 web 80", "h".into()),
        ("away", &format!("echo echo Hi | nc -u -w 5 {ip} 8081"), "hi".into()),
        (
            "away",
            &format!("curl -s 'http://{ip}:8080/dial?protocol=udp&host=web&port=80&request=hostname'"),
            "{\"responses\":[\"h\"]}".into(),
        ),
        ("away", &format!("nc -u -z {ip} 9 || echo refused"), "refused\n".into()),
        (
            "away",
            "curl -s 'http://web/redirect?location=hostname' -w ' %{http_code}'",
            "<a href=\"/hostname\">Found</a>.\n\n 302".into(),
        ),
        ("away", "curl -sL 'http://web/redirect?location=/hostname'", "h".into()),
        (
            "away",
            "curl -sSL --max-redirs 0 'http://web/redirect?location=/hostname' || echo $?",
            "47\ncurl: (47) Maximum (0) redirects followed\n".into(),
        ),
        ("away", "wget -qO- 'http://web/redirect?location=/hostname'", "h".into()),
        (
            "away",
            "wget -qO- 'http://web/echo?msg=x&code=404' || echo $?",
            "1\nwget: server returned error: HTTP/1.1 404 Not Found\n".into(),
        ),
        // Who says nothing is waited for as long as is asked.
        (
            "away",
            &format!("echo nope | nc -u -w 1 {ip} 8081; echo $?"),
            "0\n".into(),
        ),
        (
            "away",
            &format!("curl -sS -m 2 -w '%{{http_code}}\\n' '{silent}' || echo $?"),
            "000\n28\ncurl: (28) Operation timed out after 2000 milliseconds with 0 bytes received\n".into(),
        ),
        (
            "away",
            &format!("wget -T 2 -qO- '{silent}'; echo $?"),
            "1\nwget: download timed out\n".into(),
        ),
        (
            "away",
            &format!("curl -s '{silent}'"),
            "{\"errors\":[\"reading from udp connection failed. err:'i/o timeout'\"]}".into(),
        ),
        // A port of a host that is bound to its loopback address leads from there, and from nowhere else.
        ("host", "curl -s http://127.0.0.1:4000/hostname", "h".into()),
        ("host", "curl -s http://n1:4000/hostname || echo $?", "7\n".into()),
        (
            "away",
            "curl -s http://127.0.0.1:4000/hostname || echo $?",
            "7\n".into(),
        ),
        ("away", "curl -s http://nope/ || echo $?", "6\n".into()),
        ("away", "curl --nope x 2>/dev/null || echo $?", "2\n".into()),
    ] {
        let (out, _) = run(if from == "away" { &two } else { &one }, from, script).await;
        assert_eq!(out, expected, "{from}: {script}");
    }
    b.net.cut("center", "site-n1");
    let cut_off = format!("curl -sS --connect-timeout 2 http://{ip}:8080/ || echo $?");
    let (out, _) = run(&two, "away", &cut_off).await;
    assert_eq!(out, "28\ncurl: (28) Connection timed out after 2000 milliseconds\n");
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_taken_is_refused_and_so_are_settings() {
    let b = interpreted(33).await;
    let _n = b.node("n1", 1).await;
    let l = b.local();
    let here = json!({"nodeName": "n1"});
    let taken = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    l.create(&PODS, "default", pod("first", &["pause"], &here, &taken))
        .unwrap();
    b.until("the first runs", 10, |l| ready_pods(l).len() == 1).await;
    let unsafe_setting =
        json!({"nodeName": "n1", "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
    l.create(&PODS, "default", pod("second", &["pause"], &here, &taken))
        .unwrap();
    l.create(&PODS, "default", pod("third", &["pause"], &unsafe_setting, &json!({})))
        .unwrap();
    let reason = |l: &Local, name: &str| l.get(&PODS, "default", name).unwrap().text("/status/reason").to_owned();
    b.until("both are refused", 10, |l| {
        !reason(l, "second").is_empty() && !reason(l, "third").is_empty()
    })
    .await;
    assert_eq!(
        (reason(&l, "second").as_str(), reason(&l, "third").as_str()),
        ("NodePorts", "SysctlForbidden")
    );
    for name in ["second", "third"] {
        let p = l.get(&PODS, "default", name).unwrap();
        assert_eq!(p.text("/status/phase"), "Failed", "{name}");
        assert!(p.text("/status/message").starts_with("Pod was rejected: "), "{p}");
    }
    assert_eq!(ready_pods(&l).len(), 1, "the first one stays");
}

#[tokio::test(start_paused = true)]
async fn who_is_attached_hears_what_is_said_from_then_on() {
    let b = interpreted(34).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let script = "echo early; sleep 30; echo late; sleep 1";
    let command = json!({"command": ["sh", "-c", script]});
    l.create(
        &PODS,
        "default",
        pod("p", &[], &json!({"restartPolicy": "Never"}), &command),
    )
    .unwrap();
    b.until("it runs", 10, |l| ready_pods(l).len() == 1).await;
    let mut output = n.hook().attach("default", "p", "c", false).unwrap().output;
    assert_eq!(output.recv().await.as_deref(), Some(b"late\n".as_slice()));
    assert_eq!((output.recv().await, output.ending()), (None, Ending::Exited));
    assert!(n.hook().attach("default", "p", "c", false).is_none(), "it has ended");
}

#[tokio::test(start_paused = true)]
async fn who_is_attached_when_the_host_dies_is_not_told_that_all_is_well() {
    let b = interpreted(35).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    l.create(&PODS, "default", pod("p", &["netexec"], &json!({}), &json!({})))
        .unwrap();
    b.until("it runs", 10, |l| ready_pods(l).len() == 1).await;
    let mut output = n.hook().attach("default", "p", "c", false).unwrap().output;
    n.crash().await;
    assert_eq!((output.recv().await, output.ending()), (None, Ending::Lost));
}

#[tokio::test(start_paused = true)]
async fn containers_hear_who_is_attached() {
    let b = interpreted(36).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let never = json!({"restartPolicy": "Never"});
    let of = |script: &str, once: bool| json!({"command": ["sh", "-c", script], "stdin": true, "stdinOnce": once});
    for (name, container) in [
        ("cat", of("cat && echo closed", true)),
        ("words", of("read a b; echo \"$b $a\"; sleep 5", false)),
        ("deaf", json!({"command": ["sh", "-c", "cat; sleep 5"]})),
        ("shell", json!({"command": ["sh"], "stdin": true, "stdinOnce": true})),
    ] {
        l.create(&PODS, "default", pod(name, &[], &never, &container)).unwrap();
    }
    b.until("all run", 10, |l| ready_pods(l).len() == 4).await;
    let hook = n.hook();
    let attach = |name: &str| hook.attach("default", name, "c", true).unwrap();
    let mut cat = attach("cat");
    let input = cat.input.take().unwrap();
    assert!(input.once && attach("cat").input.is_none(), "the first one has it");
    for piece in ["one\n", "two\n"] {
        assert!(input.send(piece.into()).await);
        assert_eq!(cat.output.recv().await.as_deref(), Some(piece.as_bytes()));
    }
    drop(input);
    assert_eq!(cat.output.recv().await.as_deref(), Some(b"closed\n".as_slice()));
    let mut words = attach("words");
    words.input.take().unwrap().send(b"one two three\n".to_vec()).await;
    assert_eq!(
        words.output.recv().await.as_deref(),
        Some(b"two three one\n".as_slice())
    );
    assert!(attach("deaf").input.is_none());
    let mut shell = attach("shell");
    let input = shell.input.take().unwrap();
    for piece in ["X=1; if true\n", "then echo $X\nfi\n", "exit 3\n"] {
        input.send(piece.into()).await;
    }
    assert_eq!(shell.output.recv().await.as_deref(), Some(b"1\n".as_slice()));
    b.until("the shell has ended", 10, |l| {
        let p = l.get(&PODS, "default", "shell").unwrap();
        p.int("/status/containerStatuses/0/state/terminated/exitCode") == Some(3)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn pods_on_the_network_of_their_node_are_reached() {
    let b = interpreted(37).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let more = json!({"hostNetwork": true, "nodeName": "n1"});
    let ports = json!({"ports": [{"containerPort": 8080}]});
    l.create(&PODS, "default", pod("web", &["netexec"], &more, &ports))
        .unwrap();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    l.create(&Gvr::new("", "v1", "services"), "default", service).unwrap();
    let endpoints = Gvr::new("", "v1", "endpoints");
    b.until("it is behind the service", 30, |l| {
        l.get(&endpoints, "default", "web")
            .is_ok_and(|e| !e.items("/subsets/0/addresses").is_empty())
    })
    .await;
    let admin = b.cluster.config_for("admin", &["system:masters".to_owned()]);
    let client = admin.client(&b.net, "hub").unwrap();
    for what in ["pods/web", "pods/web:8080", "services/web", "services/web:80"] {
        let path = format!("/api/v1/namespaces/default/{what}/proxy/hostname");
        let answer = client.request_text(http::Request::get(path).body(Vec::new()).unwrap());
        assert_eq!(answer.await.unwrap(), "n1", "{what}");
    }
    let mut stream = n.hook().forward("default", "web", 8080).unwrap().await.unwrap();
    let request = b"GET /hostname HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("n1"), "{answer}");
    // Its port is its own, also for a kubelet that comes back.
    n.stop().await;
    n.restart().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let p = l.get(&PODS, "default", "web").unwrap();
    assert_eq!((p.text("/status/phase"), p.text("/status/reason")), ("Running", ""));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_checked_with_what_its_issuer_publishes() {
    let b = interpreted(35).await;
    let n = b.node("n1", 1).await;
    let args = |audience: &str| {
        let program = [
            "test-service-account-issuer-discovery",
            "--token-path",
            "/tokens/t",
            "--audience",
        ];
        program
            .map(str::to_owned)
            .into_iter()
            .chain([audience.to_owned()])
            .collect::<Vec<_>>()
    };
    let token = json!({"serviceAccountToken": {"path": "t", "audience": "a", "expirationSeconds": 600}});
    let more = json!({"nodeName": "n1", "restartPolicy": "Never",
        "volumes": [{"name": "tokens", "projected": {"sources": [token]}}]});
    let container = json!({"volumeMounts": [{"name": "tokens", "mountPath": "/tokens"}]});
    let l = b.local();
    for audience in ["a", "b"] {
        let args = args(audience);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        l.create(&PODS, "default", pod(audience, &args, &more, &container))
            .unwrap();
    }
    let phase = |l: &Local, name: &str| l.get(&PODS, "default", name).unwrap().text("/status/phase").to_owned();
    b.until("both end", 60, |l| {
        phase(l, "a") == "Succeeded" && phase(l, "b") == "Failed"
    })
    .await;
    let log = n.logs("default", "a", "c").unwrap();
    for said in [
        "OK: Got token",
        "OK: got issuer https://kubernetes.default.svc.cluster.local",
        "OK: Constructed OIDC provider for issuer https://kubernetes.default.svc.cluster.local",
        "OK: Validated signature on JWT",
        "OK: Got valid claims from token!",
    ] {
        assert!(
            log.lines().any(|line| line.ends_with(&format!(" {said}"))),
            "{said}: {log}"
        );
    }
    let log = n.logs("default", "b", "c").unwrap();
    assert!(log.contains("oidc: expected audience \"b\" got [\"a\"]"), "{log}");
}
