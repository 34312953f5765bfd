//! Our components as Kubernetes objects: pure, from what they are to do. The lane applies them, and `cfn manifests`
//! prints the same for clusters that exist (docs/production.md).

mod agent;
mod hub;
mod scheduler;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use agent::{Agent, HUB_SECRET, IDENTITY_SECRET, agent_args};
pub use hub::{HubAccess, bootstrap_token, is_token, kubeconfig};
pub use scheduler::{Scheduler, scheduler_args};

use crate::timers::Timers;

/// The image of the components: the program alone.
pub const IMAGE: &str = "cfn.akraino.org/cfn:1";
/// Their namespace, on the hub and in members.
pub const NAMESPACE: &str = cfn_api::names::CFN_NAMESPACE;
/// Name of the scheduler's Deployment and of all that is its.
pub const SCHEDULER: &str = "cfn-scheduler";
/// Name of the agent's Deployment and of all that is its.
pub const AGENT: &str = "cfn-agent";

/// Where and how a component's pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Image.
    pub image: String,
    /// `IfNotPresent`, or `Never` where images are only ever imported.
    pub pull_policy: &'static str,
    /// Whether the pod has its node's network: what an agent then measures is the node's.
    pub host_network: bool,
    /// Whether it runs on any node, in any state: tainted control planes, nodes that are cut off.
    pub anywhere: bool,
    /// The node it prefers, by its host name.
    pub node: Option<String>,
    /// Replicas; more than one elect a leader.
    pub replicas: u32,
    /// Labels on every object, beside our own.
    pub labels: BTreeMap<String, String>,
    /// Further flags: logs, levels.
    pub args: Vec<String>,
}

impl Placement {
    /// In a testbed of containers: one replica that starts at once wherever its cluster has a kubelet.
    #[must_use]
    pub fn testbed() -> Self {
        Self {
            image: IMAGE.to_owned(),
            pull_policy: "Never",
            host_network: true,
            anywhere: true,
            node: None,
            replicas: 1,
            labels: BTreeMap::new(),
            args: Vec::new(),
        }
    }

    /// In clusters that exist.
    #[must_use]
    pub fn production(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            pull_policy: "IfNotPresent",
            host_network: false,
            anywhere: false,
            node: None,
            replicas: 1,
            labels: BTreeMap::new(),
            args: Vec::new(),
        }
    }
}

/// What a Deployment of a component consists of.
struct Component<'a> {
    name: &'a str,
    args: Vec<String>,
    health_port: u16,
    volumes: Vec<Value>,
    mounts: Vec<Value>,
    memory: &'a str,
}

impl Placement {
    /// Metadata in our namespace.
    fn meta(&self, name: &str) -> Value {
        let mut m = self.global(name);
        m["namespace"] = NAMESPACE.into();
        m
    }

    /// Metadata of what has no namespace.
    fn global(&self, name: &str) -> Value {
        json!({"name": name, "labels": self.labels_of(name)})
    }

    fn labels_of(&self, name: &str) -> BTreeMap<String, String> {
        let mut l = self.labels.clone();
        l.insert("app.kubernetes.io/name".into(), name.into());
        l.insert("app.kubernetes.io/part-of".into(), "cfn".into());
        l
    }

    fn namespace(&self) -> Value {
        let mut labels = self.labels_of(NAMESPACE);
        labels.remove("app.kubernetes.io/name");
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    }

    fn account(&self, name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": self.meta(name)})
    }

    fn cluster_role(&self, name: &str, rules: &Value) -> [Value; 2] {
        let group = "rbac.authorization.k8s.io";
        [
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": self.global(name), "rules": rules}),
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": self.global(name),
                "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]}),
        ]
    }

    fn deployment(&self, c: Component<'_>) -> Value {
        let probe = |path: &str| json!({"httpGet": {"path": path, "port": "health"}, "timeoutSeconds": 5});
        let mut args = c.args;
        args.push(format!("--health-listen=0.0.0.0:{}", c.health_port));
        args.extend(self.args.iter().cloned());
        let mut readiness = probe("/readyz");
        readiness["periodSeconds"] = 2.into();
        let mut liveness = probe("/healthz");
        liveness["periodSeconds"] = 10.into();
        liveness["failureThreshold"] = 6.into();
        let mut container = json!({
            "name": c.name,
            "image": self.image,
            "imagePullPolicy": self.pull_policy,
            "args": args,
            "ports": [{"name": "health", "containerPort": c.health_port}],
            "readinessProbe": readiness,
            "livenessProbe": liveness,
            "resources": {"requests": {"cpu": "50m", "memory": c.memory}, "limits": {"memory": "512Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "capabilities": {"drop": ["ALL"]},
            },
        });
        if !c.mounts.is_empty() {
            container["volumeMounts"] = c.mounts.into();
        }
        let mut pod = json!({
            "serviceAccountName": c.name,
            "priorityClassName": "system-cluster-critical",
            "containers": [container],
            "terminationGracePeriodSeconds": 10,
        });
        if self.host_network {
            pod["hostNetwork"] = true.into();
            pod["dnsPolicy"] = "ClusterFirstWithHostNet".into();
        }
        if self.anywhere {
            pod["tolerations"] = json!([{"operator": "Exists"}]);
            // What a scenario counts on its nodes is there for its own pods.
            if let Some(c) = pod["containers"][0].as_object_mut() {
                c.remove("resources");
            }
        } else {
            pod["securityContext"] = json!({"seccompProfile": {"type": "RuntimeDefault"}});
        }
        if let Some(node) = &self.node {
            let there =
                json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]});
            pod["affinity"] = json!({"nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": there}]}});
        }
        if !c.volumes.is_empty() {
            pod["volumes"] = c.volumes.into();
        }
        // Two at a time would do everything twice, and on one node's network want the same port.
        let strategy = if self.replicas > 1 {
            json!({"type": "RollingUpdate"})
        } else {
            json!({"type": "Recreate"})
        };
        let select = json!({"app.kubernetes.io/name": c.name});
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.meta(c.name),
            "spec": {
                "replicas": self.replicas,
                "strategy": strategy,
                "selector": {"matchLabels": select},
                "template": {"metadata": {"labels": self.labels_of(c.name)}, "spec": pod},
            },
        })
    }
}

