//! Which flow schema a request is of (`k8s.io/apiserver/pkg/util/flowcontrol`), and so which priority level. Clients are told
//! in headers; nothing waits here for others.

use std::sync::{Arc, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::User;
use super::impersonate::service_account;
use super::rbac::{Attributes, strings};
use crate::local::Gvr;
use crate::registry::{Server, text};
use crate::store::Key;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
pub(crate) const FLOWS: Gvr = Gvr::new(GROUP, "v1", "flowschemas");
pub(crate) const LEVELS: Gvr = Gvr::new(GROUP, "v1", "prioritylevelconfigurations");

const FLOW_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The uids of a request's flow schema and priority level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Classified {
    flow: HeaderValue,
    level: HeaderValue,
}

impl Classified {
    /// Says it in an answer's headers.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(FLOW_HEADER, self.flow);
        headers.insert(LEVEL_HEADER, self.level);
    }
}

/// Flow schemas in order, as they were at revisions.
#[derive(Debug)]
pub(super) struct Flows {
    version: [u64; 2],
    flows: Vec<Flow>,
}

#[derive(Debug)]
struct Flow {
    uids: Classified,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Debug, PartialEq, Eq)]
enum Subject {
    /// `*`: every user.
    User(String),
    /// `*`: every group, and nobody's.
    Group(String),
    /// Namespace, name or `*`.
    ServiceAccount(String, String),
}

#[derive(Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster: bool,
}

#[derive(Debug)]
struct PathRule {
    verbs: Vec<String>,
    paths: Vec<String>,
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

/// Whether `x` is in `list`, or `list` is the wildcard.
fn contains(list: &[String], x: &str) -> bool {
    matches!(list, [one] if one == "*") || list.iter().any(|y| y == x)
}

impl Subject {
    fn read(v: &Value) -> Option<Self> {
        let of = |at: &str| text(v, at).to_owned();
        match v["kind"].as_str()? {
            "User" => Some(Self::User(of("/user/name"))),
            "Group" => Some(Self::Group(of("/group/name"))),
            "ServiceAccount" => Some(Self::ServiceAccount(
                of("/serviceAccount/namespace"),
                of("/serviceAccount/name"),
            )),
            _ => None,
        }
    }

    fn is(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.groups.iter().any(|g| g == name),
            Self::ServiceAccount(namespace, name) => {
                service_account(&user.name).is_some_and(|(ns, a)| ns == namespace && (name == "*" || a == name))
            }
        }
    }
}

impl ResourceRule {
    fn read(v: &Value) -> Self {
        Self {
            verbs: strings(&v["verbs"]),
            groups: strings(&v["apiGroups"]),
            resources: strings(&v["resources"]),
            namespaces: strings(&v["namespaces"]),
            cluster: v["clusterScope"] == true,
        }
    }

    fn matches(&self, a: &Attributes<'_>) -> bool {
        let resource = || match a.subresource {
            "" => contains(&self.resources, a.resource),
            sub => contains(&self.resources, &format!("{}/{sub}", a.resource)),
        };
        let place = || match a.namespace {
            "" => self.cluster,
            ns => contains(&self.namespaces, ns),
        };
        contains(&self.verbs, a.verb) && contains(&self.groups, a.group) && resource() && place()
    }
}

impl PathRule {
    fn read(v: &Value) -> Self {
        Self {
            verbs: strings(&v["verbs"]),
            paths: strings(&v["nonResourceURLs"]),
        }
    }

    fn matches(&self, a: &Attributes<'_>) -> bool {
        let below = |path: &str| {
            let prefix = path.strip_suffix('*').unwrap_or(path);
            let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
            a.path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        contains(&self.verbs, a.verb) && self.paths.iter().any(|p| p == "*" || p == a.path || below(p))
    }
}

impl Rule {
    fn read(v: &Value) -> Self {
        Self {
            subjects: list(&v["subjects"]).filter_map(Subject::read).collect(),
            resources: list(&v["resourceRules"]).map(ResourceRule::read).collect(),
            paths: list(&v["nonResourceRules"]).map(PathRule::read).collect(),
        }
    }

