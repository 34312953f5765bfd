//! Custom resources, from their definition on.

use cfn_net::Transport;
use futures::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use serde_json::{Value, json};

use crate::common::cluster;
use crate::{code, from};

fn widgets() -> CustomResourceDefinition {
    from(
        json!({"metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "string", "enum": ["s", "l"]}, "replicas": {"type": "integer", "default": 1}}},
                "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}}},
            {"name": "v1beta1", "served": true, "storage": false,
             "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}),
    )
}

#[tokio::test(start_paused = true)]
async fn custom_resources_are_served_at_once() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let crds: Api<CustomResourceDefinition> = Api::all(c.client());
    let d = crds.create(&PostParams::default(), &widgets()).await.unwrap();
    // The answer is from before the controllers, which are done when it comes.
    assert_eq!(d.status.as_ref().unwrap().conditions, None);
    let d = crds.get(&d.name_any()).await.unwrap();
    assert_eq!(d.metadata.finalizers, None);
    let conditions = d.status.unwrap().conditions.unwrap();
    assert!(
        conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
    );
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Widget"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(c.client(), &kind);
    let widget = |size: &str| {
        from::<DynamicObject>(json!({"apiVersion": "example.com/v1", "kind": "Widget",
        "metadata": {"name": "w"}, "spec": {"size": size, "unknown": 1}, "status": {"replicas": 9}}))
    };
    let refused = code(api.create(&PostParams::default(), &widget("x")).await);
    assert_eq!(refused.0, 422);
    assert!(refused.2.contains("Unsupported value: \"x\""), "{}", refused.2);
    let w = api.create(&PostParams::default(), &widget("s")).await.unwrap();
    assert_eq!(
        w.data["spec"],
        json!({"size": "s", "replicas": 1}),
        "pruned and defaulted"
    );
    assert!(w.data.get("status").is_none(), "the status is written apart");
    assert_eq!(w.metadata.generation, Some(1));
    let p = api
        .patch_status(
            "w",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {"replicas": 2}})),
        )
        .await
        .unwrap();
    assert_eq!(
        (p.data["status"]["replicas"].as_i64(), p.metadata.generation),
        (Some(2), Some(1))
    );
    let s = api
        .patch_scale(
            "w",
            &PatchParams::default(),
            &Patch::Merge(json!({"spec": {"replicas": 5}})),
        )
        .await
        .unwrap();
    assert_eq!(s.spec.unwrap().replicas, Some(5));
    assert_eq!(api.get("w").await.unwrap().metadata.generation, Some(2));
    let beta = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1beta1", "Widget"));
    let beta: Api<DynamicObject> = Api::default_namespaced_with(c.client(), &beta);
    let other = beta.get("w").await.unwrap();
    assert_eq!(other.types.unwrap().api_version, "example.com/v1beta1");
    let applied =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": "s"}});
    let a = api
        .patch("w", &PatchParams::apply("me"), &Patch::Apply(applied))
        .await
        .unwrap();
    assert_eq!(
        a.metadata.generation,
        Some(2),
        "an apply that changes nothing is no new generation"
    );
    crds.delete("widgets.example.com", &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(code(api.get("w").await).0, 404);
    assert_eq!(code(crds.get("widgets.example.com").await).0, 404);
}

#[tokio::test(start_paused = true)]
async fn custom_resources_get_defaults_when_they_are_read() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(c.client());
    let crd = |schema: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "ds.x.io"},
            "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "ds", "kind": "D"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
    };
    let plain = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    definitions
        .create(&PostParams::default(), &from(crd(plain)))
        .await
        .unwrap();
    let r = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("x.io", "v1", "D"), "ds");
    let api: Api<DynamicObject> = Api::default_namespaced_with(c.client(), &r);
    let made = DynamicObject::new("d", &r);
    let made = api.create(&PostParams::default(), &made).await.unwrap();
    assert!(made.data.get("a").is_none());
    let with = json!({"type": "object", "properties": {"a": {"type": "string", "default": "A"}}});
    let change = Patch::Merge(crd(with));
    definitions
        .patch("ds.x.io", &PatchParams::default(), &change)
        .await
        .unwrap();
    let read = api.get("d").await.unwrap();
    assert_eq!(
        (&read.data["a"], read.resource_version()),
        (&json!("A"), made.resource_version())
    );
    assert_eq!(api.list(&ListParams::default()).await.unwrap().items[0].data["a"], "A");
    let mut events = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    match events.next().await.unwrap().unwrap() {
        WatchEvent::Added(o) => assert_eq!(o.data["a"], "A"),
        e => panic!("{e:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn custom_resources_may_stay_as_invalid_as_they_were() {
    let (c, _) = cluster(Transport::Memory, false).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(c.client());
    let crd = |spec: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "rs.x.io"},
            "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "rs", "kind": "R"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                    {"type": "object", "properties": {"spec": spec}}}}]}})
    };
    let set = json!({"type": "array", "items": {"type": "string"}});
    let lax = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "set": set}});
    definitions
        .create(&PostParams::default(), &from(crd(lax.clone())))
        .await
        .unwrap();
    let r = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("x.io", "v1", "R"), "rs");
    let api: Api<DynamicObject> = Api::default_namespaced_with(c.client(), &r);
    let made = DynamicObject::new("r", &r).data(json!({"spec": {"a": "long", "b": "b", "set": ["x", "x"]}}));
    api.create(&PostParams::default(), &made).await.unwrap();
    let mut strict = lax;
    strict["properties"]["a"] = json!({"type": "string", "maxLength": 2});
    strict["properties"]["b"] =
        json!({"type": "string", "maxLength": 9, "x-kubernetes-validations": [{"rule": "self == 'c'"}]});
    strict["properties"]["set"]["x-kubernetes-list-type"] = json!("set");
    definitions
        .patch("rs.x.io", &PatchParams::default(), &Patch::Merge(crd(strict)))
        .await
        .unwrap();
    let change = |spec: Value| {
        let api = &api;
        async move {
            let change = Patch::Merge(json!({"spec": spec}));
            api.patch("r", &PatchParams::default(), &change).await
        }
    };
    // What is not changed stays: too long, against its rule, and twice.
    change(json!({"set": ["x", "x", "y"]})).await.unwrap();
    let refused = |r| code(r).2;
    assert_eq!(
        refused(change(json!({"a": "longer"})).await),
        "R.x.io \"r\" is invalid: [spec.a: Too long: may not be more than 2 bytes, <nil>: Invalid value: null: some \
         validation rules were not checked because the object was invalid; correct the existing errors to complete \
         validation]"
    );
    assert_eq!(
        refused(change(json!({"b": "d"})).await),
        "R.x.io \"r\" is invalid: spec.b: Invalid value: \"d\": failed rule: self == 'c'"
    );
    change(json!({"a": "a", "b": "c", "set": ["x"]})).await.unwrap();
    assert_eq!(
        refused(change(json!({"set": ["x", "x"]})).await),
        "R.x.io \"r\" is invalid: spec.set[1]: Duplicate value: \"x\""
    );
}
