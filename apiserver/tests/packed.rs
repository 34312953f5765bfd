//! Objects that nobody asked for lately are packed, and owners are text: no client can tell.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use cfn_net::Transport;
use common::cluster;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// More than a store keeps as trees.
const MANY: usize = 2_500;

fn config_map(i: usize) -> ConfigMap {
    let text = format!("{i} {}", "lorem ipsum dolor ".repeat(80));
    serde_json::from_value(
        json!({"metadata": {"name": format!("m-{i:05}"), "labels": {"third": (i % 3).to_string()}},
        "data": {"text": text}}),
    )
    .unwrap()
}

async fn asked(client: &Client, path: &str, accept: &str) -> Value {
    let request = http::Request::get(path)
        .header("accept", accept)
        .body(Vec::new())
        .unwrap();
    serde_json::from_str(&client.request_text(request).await.unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_was_packed_is_read_as_before() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let client = c.client();
    let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let mut made = Vec::new();
    for i in 0..MANY {
        made.push(api.create(&PostParams::default(), &config_map(i)).await.unwrap());
    }
    let (first, last) = (&made[0], &made[MANY - 1]);
    let of = |list: Vec<ConfigMap>| -> Vec<ConfigMap> {
        list.into_iter().filter(|m| m.name_any().starts_with("m-")).collect()
    };
    assert_eq!(of(api.list(&ListParams::default()).await.unwrap().items), made);
    let third = of(api.list(&ListParams::default().labels("third=1")).await.unwrap().items);
    let expected: Vec<_> = made.iter().filter(|m| m.labels()["third"] == "1").cloned().collect();
    assert_eq!(third, expected);
    let table = asked(
        &client,
        "/api/v1/namespaces/default/configmaps?labelSelector=third",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
    )
    .await;
    assert_eq!(table["rows"].as_array().unwrap().len(), MANY);
    let row = &table["rows"][0]["object"]["metadata"];
    assert_eq!(*row, serde_json::to_value(&first.metadata).unwrap());
    // A watch from before, that tells packed states.
    let since = first.resource_version().unwrap();
    let events = api.watch(&WatchParams::default(), &since).await.unwrap();
    let seen: Vec<_> = events.take(MANY - 1).collect().await;
    for (e, m) in seen.iter().zip(&made[1..]) {
        assert!(matches!(e, Ok(WatchEvent::Added(o)) if o == m), "{e:?}");
    }
    assert_eq!(api.get(&first.name_any()).await.unwrap(), *first);
    // Written, all is there but what was changed.
    let patch = Patch::Merge(json!({"metadata": {"labels": {"new": "yes"}}}));
    let patched = api
        .patch(&last.name_any(), &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!((&patched.data, patched.uid()), (&last.data, last.uid()));
    let mut changed = made[1].clone();
    changed.labels_mut().insert("new".into(), "yes".into());
    let changed = api
        .replace(&changed.name_any(), &PostParams::default(), &changed)
        .await
        .unwrap();
    assert_eq!((&changed.data, changed.uid()), (&made[1].data, made[1].uid()));
}

#[tokio::test(start_paused = true)]
async fn patches_may_be_about_owners() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let api: Api<ConfigMap> = Api::default_namespaced(c.client());
    let made = api.create(&PostParams::default(), &config_map(0)).await.unwrap();
    let name = made.name_any();
    let owners = made.managed_fields();
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].fields_v1.as_ref().unwrap().0["f:data"]["f:text"], json!({}));
    let json_patch = |steps: Value| {
        let steps: json_patch::Patch = serde_json::from_value(steps).unwrap();
        let (api, name) = (api.clone(), name.clone());
        async move {
            api.patch(&name, &PatchParams::default(), &Patch::<()>::Json(steps))
                .await
        }
    };
    let test = |value: &str| {
        json!([{"op": "test", "path": "/metadata/managedFields/0/operation", "value": value},
            {"op": "add", "path": "/data/more", "value": value}])
    };
    assert!(json_patch(test("Apply")).await.is_err());
    let more = json_patch(test("Update")).await.unwrap();
    assert_eq!(more.data.unwrap()["more"], "Update");
    let named = json!([{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "another"}]);
    let named = json_patch(named).await.unwrap();
    assert!(
        named
            .managed_fields()
            .iter()
            .any(|f| f.manager.as_deref() == Some("another"))
    );
    // An empty entry resets them.
    let reset = Patch::Merge(json!({"metadata": {"managedFields": [{}]}}));
    let reset = api.patch(&name, &PatchParams::default(), &reset).await.unwrap();
    assert!(reset.managed_fields().is_empty(), "{:?}", reset.managed_fields());
    assert_eq!(reset.data.unwrap()["more"], "Update");
}
