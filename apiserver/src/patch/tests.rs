//! Tests of patches: tables with what Kubernetes does, and properties.

use super::*;
use crate::schema::{SchemaRef, prune};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NOW: &str = "2026-01-01T00:00:00Z";
const LATER: &str = "2026-01-01T00:01:00Z";

fn deployment() -> SchemaRef {
    SchemaRef::for_gvk("apps", "v1", "Deployment").unwrap()
}

fn pod_schema() -> SchemaRef {
    SchemaRef::for_gvk("", "v1", "Pod").unwrap()
}

/// Who owns what, as clients see it.
fn owners(object: &Value) -> Value {
    unfolded(object)["metadata"]["managedFields"].clone()
}

fn apply_to(live: Option<&Value>, applied: &Value, manager: &str, force: bool) -> Result<Value, ApplyError> {
    apply(live, applied, manager, &deployment(), force, "", LATER, &[".status"])
}

fn config(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"app": "d"}},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [
                {"name": "c", "image": image, "ports": [{"containerPort": 80}]}
            ]}}
        }
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = replicas.into();
    }
    object
}

#[test]
fn create_by_update_owns_what_kubernetes_says() {
    let mut object = config(Some(2), "nginx");
    object["metadata"]["uid"] = "u".into();
    object["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}});
    object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    object["status"] = json!({});
    track_update(
        None,
        &mut object,
        "kubectl-create",
        "",
        &deployment(),
        NOW,
        &[".status"],
    );
    assert_eq!(
        owners(&object),
        json!([{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "apps/v1", "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:replicas": {}, "f:selector": {},
                    "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
                    "f:template": {
                        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                            ".": {}, "f:image": {}, "f:name": {},
                            "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                            "f:resources": {}
                        }}}
                    }
                }
            }
        }])
    );
}

#[test]
fn updates_take_ownership_of_what_they_change() {
    let mut first = config(Some(2), "nginx");
    track_update(None, &mut first, "a", "", &deployment(), NOW, &[]);
    let mut second = first.clone();
    second["spec"]["replicas"] = 3.into();
    track_update(Some(&first), &mut second, "b", "", &deployment(), LATER, &[]);
    let entries = owners(&second);
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[1]["manager"], "b");
    assert_eq!(entries[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    assert!(entries[0]["fieldsV1"]["f:spec"]["f:replicas"].is_null());
    // Nothing changes: nobody's entry does.
    let mut third = second.clone();
    track_update(Some(&second), &mut third, "c", "", &deployment(), LATER, &[]);
    assert_eq!(third, second);
    // A status update of a controller is its own entry.
    let mut status = second.clone();
    status["status"] = json!({"replicas": 3});
    track_update(
        Some(&second),
        &mut status,
        "b",
        "status",
        &deployment(),
        LATER,
        &[".spec", ".metadata.labels"],
    );
    let entries = owners(&status);
    let entries = entries.as_array().unwrap();
    assert_eq!((entries.len(), &entries[2]["subresource"]), (3, &json!("status")));
    assert_eq!(entries[2]["fieldsV1"], json!({"f:status": {"f:replicas": {}}}));
}

#[test]
fn apply_creates_and_owns() {
    let object = apply_to(None, &config(Some(2), "nginx"), "m", false).unwrap();
    assert_eq!(
        owners(&object),
        json!([{
            "manager": "m", "operation": "Apply", "apiVersion": "apps/v1", "time": LATER, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {
                    "f:replicas": {}, "f:selector": {},
                    "f:template": {
                        "f:metadata": {"f:labels": {"f:app": {}}},
                        "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                            ".": {}, "f:image": {}, "f:name": {},
                            "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                        }}}
                    }
                }
            }
        }])
    );
}

