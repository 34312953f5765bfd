//! Tests of schemas with Kubernetes' own types and a CRD.

use super::*;
use serde_json::{Value, json};

fn crd() -> SchemaRef {
    SchemaRef::from_crd(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 10},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
                    "port": {"x-kubernetes-int-or-string": true},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "map": {"type": "object", "additionalProperties": {"type": "string"}},
                    "list": {
                        "type": "array", "maxItems": 2,
                        "items": {"type": "object", "properties": {
                            "key": {"type": "string"}, "n": {"type": "integer", "default": 7}
                        }},
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"]
                    },
                    "maybe": {"type": "string", "nullable": true},
                    "when": {"type": "string", "format": "date-time"}
                }
            }
        }
    }))
    .unwrap()
}

fn errors(spec: Value) -> Vec<String> {
    validate(&crd(), &json!({"spec": spec}))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn discovery_has_kubernetes_resources() {
    let find = |group: &str, plural: &str| {
        discovery()
            .iter()
            .find(|r| r.group == group && r.plural == plural)
            .unwrap()
    };
    let pods = find("", "pods");
    assert_eq!(
        (pods.kind.as_str(), pods.singular.as_str(), pods.namespaced),
        ("Pod", "pod", true)
    );
    assert_eq!(
        (pods.short_names.clone(), pods.categories.clone()),
        (vec!["po".to_owned()], vec!["all".to_owned()])
    );
    let eviction = pods.subresources.iter().find(|s| s.name == "eviction").unwrap();
    assert_eq!(
        (
            eviction.group.as_str(),
            eviction.version.as_str(),
            eviction.kind.as_str()
        ),
        ("policy", "v1", "Eviction")
    );
    let deployments = find("apps", "deployments");
    let scale = deployments.subresources.iter().find(|s| s.name == "scale").unwrap();
    assert_eq!((scale.group.as_str(), scale.kind.as_str()), ("autoscaling", "Scale"));
    let status = deployments.subresources.iter().find(|s| s.name == "status").unwrap();
    assert_eq!(
        (status.group.as_str(), status.version.as_str(), status.kind.as_str()),
        ("apps", "v1", "Deployment")
    );
    assert!(!find("", "nodes").namespaced);
    // Every resource that stores objects has a schema.
    for resource in discovery().iter().filter(|r| r.verbs.iter().any(|v| v == "list")) {
        assert!(
            SchemaRef::for_gvk(&resource.group, &resource.version, &resource.kind).is_some(),
            "{resource:?}"
        );
    }
}

#[test]
fn builtin_schemas_resolve() {
    let deployment = SchemaRef::for_gvk("apps", "v1", "Deployment").unwrap();
    let template = deployment.property("spec").unwrap().property("template").unwrap();
    let containers = template.property("spec").unwrap().property("containers").unwrap();
    assert_eq!(containers.list_type(), &ListType::Map(vec!["name".to_owned()]));
    assert_eq!(containers.patch_merge_key(), Some("name"));
    assert!(containers.has_patch_strategy("merge"));
    let ports = containers.items().unwrap().property("ports").unwrap();
    assert_eq!(
        ports.items().unwrap().property("protocol").unwrap().default(),
        Some(&json!("TCP"))
    );
    assert!(
        deployment
            .property("spec")
            .unwrap()
            .property("selector")
            .unwrap()
            .is_atomic_map()
    );
    assert!(
        deployment
            .property("spec")
            .unwrap()
            .property("strategy")
            .unwrap()
            .has_patch_strategy("retainKeys")
    );
    assert!(SchemaRef::for_gvk("apps", "v1", "Nothing").is_none());
}

#[test]
fn crd_texts_are_kubernetes() {
    let cases = [
        (
            json!({"size": "string"}),
            vec![r#"spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#],
        ),
        (json!({}), vec!["spec.size: Required value"]),
        (
            json!({"size": 0}),
            vec!["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"],
        ),
        (
            json!({"size": 11}),
            vec!["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"],
        ),
        (
            json!({"size": 1, "mode": "c"}),
            vec![r#"spec.mode: Unsupported value: "c": supported values: "a", "b""#],
        ),
        (
            json!({"size": 1, "name": "A"}),
            vec![r#"spec.name: Invalid value: "A": spec.name in body should match '^[a-z]+$'"#],
        ),
        (
            json!({"size": 1, "name": "abcdef"}),
            vec!["spec.name: Too long: may not be more than 5 bytes"],
        ),
        (
            json!({"size": 1, "list": [{"key": "a"}, {"key": "b"}, {"key": "c"}]}),
            vec!["spec.list: Too many: 3: must have at most 2 items"],
        ),
        (
            json!({"size": 1, "maybe": null, "port": 1, "free": {"a": {"b": 1}}}),
            vec![],
        ),
        (
            json!({"size": 1, "name": null}),
            vec![r#"spec.name: Invalid value: "null": spec.name in body must be of type string: "null""#],
        ),
        (
            json!({"size": 1, "port": true}),
            vec![r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#],
        ),
        (
            json!({"size": 1, "map": {"x": 1}}),
            vec![r#"spec.map.x: Invalid value: "integer": spec.map.x in body must be of type string: "integer""#],
        ),
        (
            json!({"size": 1, "when": "now"}),
            vec![r#"spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now""#],
        ),
        (json!({"size": 1, "when": "2026-01-02T03:04:05Z"}), vec![]),
    ];
    for (spec, expected) in cases {
        assert_eq!(errors(spec.clone()), expected, "{spec}");
    }
    assert_eq!(validate(&crd(), &json!({}))[0].to_string(), "spec: Required value");
}

#[test]
fn crd_is_pruned_and_defaulted() {
    let mut object = json!({
        "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a", "nope": 1, "creationTimestamp": null},
        "spec": {"size": 1, "nope": 2, "free": {"keep": 1}, "map": {"keep": "x"}, "list": [{"key": "a", "nope": 3}], "mode": null},
        "status": {}
    });
    let texts = unknown_fields(&crd(), &object);
    assert_eq!(
        texts,
        [
            r#"unknown field "metadata.nope""#,
            r#"unknown field "spec.list[0].nope""#,
            r#"unknown field "spec.nope""#,
            r#"unknown field "status""#
        ]
    );
    prune(&crd(), &mut object);
    assert!(!has_defaults(&crd(), &object));
    apply_defaults(&crd(), &mut object);
    assert!(has_defaults(&crd(), &object));
    assert_eq!(
        object,
        json!({
            "apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"},
            "spec": {"size": 1, "free": {"keep": 1}, "map": {"keep": "x"}, "list": [{"key": "a", "n": 7}], "mode": "a"}
        })
    );
}

#[test]
fn an_object_has_its_defaults_when_applying_them_changes_nothing() {
    let schema = SchemaRef::from_crd(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "a": {"type": "integer", "default": 1}, "b": {"type": "string", "nullable": true, "default": "x"},
        "c": {"type": "string"}, "d": {"type": "object", "properties": {"e": {"type": "boolean", "default": true}}},
        "f": {"type": "array", "items": {"type": "object", "properties": {"g": {"type": "integer", "default": 2}}}},
        "h": {"type": "object", "additionalProperties": {"type": "string", "default": "y"}}}}}}),
    )
    .unwrap();
    let full = json!({"a": 1, "b": "x"});
    let (mut changed, mut kept) = (0, 0);
    for (name, values) in [
        ("a", json!([null, 2])),
        ("b", json!([null, "y"])),
        ("c", json!([null, "z"])),
        ("d", json!([null, {}, {"e": false}, {"e": null}])),
        ("f", json!([null, [], [{}], [{"g": 3}], [{"g": null}]])),
        ("h", json!([null, {}, {"i": "j"}, {"i": null}])),
        ("unknown", json!([null, {"x": null}, [1]])),
    ] {
        for value in values.as_array().unwrap() {
            let mut object = json!({"spec": full});
            object["spec"][name] = value.clone();
            let mut applied = object.clone();
            apply_defaults(&schema, &mut applied);
            assert_eq!(has_defaults(&schema, &object), applied == object, "{object}");
            *if applied == object { &mut kept } else { &mut changed } += 1;
        }
    }
    assert!(changed > 5 && kept > 5, "{changed} {kept}");
}

#[test]
fn opaque_resources_keep_everything() {
    let mut object = json!({"metadata": {"name": "a", "nope": 1}, "spec": {"x": [{"y": null}]}});
    prune(&SchemaRef::opaque(), &mut object);
    assert_eq!(object, json!({"metadata": {"name": "a"}, "spec": {"x": [{"y": null}]}}));
    assert!(validate(&SchemaRef::opaque(), &object).is_empty());
}

#[test]
fn builtin_objects_lose_what_go_loses() {
    let schema = SchemaRef::for_gvk("", "v1", "Pod").unwrap();
    let mut pod = json!({
        "metadata": {"name": "a", "labels": {}, "annotations": null, "finalizers": []},
        "spec": {"containers": [{"name": "c", "args": [], "securityContext": {}, "nope": 1}], "volumes": [{"name": "v", "emptyDir": {}}]}
    });
    prune(&schema, &mut pod);
    assert_eq!(
        pod,
        json!({
            "metadata": {"name": "a"},
            "spec": {"containers": [{"name": "c", "securityContext": {}}], "volumes": [{"name": "v", "emptyDir": {}}]}
        })
    );
    let mut role = json!({"rules": []});
    prune(
        &SchemaRef::for_gvk("rbac.authorization.k8s.io", "v1", "Role").unwrap(),
        &mut role,
    );
    assert_eq!(role, json!({"rules": []}));
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let cases = [
        (json!({}), "type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "properties": {"spec": {"properties": {}}}}),
            "properties[spec].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            "properties[a].items: Required value: must be specified",
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(SchemaRef::from_crd(&schema).unwrap_err().to_string(), expected);
    }
}

#[test]
fn what_did_not_change_may_stay_invalid() {
    let text = || json!({"type": "string", "maxLength": 2});
    let openapi = json!({"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object", "required": ["must"],
        "properties": {
            "must": text(), "a": text(), "deep": {"type": "object", "required": ["x"], "properties": {"x": text(), "y": text()}},
            "list": {"type": "array", "items": text()},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "maxItems": 2,
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": text()}}},
            "any": {"type": "object", "additionalProperties": text()},
            "one": {"type": "integer", "oneOf": [{"minimum": 5}, {"maximum": 2}]},
            "whole": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "minProperties": 2}}}}});
    let schema = SchemaRef::from_crd(&openapi).unwrap();
    for (new, old, wanted) in [
        (
            json!({"must": "", "a": "long"}),
            json!({"must": "", "a": "long"}),
            vec![],
        ),
        (
            json!({"must": "", "a": "longer"}),
            json!({"must": "", "a": "long"}),
            vec!["spec.a"],
        ),
        // What is missing is missing in what is around it, which changed.
        (json!({"a": ""}), json!({}), vec!["spec.must"]),
        (json!({"a": "long"}), json!({"a": "long"}), vec![]),
        (
            json!({"must": "", "deep": {"y": "long"}}),
            json!({"must": "a", "deep": {"y": "long"}}),
            vec![],
        ),
        (
            json!({"must": "", "deep": {"y": "long"}}),
            json!({"must": "a", "deep": {"y": "longer"}}),
            vec!["spec.deep.y", "spec.deep.x"],
        ),
        // Elements of lists are not told apart, those of maps are.
        (
            json!({"must": "", "list": ["long", "b"]}),
            json!({"must": "", "list": ["long", "a"]}),
            vec!["spec.list[0]"],
        ),
        (
            json!({"must": "", "map": [{"k": "n"}, {"k": "o", "v": "long"}]}),
            json!({"must": "", "map": [{"k": "o", "v": "long"}]}),
            vec![],
        ),
        (
            json!({"must": "", "map": [{"k": "n", "v": "long"}, {"k": "o", "v": "long"}]}),
            json!({"must": "", "map": [{"k": "o", "v": "long"}]}),
            vec!["spec.map[0].v"],
        ),
        (
            json!({"must": "", "map": [{"k": "a"}, {"k": "b"}, {"k": "c"}]}),
            json!({"must": "x", "map": [{"k": "c"}, {"k": "b"}, {"k": "a"}]}),
            vec![],
        ),
        (
            json!({"must": "", "any": {"x": "long", "y": "long"}}),
            json!({"must": "", "any": {"x": "long"}}),
            vec!["spec.any.y"],
        ),
        (json!({"must": "", "one": 3}), json!({"must": "", "one": 3}), vec![]),
        (
            json!({"must": "", "one": 3}),
            json!({"must": "", "one": 4}),
            vec!["", "spec.one"],
        ),
        // What the schema does not know is never as it was.
        (
            json!({"must": "", "whole": {"a": 1}}),
            json!({"must": "", "whole": {"a": 1}}),
            vec!["spec.whole"],
        ),
    ] {
        let (new, old) = (json!({"spec": new}), json!({"spec": old}));
        let before = super::Correlated::new(&openapi, &new, &old);
        let found = super::validate_update(&schema, &new, Some(&before));
        let paths: Vec<&str> = found.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, wanted, "{new} {old}");
        assert!(found.len() <= validate(&schema, &new).len(), "{new}");
    }
}

