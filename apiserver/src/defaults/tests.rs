//! Tests of defaults and validation with what Kubernetes does.

use super::*;
use serde_json::json;

fn defaulted(group: &str, kind: &str, mut object: Value) -> Value {
    default_builtin(group, "v1", kind, &mut object);
    let once = object.clone();
    default_builtin(group, "v1", kind, &mut object);
    assert_eq!(object, once, "defaulting twice is once");
    object
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

fn errors(group: &str, kind: &str, old: Option<&Value>, new: &Value) -> Vec<String> {
    validate_builtin(group, kind, old, new)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn pods_get_kubernetes_defaults() {
    let mut object = pod();
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "0.5", "memory": "1024Mi"}});
    object["spec"]["containers"][0]["readinessProbe"] = json!({"httpGet": {"port": 80}});
    object["spec"]["volumes"] = json!([{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}]);
    let mut object = defaulted("", "Pod", object);
    assert_eq!(
        object["spec"],
        json!({
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}},
                "readinessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                    "successThreshold": 1, "failureThreshold": 3
                }
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "defaultMode": 420}}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true
        })
    );
    prepare_for_create("", "Pod", &mut object, &AdmissionOptions::default());
    assert_eq!(object["status"], json!({"phase": "Pending", "qosClass": "Guaranteed"}));
    assert_eq!(
        object["spec"]["tolerations"],
        json!([
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        ])
    );
    let spec = &object["spec"];
    assert_eq!(
        (&spec["priority"], &spec["preemptionPolicy"]),
        (&json!(0), &json!("PreemptLowerPriority"))
    );
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    assert!(errors("", "Pod", None, &object).is_empty());
}

#[test]
fn tolerations_that_are_there_are_kept() {
    let mut object = pod();
    object["spec"]["tolerations"] = json!([{"operator": "Exists"}]);
    prepare_for_create("", "Pod", &mut object, &AdmissionOptions::default());
    assert_eq!(object["spec"]["tolerations"], json!([{"operator": "Exists"}]));
}

#[test]
fn image_pull_policies() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.25", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:abc", "IfNotPresent"),
    ] {
        let mut object = pod();
        object["spec"]["containers"][0]["image"] = image.into();
        assert_eq!(
            defaulted("", "Pod", object)["spec"]["containers"][0]["imagePullPolicy"],
            policy,
            "{image}"
        );
    }
}

#[test]
fn qos_classes() {
    let of = |resources: Value| qos_class(&json!({"containers": [{"resources": resources}]}));
    assert_eq!(of(json!({})), "BestEffort");
    assert_eq!(of(json!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(
        of(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}})),
        "Guaranteed"
    );
    assert_eq!(
        of(json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}})),
        "Burstable"
    );
    assert_eq!(of(json!({"requests": {"nvidia.com/gpu": "1"}})), "BestEffort");
}

fn deployment() -> Value {
    defaulted(
        "apps",
        "Deployment",
        json!({
            "metadata": {"name": "d"},
            "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": {
                "metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}
            }}
        }),
    )
}

