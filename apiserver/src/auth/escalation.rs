//! Nobody writes down, or binds, more than they may do themselves (`pkg/registry/rbac/.../policybased`), unless they may
//! `escalate` roles or `bind` them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::rbac::{Attributes, GROUP, Rule, rules_of};
use crate::registry::{Call, Resource, Server, User, text};
use crate::schema::quote;
use crate::status::Status;

/// A list as Go's `%q` writes it.
fn quotes(list: &[String]) -> String {
    let each: Vec<String> = list.iter().map(|s| quote(s)).collect();
    format!("[{}]", each.join(" "))
}

impl Rule {
    /// Rules of one verb, group, resource and name, or of one verb and path, that come to the same (`BreakdownRule`).
    fn broken_down(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let one = |s: &String| vec![s.clone()];
        for group in &self.groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let simple = Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    match self.names.is_empty() {
                        true => all.push(simple),
                        false => all.extend(self.names.iter().map(|n| Self {
                            names: one(n),
                            ..simple.clone()
                        })),
                    }
                }
            }
        }
        for path in &self.paths {
            all.extend(self.verbs.iter().map(|verb| Self {
                verbs: one(verb),
                paths: one(path),
                ..Self::default()
            }));
        }
        all
    }

    /// Whether it allows all that `sub`, a rule that was broken down, does (`ruleCovers`).
    fn covers(&self, sub: &Self) -> bool {
        let all = |own: &[String], asked: &[String]| asked.iter().all(|a| own.contains(a));
        let or_star = |own: &[String], asked: &[String]| own.iter().any(|o| o == "*") || all(own, asked);
        let resource = |asked: &String| {
            let of_any = asked.split_once('/').map(|(_, sub)| format!("*/{sub}"));
            self.resources
                .iter()
                .any(|o| o == "*" || o == asked || of_any.as_ref() == Some(o))
        };
        let path = |asked: &String| {
            let under = |own: &String| own.ends_with('*') && asked.starts_with(own.trim_end_matches('*'));
            self.paths.iter().any(|own| own == asked || under(own))
        };
        or_star(&self.verbs, &sub.verbs)
            && or_star(&self.groups, &sub.groups)
            && sub.resources.iter().all(resource)
            && (self.names.is_empty() || !sub.names.is_empty() && all(&self.names, &sub.names))
            && sub.paths.iter().all(path)
    }

    /// `CompactString`.
    fn told(&self) -> String {
        let fields = [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.paths),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ];
        let said = fields.iter().filter(|(_, list)| !list.is_empty());
        let all: Vec<String> = said.map(|(k, list)| format!("{k}:{}", quotes(list))).collect();
        format!("{{{}}}", all.join(", "))
    }
}

/// What of `asked` is in none of `own`, verbs of one resource together (`Covers`, `CompactRules`).
fn missing(own: &[Rule], asked: &[Rule]) -> Vec<Rule> {
    let mut all: Vec<Rule> = Vec::new();
    for rule in asked.iter().flat_map(Rule::broken_down) {
        if own.iter().any(|o| o.covers(&rule)) {
            continue;
        }
        let same = |o: &&mut Rule| {
            rule.paths.is_empty() && o.groups == rule.groups && o.resources == rule.resources && o.names == rule.names
        };
        match all.iter_mut().find(same) {
            Some(there) => there.verbs.extend(rule.verbs),
            None => all.push(rule),
        }
    }
    all
}

/// Whether only what the garbage collector writes is another (`IsOnlyMutatingGCFields`).
fn is_collectors(old: &Value, new: &Value) -> bool {
    let bare = |v: &Value| {
        let mut v = v.clone();
        if let Some(m) = v["metadata"].as_object_mut() {
            for k in ["ownerReferences", "finalizers", "selfLink", "managedFields"] {
                m.remove(k);
            }
        }
        v
    };
    bare(old) == bare(new)
}

