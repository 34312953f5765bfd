//! Probes and hooks of interpreted containers.

use super::network::{interpreted, pod};
use super::*;

#[tokio::test(start_paused = true)]
async fn probes_over_grpc() {
    let b = interpreted(32).await;
    let _n = b.node("n1", 1).await;
    let l = b.local();
    let probe = json!({"livenessProbe": {"grpc": {"port": 5000}, "failureThreshold": 1, "periodSeconds": 5}});
    let well = pod("well", &["grpc-health-checking"], &json!({}), &probe);
    let ill = pod(
        "ill",
        &["grpc-health-checking", "--delay-unhealthy-sec=20"],
        &json!({}),
        &probe,
    );
    for p in [well, ill] {
        l.create(&PODS, "default", p).unwrap();
    }
    let restarts = |l: &Local, name: &str| {
        let p = l.get(&PODS, "default", name).unwrap();
        p.int("/status/containerStatuses/0/restartCount").unwrap_or(0)
    };
    b.until("one is restarted", 120, |l| restarts(l, "ill") > 0).await;
    assert_eq!(restarts(&l, "well"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_container_has_started_when_its_startup_probe_says_so() {
    let b = interpreted(38).await;
    let _n = b.node("n1", 1).await;
    let l = b.local();
    let script = |s: &str| json!(["sh", "-c", s]);
    let startup = json!({"exec": {"command": ["test", "-f", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 60});
    let mut p = pod("p", &["pause"], &json!({}), &json!({}));
    p["spec"]["initContainers"] = json!([{"name": "side", "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
        "restartPolicy": "Always", "command": script("sleep 20; touch /tmp/up; sleep 1000"), "startupProbe": startup}]);
    let begun = Instant::now();
    l.create(&PODS, "default", p).unwrap();
    let side = |l: &Local| {
        let p = l.get(&PODS, "default", "p").unwrap();
        let s = &p["status"]["initContainerStatuses"][0];
        (
            s["state"]["running"].is_object(),
            s["started"] == true,
            s["ready"] == true,
        )
    };
    b.until("it runs", 10, |l| side(l).0).await;
    assert_eq!(side(&l), (true, false, false));
    b.until("it has started", 60, |l| side(l) == (true, true, true)).await;
    let waited = begun.elapsed().as_secs();
    assert!((20..24).contains(&waited), "{waited} s");
    b.until("then the others start", 10, |l| ready_pods(l).len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn looks_follow_and_name_whom_they_ask() {
    let b = interpreted(39).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let get = |path: &str| json!({"httpGet": {"path": path, "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    for (name, path) in [
        ("there", "/redirect?location=/healthz"),
        ("nowhere", "/redirect?location=/nope"),
        ("elsewhere", "/redirect?location=http://other/nope"),
    ] {
        let probe = json!({"readinessProbe": get(path)});
        l.create(&PODS, "default", pod(name, &["netexec"], &json!({}), &probe))
            .unwrap();
    }
    b.until("two are ready", 20, |l| ready_pods(l).len() == 2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ready = |name: &str| {
        let p = l.get(&PODS, "default", name).unwrap();
        p.condition("Ready").is_some_and(|c| c["status"] == "True")
    };
    assert_eq!(
        [ready("there"), ready("nowhere"), ready("elsewhere")],
        [true, false, true]
    );
    let log = n.logs("default", "there", "c").unwrap();
    assert!(
        (4..15).contains(&log.matches("/redirect").count()),
        "once a second: {log}"
    );
}
