//! What Go shows of objects.

use super::*;
use serde_json::json;

#[test]
fn internal_types_show_all_fields() {
    let rule = json!({"rules": [{"succeededIndexes": "0-9"}]});
    assert_eq!(
        Printed::internal("batch.SuccessPolicy", &rule).compact(),
        r#"{"Rules":[{"SucceededIndexes":"0-9","SucceededCount":null}]}"#
    );
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"hostNetwork": true, "volumes": [{"name": "v", "emptyDir": {}}]}});
    let shown = Printed::internal("core.PodTemplateSpec", &template).compact();
    assert!(
        shown.starts_with(r#"{"labels":{"a":"b"},"Spec":{"Volumes":[{"Name":"v","HostPath":null,"#),
        "{shown}"
    );
    assert!(
        shown.contains(r#""EmptyDir":{"Medium":"","SizeLimit":null}"#),
        "{shown}"
    );
    assert!(
        shown.contains(r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#),
        "{shown}"
    );
}

#[test]
fn a_place_has_the_zero_value_of_its_type() {
    let object = json!({"spec": {"attacher": "a", "source": {}}, "parameters": {}});
    for (of, path, shown) in [
        ("storage.VolumeAttachment", "spec.attacher", r#""a""#),
        ("storage.VolumeAttachment", "spec.nodeName", r#""""#),
        (
            "storage.VolumeAttachment",
            "spec",
            r#"{"Attacher":"a","Source":{"PersistentVolumeName":null,"InlineVolumeSpec":null},"NodeName":""}"#,
        ),
        ("storage.CSIDriver", "spec.attachRequired", "null"),
        ("networking.IngressClass", "spec.controller", r#""""#),
        ("core.PersistentVolume", "spec.nodeAffinity", "null"),
    ] {
        assert_eq!(Printed::at(of, path, &object).compact(), shown, "{of} {path}");
    }
    let of = |v: Value| Printed::at("storage.StorageClass", "parameters", &v);
    assert!(of(json!({"parameters": {}})).same(&of(json!({}))));
    assert!(!of(json!({"parameters": {"a": "b"}})).same(&of(json!({}))));
}

#[test]
fn fields_of_other_names_are_found() {
    let volume = json!({"image": "i", "pool": "p", "user": "u", "monitors": ["m"]});
    let shown = Printed::internal("core.RBDVolumeSource", &volume).compact();
    assert!(
        shown.starts_with(r#"{"CephMonitors":["m"],"RBDImage":"i","FSType":"","RBDPool":"p","RadosUser":"u""#),
        "{shown}"
    );
}

#[test]
fn api_types_keep_the_order_of_their_declaration() {
    let d = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {}, "metadata": {"uid": "u", "name": "<a>"},
        "spec": {"template": {}, "replicas": 1}});
    let shown = Printed::object("apps/v1", "Deployment", &d);
    assert_eq!(
        shown.compact(),
        r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"\u003ca\u003e","uid":"u"},"spec":{"replicas":1,"template":{}},"status":{}}"#
    );
    let mut new = d.clone();
    new["spec"]["replicas"] = json!("x");
    assert_eq!(
        shown.merged(&json!({"spec": {"replicas": "x"}}), &new).compact(),
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"\u003ca\u003e","uid":"u"},"spec":{"replicas":"x","template":{}},"status":{}}"#
    );
    let patch = json!([{"op": "test", "path": "/metadata/uid", "value": "u"}, {"op": "replace", "path": "/spec/replicas", "value": "x"}]);
    let read = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"\u003ca\u003e","uid":"u"},"spec":{"replicas":"x","template":{}},"status":{}}"#;
    assert_eq!(shown.patched(&d, &new, &patch).compact(), read);
}

#[test]
fn lines_are_indented_by_one_space() {
    let v = json!({"a": [1, {"b": {}}], "c": []});
    assert_eq!(
        Printed::plain(&v).indented(),
        "{\n \"a\": [\n  1,\n  {\n   \"b\": {}\n  }\n ],\n \"c\": []\n}"
    );
}
