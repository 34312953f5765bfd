//! Role-based access control (`plugin/pkg/auth/authorizer/rbac`): the roles and bindings stored, compiled once per
//! change of any of them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use crate::local::Gvr;
use crate::registry::{Server, User, text};
use crate::schema::quote;
use crate::status::Status;
use crate::store::{Key, Object, Revision};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";
pub(crate) const ROLES: Gvr = Gvr::new(GROUP, "v1", "roles");
pub(crate) const CLUSTER_ROLES: Gvr = Gvr::new(GROUP, "v1", "clusterroles");
pub(crate) const BINDINGS: Gvr = Gvr::new(GROUP, "v1", "rolebindings");
pub(crate) const CLUSTER_BINDINGS: Gvr = Gvr::new(GROUP, "v1", "clusterrolebindings");

/// What somebody wants to do.
#[derive(Debug, Clone, Default)]
pub struct Attributes<'a> {
    /// `get`, `list`, ...
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Resource; empty: a path.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace; empty: the whole cluster.
    pub namespace: &'a str,
    /// Name, or empty.
    pub name: &'a str,
    /// The path of what is no resource.
    pub path: &'a str,
}

impl<'a> Attributes<'a> {
    /// A resource.
    #[must_use]
    pub fn resource(verb: &'a str, group: &'a str, resource: &'a str, subresource: &'a str) -> Self {
        Self {
            verb,
            group,
            resource,
            subresource,
            ..Self::default()
        }
    }

    /// One object of it, or one namespace.
    #[must_use]
    pub fn named(mut self, namespace: &'a str, name: &'a str) -> Self {
        self.namespace = namespace;
        self.name = name;
        self
    }

    /// A path that is no resource.
    #[must_use]
    pub fn path(verb: &'a str, path: &'a str) -> Self {
        Self {
            verb,
            path,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verbs: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) resources: Vec<String>,
    pub(super) names: Vec<String>,
    pub(super) paths: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    User(String),
    Group(String),
}

#[derive(Debug)]
struct Binding {
    /// What it is and of which role, as reasons tell it.
    told: String,
    subjects: Vec<Subject>,
    rules: Arc<Vec<Rule>>,
}

/// All roles and bindings.
#[derive(Debug, Default)]
pub(super) struct Rules {
    version: [Revision; 4],
    cluster: Vec<Binding>,
    namespaced: BTreeMap<String, Vec<Binding>>,
}

pub(super) fn strings(v: &Value) -> Vec<String> {
    v.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

pub(super) fn rules_of(role: &Value) -> Vec<Rule> {
    let one = |r: &Value| Rule {
        verbs: strings(&r["verbs"]),
        groups: strings(&r["apiGroups"]),
        resources: strings(&r["resources"]),
        names: strings(&r["resourceNames"]),
        paths: strings(&r["nonResourceURLs"]),
    };
    role["rules"].as_array().into_iter().flatten().map(one).collect()
}

fn subjects_of(binding: &Value, ns: &str) -> Vec<Subject> {
    let one = |s: &Value| {
        let name = text(s, "/name").to_owned();
        match text(s, "/kind") {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let ns = s["namespace"].as_str().unwrap_or(ns);
                Some(Subject::User(format!("system:serviceaccount:{ns}:{name}")))
            }
            _ => None,
        }
    };
    binding["subjects"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(one)
        .collect()
}

impl Rule {
    /// What a cluster's administrator may do (`fullAuthority`).
    pub(super) fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        let resources = Self {
            verbs: all(),
            groups: all(),
            resources: all(),
            ..Self::default()
        };
        let paths = Self {
            verbs: all(),
            paths: all(),
            ..Self::default()
        };
        [resources, paths]
    }

    fn allows(&self, a: &Attributes<'_>) -> bool {
        let has = |list: &[String], x: &str| list.iter().any(|v| v == "*" || v == x);
        if !has(&self.verbs, a.verb) {
            return false;
        }
        if a.resource.is_empty() {
            return self.paths.iter().any(|p| match p.strip_suffix('*') {
                Some(start) => a.path.starts_with(start),
                None => p == a.path,
            });
        }
        let resource = |r: &String| {
            r == "*"
                || if a.subresource.is_empty() {
                    r == a.resource
                } else {
                    r.split_once('/')
                        .is_some_and(|(res, sub)| (res == "*" || res == a.resource) && sub == a.subresource)
                }
        };
        has(&self.groups, a.group)
            && self.resources.iter().any(resource)
            && (self.names.is_empty() || self.names.iter().any(|n| n == a.name))
    }

    fn to_value(&self) -> Value {
        let mut v = json!({"verbs": self.verbs});
        for (k, list) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ] {
            if !list.is_empty() {
                v[k] = json!(list);
            }
        }
        v
    }
}

