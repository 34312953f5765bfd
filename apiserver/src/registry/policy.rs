//! Admission policies in CEL: ValidatingAdmissionPolicy and MutatingAdmissionPolicy with their bindings
//! (`apiserver/pkg/admission/plugin/policy`), and the expressions of match conditions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Call, Resource, Server, text};
use crate::local::Gvr;
use crate::patch;
use crate::patch::unfolded;
use crate::select::LabelSelector;
use crate::status::{Cause, Status};
use crate::store::{Key, Object};
use cfn_cel::{self as cel, CelError, Memo, Program, Scope};

pub(super) const GROUP: &str = "admissionregistration.k8s.io";
const VALIDATING: Gvr = Gvr::new(GROUP, "v1", "validatingadmissionpolicies");
const VALIDATING_BINDINGS: Gvr = Gvr::new(GROUP, "v1", "validatingadmissionpolicybindings");
const MUTATING: Gvr = Gvr::new(GROUP, "v1", "mutatingadmissionpolicies");
const MUTATING_BINDINGS: Gvr = Gvr::new(GROUP, "v1", "mutatingadmissionpolicybindings");

/// Names that expressions of policies may use.
const NAMES: [&str; 8] = [
    "object",
    "oldObject",
    "request",
    "params",
    "namespaceObject",
    "variables",
    "authorizer",
    "Object",
];

/// One request as policies see it.
#[derive(Clone, Copy)]
pub(super) struct Review<'a> {
    pub(super) call: &'a Call,
    pub(super) resource: &'a Resource,
    pub(super) namespace: &'a str,
    /// Whom it is about, where that is not the object that is told: of a connection that is its options.
    pub(super) name: Option<&'a str>,
    pub(super) subresource: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub(super) operation: &'static str,
    pub(super) old: Option<&'a Value>,
}

/// An expression that was compiled before is not compiled again.
pub(super) fn program(text: &str) -> Result<Arc<Program>, CelError> {
    static KNOWN: Memo<Arc<Program>> = Memo::new(2000);
    KNOWN.get(text, |t| Program::compile(t, &NAMES).map(Arc::new))
}

