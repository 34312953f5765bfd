//! Nobody writes down, or binds, more than they may do themselves (`pkg/registry/rbac/.../policybased`), unless they may
//! `escalate` roles or `bind` them.

use serde_json::Value;

use super::coverage::Lacking;
use super::rbac::{Attributes, GROUP, Rule, rules_of};
use crate::registry::{Call, Resource, Server, User, text};
use crate::schema::{quote, quote_list};
use crate::status::Status;

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
        let own = self.rules_of_user(user, namespace);
        let lacking = Lacking::of(&own, rules);
        if lacking.is_empty() {
            return Ok(());
        }
        Err(format!(
            "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            quote(&user.name),
            quote_list(&user.groups),
            lacking.lines().join("\n")
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
