//! Tokens of service accounts that live in secrets (`pkg/controller/serviceaccount/tokens_controller.go`): each secret of
//! that type is given one, and goes with its account.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::manager::{Controller, Now, Plan};
use super::object::Object;
use super::world::{Key, World, gvr};
use crate::auth::LEGACY_ISSUER;
use crate::auth::signing::SigningKey;
use crate::local::{EventKind, WatchEvent};

/// The type of such a secret.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Its annotations: whose it is.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

pub(crate) struct AccountTokens {
    ca: String,
    key: Arc<SigningKey>,
}

impl AccountTokens {
    pub(crate) fn new(ca: &str, key: Arc<SigningKey>) -> Self {
        Self {
            ca: STANDARD.encode(ca),
            key,
        }
    }

    /// The secret with all that it should have; `None`: it has it.
    fn filled(&self, secret: &Value, account: &Value) -> Option<Value> {
        let lacks = [
            (
                "ca.crt",
                secret.at("/data").is_none_or(|d| d["ca.crt"] != self.ca.as_str()),
            ),
            ("namespace", secret.text("/data/namespace").is_empty()),
            ("token", secret.text("/data/token").is_empty()),
        ];
        if !lacks.iter().any(|(_, lacks)| *lacks) {
            return None;
        }
        let mut filled = secret.clone();
        for key in lacks.iter().filter(|(_, lacks)| *lacks).map(|(key, _)| *key) {
            filled["data"][key] = match key {
                "ca.crt" => json!(self.ca),
                "namespace" => json!(STANDARD.encode(secret.namespace())),
                // A key that does not sign is none of a working machine; the next change tries again.
                _ => json!(STANDARD.encode(self.key.sign(&claims(secret, account)).ok()?)),
            };
        }
        filled["metadata"]["annotations"][ACCOUNT] = json!(account.name());
        filled["metadata"]["annotations"][ACCOUNT_UID] = json!(account.uid());
        Some(filled)
    }
}

/// `LegacyClaims`: they neither end nor say whom they are for.
fn claims(secret: &Value, account: &Value) -> Value {
    let (namespace, name) = (account.namespace(), account.name());
    json!({"iss": LEGACY_ISSUER, "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret.name(),
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid()})
}

fn is_token(secret: &Value) -> bool {
    secret.text("/type") == TYPE
}

/// Whether a secret is of this account, or of whichever has its name where it does not say which.
fn is_of(secret: &Value, account: &Value) -> bool {
    let uid = secret.annotation(ACCOUNT_UID).unwrap_or_default();
    secret.annotation(ACCOUNT) == Some(account.name()) && (uid.is_empty() || uid == account.uid())
}

impl Controller for AccountTokens {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::SECRETS && is_token(&e.object) {
            queue.insert(Key::of(&e.object));
        } else if e.gvr == gvr::SERVICE_ACCOUNTS && e.kind != EventKind::Modified {
            let all = world.list_in(&gvr::SECRETS, e.object.namespace());
            queue.extend(all.filter(|s| is_token(s) && is_of(s, &e.object)).map(|s| Key::of(&s)));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, _: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(secret) = world.get(&gvr::SECRETS, &key.ns, &key.name) else {
            // Accounts do not name what is gone.
            for account in world.list_in(&gvr::SERVICE_ACCOUNTS, &key.ns) {
                let is_it = |reference: &Value| reference.text("/name") == &*key.name;
                if account.items("/secrets").iter().any(is_it) {
                    let mut without = (*account).clone();
                    let left: Vec<&Value> = account.items("/secrets").iter().filter(|r| !is_it(r)).collect();
                    without["secrets"] = json!(left);
                    plan.update(&gvr::SERVICE_ACCOUNTS, without);
                }
            }
            return plan;
        };
        if !is_token(&secret) || secret.deleting() {
            return plan;
        }
        let name = secret.annotation(ACCOUNT).unwrap_or_default();
        match world.get(&gvr::SERVICE_ACCOUNTS, &key.ns, name) {
            Some(account) if is_of(&secret, &account) => {
                if let Some(filled) = self.filled(&secret, &account) {
                    plan.update(&gvr::SECRETS, filled);
                }
            }
            _ => plan.delete(&gvr::SECRETS, &secret),
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use cfn_net::Seed;

    use super::*;

    #[test]
    fn secrets_are_filled_once() {
        let tokens = AccountTokens::new("CA", Arc::new(SigningKey::seeded(Seed(1))));
        let secret = json!({"metadata": {"name": "t", "namespace": "n", "annotations": {ACCOUNT: "a"}}, "type": TYPE});
        let account = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}});
        let filled = tokens.filled(&secret, &account).unwrap();
        assert_eq!(filled.annotation(ACCOUNT_UID), Some("u"));
        assert_eq!(filled["data"]["ca.crt"], "Q0E=");
        assert_eq!(filled["data"]["namespace"], "bg==");
        assert_eq!(tokens.filled(&filled, &account), None);
        let mut stale = filled.clone();
        stale["data"]["ca.crt"] = json!("");
        assert_eq!(tokens.filled(&stale, &account), Some(filled.clone()), "the token stays");
        let other = json!({"metadata": {"name": "a", "namespace": "n", "uid": "v"}});
        assert!(is_of(&secret, &other) && !is_of(&filled, &other));
    }
}