#[test]
fn the_alternative_that_comes_closest_is_told() {
    let schema = json!({"type": "object", "properties": {
        "any": {"type": "string", "anyOf": [{"maxLength": 1}, {"pattern": "^b"}]},
        "shaped": {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "anyOf": [{"required": ["z"]}, {"properties": {"x": {"minimum": 5}}}]},
        "one": {"type": "integer", "oneOf": [{"minimum": 5}, {"minimum": 3}]},
        "all": {"type": "integer", "allOf": [{"minimum": 5}, {"maximum": 3}]},
        "not": {"type": "integer", "not": {"minimum": 5}}}});
    let schema = SchemaRef::from_crd(&schema).unwrap();
    for (object, wanted) in [
        (
            json!({"any": "ccc"}),
            vec![
                "<nil>: Invalid value: \"\": \"any\" must validate at least one schema (anyOf)",
                "any: Too long: may not be more than 1 byte",
            ],
        ),
        (
            json!({"shaped": {"x": 1}}),
            vec![
                "<nil>: Invalid value: \"\": \"shaped\" must validate at least one schema (anyOf)",
                "shaped.x: Invalid value: 1: shaped.x in body should be greater than or equal to 5",
            ],
        ),
        (
            json!({"one": 6}),
            vec![
                "<nil>: Invalid value: \"\": \"one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"one": 1}),
            vec![
                "<nil>: Invalid value: \"\": \"one\" must validate one and only one schema (oneOf). Found none valid",
                "one: Invalid value: 1: one in body should be greater than or equal to 5",
            ],
        ),
        (
            json!({"all": 4}),
            vec![
                "all: Invalid value: 4: all in body should be greater than or equal to 5",
                "all: Invalid value: 4: all in body should be less than or equal to 3",
                "<nil>: Invalid value: \"\": \"all\" must validate all the schemas (allOf). None validated",
            ],
        ),
        (
            json!({"not": 5}),
            vec!["<nil>: Invalid value: \"\": \"not\" must not validate the schema (not)"],
        ),
    ] {
        let told: Vec<String> = validate(&schema, &object).iter().map(ToString::to_string).collect();
        assert_eq!(told, wanted, "{object}");
    }
}

#[test]
fn sets_and_maps_have_no_element_twice() {
    let schema = json!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "l"],
            "items": {"type": "object", "properties": {"k": {"type": "string"}, "l": {"type": "string"}, "s": {"type": "array",
                "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}}}}});
    let schema = SchemaRef::from_crd(&schema).unwrap();
    for (object, wanted) in [
        (
            json!({"set": ["a", "a", "a", "b", "b"]}),
            vec!["set[1]: Duplicate value: \"a\"", "set[4]: Duplicate value: \"b\""],
        ),
        (
            json!({"map": [{"k": "a", "s": [1]}, {"k": "a", "l": "b"}, {"l": "b", "k": "a", "s": [1, 1]}]}),
            vec![
                "map[2]: Duplicate value: {\"k\":\"a\",\"l\":\"b\"}",
                "map[2].s[1]: Duplicate value: 1",
            ],
        ),
        (
            json!({"map": ["a", "a"]}),
            vec!["map[0]: Invalid value: \"a\": must be an object for an array of list-type map"],
        ),
    ] {
        let told: Vec<String> = super::duplicates(&schema, &object)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(told, wanted, "{object}");
    }
    let many: Vec<String> = (0..20_000).map(|i| i.to_string()).collect();
    assert_eq!(super::duplicates(&schema, &json!({"set": many})), []);
}