impl Binding {
    fn binds(&self, user: &User) -> bool {
        self.subject(user).is_some()
    }

    /// The first subject that `user` is.
    fn subject(&self, user: &User) -> Option<&Subject> {
        self.subjects.iter().find(|s| match s {
            Subject::User(n) => *n == user.name,
            Subject::Group(g) => user.groups.contains(g),
        })
    }
}

impl Subject {
    /// `describeSubject`.
    fn told(&self) -> String {
        match self {
            Self::Group(name) => format!("Group {}", quote(name)),
            Self::User(name) => match name
                .strip_prefix("system:serviceaccount:")
                .and_then(|n| n.split_once(':'))
            {
                Some((of, name)) => format!("ServiceAccount {}", quote(&format!("{name}/{of}"))),
                None => format!("User {}", quote(name)),
            },
        }
    }
}

impl Rules {
    /// By what `user` may do this.
    fn reason(&self, user: &User, a: &Attributes<'_>) -> Option<String> {
        let local = self.namespaced.get(a.namespace).map(Vec::as_slice).unwrap_or_default();
        let mut all = self.cluster.iter().chain(local);
        all.find_map(|b| {
            let subject = b.subject(user).filter(|_| b.rules.iter().any(|r| r.allows(a)))?;
            Some(format!("RBAC: allowed by {} to {}", b.told, subject.told()))
        })
    }

    fn of<'a>(&'a self, user: &'a User, namespace: &str) -> impl Iterator<Item = &'a Rule> {
        let local = self.namespaced.get(namespace).map(Vec::as_slice).unwrap_or_default();
        self.cluster
            .iter()
            .chain(local)
            .filter(|b| b.binds(user))
            .flat_map(|b| b.rules.iter())
    }
}

/// 403 of what `user` may not do, and why, where there is more to say (`responsewriters.ForbiddenStatusError`).
pub(super) fn refused(user: &User, a: &Attributes<'_>, reason: &str) -> Status {
    // Nothing that reads as HTML.
    let safe = |t: String| t.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let told = |t: String| match reason {
        "" => safe(t),
        reason => format!("{}: {reason}", safe(t)),
    };
    let name = quote(&user.name);
    if a.resource.is_empty() && !a.path.is_empty() {
        let why = told(format!("User {name} cannot {} path {}", a.verb, quote(a.path)));
        return Status::forbidden("", "", "", &why).about("", "", "");
    }
    let resource = if a.subresource.is_empty() {
        a.resource.to_owned()
    } else {
        format!("{}/{}", a.resource, a.subresource)
    };
    let place = match a.namespace {
        "" => "at the cluster scope".to_owned(),
        ns => format!("in the namespace {}", quote(ns)),
    };
    let why = told(format!(
        "User {name} cannot {} resource {} in API group {} {place}",
        a.verb,
        quote(&resource),
        quote(a.group)
    ));
    Status::forbidden(a.group, a.resource, a.name, &why)
}

