//! The flow schemas and priority levels that every cluster starts with (`k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap`,
//! both those that must be there and those that are suggested).

use serde_json::{Value, json};

/// Who writes them down upstream.
pub(super) const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";

/// Whether what is changed is set back.
pub(super) const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

/// Those that nobody else has a say in.
pub(super) const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// How many queues there are, and how many of them one flow is dealt; none: what is too much is refused.
type Queues = Option<(u32, u32)>;

/// Name, shares of the concurrency, percent that others may borrow, queues.
const LEVELS: [(&str, u32, u32, Queues); 7] = [
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];

/// How many wait in one queue.
const QUEUE_LENGTH: u32 = 50;

pub(super) fn levels() -> Vec<Value> {
    let level = |name: &str, spec: Value| json!({"metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec});
    let mut all = vec![level(
        "exempt",
        json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
    )];
    all.extend(LEVELS.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({"type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": QUEUE_LENGTH}}),
        };
        let limited =
            json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response});
        level(name, json!({"type": "Limited", "limited": limited}))
    }));
    all
}

pub(super) fn schemas() -> Vec<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let user = |name: &str| json!({"kind": "User", "user": {"name": name}});
    let anybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let nodes = || vec![group("system:nodes")];
    let of_the_system = json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}});
    let resources = |verbs: &[&str], group: &str, resources: &[&str], cluster: bool| {
        let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
        if cluster {
            rule["clusterScope"] = json!(true);
        }
        rule
    };
    let paths = |verb: &str, paths: &[&str]| json!([{"verbs": [verb], "nonResourceURLs": paths}]);
    // Whatever they ask for.
    let all_of = |subjects: Vec<Value>| {
        json!({"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
            "nonResourceRules": paths("*", &["*"])})
    };
    let leader = json!({"subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler"), &of_the_system],
        "resourceRules": [resources(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)]});
    let health = json!({"subjects": nodes(), "resourceRules": [resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", &["leases"], false)]});
    let probes = json!({"subjects": anybody(), "nonResourceRules": paths("get", &["/healthz", "/readyz", "/livez"])});
    let accounts = vec![group("system:serviceaccounts")];
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let schema = |name: &str, level: &str, precedence: u32, by: Option<&str>, rules: Value| {
        let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
            "rules": [rules]});
        if let Some(by) = by {
            spec["distinguisherMethod"] = json!({"type": by});
        }
        json!({"metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec})
    };
    vec![
        schema("exempt", "exempt", 1, None, all_of(vec![group("system:masters")])),
        schema("probes", "exempt", 2, None, probes),
        schema("system-leader-election", "leader-election", 100, by_user, leader),
        schema("system-node-high", "node-high", 400, by_user, health),
        schema("system-nodes", "system", 500, by_user, all_of(nodes())),
        schema(
            "kube-controller-manager",
            "workload-high",
            800,
            by_namespace,
            all_of(vec![user("system:kube-controller-manager")]),
        ),
        schema(
            "kube-scheduler",
            "workload-high",
            800,
            by_namespace,
            all_of(vec![user("system:kube-scheduler")]),
        ),
        schema(
            "kube-system-service-accounts",
            "workload-high",
            900,
            by_namespace,
            all_of(vec![of_the_system]),
        ),
        schema("service-accounts", "workload-low", 9000, by_user, all_of(accounts)),
        schema("global-default", "global-default", 9900, by_user, all_of(anybody())),
        schema("catch-all", "catch-all", 10000, by_user, all_of(anybody())),
    ]
}
