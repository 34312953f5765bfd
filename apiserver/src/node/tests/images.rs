//! Images that are not there.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};

use super::*;

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    spec["nodeName"] = json!("n1");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})
}

/// Why a container waits: reason and message.
fn waits(l: &Local, pod: &str, statuses: &str) -> (String, String) {
    let p = l.get(&PODS, "default", pod).unwrap();
    let of = |field: &str| {
        p.text(&format!("/status/{statuses}/0/state/waiting/{field}"))
            .to_owned()
    };
    (of("reason"), of("message"))
}

const EVENTS: Gvr = Gvr::new("", "v1", "events");

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_image_until_it_has_another_one() {
    let b = bed(41, Workloads::default()).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let c = |image: &str| json!({"containers": [{"name": "c", "image": image}]});
    l.create(&PODS, "default", pod("p", c("webserver:404"))).unwrap();
    b.until("it was tried", 10, |l| {
        waits(l, "p", "containerStatuses").0 == "ErrImagePull"
    })
    .await;
    b.until("it backs off", 10, |l| {
        waits(l, "p", "containerStatuses").0 == "ImagePullBackOff"
    })
    .await;
    assert_eq!(
        waits(&l, "p", "containerStatuses").1,
        "Back-off pulling image \"webserver:404\": ErrImagePull: rpc error: code = NotFound desc = failed to pull and unpack image \
         \"docker.io/library/webserver:404\": failed to resolve reference \"docker.io/library/webserver:404\": \
         docker.io/library/webserver:404: not found"
    );
    let p = l.get(&PODS, "default", "p").unwrap();
    assert_eq!((p.text("/status/phase"), n.running().len()), ("Pending", 0));
    b.until("it is tried again", 15, |l| {
        waits(l, "p", "containerStatuses").0 == "ErrImagePull"
    })
    .await;
    b.until("all was told", 5, |l| {
        list(l, &EVENTS)
            .iter()
            .filter(|e| e.text("/reason") == "Pulling")
            .count()
            == 2
    })
    .await;
    let told = list(&l, &EVENTS);
    let said = |reason: &str, message: &str| {
        told.iter()
            .any(|e| e.text("/reason") == reason && e.text("/message").starts_with(message))
    };
    for (reason, message) in [
        ("Pulling", "Pulling image \"webserver:404\""),
        ("Failed", "Failed to pull image \"webserver:404\": rpc error: "),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", "Back-off pulling image \"webserver:404\""),
        ("Failed", "Error: ImagePullBackOff"),
    ] {
        assert!(said(reason, message), "{reason} {message}");
    }
    let mut p = (*l.get(&PODS, "default", "p").unwrap()).clone();
    p["spec"]["containers"][0]["image"] = json!("webserver:1");
    l.update(&PODS, "default", p).unwrap();
    b.until("it runs", 10, |l| ready_pods(l).len() == 1).await;
    assert_eq!(waits(&l, "p", "containerStatuses"), (String::new(), String::new()));
}

#[tokio::test(start_paused = true)]
async fn containers_of_every_kind_wait() {
    let b = bed(42, Workloads::default()).await;
    let n = b.node("n1", 1).await;
    let l = b.local();
    let main = json!([{"name": "c", "image": "a:1"}]);
    for (name, spec) in [
        (
            "init",
            json!({"initContainers": [{"name": "i", "image": "r.invalid/a"}], "containers": main}),
        ),
        (
            "never",
            json!({"containers": [{"name": "c", "image": "foo:non-existent", "imagePullPolicy": "Never"}]}),
        ),
        ("wrong", json!({"containers": [{"name": "c", "image": "Foo"}]})),
        ("good", json!({"containers": main})),
    ] {
        l.create(&PODS, "default", pod(name, spec)).unwrap();
    }
    b.until("all wait but one", 20, |l| {
        waits(l, "init", "initContainerStatuses").0 == "ImagePullBackOff"
            && waits(l, "never", "containerStatuses").0 == "ErrImageNeverPull"
            && waits(l, "wrong", "containerStatuses").0 == "InvalidImageName"
            && ready_pods(l).len() == 1
    })
    .await;
    assert_eq!(waits(&l, "init", "containerStatuses").0, "PodInitializing");
    assert!(
        waits(&l, "init", "initContainerStatuses")
            .1
            .contains("lookup r.invalid: no such host")
    );
    let pods: Api<Pod> = Api::default_namespaced(b.cluster.client());
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "b:404"}]}});
    pods.patch_ephemeral_containers("good", &PatchParams::default(), &Patch::Strategic(debugger))
        .await
        .unwrap();
    b.until("it waits", 10, |l| {
        waits(l, "good", "ephemeralContainerStatuses").0 == "ImagePullBackOff"
    })
    .await;
    let running = n.running();
    assert_eq!(
        (running.len(), running[0].containers.len()),
        (1, 1),
        "its other container runs on"
    );
}