impl Review<'_> {
    /// The name of what it is about; empty where it has none yet.
    pub(super) fn name<'a>(&'a self, object: Option<&'a Value>) -> &'a str {
        let told = || object.or(self.old).map(|o| text(o, "/metadata/name"));
        self.name.or_else(told).unwrap_or_default()
    }

    pub(super) fn scope(&self, server: &Server, object: Option<&Value>, params: &Value) -> Scope {
        let r = self.resource;
        let name = self.name(object);
        let kind = json!({"group": r.group, "version": r.version, "kind": r.kind});
        let resource = json!({"group": r.group, "version": r.version, "resource": r.plural});
        let user = &self.call.user;
        let request = json!({"kind": kind, "resource": resource, "subResource": self.subresource, "requestKind": kind,
            "requestResource": resource, "requestSubResource": self.subresource, "name": name, "namespace": self.namespace,
            "operation": self.operation, "dryRun": self.call.dry_run, "options": {},
            "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra}});
        let namespace = server
            .store
            .get(&Gvr::new("", "v1", "namespaces"), &Key::new("", self.namespace))
            .map(|n| n.value());
        let of = |v: Option<&Value>| v.map_or(cel::Value::Null, |v| cel::Value::from_json(&unfolded(v)));
        Scope::from([
            ("object".to_owned(), of(object)),
            ("oldObject".to_owned(), of(self.old)),
            ("request".to_owned(), of(Some(&request))),
            ("params".to_owned(), of(Some(params))),
            ("namespaceObject".to_owned(), of(namespace.as_deref())),
        ])
    }

    /// Whether rules and selectors of `spec` (`matchConstraints`, `matchResources`) are about this request.
    pub(super) fn matches(&self, server: &Server, spec: &Value, object: Option<&Value>) -> bool {
        let rules = |k: &str| spec[k].as_array().map(Vec::as_slice).unwrap_or_default();
        let any = object.or(self.old);
        let name = self.name(object);
        let included = rules("resourceRules");
        if !included.is_empty() && !included.iter().any(|r| self.in_rule(r, name)) {
            return false;
        }
        if rules("excludeResourceRules").iter().any(|r| self.in_rule(r, name)) {
            return false;
        }
        let selects = |selector: &Value, labels: &Value| {
            selector.is_null() || LabelSelector::from_object(selector).is_ok_and(|s| s.matches(labels))
        };
        let ns = if self.resource.is("", "namespaces") {
            name
        } else {
            self.namespace
        };
        if !ns.is_empty() {
            let n = server.store.get(&Gvr::new("", "v1", "namespaces"), &Key::new("", ns));
            let of_object = any.filter(|_| self.resource.is("", "namespaces")).cloned();
            let labels = match (of_object, n) {
                (Some(o), _) => o["metadata"]["labels"].clone(),
                (_, Some(n)) => n.value()["metadata"]["labels"].clone(),
                _ => Value::Null,
            };
            if !selects(&spec["namespaceSelector"], &labels) {
                return false;
            }
        }
        let own = |v: Option<&Value>| v.is_some_and(|v| selects(&spec["objectSelector"], &v["metadata"]["labels"]));
        own(object) || own(self.old)
    }

    pub(super) fn in_rule(&self, rule: &Value, name: &str) -> bool {
        let r = self.resource;
        let among = |k: &str, wanted: &[&str]| {
            let list = rule[k].as_array().into_iter().flatten().filter_map(Value::as_str);
            list.into_iter().any(|x| wanted.contains(&x))
        };
        let full = format!("{}/{}", r.plural, self.subresource);
        let whole: Vec<String> = if self.subresource.is_empty() {
            vec![r.plural.to_string(), "*".into(), "*/*".into()]
        } else {
            vec![
                full,
                "*/*".into(),
                format!("{}/*", r.plural),
                format!("*/{}", self.subresource),
            ]
        };
        let whole: Vec<&str> = whole.iter().map(String::as_str).collect();
        let scope = match text(rule, "/scope") {
            "Cluster" => !r.namespaced,
            "Namespaced" => r.namespaced,
            _ => true,
        };
        let names = rule["resourceNames"].as_array().filter(|l| !l.is_empty());
        scope
            && among("apiGroups", &[&r.group, "*"])
            && among("apiVersions", &[&r.version, "*"])
            && among("operations", &[self.operation, "*"])
            && among("resources", &whole)
            && names.is_none_or(|l| l.iter().any(|n| n == name))
    }
}

/// A policy with one of its bindings and one of its parameters.
struct Bound {
    policy: Arc<Object>,
    binding: Arc<Object>,
    /// Or why there are none.
    params: Result<Value, String>,
}

/// Why a policy does not let a request pass.
struct Denial {
    message: String,
    reason: &'static str,
}

impl Server {
    /// Policies that are about a request.
    fn bound(&self, policies: &Gvr, bindings: &Gvr, r: &Review<'_>, object: Option<&Value>) -> Vec<Bound> {
        let all = self.store.list(bindings, None, None).objects;
        let mut found = Vec::new();
        // Policies do not hold back what defines them.
        if all.is_empty() || r.resource.group == GROUP {
            return found;
        }
        for binding in all {
            let value = binding.value();
            let name = text(&value, "/spec/policyName");
            let Some(policy) = self.store.get(policies, &Key::new("", name)) else {
                continue;
            };
            let spec = &policy.value()["spec"];
            let narrower = &binding.value()["spec"]["matchResources"];
            if !r.matches(self, &spec["matchConstraints"], object)
                || !narrower.is_null() && !r.matches(self, narrower, object)
            {
                continue;
            }
            let params = self.params(spec, &binding.value()["spec"]["paramRef"], r.namespace);
            let params: Vec<_> = match params {
                Ok(all) => all.into_iter().map(Ok).collect(),
                Err(why) => vec![Err(format!("failed to configure binding: {why}"))],
            };
            found.extend(params.into_iter().map(|params| Bound {
                policy: policy.clone(),
                binding: binding.clone(),
                params,
            }));
        }
        found
    }

    /// The parameters that a binding refers to, or why there are none (`CollectParams`); null where none are asked for.
    fn params(&self, spec: &Value, reference: &Value, namespace: &str) -> Result<Vec<Value>, String> {
        let kind = &spec["paramKind"];
        if !kind.is_object() || !reference.is_object() {
            return Ok(vec![Value::Null]);
        }
        let Some(r) = self.catalog.of_kind(text(kind, "/apiVersion"), text(kind, "/kind")) else {
            let (version, kind) = (text(kind, "/apiVersion"), text(kind, "/kind"));
            return Err(format!("paramKind kind `{version}, Kind={kind}` not known"));
        };
        let ns = match text(reference, "/namespace") {
            "" => namespace,
            _ if !r.namespaced => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
            }
            n => n,
        };
        if r.namespaced && ns.is_empty() {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.to_owned());
        }
        let ns = if r.namespaced { ns } else { "" };
        let name = text(reference, "/name");
        let list: Vec<Value> = if name.is_empty() {
            let selector = LabelSelector::from_object(&reference["selector"]).map_err(|e| e.to_string())?;
            let all = self
                .store
                .list(&r.storage, Some(ns).filter(|_| r.namespaced), None)
                .objects;
            all.into_iter()
                .filter(|o| selector.matches(&o.value()["metadata"]["labels"]))
                .filter_map(|o| Some((*r.present(&o).ok()?.value()).clone()))
                .collect()
        } else {
            let found = self.get(&r, ns, name);
            found.into_iter().map(|o| (*o.value()).clone()).collect()
        };
        if list.is_empty() && text(reference, "/parameterNotFoundAction") == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
        }
        Ok(list)
    }

    /// Whether all match conditions hold; an error counts as the failure policy says.
    fn conditions(spec: &Value, scope: &Scope) -> Result<bool, String> {
        for c in spec["matchConditions"].as_array().into_iter().flatten() {
            let held = program(text(c, "/expression")).and_then(|p| p.holds(scope));
            match held {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) => return Err(e.to_string()),
            }
        }
        Ok(true)
    }

    /// Adds the policy's variables to the names.
    fn with_variables(spec: &Value, scope: &mut Scope) {
        let mut map = BTreeMap::new();
        for v in spec["variables"].as_array().into_iter().flatten() {
            scope.insert("variables".into(), cel::Value::Map(Arc::new(map.clone())));
            // One that has no value is missed only by those who ask for it.
            if let Ok(value) = program(text(v, "/expression")).and_then(|p| p.evaluate(scope)) {
                map.insert(cel::Key::Text(text(v, "/name").into()), value);
            }
        }
        scope.insert("variables".into(), cel::Value::Map(Arc::new(map)));
    }

    /// 422 (or what the policy says) when a validating policy does not let the request pass.
    pub(super) fn check_policies(
        &self,
        r: &Review<'_>,
        object: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Status> {
        for b in self.bound(&VALIDATING, &VALIDATING_BINDINGS, r, object) {
            let spec = &b.policy.value()["spec"];
            let lenient = text(spec, "/failurePolicy") == "Ignore";
            let params = match &b.params {
                Ok(params) => params,
                Err(_) if lenient => continue,
                Err(why) => return Err(denied(r, object, &b, why, "Invalid")),
            };
            let mut scope = r.scope(self, object, params);
            match Self::conditions(spec, &scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_) if lenient => continue,
                Err(e) => return Err(denied(r, object, &b, &e, "Invalid")),
            }
            Self::with_variables(spec, &mut scope);
            let says = |action: &str| {
                let binding = b.binding.value();
                let list = binding["spec"]["validationActions"].as_array();
                list.is_some_and(|l| l.iter().any(|a| a == action))
            };
            for rule in spec["validations"].as_array().into_iter().flatten() {
                let Some(Denial { message, reason }) = verdict(rule, &scope, lenient) else {
                    continue;
                };
                if says("Warn") {
                    warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {message}",
                        b.policy.name(),
                        b.binding.name()
                    ));
                }
                if says("Deny") {
                    return Err(denied(r, object, &b, &message, reason));
                }
            }
        }
        Ok(())
    }

    /// The object as mutating policies change it.
    pub(super) fn mutate(&self, r: &Review<'_>, v: &mut Value) -> Result<(), Status> {
        for b in self.bound(&MUTATING, &MUTATING_BINDINGS, r, Some(v)) {
            let spec = &b.policy.value()["spec"];
            let lenient = text(spec, "/failurePolicy") == "Ignore";
            let params = match &b.params {
                Ok(params) => params,
                Err(_) if lenient => continue,
                Err(why) => return Err(denied(r, Some(v), &b, why, "Invalid")),
            };
            let mut scope = r.scope(self, Some(v), params);
            match Self::conditions(spec, &scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(_) if lenient => continue,
                Err(e) => return Err(denied(r, Some(v), &b, &e, "Invalid")),
            }
            for m in spec["mutations"].as_array().into_iter().flatten() {
                scope.insert("object".into(), cel::Value::from_json(v));
                Self::with_variables(spec, &mut scope);
                match mutation(r.resource, m, &scope, v) {
                    Ok(new) => *v = new,
                    Err(_) if lenient => {}
                    Err(e) => return Err(denied(r, Some(v), &b, &e, "Invalid")),
                }
            }
        }
        Ok(())
    }
}

