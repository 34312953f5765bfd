//! Service account tokens that are asked for (`serviceaccounts/token`; `pkg/registry/core/serviceaccount/storage/token.go`).

use std::sync::Arc;

use serde_json::{Value, json};

use super::claims::{ACCOUNTS, ISSUER, NODES, PODS, SECRETS};
use crate::digest::sha256;
use crate::registry::{Call, Server, group_version, rfc3339, text, uuid};
use crate::schema::{SchemaRef, quote};
use crate::status::{Cause, Status};
use crate::store::{Key, Object};

impl Server {
    /// Answers a TokenRequest for a service account (`serviceaccounts/token`).
    pub(crate) fn token_request(&self, call: &Call, ns: &str, name: &str, request: &Value) -> Result<Value, Status> {
        let invalid = |of: &str, field: &str, value: &Value, detail: &str| {
            let cause = Cause::invalid(field, value, detail);
            Err(Status::invalid(
                "authentication.k8s.io",
                "TokenRequest",
                of,
                vec![cause],
            ))
        };
        for (field, own) in [("name", name), ("namespace", ns)] {
            let said = &request["metadata"][field];
            if said.as_str().is_some_and(|s| !s.is_empty() && s != own) {
                let detail = format!("must match the service account {field} if specified");
                return invalid(name, &format!("metadata.{field}"), said, &detail);
            }
        }
        let account = self
            .store
            .get(&ACCOUNTS, &Key::new(ns, name))
            .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
        let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let detail = match seconds {
            ..600 => "may not specify a duration less than 10 minutes",
            4_294_967_297.. => "may not specify a duration larger than 2^32 seconds",
            _ => "",
        };
        if !detail.is_empty() {
            return invalid("", "spec.expirationSeconds", &json!(seconds), detail);
        }
        let now = self.clock.now();
        let until = now + jiff::SignedDuration::from_secs(seconds);
        let audiences = match request["spec"]["audiences"].as_array() {
            Some(a) if !a.is_empty() => json!(a),
            _ => json!([ISSUER]),
        };
        let mut own =
            json!({"namespace": ns, "serviceaccount": {"name": name, "uid": text(&account.value(), "/metadata/uid")}});
        let bound = &request["spec"]["boundObjectRef"];
        if let Some((field, object)) = self.bound_object(ns, name, bound)? {
            own[field] = json!({"name": object.name(), "uid": object.value()["metadata"]["uid"]});
            let object = object.value();
            let node = match field {
                "pod" => text(&object, "/spec/nodeName"),
                _ => "",
            };
            if let Some(n) = self.store.get(&NODES, &Key::new("", node)) {
                own["node"] = json!({"name": node, "uid": n.value()["metadata"]["uid"]});
            }
        }
        let mut claims = json!({"iss": ISSUER, "aud": audiences, "iat": now.as_second(), "nbf": now.as_second(), "exp": until.as_second(),
            "sub": format!("system:serviceaccount:{ns}:{name}"), "kubernetes.io": own});
        // Of what it says, so that a run can be repeated.
        let mut id = [0; 16];
        id.copy_from_slice(&sha256([claims.to_string()])[..16]);
        claims["jti"] = json!(uuid(id));
        let token = self.auth.key.sign(&claims).map_err(Status::internal)?;
        let mut spec = request["spec"].clone();
        spec["expirationSeconds"] = json!(seconds);
        let mut v = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "metadata": {"name": name, "namespace": ns, "creationTimestamp": rfc3339(now), "uid": claims["jti"]},
            "spec": spec});
        let schema =
            SchemaRef::for_gvk("authentication.k8s.io", "v1", "TokenRequest").unwrap_or_else(SchemaRef::opaque);
        crate::patch::track_update(None, &mut v, &call.manager, "token", &schema, &self.now(), &[]);
        v["spec"]["audiences"] = audiences;
        // What Go writes always.
        if v["spec"].get("boundObjectRef").is_none() {
            v["spec"]["boundObjectRef"] = Value::Null;
        }
        v["status"] = json!({"token": token, "expirationTimestamp": rfc3339(until)});
        Ok(v)
    }

    /// What a token is good only as long as it is there: the claim's field, and the object.
    fn bound_object(&self, ns: &str, account: &str, to: &Value) -> Result<Option<(&'static str, Arc<Object>)>, Status> {
        if to.is_null() {
            return Ok(None);
        }
        let (version, kind, name) = (text(to, "/apiVersion"), text(to, "/kind"), text(to, "/name"));
        let (group, plain) = group_version(version);
        let (field, plural, store, ns) = match (group, kind) {
            ("", "Pod") => ("pod", "pods", &PODS, ns),
            ("", "Secret") => ("secret", "secrets", &SECRETS, ns),
            ("", "Node") => ("node", "nodes", &NODES, ""),
            _ => {
                let why = format!("cannot bind token to object of type {group}/{plain}, Kind={kind}");
                return Err(Status::bad_request(why));
            }
        };
        if name.is_empty() {
            return Err(Status::bad_request("Name parameter required."));
        }
        let object = self
            .store
            .get(store, &Key::new(ns, name))
            .ok_or_else(|| Status::not_found("", plural, name))?;
        let uid = text(to, "/uid");
        if !uid.is_empty() && uid != text(&object.value(), "/metadata/uid") {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict("", kind, name, &why));
        }
        let value = object.value();
        let own = match text(&value, "/spec/serviceAccountName") {
            "" => "default",
            own => own,
        };
        if field == "pod" && own != account {
            let why = format!(
                "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
                quote(account)
            );
            return Err(Status::bad_request(why));
        }
        Ok(Some((field, object)))
    }
}