#[test]
fn workloads_get_kubernetes_defaults() {
    let object = deployment();
    let spec = &object["spec"];
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    assert_eq!(
        (
            &spec["replicas"],
            &spec["revisionHistoryLimit"],
            &spec["progressDeadlineSeconds"]
        ),
        (&json!(1), &json!(10), &json!(600))
    );
    assert!(spec["template"]["spec"].get("enableServiceLinks").is_none());
    let job = defaulted(
        "batch",
        "Job",
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}),
    );
    for (field, value) in [
        ("completions", json!(1)),
        ("parallelism", json!(1)),
        ("backoffLimit", json!(6)),
        ("suspend", json!(false)),
        ("completionMode", json!("NonIndexed")),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        assert_eq!(job["spec"][field], value, "{field}");
    }
    let mut created = job.clone();
    prepare_for_create("batch", "Job", &mut created, &AdmissionOptions::default());
    assert_eq!(
        created["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
    );
    assert_eq!(created["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
    assert!(errors("batch", "Job", None, &created).is_empty());
    let set = defaulted("apps", "StatefulSet", json!({"spec": {}}));
    assert_eq!(
        set["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
    );
    let daemons = defaulted("apps", "DaemonSet", json!({"spec": {}}));
    assert_eq!(
        daemons["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxUnavailable": 1, "maxSurge": 0})
    );
}

#[test]
fn other_kinds_get_kubernetes_defaults() {
    let mut service = defaulted(
        "",
        "Service",
        json!({"spec": {"ports": [{"port": 80}], "clusterIP": "10.0.0.1"}}),
    );
    prepare_for_create("", "Service", &mut service, &AdmissionOptions::default());
    assert_eq!(
        service,
        json!({
            "spec": {
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack"
            },
            "status": {"loadBalancer": {}}
        })
    );
    let secret = defaulted("", "Secret", json!({"stringData": {"a": "b"}}));
    assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "Yg=="}}));
    let namespace = defaulted("", "Namespace", json!({"metadata": {"name": "n"}}));
    assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let binding = defaulted(
        "rbac.authorization.k8s.io",
        "RoleBinding",
        json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]}),
    );
    assert_eq!(binding["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
}

#[test]
fn mistakes_are_told_in_kubernetes_words() {
    let cases: Vec<(&str, &str, Value, Vec<&str>)> = vec![
        ("", "Pod", json!({"spec": {}}), vec!["spec.containers: Required value"]),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{}]}}),
            vec![
                "spec.containers[0].name: Required value",
                "spec.containers[0].image: Required value",
            ],
        ),
        (
            "",
            "Pod",
            json!({"spec": {"restartPolicy": "Sometimes", "containers": [{"name": "c", "image": "x"}]}}),
            vec![
                r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#,
            ],
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"name": "c", "image": "x"}, {"name": "c", "image": "x", "ports": [{"containerPort": 70000}]}]}}),
            vec![
                "spec.containers[1].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                r#"spec.containers[1].name: Duplicate value: "c""#,
            ],
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"name": "c", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]}}),
            vec![r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
        ),
        (
            "",
            "Pod",
            json!({"spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}}),
            vec![
                r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
            ],
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
            vec![
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
            ],
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
            vec![
                r#"spec.template.metadata.labels: Invalid value: {"a":"c"}: `selector` does not match template `labels`"#,
            ],
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": -1, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
            vec!["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            "batch",
            "Job",
            json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
            vec![r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#],
        ),
        ("", "Service", json!({"spec": {}}), vec!["spec.ports: Required value"]),
        (
            "",
            "Service",
            json!({"spec": {"ports": [{"port": 0}]}}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            "",
            "ConfigMap",
            json!({"data": {"a b": "x"}}),
            vec![
                r#"data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"#,
            ],
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"roleRef": {"kind": "Thing", "name": "x"}}),
            vec![r#"roleRef.kind: Unsupported value: "Thing": supported values: "Role", "ClusterRole""#],
        ),
    ];
    for (group, kind, object, expected) in cases {
        let object = defaulted(group, kind, object);
        assert_eq!(errors(group, kind, None, &object), expected, "{object}");
    }
}

#[test]
fn what_may_not_change_is_told() {
    let old = defaulted("", "Pod", pod());
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "nginx:2".into();
    assert!(errors("", "Pod", Some(&old), &new).is_empty());
    new["spec"]["hostNetwork"] = true.into();
    let texts = errors("", "Pod", Some(&old), &new);
    assert!(texts[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds`"), "{texts:?}");
    let old = deployment();
    let mut new = old.clone();
    new["spec"]["selector"]["matchLabels"]["b"] = "c".into();
    new["spec"]["template"]["metadata"]["labels"]["b"] = "c".into();
    assert_eq!(
        errors("apps", "Deployment", Some(&old), &new),
        [r#"spec.selector: Invalid value: {"matchLabels":{"app":"d","b":"c"}}: field is immutable"#]
    );
    let old = json!({"immutable": true, "data": {"a": "b"}});
    assert_eq!(
        errors(
            "",
            "ConfigMap",
            Some(&old),
            &json!({"immutable": true, "data": {"a": "c"}})
        ),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
}

#[test]
fn metadata_is_checked() {
    let texts = |metadata: Value, namespaced: bool, rule: NameRule| -> Vec<String> {
        validate_metadata(&metadata, namespaced, rule)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(
        texts(json!({}), false, NameRule::Subdomain),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert!(
        texts(
            json!({"name": "a", "generateName": "a-", "namespace": "n", "labels": {"a": "b"}}),
            true,
            NameRule::Subdomain
        )
        .is_empty()
    );
    assert!(texts(json!({"name": "system:node"}), false, NameRule::PathSegment).is_empty());
    let upper = texts(json!({"name": "Foo"}), false, NameRule::Subdomain);
    assert!(
        upper[0].starts_with("metadata.name: Invalid value: \"Foo\": a lowercase RFC 1123 subdomain must consist of"),
        "{upper:?}"
    );
    assert_eq!(
        texts(json!({"name": "a", "namespace": "n"}), false, NameRule::Subdomain),
        ["metadata.namespace: Forbidden: not allowed on this type"]
    );
    let update = validate_metadata_update(&json!({"name": "a", "uid": "2"}), &json!({"name": "a", "uid": "1"}));
    assert_eq!(
        update[0].to_string(),
        r#"metadata.uid: Invalid value: "2": field is immutable"#
    );
}

#[test]
fn claims_of_a_set_are_volumes_of_its_pods() {
    let mut set = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i",
            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}]}});
    default_builtin("apps", "v1", "StatefulSet", &mut set);
    assert_eq!(validate_builtin("apps", "StatefulSet", None, &set), []);
    let mut more = set.clone();
    more["spec"]["replicas"] = json!(3);
    assert_eq!(validate_builtin("apps", "StatefulSet", Some(&set), &more), []);
    more["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["name"] = json!("other");
    let errors = validate_builtin("apps", "StatefulSet", Some(&set), &more);
    assert_eq!(
        errors[0].to_string(),
        r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "other""#
    );
}

#[test]
fn statuses_are_checked() {
    let check = |of: (&str, &str), old: Value, new: Value| -> Vec<String> {
        let errors = validate_subresource(of, "status", &old, &new);
        errors.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        check(
            ("apps", "Deployment"),
            json!({"status": {"collisionCount": 2}}),
            json!({"status": {"replicas": 1, "readyReplicas": 2, "collisionCount": 1}})
        ),
        [
            "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.collisionCount: Invalid value: 1: cannot be decremented"
        ]
    );
    let done = json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    // What had ended before is not asked again.
    assert!(check(("batch", "Job"), done.clone(), done.clone()).is_empty());
    assert_eq!(check(("batch", "Job"), json!({}), done).len(), 3);
}
