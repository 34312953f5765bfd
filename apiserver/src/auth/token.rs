//! Service account tokens: JSON web tokens with HMAC-SHA256 under a key that only this server has. Real clusters sign
//! with a key pair, so that others can check; here only the API server does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::local::Gvr;
use crate::registry::{Call, Server, User, group_version, rfc3339, text};
use crate::schema::{SchemaRef, quote};
use crate::status::{Cause, Status};
use crate::store::{Key, Object};
use std::sync::Arc;

const PODS: Gvr = Gvr::new("", "v1", "pods");
const SECRETS: Gvr = Gvr::new("", "v1", "secrets");
const NODES: Gvr = Gvr::new("", "v1", "nodes");
const ACCOUNTS: Gvr = Gvr::new("", "v1", "serviceaccounts");
/// `iss` and the audience when none is asked for.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// What is said of a token that is none.
const INVALID: &str = "invalid bearer token";

/// RFC 2104.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |x: u8| {
        let mut block = [x; 64];
        key.iter().zip(&mut block).for_each(|(k, b)| *b ^= k);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

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
        // Of what it says: the same for the same request at the same second, as all of a token here is.
        let id = hmac(&self.auth.key, claims.to_string().as_bytes());
        let id: String = id.iter().take(16).map(|b| format!("{b:02x}")).collect();
        let (a, b, c, d, e) = (&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
        claims["jti"] = json!(format!("{a}-{b}-{c}-{d}-{e}"));
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "HS256", "typ": "JWT"})), encode(&claims));
        let token = format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(hmac(&self.auth.key, signed.as_bytes()))
        );
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

    /// The service account a token names, if this server signed it, it is in time and the account is still that one;
    /// and those of `audiences` (none: this server) that it is for.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn service_account(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), String> {
        let (user, own) = self.signed_for(token).ok_or_else(|| INVALID.to_owned())?;
        let api = [ISSUER.to_owned()];
        let wanted = if audiences.is_empty() { &api } else { audiences };
        let good: Vec<String> = wanted.iter().filter(|a| own.contains(a)).cloned().collect();
        match good.is_empty() {
            false => Ok((user, good)),
            true => Err(format!(
                "[{INVALID}, token audiences {} is invalid for the target audiences {}]",
                quoted(&own),
                quoted(wanted)
            )),
        }
    }

    /// Whom a token names, and whom it is for.
    fn signed_for(&self, token: &str) -> Option<(User, Vec<String>)> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let expected = hmac(&self.auth.key, signed.as_bytes());
        // Every byte is looked at whatever the first difference is.
        let same = signature.len() == 32 && signature.iter().zip(&expected).fold(0, |d, (a, b)| d | (a ^ b)) == 0;
        if !same {
            return None;
        }
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?).ok()?;
        if claims["exp"].as_i64()? <= self.clock.now().as_second() {
            return None;
        }
        let own = &claims["kubernetes.io"];
        let (ns, name) = (text(own, "/namespace"), text(own, "/serviceaccount/name"));
        let account = self.store.get(&ACCOUNTS, &Key::new(ns, name))?;
        let uid = text(own, "/serviceaccount/uid");
        if text(&account.value(), "/metadata/uid") != uid {
            return None;
        }
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{ns}"),
        ];
        let mut user = User::new(format!("system:serviceaccount:{ns}:{name}"), groups);
        user.uid = uid.to_owned();
        for (of, field) in [("pod", "name"), ("pod", "uid"), ("node", "name"), ("node", "uid")] {
            if let Some(v) = own[of][field].as_str() {
                user.extra
                    .insert(format!("authentication.kubernetes.io/{of}-{field}"), vec![v.to_owned()]);
            }
        }
        if let Some(id) = claims["jti"].as_str() {
            let key = "authentication.kubernetes.io/credential-id".to_owned();
            user.extra.insert(key, vec![format!("JTI={id}")]);
        }
        let audiences = claims["aud"].as_array().into_iter().flatten();
        Some((user, audiences.filter_map(Value::as_str).map(str::to_owned).collect()))
    }
}

/// A list of texts as Go's `%q` prints it.
fn quoted(list: &[String]) -> String {
    let all: Vec<String> = list.iter().map(|t| crate::schema::quote(t)).collect();
    format!("[{}]", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        // Test case 1 of RFC 4231 has a key of 20 bytes 0x0b; zeros behind it change nothing.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let hex: String = hmac(&key, b"Hi There").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }
}
