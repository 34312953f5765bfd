//! Tests of tables with what Kubernetes prints.

use super::*;

fn cells(group: &str, kind: &str, object: Value) -> Vec<Value> {
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let table = table_for(group, kind, &[Arc::new(object)], None, now, IncludeObject::None, None);
    let cells = table["rows"][0]["cells"].as_array().unwrap().clone();
    let told = table["columnDefinitions"].as_array().unwrap().len();
    // Upstream tells nothing of how old an address is.
    assert_eq!(cells.len(), told + usize::from(kind == "IPAddress"), "{kind}");
    cells
}

const CREATED: &str = "2026-01-01T00:55:00Z";

#[test]
fn pods() {
    let pod = |status: Value| {
        json!({
            "metadata": {"name": "p", "creationTimestamp": CREATED},
            "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]}, "status": status
        })
    };
    let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
    let crashed = json!({
        "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:59:00Z"}}
    });
    let cases = [
        (pod(json!({"phase": "Pending"})), ["0/2", "Pending", "0"]),
        (
            pod(json!({"phase": "Running", "containerStatuses": [running, running]})),
            ["2/2", "Running", "0"],
        ),
        (
            pod(json!({"phase": "Running", "containerStatuses": [running, crashed]})),
            ["1/2", "CrashLoopBackOff", "3 (60s ago)"],
        ),
        (
            pod(
                json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            ),
            ["0/2", "Completed", "0"],
        ),
        (
            pod(json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]})),
            ["0/2", "ExitCode:3", "0"],
        ),
        (
            pod(json!({"phase": "Failed", "reason": "Evicted"})),
            ["0/2", "Evicted", "0"],
        ),
        (
            pod(
                json!({"phase": "Pending", "initContainerStatuses": [{"state": {"waiting": {"reason": "PodInitializing"}}}]}),
            ),
            ["0/2", "Init:0/0", "0"],
        ),
    ];
    for (pod, [ready, status, restarts]) in cases {
        assert_eq!(
            cells("", "Pod", pod),
            [
                json!("p"),
                json!(ready),
                json!(status),
                json!(restarts),
                json!("5m"),
                json!("<none>"),
                json!("n"),
                json!("<none>"),
                json!("<none>")
            ]
        );
    }
    let mut deleted = pod(json!({"phase": "Running"}));
    deleted["metadata"]["deletionTimestamp"] = CREATED.into();
    assert_eq!(cells("", "Pod", deleted)[2], "Terminating");
}

