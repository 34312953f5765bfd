//! Admission webhooks (`apiserver/pkg/admission/plugin/webhook`): which of them a request concerns, what they are asked,
//! and what becomes of their answers. Asking itself is [`crate::webhook`]'s.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::policy::{GROUP, Review, program};
use super::{Call, Resource, Server, text};
use crate::local::Gvr;
use crate::patch;
use crate::schema::quote;
use crate::status::{Cause, Details, Status};
use crate::store::Object;
use crate::webhook::{self, Answer, ask_first};

const MUTATING: Gvr = Gvr::new(GROUP, "v1", "mutatingwebhookconfigurations");
const VALIDATING: Gvr = Gvr::new(GROUP, "v1", "validatingwebhookconfigurations");

/// One webhook of a configuration.
struct Hook {
    configuration: Arc<Value>,
    index: usize,
}

impl Hook {
    fn spec(&self) -> &Value {
        &self.configuration["webhooks"][self.index]
    }

    fn name(&self) -> &str {
        text(self.spec(), "/name")
    }

    /// Whether a webhook that cannot be asked lets the request pass.
    fn lenient(&self) -> bool {
        text(self.spec(), "/failurePolicy") == "Ignore"
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.spec()["timeoutSeconds"].as_u64().unwrap_or(10))
    }
}

/// What a webhook says of a request.
#[derive(Debug, Clone, Default, PartialEq)]
struct Said {
    allowed: bool,
    /// `status` of a refusal.
    status: Value,
    patch: Option<Value>,
    warnings: Vec<String>,
    annotations: Vec<(String, String)>,
}

/// The answer's response, checked as upstream does (`request.VerifyAdmissionResponse`).
fn verify(review: &Value, version: &str, uid: &str, mutating: bool) -> Result<Said, String> {
    let api = format!("admission.k8s.io/{version}");
    webhook::expect(review, &api, "AdmissionReview")?;
    let r = &review["response"];
    if !r.is_object() {
        return Err("webhook response was absent".into());
    }
    if version == "v1" && text(r, "/uid") != uid {
        return Err(format!(
            "expected response.uid={}, got {}",
            quote(uid),
            quote(text(r, "/uid"))
        ));
    }
    let bytes = STANDARD
        .decode(text(r, "/patch"))
        .map_err(|e| format!("illegal base64 data in response.patch: {e}"))?;
    let patch = match text(r, "/patchType") {
        _ if !mutating && !bytes.is_empty() => return Err("validating webhook may not return response.patch".into()),
        _ if bytes.is_empty() => None,
        "" if version == "v1" => return Err("webhook returned response.patch but not response.patchType".into()),
        "JSONPatch" | "" => Some(serde_json::from_slice(&bytes).map_err(|e| format!("response.patch: {e}"))?),
        t => return Err(format!("webhook returned invalid response.patchType of {}", quote(t))),
    };
    let strings = r["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let annotations = r["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Said {
        allowed: r["allowed"] == true,
        status: r["status"].clone(),
        patch,
        warnings: strings.map(str::to_owned).collect(),
        annotations: annotations
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect(),
    })
}

/// The refusal that a webhook's `status` says (`webhookerrors.ToStatusErr`).
fn denial(hook: &str, status: &Value) -> Status {
    let by = format!("admission webhook {} denied the request", quote(hook));
    let (message, reason) = (text(status, "/message"), text(status, "/reason"));
    let message = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", r) => format!("{by}: {r}"),
        (m, _) => format!("{by}: {m}"),
    };
    let code = status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(0);
    let mut s = Status::new(code.max(400), reason.to_owned(), message);
    let details = &status["details"];
    if details.is_object() {
        let causes = details["causes"].as_array().into_iter().flatten();
        let cause = |c: &Value| Cause::new(text(c, "/reason").to_owned(), text(c, "/field"), text(c, "/message"));
        s.details = Some(Box::new(Details {
            name: text(details, "/name").to_owned(),
            group: text(details, "/group").to_owned(),
            kind: text(details, "/kind").to_owned(),
            uid: text(details, "/uid").to_owned(),
            causes: causes.map(cause).collect(),
            retry_after_seconds: details["retryAfterSeconds"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(0),
        }));
    }
    s
}

/// 500 for a webhook that cannot be asked (`ErrCallingWebhook`).
fn failed(hook: &str, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {}: {why}", quote(hook)))
}