/// One mutation's outcome.
fn mutation(r: &Resource, m: &Value, scope: &Scope, v: &Value) -> Result<Value, String> {
    let value = |text: &str| -> Result<Value, String> {
        let found = program(text)
            .and_then(|p| p.evaluate(scope))
            .map_err(|e| e.to_string())?;
        found
            .to_json()
            .ok_or_else(|| "the expression has no object as its value".to_owned())
    };
    if text(m, "/patchType") == "JSONPatch" {
        let steps = value(text(m, "/jsonPatch/expression"))?;
        return patch::json_patch(v, &steps).map_err(|e| e.to_string());
    }
    let mut change = value(text(m, "/applyConfiguration/expression"))?;
    if !change.is_object() {
        return Err("the expression has no object as its value".into());
    }
    change["apiVersion"] = json!(r.api_version);
    change["kind"] = json!(r.kind);
    for k in ["name", "namespace"] {
        if let Some(x) = v["metadata"].get(k) {
            change["metadata"][k] = x.clone();
        }
    }
    let merged = patch::apply(Some(v), &change, "admission", &r.schema(), true, "", "", &[]);
    let mut merged = merged.map_err(|e| e.to_string())?;
    // Who owns what is settled when the request is.
    match v["metadata"].get("managedFields") {
        Some(f) => merged["metadata"]["managedFields"] = f.clone(),
        None => drop(merged["metadata"].as_object_mut().map(|m| m.remove("managedFields"))),
    }
    Ok(merged)
}

