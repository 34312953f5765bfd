//! Conversion webhooks.

use std::time::Duration;

use cfn_net::Transport;
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::common::cluster;
use crate::server::Hooks;
use crate::{from, kind, refusal};

/// v1 has `hostPort: "h:1"`, v2 has `host` and `port`.
fn conversion(path: &str, request: &Value) -> Value {
    if path == "/refuse" {
        return json!({"result": {"status": "Failed", "message": "cannot"}});
    }
    let desired = request["desiredAPIVersion"].as_str().unwrap();
    let convert = |o: &Value| {
        let mut o = o.clone();
        let spec = o["spec"].clone();
        o["spec"] = if desired.ends_with("v2") {
            let (h, p) = spec["hostPort"].as_str().unwrap().split_once(':').unwrap();
            json!({"host": h, "port": p})
        } else {
            json!({"hostPort": format!("{}:{}", spec["host"].as_str().unwrap(), spec["port"].as_str().unwrap())})
        };
        o["apiVersion"] = json!(desired);
        o
    };
    let objects: Vec<Value> = request["objects"].as_array().unwrap().iter().map(convert).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

fn definition(config: &Value) -> Value {
    let open = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "ends.x.io"},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "ends", "kind": "End"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": open}, {"name": "v2", "served": true, "storage": false, "schema": open}],
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]}}}})
}

#[tokio::test]
async fn custom_resources_are_converted_by_a_webhook() {
    let (c, _) = cluster(Transport::Tcp, false).await;
    let (client, hooks) = (c.client(), Hooks::start(conversion).await);
    let crd = kind(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
    );
    let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &crd);
    definitions
        .create(&PostParams::default(), &from(definition(&hooks.at("/convert"))))
        .await
        .unwrap();
    let api = |v: &str| -> Api<DynamicObject> {
        Api::default_namespaced_with(client.clone(), &kind("x.io", v, "End", "ends"))
    };
    let (v1, v2) = (api("v1"), api("v2"));
    let end = |v: &str, name: &str, spec: Value| -> DynamicObject {
        from(json!({"apiVersion": format!("x.io/{v}"), "kind": "End", "metadata": {"name": name}, "spec": spec}))
    };
    let p = PostParams::default();
    let a = v1
        .create(&p, &end("v1", "a", json!({"hostPort": "h:1"})))
        .await
        .unwrap();
    let mut events = Box::pin(v2.watch(&WatchParams::default(), "0").await.unwrap());
    let seen = v2.get("a").await.unwrap();
    assert_eq!(seen.data["spec"], json!({"host": "h", "port": "1"}));
    assert_eq!((seen.uid(), seen.resource_version()), (a.uid(), a.resource_version()));
    // Written in the other version: stored in the one that is stored.
    let b = v2
        .create(&p, &end("v2", "b", json!({"host": "k", "port": "2"})))
        .await
        .unwrap();
    assert_eq!(b.data["spec"], json!({"host": "k", "port": "2"}));
    assert_eq!(v1.get("b").await.unwrap().data["spec"], json!({"hostPort": "k:2"}));
    let patched = v2
        .patch(
            "b",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"port": "3"}})),
        )
        .await
        .unwrap();
    assert_eq!(patched.data["spec"], json!({"host": "k", "port": "3"}));
    let list = v2.list(&ListParams::default()).await.unwrap();
    let ports: Vec<&Value> = list.items.iter().map(|o| &o.data["spec"]["port"]).collect();
    assert_eq!(ports, ["1", "3"]);
    v2.delete("b", &DeleteParams::default()).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 4 {
        let e = tokio::time::timeout(Duration::from_secs(60), events.next())
            .await
            .unwrap();
        told.push(match e.unwrap().unwrap() {
            WatchEvent::Added(o) => format!("added {}", o.data["spec"]["port"]),
            WatchEvent::Modified(o) => format!("modified {}", o.data["spec"]["port"]),
            WatchEvent::Deleted(o) => format!("deleted {}", o.data["spec"]["port"]),
            // What was there has been told.
            WatchEvent::Bookmark(_) => continue,
            e => panic!("{e:?}"),
        });
    }
    assert_eq!(told, ["added \"1\"", "added \"2\"", "modified \"3\"", "deleted \"3\""]);
    // A webhook that refuses is told to the client.
    let change = json!({"spec": {"conversion": {"webhook": {"clientConfig": hooks.at("/refuse")}}}});
    definitions
        .patch("ends.x.io", &PatchParams::default(), &Patch::Merge(change))
        .await
        .unwrap();
    let (code, _, text) = refusal(v2.get("a").await);
    assert_eq!(
        (code, text.as_str()),
        (500, "conversion webhook for x.io/v1, Kind=End failed: cannot")
    );
    assert_eq!(v1.get("a").await.unwrap().data["spec"]["hostPort"], "h:1");
}