#[test]
fn other_kinds() {
    let meta = json!({"name": "x", "creationTimestamp": CREATED});
    let cases = [
        (
            "apps",
            "Deployment",
            json!({"metadata": meta, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}}, "status": {"readyReplicas": 1, "updatedReplicas": 3}}),
            json!(["x", "1/3", 3, 0, "5m", "c,d", "i,j", "a=b"]),
        ),
        (
            "",
            "Node",
            json!({"metadata": {"name": "x", "creationTimestamp": CREATED, "labels": {"node-role.kubernetes.io/control-plane": ""}}, "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1.36.3", "kernelVersion": "6", "architecture": "amd64"}}}),
            json!([
                "x",
                "Ready,SchedulingDisabled",
                "control-plane",
                "5m",
                "v1.36.3",
                "10.0.0.1",
                "<none>",
                "<unknown>",
                "6 (amd64)",
                "<unknown>"
            ]),
        ),
        (
            "",
            "Service",
            json!({"metadata": meta, "spec": {"type": "ClusterIP", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "protocol": "TCP"}, {"port": 443, "nodePort": 30000, "protocol": "TCP"}], "selector": {"a": "b"}}}),
            json!([
                "x",
                "ClusterIP",
                "10.0.0.1",
                "<none>",
                "80/TCP,443:30000/TCP",
                "5m",
                "a=b"
            ]),
        ),
        (
            "",
            "ConfigMap",
            json!({"metadata": meta, "data": {"a": "b"}, "binaryData": {"c": "d"}}),
            json!(["x", 2, "5m"]),
        ),
        (
            "",
            "Namespace",
            json!({"metadata": meta, "status": {"phase": "Active"}}),
            json!(["x", "Active", "5m"]),
        ),
        (
            "batch",
            "Job",
            json!({"metadata": meta, "spec": {"completions": 2, "template": {"spec": {}}}, "status": {"succeeded": 1, "startTime": CREATED}}),
            json!(["x", "Running", "1/2", "5m", "5m", "", "", "<none>"]),
        ),
        (
            "coordination.k8s.io",
            "Lease",
            json!({"metadata": meta, "spec": {"holderIdentity": "h"}}),
            json!(["x", "h", "5m"]),
        ),
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            json!({"metadata": meta}),
            json!(["x", CREATED]),
        ),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            json!({"metadata": meta, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            json!(["x", "Role/r", "5m", "u", "", "n/s"]),
        ),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            json!({"metadata": meta}),
            json!(["x", CREATED]),
        ),
        (
            "certificates.k8s.io",
            "CertificateSigningRequest",
            json!({"metadata": meta, "spec": {"signerName": "s/x", "username": "u", "expirationSeconds": 3600}, "status": {"conditions": [{"type": "Approved"}], "certificate": "x"}}),
            json!(["x", "5m", "s/x", "u", "60m", "Approved,Issued"]),
        ),
        (
            "",
            "Event",
            json!({"metadata": meta, "type": "Normal", "reason": "R", "message": " m\n", "count": 2, "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": CREATED, "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet", "host": "n"}}),
            json!(["5m", "Normal", "R", "pod/p", "", "kubelet, n", "m", "60m", 2, "x"]),
        ),
        (
            "",
            "Endpoints",
            json!({"metadata": meta, "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "1.1.1.2"}], "ports": [{"port": 80}, {"port": 81}]}]}),
            json!(["x", "1.1.1.1:80,1.1.1.2:80,1.1.1.1:81 + 1 more...", "5m"]),
        ),
        (
            "batch",
            "CronJob",
            json!({"metadata": meta, "spec": {"schedule": "* * * * *", "suspend": false}}),
            json!(["x", "* * * * *", "<none>", "False", 0, "<none>", "5m", "", "", "<none>"]),
        ),
        (
            "",
            "PersistentVolumeClaim",
            json!({"metadata": meta, "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
            json!(["x", "Pending", "", "", "", "", "<unset>", "5m", "Filesystem"]),
        ),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            json!({"metadata": meta, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 3, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}}),
            json!(["x", "Deployment/d", "cpu: <unknown>/80%", "1", 3, 0, "5m"]),
        ),
    ];
    for (group, kind, object, expected) in cases {
        assert_eq!(Value::from(cells(group, kind, object)), expected, "{kind}");
    }
}

#[test]
fn every_kind_has_a_table() {
    for resource in crate::schema::discovery() {
        cells(
            &resource.group,
            &resource.kind,
            json!({"metadata": {"name": "x", "creationTimestamp": CREATED}}),
        );
    }
}

#[test]
fn custom_columns() {
    let columns = Column::from_crd(&json!([
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    ]));
    let object = json!({
        "metadata": {"name": "x", "creationTimestamp": CREATED, "resourceVersion": "7"}, "spec": {"size": 3},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}
    });
    let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    let table = table_for(
        "x",
        "X",
        &[Arc::new(object.clone())],
        Some(&columns),
        now,
        IncludeObject::Metadata,
        None,
    );
    assert_eq!(table["rows"][0]["cells"], json!(["x", "True", 3, "5m"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(table["rows"][0]["object"]["metadata"], object["metadata"]);
    assert_eq!(table["metadata"]["resourceVersion"], "7");
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    assert_eq!(Column::from_crd(&Value::Null)[0].name, "Age");
    assert_eq!(IncludeObject::parse("Object"), Some(IncludeObject::Object));
}