impl Server {
    fn rules(&self) -> Arc<Rules> {
        let version = [&ROLES, &CLUSTER_ROLES, &BINDINGS, &CLUSTER_BINDINGS].map(|g| self.store.changed(g));
        let mut kept = self.auth.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(r) = kept.as_ref().filter(|r| r.version == version) {
            return r.clone();
        }
        let all = |g: &Gvr| self.store.list(g, None, None).objects;
        let mut named: BTreeMap<(String, String), Arc<Vec<Rule>>> = BTreeMap::new();
        for o in all(&CLUSTER_ROLES) {
            named.insert((String::new(), o.name().to_owned()), Arc::new(rules_of(&o.value())));
        }
        for o in all(&ROLES) {
            named.insert(
                (o.namespace().to_owned(), o.name().to_owned()),
                Arc::new(rules_of(&o.value())),
            );
        }
        let binding = |o: &Arc<Object>| {
            let ns = if text(&o.value(), "/roleRef/kind") == "Role" {
                o.namespace()
            } else {
                ""
            };
            let rules = named
                .get(&(ns.to_owned(), text(&o.value(), "/roleRef/name").to_owned()))?
                .clone();
            let told = match (o.namespace(), o.name()) {
                ("", name) => format!("ClusterRoleBinding {}", quote(name)),
                (of, name) => format!("RoleBinding {}", quote(&format!("{name}/{of}"))),
            };
            let value = o.value();
            let role = (text(&value, "/roleRef/kind"), text(&value, "/roleRef/name"));
            Some(Binding {
                told: format!("{told} of {} {}", role.0, quote(role.1)),
                subjects: subjects_of(&o.value(), o.namespace()),
                rules,
            })
        };
        let mut rules = Rules {
            version,
            ..Rules::default()
        };
        rules.cluster = all(&CLUSTER_BINDINGS).iter().filter_map(&binding).collect();
        for o in all(&BINDINGS) {
            if let Some(b) = binding(&o) {
                rules.namespaced.entry(o.namespace().to_owned()).or_default().push(b);
            }
        }
        let rules = Arc::new(rules);
        *kept = Some(rules.clone());
        rules
    }

    /// Whether `user` may do this.
    #[must_use]
    pub fn allowed(&self, user: &User, a: &Attributes<'_>) -> bool {
        if user.groups.iter().any(|g| g == "system:masters") {
            return true;
        }
        // system:public-info-viewer is bound to everybody who was asked who they are.
        let known = |g: &String| matches!(g.as_str(), "system:authenticated" | "system:unauthenticated");
        if self.settings.allow_anonymous_health
            && user.groups.iter().any(known)
            && a.resource.is_empty()
            && a.verb == "get"
            && matches!(a.path, "/healthz" | "/livez" | "/readyz" | "/version")
        {
            return true;
        }
        self.rules().of(user, a.namespace).any(|r| r.allows(a))
    }

    /// By what `user` may do this, where a binding is what allows it.
    pub(super) fn reason(&self, user: &User, a: &Attributes<'_>) -> Option<String> {
        let master = user.groups.iter().any(|g| g == "system:masters");
        (!master).then(|| self.rules().reason(user, a))?
    }

    /// As [`Server::allowed`].
    ///
    /// # Errors
    /// 403 in Kubernetes' words when not.
    pub fn authorize(&self, user: &User, a: &Attributes<'_>) -> Result<(), Status> {
        match self.allowed(user, a) {
            true => Ok(()),
            false => Err(refused(user, a, "")),
        }
    }

    /// All rules that count for `user` in `namespace`.
    pub(super) fn rules_of_user(&self, user: &User, namespace: &str) -> Vec<Rule> {
        self.rules().of(user, namespace).cloned().collect()
    }

    /// The rules of a role or a cluster role; `None`: it is not there.
    pub(super) fn role_rules(&self, resource: &str, namespace: &str, name: &str) -> Option<Vec<Rule>> {
        let of = if resource == "roles" { &ROLES } else { &CLUSTER_ROLES };
        let role = self.store.get(of, &Key::new(namespace, name))?;
        Some(rules_of(&role.value()))
    }

    /// The rules that count for `user` in `namespace`: of resources, of paths (for SelfSubjectRulesReview).
    pub(super) fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Value>, Vec<Value>) {
        let rules = self.rules();
        // Who may do everything is not asked: upstream has that one's rules from a binding, too.
        let all = rules.of(user, namespace).cloned();
        let (resources, paths): (Vec<_>, Vec<_>) = all.partition(|r| r.paths.is_empty());
        (
            resources.iter().map(Rule::to_value).collect(),
            paths.iter().map(Rule::to_value).collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_as_they_were_bound() {
        let binding = json!({"subjects": [{"kind": "User", "name": "u"}, {"kind": "Group", "name": "g"},
            {"kind": "ServiceAccount", "name": "s"}, {"kind": "ServiceAccount", "name": "s", "namespace": "b"}]});
        let told: Vec<String> = subjects_of(&binding, "a").iter().map(Subject::told).collect();
        let wanted = [
            "User \"u\"",
            "Group \"g\"",
            "ServiceAccount \"s/a\"",
            "ServiceAccount \"s/b\"",
        ];
        assert_eq!(told, wanted);
    }
}