/// Group, version and kind of what a request writes: the subresource's own where it has one.
fn kind_of(r: &Resource, subresource: &str) -> Value {
    match r.subresource(subresource) {
        Some(s) if !s.kind.is_empty() && !s.version.is_empty() => {
            json!({"group": s.group, "version": s.version, "kind": s.kind})
        }
        _ => json!({"group": r.group, "version": r.version, "kind": r.kind}),
    }
}

fn resource_of(r: &Resource) -> Value {
    json!({"group": r.group, "version": r.version, "resource": r.plural})
}

/// What is asked about: the request in a version that the webhook's rules name.
struct Matched<'a> {
    hook: &'a Hook,
    resource: Arc<Resource>,
}

impl Server {
    fn hooks(&self, configurations: &Gvr) -> Vec<Hook> {
        // Sorted by name, as upstream calls them.
        let all = self.store.list(configurations, None, None).objects;
        let each = |c: Arc<Object>| {
            let n = c.value()["webhooks"].as_array().map_or(0, Vec::len);
            (0..n).map(move |index| Hook {
                configuration: c.value(),
                index,
            })
        };
        all.into_iter().flat_map(each).collect()
    }

    /// Whether any mutating webhook is registered.
    pub(super) fn has_mutating_webhooks(&self) -> bool {
        !self.store.list(&MUTATING, None, None).objects.is_empty()
    }

    /// Whether, and in which version, a webhook is about a request.
    fn matched<'a>(&self, hook: &'a Hook, r: &Review<'_>, object: Option<&Value>) -> Option<Matched<'a>> {
        let spec = hook.spec();
        let name = r.name(object);
        let rules = spec["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = |resource: &Resource| {
            let in_version = Review { resource, ..*r };
            rules.iter().any(|rule| in_version.in_rule(rule, name))
        };
        let resource = if found(r.resource) {
            self.catalog
                .find(&r.resource.group, &r.resource.version, &r.resource.plural)?
        } else if text(spec, "/matchPolicy") == "Exact" {
            return None;
        } else {
            let all = self.catalog.all();
            all.into_iter()
                .find(|other| other.storage == r.resource.storage && found(other))?
        };
        let selectors =
            json!({"namespaceSelector": spec["namespaceSelector"], "objectSelector": spec["objectSelector"]});
        r.matches(self, &selectors, object)
            .then_some(Matched { hook, resource })
    }