#[test]
fn conflicts_are_told_and_forced() {
    let live = apply_to(None, &config(Some(2), "nginx"), "a", false).unwrap();
    let error = apply_to(Some(&live), &config(Some(3), "nginx"), "b", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "a": .spec.replicas"#
    );
    let error = apply_to(Some(&live), &config(Some(3), "other"), "b", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.replicas\n- \
         .spec.template.spec.containers[name=\"c\"].image"
    );
    let forced = apply_to(Some(&live), &config(Some(3), "nginx"), "b", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    let entries = owners(&forced);
    let entries = entries.as_array().unwrap();
    assert!(
        entries
            .iter()
            .any(|e| e["manager"] == "a" && e["fieldsV1"]["f:spec"]["f:replicas"].is_null())
    );
    assert!(
        entries
            .iter()
            .any(|e| e["manager"] == "b" && e["fieldsV1"]["f:spec"]["f:replicas"].is_object())
    );
    // The same value is no conflict but shared.
    assert!(apply_to(Some(&live), &config(Some(2), "nginx"), "b", false).is_ok());
    // Against an update, the version is told.
    let mut updated = config(Some(2), "nginx");
    track_update(None, &mut updated, "u", "", &deployment(), NOW, &[]);
    let error = apply_to(Some(&updated), &config(Some(3), "nginx"), "b", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "u" using apps/v1: .spec.replicas"#
    );
}

#[test]
fn what_is_no_longer_applied_goes_unless_owned() {
    let live = apply_to(None, &config(Some(2), "nginx"), "a", false).unwrap();
    let object = apply_to(Some(&live), &config(None, "nginx"), "a", false).unwrap();
    assert!(object["spec"].get("replicas").is_none());
    // Shared with another: it stays.
    let shared = apply_to(
        Some(&live),
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": 2}
        }),
        "b",
        false,
    )
    .unwrap();
    let object = apply_to(Some(&shared), &config(None, "nginx"), "a", false).unwrap();
    assert_eq!(object["spec"]["replicas"], 2);
    // A list's element goes, another manager's stays.
    let mut two = config(Some(2), "nginx");
    two["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "x", "image": "x"}));
    let live = apply_to(None, &two, "a", false).unwrap();
    let live = apply_to(
        Some(&live),
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}
        }),
        "b",
        false,
    )
    .unwrap();
    let object = apply_to(Some(&live), &config(Some(2), "nginx"), "a", false).unwrap();
    let names: Vec<_> = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["c", "side"]);
}

#[test]
fn apply_refuses_what_does_not_fit() {
    let mut object = config(None, "nginx");
    object["spec"]["nope"] = 1.into();
    let error = apply_to(None, &object, "a", false).unwrap_err();
    assert_eq!(error.to_string(), ".spec.nope: field not declared in schema");
    let mut object = config(None, "nginx");
    let containers = object["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
    containers.push(containers[0].clone());
    let error = apply_to(None, &object, "a", false).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"c\"]"),
        "{error}"
    );
}

#[test]
fn first_apply_on_untracked_objects_finds_an_owner() {
    let live = config(Some(2), "nginx");
    let error = apply_to(Some(&live), &config(Some(3), "nginx"), "a", false).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "before-first-apply" using apps/v1: .spec.replicas"#
    );
}

#[test]
fn custom_resources_without_schema_have_granular_maps_and_atomic_lists() {
    let schema = SchemaRef::opaque();
    let run = |live: Option<&Value>, spec: Value, manager: &str| {
        let object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec});
        apply(live, &object, manager, &schema, false, "", NOW, &[])
    };
    let live = run(None, json!({"a": {"b": 1}, "list": [1, 2]}), "m").unwrap();
    let fields = &owners(&live)[0]["fieldsV1"];
    assert_eq!(
        fields,
        &json!({"f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:list": {}}})
    );
    let live = run(Some(&live), json!({"a": {"c": 2}}), "n").unwrap();
    assert_eq!(live["spec"], json!({"a": {"b": 1, "c": 2}, "list": [1, 2]}));
    let live = run(Some(&live), json!({"a": {"b": 1}}), "m").unwrap();
    assert_eq!(live["spec"], json!({"a": {"b": 1, "c": 2}}));
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let mut live = config(Some(2), "nginx");
    live["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": config(Some(2), "nginx").to_string()});
    track_update(
        None,
        &mut live,
        "kubectl-client-side-apply",
        "",
        &deployment(),
        NOW,
        &[],
    );
    let object = apply_to(Some(&live), &config(Some(3), "nginx"), "kubectl", false).unwrap();
    assert_eq!(object["spec"]["replicas"], 3);
    let annotation = object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"]
        .as_str()
        .unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(annotation).unwrap()["spec"]["replicas"],
        3
    );
    assert!(apply_to(Some(&live), &config(Some(3), "nginx"), "other", false).is_err());
}