    fn matches(&self, user: &User, a: &Attributes<'_>) -> bool {
        self.subjects.iter().any(|s| s.is(user))
            && match a.resource {
                "" => self.paths.iter().any(|r| r.matches(a)),
                _ => self.resources.iter().any(|r| r.matches(a)),
            }
    }
}

/// What is answered for as long as the client likes is not one of the requests that are counted; watches are.
fn is_long(a: &Attributes<'_>) -> bool {
    a.verb == "proxy" || matches!(a.subresource, "attach" | "exec" | "proxy" | "log" | "portforward")
}

impl Server {
    fn flows(&self) -> Arc<Flows> {
        let version = [&FLOWS, &LEVELS].map(|g| self.store.changed(g));
        let mut kept = self.auth.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(f) = kept.as_ref().filter(|f| f.version == version) {
            return f.clone();
        }
        let mut objects = self.store.list(&FLOWS, None, None).objects;
        // By name where the precedence is the same.
        objects.sort_by_cached_key(|o| o.value()["spec"]["matchingPrecedence"].as_i64().unwrap_or_default());
        let uid = |v: &Value| HeaderValue::from_str(v["metadata"]["uid"].as_str()?).ok();
        let read = objects.iter().filter_map(|o| {
            let value = o.value();
            let name = text(&value, "/spec/priorityLevelConfiguration/name");
            // One that dangles is left out.
            let level = self.store.get(&LEVELS, &Key::new("", name))?.value();
            Some(Flow {
                uids: Classified {
                    flow: uid(&value)?,
                    level: uid(&level)?,
                },
                rules: list(&value["spec"]["rules"]).map(Rule::read).collect(),
            })
        });
        let flows = Arc::new(Flows {
            version,
            flows: read.collect(),
        });
        *kept = Some(flows.clone());
        flows
    }

    /// The flow schema of what `user` asks for; `None`: it is none of those requests that have one.
    pub(crate) fn classify(&self, user: &User, a: &Attributes<'_>) -> Option<Classified> {
        if is_long(a) {
            return None;
        }
        let flows = self.flows();
        let flow = flows
            .flows
            .iter()
            .find(|f| f.rules.iter().any(|r| r.matches(user, a)))?;
        Some(flow.uids.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str, groups: &[&str]) -> User {
        User::new(name, groups.iter().copied())
    }

    #[test]
    fn subjects_are_who_they_say() {
        let account = user("system:serviceaccount:kube-system:a", &["system:serviceaccounts"]);
        let of = |ns: &str, name: &str| {
            let subject = json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": ns, "name": name}});
            Subject::read(&subject).unwrap().is(&account)
        };
        assert!(of("kube-system", "*") && of("kube-system", "a"));
        assert!(!of("kube", "*") && !of("kube-system", "b") && !of("default", "a"));
        let named = |kind: &str, key: &str, name: &str| {
            Subject::read(&json!({"kind": kind, key: {"name": name}}))
                .unwrap()
                .is(&account)
        };
        assert!(named("Group", "group", "*") && named("Group", "group", "system:serviceaccounts"));
        assert!(named("User", "user", "*") && !named("User", "user", "a") && !named("Group", "group", "a"));
    }

    #[test]
    fn a_path_has_what_is_below_it() {
        let rule = PathRule::read(&json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}));
        let of = |verb: &str, path: &str| rule.matches(&Attributes::path(verb, path));
        assert!(of("get", "/healthz") && of("get", "/healthz/ping") && of("get", "/logs/a"));
        assert!(!of("get", "/healthzz") && !of("get", "/logs") && !of("post", "/healthz"));
    }

    #[test]
    fn a_resource_is_named_with_its_subresource_and_place() {
        let rule = ResourceRule::read(
            &json!({"verbs": ["*"], "apiGroups": [""], "resources": ["nodes", "pods/status"],
            "namespaces": ["a"], "clusterScope": true}),
        );
        let of = |resource: &str, sub: &str, ns: &str| {
            let a = Attributes {
                namespace: ns,
                ..Attributes::resource("get", "", resource, sub)
            };
            rule.matches(&a)
        };
        assert!(of("nodes", "", "") && of("pods", "status", "a"));
        assert!(!of("nodes", "status", "") && !of("pods", "status", "b") && !of("pods", "", "a"));
    }
}