fn verdict(rule: &Value, scope: &Scope, lenient: bool) -> Option<Denial> {
    let expression = text(rule, "/expression");
    let held = program(expression).and_then(|p| p.holds(scope));
    match held {
        Ok(true) => return None,
        Ok(false) => {}
        Err(_) if lenient => return None,
        Err(e) => {
            return Some(Denial {
                message: format!("expression '{expression}' resulted in error: {e}"),
                reason: "Invalid",
            });
        }
    }
    let said = Some(text(rule, "/messageExpression"))
        .filter(|e| !e.is_empty())
        .and_then(|e| match program(e).and_then(|p| p.evaluate(scope)) {
            Ok(cel::Value::Text(s)) => Some(s.trim().to_owned()),
            _ => None,
        })
        .filter(|s| !s.is_empty() && !s.contains('\n'));
    let message = said.unwrap_or_else(|| match text(rule, "/message").trim() {
        "" => format!("failed expression: {}", expression.trim()),
        m => m.to_owned(),
    });
    let reason = match text(rule, "/reason") {
        "Forbidden" => "Forbidden",
        "RequestEntityTooLarge" => "RequestEntityTooLarge",
        _ => "Invalid",
    };
    Some(Denial { message, reason })
}

fn denied(r: &Review<'_>, object: Option<&Value>, b: &Bound, message: &str, reason: &'static str) -> Status {
    let kind = if b.policy.value()["kind"] == "MutatingAdmissionPolicy" {
        "MutatingAdmissionPolicy"
    } else {
        "ValidatingAdmissionPolicy"
    };
    let why = format!(
        "{kind} '{}' with binding '{}' denied request: {message}",
        b.policy.name(),
        b.binding.name()
    );
    let name = r.name(object);
    let mut s = Status::forbidden(&r.resource.group, &r.resource.plural, name, &why);
    s.reason = reason.into();
    s.code = match reason {
        "Forbidden" => 403,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    s.details.get_or_insert_default().causes = vec![Cause::new("", "", why)];
    s
}