#[test]
fn many_updaters_are_put_together() {
    let mut live = config(Some(0), "nginx");
    track_update(None, &mut live, "m00", "", &deployment(), NOW, &[]);
    for i in 1..14 {
        let mut next = live.clone();
        next["metadata"]["labels"][format!("l{i}")] = "x".into();
        let now = format!("2026-01-01T00:00:{i:02}Z");
        track_update(
            Some(&live),
            &mut next,
            &format!("m{i:02}"),
            "",
            &deployment(),
            &now,
            &[],
        );
        live = next;
    }
    let entries = owners(&live);
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 10);
    assert_eq!(entries[0]["manager"], "ancient-changes");
}

#[test]
fn strategic_merge_is_kubernetes() {
    let live = json!({"spec": {
        "containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}],
        "nodeSelector": {"k": "v"}, "volumes": [{"name": "v", "emptyDir": {}}], "hostNetwork": true
    }, "metadata": {"finalizers": ["f1", "f2"]}});
    let containers = |patch: Value| {
        strategic_merge_patch(&live, &json!({"spec": {"containers": patch}}), &pod_schema()).unwrap()["spec"]["containers"].clone()
    };
    // By merge key; a new one comes first, as upstream has it.
    assert_eq!(
        containers(json!([{"name": "b", "image": "2"}])),
        json!([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2"}])
    );
    assert_eq!(containers(json!([{"name": "c", "image": "3"}]))[0]["name"], "c");
    assert_eq!(
        containers(json!([{"name": "a", "args": ["y"]}]))[0]["args"],
        json!(["y"])
    );
    assert_eq!(
        containers(json!([{"name": "a", "$patch": "delete"}])),
        json!([{"name": "b", "image": "1"}])
    );
    assert_eq!(
        containers(json!([{"name": "z", "image": "9"}, {"$patch": "replace"}])),
        json!([{"name": "z", "image": "9"}])
    );
    assert_eq!(
        containers(json!([{"name": "a", "args": null}]))[0],
        json!({"name": "a", "image": "1"})
    );
    let run = |patch: Value| strategic_merge_patch(&live, &patch, &pod_schema()).unwrap();
    assert_eq!(
        run(json!({"spec": {"nodeSelector": {"$patch": "replace", "z": "y"}}}))["spec"]["nodeSelector"],
        json!({"z": "y"})
    );
    assert_eq!(
        run(json!({"spec": {"nodeSelector": null}}))["spec"].get("nodeSelector"),
        None
    );
    assert_eq!(
        run(json!({"metadata": {"finalizers": ["f3", "f1"]}}))["metadata"]["finalizers"],
        json!(["f3", "f1", "f2"])
    );
    assert_eq!(
        run(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["f1"]}}))["metadata"]["finalizers"],
        json!(["f2"])
    );
    let ordered = run(json!({"spec": {
        "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c", "image": "3"}]
    }}));
    let names: Vec<_> = ordered["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["b", "c", "a"]);
    // The volume's source is exchanged with $retainKeys.
    let volumes = run(
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}}),
    );
    assert_eq!(
        volumes["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/"}}])
    );
    assert!(strategic_merge_patch(&live, &json!({"$patch": "nope"}), &pod_schema()).is_err());
}

#[test]
fn json_and_merge_patches() {
    let object = json!({"a": {"b": [1, 2]}, "c": 1});
    let patched = json_patch(
        &object,
        &json!([{"op": "add", "path": "/a/b/-", "value": 3}, {"op": "remove", "path": "/c"}]),
    )
    .unwrap();
    assert_eq!(patched, json!({"a": {"b": [1, 2, 3]}}));
    let error = json_patch(&object, &json!([{"op": "test", "path": "/c", "value": 2}])).unwrap_err();
    assert_eq!(
        error,
        PatchError::DoesNotFit("testing value /c failed: test failed".to_owned())
    );
    assert!(matches!(
        json_patch(&object, &json!([{"op": "nope"}])),
        Err(PatchError::DoesNotFit(_))
    ));
    assert_eq!(
        merge_patch(&object, &json!({"a": {"b": null, "x": {"y": null}}})).unwrap(),
        json!({"a": {"x": {}}, "c": 1})
    );
    assert!(merge_patch(&object, &json!([])).is_err());
}