/// `--flag=value` for each timer.
fn timer_args(timers: &Timers, flags: &[(&str, &'static str)]) -> Vec<String> {
    let shown = |t| crate::input::show_duration(timers.of(t));
    flags.iter().map(|(flag, t)| format!("--{flag}={}", shown(t))).collect()
}

/// Objects as one YAML text.
///
/// # Errors
/// Never for objects of ours.
pub fn yaml(objects: &[Value]) -> Result<String, serde_yaml::Error> {
    let texts: Result<Vec<String>, _> = objects.iter().map(serde_yaml::to_string).collect();
    Ok(texts?.join("---\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::find_topology;

    fn fast() -> Timers {
        Timers::find("fast").unwrap()
    }

    #[test]
    fn the_scheduler_of_a_testbed() {
        let s = Scheduler {
            placement: Placement::testbed(),
            args: scheduler_args(&fast(), None),
            leader_elect: false,
        };
        insta::assert_snapshot!(yaml(&s.objects()).unwrap());
    }

    #[test]
    fn the_agent_of_a_testbed() {
        let t = find_topology("r7-lab", None).unwrap().1;
        let hub = HubAccess {
            server: "https://10.100.1.10:6443".into(),
            ca_pem: "CA\n".into(),
            token: "abcdef.0123456789abcdef".into(),
        };
        let a = Agent {
            placement: Placement::testbed(),
            args: agent_args(t.cluster("member1").unwrap(), &fast()),
            hub: Some(hub),
        };
        insta::assert_snapshot!(yaml(&a.objects()).unwrap());
    }

    #[test]
    fn both_in_production() {
        let p = Placement {
            replicas: 2,
            ..Placement::production("registry.example/cfn:1")
        };
        let s = Scheduler {
            placement: p.clone(),
            args: vec![],
            leader_elect: true,
        };
        let a = Agent {
            placement: Placement { replicas: 1, ..p },
            args: vec!["--cluster=edge-1".into(), "--site=edge-1".into()],
            hub: None,
        };
        insta::assert_snapshot!(yaml(&[s.objects(), a.objects()].concat()).unwrap());
    }

    /// What the scheduler grants to agents it must hold itself: the API server refuses escalation.
    #[test]
    fn the_scheduler_holds_what_it_grants() {
        let s = Scheduler {
            placement: Placement::testbed(),
            args: vec![],
            leader_elect: false,
        };
        let objects = s.objects();
        let role = objects.iter().find(|o| o["kind"] == "ClusterRole").unwrap();
        let holds = |group: &str, resource: &str, verb: &str| {
            role["rules"].as_array().unwrap().iter().any(|r| {
                let has = |field: &str, want: &str| {
                    r[field]
                        .as_array()
                        .is_some_and(|a| a.iter().any(|v| v == want || v == "*"))
                };
                has("apiGroups", group)
                    && has("resources", resource)
                    && has("verbs", verb)
                    && r["resourceNames"].is_null()
            })
        };
        for (group, resource, verbs) in [
            (
                "certificates.k8s.io",
                "certificatesigningrequests",
                "create get list watch",
            ),
            ("cluster.karmada.io", "clusters", "create get list watch update patch"),
            ("cluster.karmada.io", "clusters/status", "get list watch update patch"),
            (
                "cfn.akraino.org",
                "computingmetrics",
                "create get list watch update patch",
            ),
            ("coordination.k8s.io", "leases", "create get list watch update patch"),
            ("work.karmada.io", "works/finalizers", "get list watch update patch"),
            ("", "events", "create patch"),
            ("", "configmaps", "get list watch"),
        ] {
            for verb in verbs.split(' ') {
                assert!(holds(group, resource, verb), "{verb} {resource}.{group}");
            }
        }
        assert!(
            !holds("", "secrets", "create")
                && !holds("", "pods", "delete")
                && !holds("rbac.authorization.k8s.io", "roles", "escalate")
        );
    }
}