    /// Whether the match conditions hold (`matchconditions.Matcher`): one that is false decides, whatever the others say.
    fn condition(&self, m: &Matched<'_>, r: &Review<'_>, object: Option<&Value>) -> Result<bool, Status> {
        let conditions = m.hook.spec()["matchConditions"].as_array();
        let Some(conditions) = conditions.filter(|c| !c.is_empty()) else {
            return Ok(true);
        };
        let in_version = Review {
            resource: &m.resource,
            ..*r
        };
        let scope = in_version.scope(self, object, &Value::Null);
        let mut broken = None;
        for c in conditions {
            match program(text(c, "/expression")).and_then(|p| p.holds(&scope)) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(e) => broken = broken.or(Some(e.to_string())),
            }
        }
        match broken {
            None => Ok(true),
            Some(_) if m.hook.lenient() => Ok(false),
            Some(e) => {
                let name = r.name(object);
                Err(Status::forbidden(&r.resource.group, &r.resource.plural, name, &e))
            }
        }
    }

    /// The AdmissionReview for a webhook, in the first of its versions that is spoken here.
    fn review_of(&self, m: &Matched<'_>, r: &Review<'_>, object: Option<&Value>, options: &Value) -> Value {
        let spec = m.hook.spec();
        let versions = spec["admissionReviewVersions"].as_array().into_iter().flatten();
        let version = versions
            .filter_map(Value::as_str)
            .find(|v| matches!(*v, "v1" | "v1beta1"))
            .unwrap_or("v1");
        let user = &r.call.user;
        let mut info = json!({"username": user.name, "groups": user.groups});
        if !user.uid.is_empty() {
            info["uid"] = json!(user.uid);
        }
        if !user.extra.is_empty() {
            info["extra"] = json!(user.extra);
        }
        let of = |v: Option<&Value>| v.cloned().unwrap_or(Value::Null);
        let mut request = json!({"uid": self.uid(), "kind": kind_of(&m.resource, r.subresource), "resource": resource_of(&m.resource),
            "requestKind": kind_of(r.resource, r.subresource), "requestResource": resource_of(r.resource),
            "operation": r.operation, "userInfo": info, "object": of(object), "oldObject": of(r.old),
            "dryRun": r.call.dry_run, "options": options});
        if !r.subresource.is_empty() {
            request["subResource"] = json!(r.subresource);
            request["requestSubResource"] = json!(r.subresource);
        }
        let name = r.name(object);
        let ns = if r.resource.is("", "namespaces") {
            name
        } else {
            r.namespace
        };
        for (k, v) in [("name", name), ("namespace", ns)] {
            if !v.is_empty() {
                request[k] = json!(v);
            }
        }
        json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": request})
    }

    /// Asks a webhook. `Ok(None)`: it has no say, or could not be asked and does not mind.
    fn asked(
        &self,
        call: &mut Call,
        m: &Matched<'_>,
        r: &Review<'_>,
        object: Option<&Value>,
        mutating: bool,
    ) -> Result<Option<Said>, Status> {
        if !self.condition(m, r, object)? {
            return Ok(None);
        }
        let (name, spec) = (m.hook.name(), m.hook.spec());
        if call.dry_run && !matches!(text(spec, "/sideEffects"), "None" | "NoneOnDryRun") {
            return Err(Status::bad_request(format!(
                "admission webhook {} does not support dry run",
                quote(name)
            )));
        }
        let options = call.options(r.operation);
        let (object, old) = (
            self.in_version(call, r, m, object)?,
            self.in_version(call, r, m, r.old)?,
        );
        let in_version = Review {
            old: old.as_ref(),
            ..*r
        };
        let review = self.review_of(m, &in_version, object.as_ref(), &options);
        let version = text(&review, "/apiVersion")
            .trim_start_matches("admission.k8s.io/")
            .to_owned();
        let Some(hooks) = call.hooks.as_mut() else {
            return Ok(None);
        };
        let Some(Answer { uid, said }) = hooks.ask(&spec["clientConfig"], m.hook.timeout(), review) else {
            return Err(ask_first());
        };
        let said = said
            .as_ref()
            .map_err(|e| format!("failed to call webhook: {e}"))
            .and_then(|v| {
                verify(v, &version, uid, mutating).map_err(|e| format!("received invalid webhook response: {e}"))
            });
        let said = match said {
            Ok(s) => s,
            Err(why) if m.hook.lenient() => {
                tracing::warn!("failed calling webhook, failing open {name}: {why}");
                let kind = if mutating { "mutation" } else { "validating" };
                call.annotations.insert(
                    format!(
                        "failed-open.{kind}.webhook.admission.k8s.io/round_0_index_{}",
                        m.hook.index
                    ),
                    name.to_owned(),
                );
                return Ok(None);
            }
            Err(why) => return Err(failed(name, &why)),
        };
        call.warnings.extend(said.warnings.iter().cloned());
        let annotations = said.annotations.iter();
        call.annotations
            .extend(annotations.map(|(k, v)| (format!("{name}/{k}"), v.clone())));
        if !said.allowed {
            return Err(denial(name, &said.status));
        }
        Ok(Some(said))
    }

    /// An object in the version that a webhook is told it in.
    fn in_version(
        &self,
        call: &mut Call,
        r: &Review<'_>,
        m: &Matched<'_>,
        object: Option<&Value>,
    ) -> Result<Option<Value>, Status> {
        match object {
            Some(o)
                if m.resource.api_version != r.resource.api_version && o["apiVersion"] == *r.resource.api_version =>
            {
                self.converted(
                    call,
                    r.resource,
                    patch::unfolded(o).into_owned(),
                    &m.resource.api_version,
                )
                .map(Some)
            }
            o => Ok(o.map(|o| patch::unfolded(o).into_owned())),
        }
    }

    /// The object as mutating webhooks change it; whether one did. `object` is `None` for a delete.
    ///
    /// # Errors
    /// A webhook's refusal, 500 for one that could not be asked, and that one has to be asked first.
    pub(super) fn mutate_by_webhooks(
        &self,
        call: &mut Call,
        r: &Review<'_>,
        mut object: Option<&mut Value>,
    ) -> Result<bool, Status> {
        if call.hooks.is_none() || r.resource.group == GROUP {
            return Ok(false);
        }
        let hooks = self.hooks(&MUTATING);
        let mut changed_any = false;
        // Those that were asked, want to see changes of others, and whether there were such since.
        let mut seen: Vec<(usize, bool)> = Vec::new();
        for round in 0..2 {
            for (i, hook) in hooks.iter().enumerate() {
                if round == 1 && !seen.iter().any(|(k, again)| *k == i && *again) {
                    continue;
                }
                let Some(m) = self.matched(hook, r, object.as_deref()) else {
                    continue;
                };
                let Some(said) = self.asked(call, &m, r, object.as_deref(), true)? else {
                    continue;
                };
                let mut changed = false;
                if let (Some(patch), Some(o)) = (&said.patch, object.as_deref_mut()) {
                    let new = self.patched(call, r, &m, o, patch)?;
                    changed = new != *o;
                    *o = new;
                }
                let note = json!({"configuration": text(&hook.configuration, "/metadata/name"), "webhook": hook.name(), "mutated": changed});
                call.annotations.insert(
                    format!("mutation.webhook.admission.k8s.io/round_{round}_index_{i}"),
                    note.to_string(),
                );
                if changed {
                    changed_any = true;
                    seen.iter_mut().for_each(|(_, again)| *again = true);
                }
                if text(hook.spec(), "/reinvocationPolicy") == "IfNeeded" && round == 0 {
                    seen.push((i, false));
                }
            }
        }
        Ok(changed_any)
    }

    /// The object with a webhook's patch, in the request's version again.
    fn patched(
        &self,
        call: &mut Call,
        r: &Review<'_>,
        m: &Matched<'_>,
        object: &Value,
        patch: &Value,
    ) -> Result<Value, Status> {
        let shown = self.in_version(call, r, m, Some(object))?.unwrap_or_default();
        let new = patch::json_patch(&shown, patch).map_err(Status::internal)?;
        if new["apiVersion"] == *r.resource.api_version || m.resource.api_version == r.resource.api_version {
            return Ok(new);
        }
        self.converted(call, &m.resource, new, &r.resource.api_version)
    }

    /// Lets validating webhooks refuse a request.
    ///
    /// # Errors
    /// As [`Server::mutate_by_webhooks`].
    pub(super) fn validate_by_webhooks(
        &self,
        call: &mut Call,
        r: &Review<'_>,
        object: Option<&Value>,
    ) -> Result<(), Status> {
        if call.hooks.is_none() || r.resource.group == GROUP {
            return Ok(());
        }
        let hooks = self.hooks(&VALIDATING);
        let mut first = Ok(());
        // All are asked at once, so the first refusal waits for what is to be asked still.
        for hook in &hooks {
            if let Some(m) = self.matched(hook, r, object) {
                let answer = self.asked(call, &m, r, object, false).map(drop);
                if first.is_ok() {
                    first = answer;
                }
            }
        }
        match &call.hooks {
            Some(h) if h.wants() => Err(ask_first()),
            _ => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_are_checked() {
        let check = |r: Value, mutating: bool| verify(&r, "v1", "u", mutating);
        assert!(
            check(review(json!({"uid": "u", "allowed": true})), true)
                .unwrap()
                .allowed
        );
        for (response, mutating, why) in [
            (
                json!({"uid": "v", "allowed": true}),
                true,
                "expected response.uid=\"u\", got \"v\"",
            ),
            (Value::Null, true, "webhook response was absent"),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10="}),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}),
                false,
                "validating webhook may not return response.patch",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "Merge"}),
                true,
                "webhook returned invalid response.patchType of \"Merge\"",
            ),
        ] {
            assert_eq!(check(review(response), mutating).unwrap_err(), why);
        }
        let other = json!({"apiVersion": "v1", "kind": "Pod"});
        assert_eq!(
            check(other, true).unwrap_err(),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod"
        );
    }

    #[test]
    fn refusals_say_who() {
        let says = |s: Value| {
            let d = denial("w.x.io", &s);
            (d.code, d.message)
        };
        let by = "admission webhook \"w.x.io\" denied the request";
        assert_eq!(says(Value::Null), (400, format!("{by} without explanation")));
        assert_eq!(says(json!({"message": "no", "code": 403})), (403, format!("{by}: no")));
        assert_eq!(says(json!({"reason": "Bad", "code": 200})), (400, format!("{by}: Bad")));
    }
}