fn tree(set: &FieldSet) -> Value {
    let mut text = String::new();
    set.write(&mut text);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn fields_round_trip() {
    let fields = json!({
        "f:a": {".": {}, "f:b": {}}, "f:c": {"k:{\"name\":\"x\",\"port\":80}": {".": {}, "f:d": {}}, "v:\"s\"": {}, "v:1": {}},
        "f:e": {"i:0": {}}, "f:app.kubernetes.io/name": {}
    });
    assert_eq!(tree(&FieldSet::parse(&fields).unwrap()), fields);
    assert!(FieldSet::parse(&json!({"x:a": {}})).is_none());
}

fn pod_values() -> impl Strategy<Value = Value> {
    let container = (
        "[a-d]",
        "[x-z]",
        proptest::option::of(1u16..4),
        proptest::collection::vec("[p-r]", 0..3),
    )
        .prop_map(|(name, image, port, args)| {
            let mut container = json!({"name": name, "image": image});
            if !args.is_empty() {
                container["args"] = json!(args);
            }
            if let Some(port) = port {
                container["ports"] = json!([{"containerPort": port}]);
            }
            container
        });
    let labels = proptest::collection::btree_map("[k-m]", "[a-b]", 0..3);
    (proptest::collection::vec(container, 1..4), labels, proptest::option::of("[n-o]")).prop_map(
        |(mut containers, labels, node)| {
            let mut seen = Vec::new();
            containers.retain(|c| {
                let new = !seen.contains(&c["name"]);
                seen.push(c["name"].clone());
                new
            });
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": labels}, "spec": {"containers": containers}
            });
            if let Some(node) = node {
                pod["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
            }
            prune(&pod_schema(), &mut pod);
            pod
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applying_twice_changes_nothing(first in pod_values(), second in pod_values()) {
        let run = |live: Option<&Value>, applied: &Value, manager: &str| {
            apply(live, applied, manager, &pod_schema(), true, "", NOW, &[".status"]).unwrap()
        };
        let live = run(None, &first, "a");
        let live = run(Some(&live), &second, "b");
        let again = apply(Some(&live), &second, "b", &pod_schema(), true, "", LATER, &[".status"]).unwrap();
        prop_assert_eq!(&again, &live);
    }

    #[test]
    fn apply_by_one_manager_gives_what_it_applies(first in pod_values(), second in pod_values()) {
        let run = |live: Option<&Value>, applied: &Value| {
            apply(live, applied, "a", &pod_schema(), false, "", NOW, &[".status"]).unwrap()
        };
        let live = run(None, &first);
        let mut live = run(Some(&live), &second);
        prune(&pod_schema(), &mut live);
        live["metadata"].as_object_mut().unwrap().remove("managedFields");
        prop_assert!(compare_values(&live, &second).is_eq(), "{} != {}", live, second);
    }

    #[test]
    fn strategic_merge_of_itself_changes_nothing(pod in pod_values()) {
        prop_assert_eq!(&strategic_merge_patch(&pod, &pod, &pod_schema()).unwrap(), &pod);
        prop_assert_eq!(&strategic_merge_patch(&pod, &json!({}), &pod_schema()).unwrap(), &pod);
    }

    #[test]
    fn strategic_merge_twice_is_once(pod in pod_values(), patch in pod_values()) {
        let once = strategic_merge_patch(&pod, &patch, &pod_schema()).unwrap();
        let twice = strategic_merge_patch(&once, &patch, &pod_schema()).unwrap();
        prop_assert!(compare_values(&twice["metadata"], &once["metadata"]).is_eq());
        prop_assert_eq!(twice["spec"]["containers"].as_array().unwrap().len(), once["spec"]["containers"].as_array().unwrap().len());
    }

    #[test]
    fn merge_patch_twice_is_once(pod in pod_values(), patch in pod_values()) {
        let once = merge_patch(&pod, &patch).unwrap();
        prop_assert_eq!(&merge_patch(&once, &patch).unwrap(), &once);
    }

    #[test]
    fn updates_own_only_fields_that_are_there(first in pod_values(), second in pod_values()) {
        let mut live = first.clone();
        track_update(None, &mut live, "a", "", &pod_schema(), NOW, &[]);
        let mut next = second.clone();
        track_update(Some(&live), &mut next, "b", "", &pod_schema(), LATER, &[]);
        let entries = owners(&next).as_array().unwrap().clone();
        let sets: Vec<FieldSet> = entries.iter().map(|e| FieldSet::parse(&e["fieldsV1"]).unwrap()).collect();
        // No field is owned by two updaters: the last to change it has it.
        if let [a, b] = sets.as_slice() {
            prop_assert!(a.intersection(b).is_empty());
        }
    }
}

/// A field's path: names, keys, values and positions, some that are equal though written otherwise.
fn paths() -> impl Strategy<Value = Vec<Vec<PathElement>>> {
    let step = prop::sample::select(vec![
        "f:a",
        "f:b",
        "f:c",
        r#"k:{"name":"x"}"#,
        r#"k:{"name": "x"}"#,
        r#"k:{"port":80}"#,
        r#"k:{"port":8}"#,
        "v:1",
        "v:1.0",
        r#"v:"s""#,
        "i:0",
        "i:10",
    ])
    .prop_map(|text| PathElement::parse(text).unwrap());
    prop::collection::vec(prop::collection::vec(step, 1..4), 0..12)
}

proptest! {
    /// What sets do, told by the paths that are in them.
    #[test]
    fn sets_are_sets_of_paths(first in paths(), second in paths()) {
        let of = |paths: &[Vec<PathElement>]| {
            let mut set = FieldSet::default();
            paths.iter().for_each(|path| set.insert(path));
            set
        };
        let told = |set: &FieldSet| set.paths().into_iter().collect::<BTreeSet<_>>();
        let (a, b) = (of(&first), of(&second));
        let (in_a, in_b): (BTreeSet<_>, BTreeSet<_>) = (first.into_iter().collect(), second.into_iter().collect());
        prop_assert_eq!(&told(&a), &in_a);
        prop_assert_eq!(&told(&a.union(&b)), &(&in_a | &in_b));
        prop_assert_eq!(&told(&a.intersection(&b)), &(&in_a & &in_b));
        prop_assert_eq!(&told(&a.difference(&b)), &(&in_a - &in_b));
        let mut left = a.clone();
        left.subtract_whole(&b);
        let above = |path: &Vec<PathElement>| (1..=path.len()).any(|n| in_b.contains(&path[..n]));
        prop_assert_eq!(told(&left), in_a.iter().filter(|p| !above(p)).cloned().collect::<BTreeSet<_>>());
        for path in in_a.iter().chain(&in_b) {
            prop_assert_eq!(a.has(path), in_a.contains(path));
        }
        prop_assert_eq!(a.is_empty(), in_a.is_empty());
        // However it is made, it is the same.
        prop_assert_eq!(&FieldSet::parse(&tree(&a)), &Some(a.clone()));
        prop_assert_eq!(a.union(&b), b.union(&a));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a);
    }
}

proptest! {
    /// A number that is a list's key is the same one when it is read again, to the last bit.
    #[test]
    fn numbers_are_read_as_they_were_written(bits in any::<u64>()) {
        let n = f64::from_bits(bits);
        prop_assume!(n.is_finite());
        let set = FieldSet::parse(&json!({"f:l": {format!("k:{}", json!({"port": n})): {}}})).unwrap();
        prop_assert_eq!(FieldSet::parse(&tree(&set)), Some(set));
        let read: Value = serde_json::from_str(&json!(n).to_string()).unwrap();
        prop_assert_eq!(read.as_f64().map(f64::to_bits), Some(bits));
    }
}