impl Server {
    /// 403 when `user` may not do all of `rules` in `namespace` (`ConfirmNoEscalation`).
    fn holds(&self, user: &User, namespace: &str, rules: &[Rule]) -> Result<(), String> {
        let lacks = missing(&self.rules_of_user(user, namespace), rules);
        if lacks.is_empty() {
            return Ok(());
        }
        let told: BTreeSet<String> = lacks.iter().map(Rule::told).collect();
        let told: Vec<String> = told.into_iter().collect();
        Err(format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            quotes(&user.groups),
            told.join("\n")
        ))
    }

    /// Refuses roles and bindings that would give more than whoever writes them has.
    ///
    /// # Errors
    /// 403 with what is lacking; 404 for a role that is not there to be bound.
    pub(crate) fn check_escalation(
        &self,
        call: &Call,
        r: &Resource,
        ns: &str,
        old: Option<&Value>,
        new: &Value,
    ) -> Result<(), Status> {
        let user = &*call.user;
        let of_roles = match &*r.plural {
            _ if r.group != GROUP || r.custom.is_some() => return Ok(()),
            "roles" | "clusterroles" => true,
            "rolebindings" | "clusterrolebindings" => false,
            _ => return Ok(()),
        };
        if user.groups.iter().any(|g| g == "system:masters") {
            return Ok(());
        }
        let name = match old {
            // It is asked before a name is generated.
            None if !text(new, "/metadata/generateName").is_empty() => "",
            _ => text(new, "/metadata/name"),
        };
        let ns = if r.namespaced { ns } else { "" };
        let refuse = |why: &str| Status::forbidden(GROUP, &r.plural, name, why);
        if of_roles {
            let whose = old.map(|_| name).unwrap_or_default();
            let asks = Attributes::resource("escalate", GROUP, &r.plural, "").named(ns, whose);
            if self.allowed(user, &asks) || old.is_some_and(|old| is_collectors(old, new)) {
                return Ok(());
            }
            self.holds(user, ns, &rules_of(new)).map_err(|why| refuse(&why))?;
            let aggregates = |v: &Value| v["aggregationRule"]["clusterRoleSelectors"][0].is_object();
            if r.plural == "clusterroles" && (aggregates(new) || old.is_some_and(aggregates)) {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                self.holds(user, ns, &Rule::everything()).map_err(|_| refuse(why))?;
            }
            return Ok(());
        }
        if old.is_some_and(|old| is_collectors(old, new)) {
            return Ok(());
        }
        let (kind, of) = (text(new, "/roleRef/kind"), text(new, "/roleRef/name"));
        let (resource, at) = match kind {
            "Role" => ("roles", ns),
            "ClusterRole" => ("clusterroles", ""),
            other => {
                let why = format!("unsupported role reference kind: {}", quote(other));
                return Err(Status::new(500, "", why));
            }
        };
        let asks = Attributes::resource("bind", text(new, "/roleRef/apiGroup"), resource, "").named(ns, of);
        if self.allowed(user, &asks) {
            return Ok(());
        }
        let rules = self
            .role_rules(resource, at, of)
            // In the words of who is asked to write the binding.
            .ok_or_else(|| Status::not_found(GROUP, &r.plural, of))?;
        self.holds(user, ns, &rules).map_err(|why| refuse(&why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(v: Value) -> Vec<Rule> {
        rules_of(&json!({"rules": v}))
    }

    fn told(own: Value, asked: Value) -> Vec<String> {
        missing(&rules(own), &rules(asked)).iter().map(Rule::told).collect()
    }

    #[test]
    fn what_is_held_covers_what_is_given() {
        let pods = |verbs: Value| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}]);
        for (own, asked) in [
            (pods(json!(["get", "list"])), pods(json!(["list"]))),
            (pods(json!(["*"])), pods(json!(["list", "escalate"]))),
            (
                json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]),
                json!([{"apiGroups": ["a"], "resources": ["b/c"], "verbs": ["d"], "resourceNames": ["e"]}]),
            ),
            (
                json!([{"apiGroups": [""], "resources": ["*/scale"], "verbs": ["get"]}]),
                json!([{"apiGroups": [""], "resources": ["pods/scale"], "verbs": ["get"]}]),
            ),
            (
                json!([{"nonResourceURLs": ["/healthz*"], "verbs": ["get"]}]),
                json!([{"nonResourceURLs": ["/healthz/etcd"], "verbs": ["get"]}]),
            ),
        ] {
            assert_eq!(told(own.clone(), asked.clone()), [""; 0], "{own} {asked}");
        }
    }

    #[test]
    fn what_is_lacking_is_told_by_resource() {
        let own = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["a"]}]);
        let asked = json!([{"apiGroups": ["", "apps"], "resources": ["pods"], "verbs": ["get", "list"]},
            {"nonResourceURLs": ["/x"], "verbs": ["get", "post"]}]);
        let wanted = [
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}"#,
            r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "list"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#,
            r#"{NonResourceURLs:["/x"], Verbs:["post"]}"#,
        ];
        assert_eq!(told(own, asked), wanted);
    }
}
