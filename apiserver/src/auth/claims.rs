//! What a service account token says, and whether it counts (`k8s.io/kubernetes/pkg/serviceaccount`: `jwt.go`,
//! `claims.go`, `legacy.go`).
//!
//! Signature and claims of a token never change and are remembered. What it is bound to may go, and is looked at each time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::authenticated;
use super::signing::{PublicKey, Signed};
use crate::controllers::object::Object as _;
use crate::digest::sha256;
use crate::local::Gvr;
use crate::registry::{Server, User, text};
use crate::schema::{quote, quote_list};
use crate::store::Key;

pub(super) static PODS: Gvr = Gvr::new("", "v1", "pods");
pub(super) static SECRETS: Gvr = Gvr::new("", "v1", "secrets");
pub(super) static NODES: Gvr = Gvr::new("", "v1", "nodes");
pub(super) static ACCOUNTS: Gvr = Gvr::new("", "v1", "serviceaccounts");

/// `iss`, and the audience when none is asked for (`--service-account-issuer`, as kubeadm sets it).
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `iss` of the tokens in secrets (`LegacyIssuer`).
pub(crate) const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// Clocks may differ by so many seconds (`jwt.DefaultLeeway`); what was deleted counts as long.
const LEEWAY: i64 = 60;
/// How many tokens are remembered.
const REMEMBERED: usize = 1024;
/// Of how many bytes one is remembered at most: what a token says takes as much again, and whoever may ask for tokens says
/// whom they are for.
const LONGEST: usize = 8 * 1024;
/// The label of a secret whose token is no longer taken (`InvalidSinceLabelKey`).
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

/// Why a token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is no token, or somebody else's.
    #[error("invalid bearer token")]
    Foreign,
    /// It says that it was signed with another key.
    #[error("invalid signature, no keys found")]
    UnknownKey,
    /// Its signature is not one of the key's.
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    /// It is for others.
    #[error("token audiences {} is invalid for the target audiences {}", quote_list(.own), quote_list(.wanted))]
    Audiences {
        /// Whom it is for.
        own: Vec<String>,
        /// Whom it was to be for.
        wanted: Vec<String>,
    },
    /// It is too old.
    #[error("service account token has expired")]
    Expired,
    /// It does not count yet.
    #[error("service account token is not valid yet")]
    NotYet,
    /// Whoever made it has another time.
    #[error("service account token is issued in the future")]
    Future,
    /// A token of a secret without a claim that it needs.
    #[error("{0} claim is missing")]
    Missing(&'static str),
    /// The account is not there.
    #[error("serviceaccounts {} not found", quote(.0))]
    NoAccount(String),
    /// There is another account of that name now.
    #[error("service account UID ({is}) does not match claim ({claim})")]
    OtherAccount {
        /// The account's.
        is: String,
        /// The token's.
        claim: String,
    },
    /// The account is being deleted, for long.
    #[error("service account {0} has been deleted")]
    AccountDeleted(String),
    /// What it is bound to is gone.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// There is another object of the name that it is bound to.
    #[error("{kind} UID ({is}) does not match service account {} ref claim ({claim})", .kind.to_lowercase())]
    OtherObject {
        /// The object's kind, as it is said.
        kind: &'static str,
        /// The object's.
        is: String,
        /// The token's.
        claim: String,
    },
    /// The secret that it came from is gone.
    #[error("Token has been invalidated")]
    SecretGone,
    /// The secret has another one now.
    #[error("Token does not match server's copy")]
    Replaced,
    /// The secret is marked.
    #[error(
        "the token in secret {secret} for service account {account} has been marked invalid. Use tokens from the TokenRequest API or manually created secret-based tokens, or remove the '{}' label from the secret to temporarily allow use of this token",
        INVALID_SINCE
    )]
    Marked {
        /// The secret.
        secret: String,
        /// Its account.
        account: String,
    },
}

impl TokenError {
    /// As a TokenReview tells it: of all who were asked, one said this.
    pub(crate) fn of_review(&self) -> String {
        match self {
            Self::Foreign => self.to_string(),
            other => format!("[{}, {other}]", Self::Foreign),
        }
    }
}

/// What a token counts only as long as it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    Nothing,
    /// Kind as it is said, resource, name and UID.
    To(&'static str, &'static Gvr, String, String),
    /// The secret that has it.
    In(String),
}

/// What a token that this server signed says.
#[derive(Debug, PartialEq)]
pub(crate) struct Claims {
    /// Whom it is for.
    audiences: Vec<String>,
    issued: Option<i64>,
    not_before: Option<i64>,
    expires: Option<i64>,
    namespace: String,
    account: String,
    account_uid: String,
    bound: Bound,
    /// Whom it names.
    pub(super) user: User,
    /// The same as one who asks.
    pub(super) asker: Arc<User>,
}

/// `claims` must be signed.
fn read(claims: &Value) -> Result<Claims, TokenError> {
    let legacy = text(claims, "/iss") == LEGACY_ISSUER;
    let own = &claims["kubernetes.io"];
    let of = |pointer: &str| text(own, pointer).to_owned();
    let flat = |name: &str| {
        let key = format!("kubernetes.io/serviceaccount/{name}");
        claims[&key].as_str().unwrap_or_default().to_owned()
    };
    let (namespace, account, account_uid) = match legacy {
        false => (of("/namespace"), of("/serviceaccount/name"), of("/serviceaccount/uid")),
        true => (
            flat("namespace"),
            flat("service-account.name"),
            flat("service-account.uid"),
        ),
    };
    let bound = if legacy {
        let secret = flat("secret.name");
        for (name, value) in [
            ("namespace", &namespace),
            ("secretName", &secret),
            ("serviceAccountName", &account),
            ("serviceAccountUID", &account_uid),
        ] {
            if value.is_empty() {
                return Err(TokenError::Missing(name));
            }
        }
        Bound::In(secret)
    } else {
        // The node of a pod's token is only told.
        let kinds: [(&str, &str, &Gvr); 3] = [
            ("secret", "secret", &SECRETS),
            ("pod", "Pod", &PODS),
            ("node", "Node", &NODES),
        ];
        let to = kinds.into_iter().find(|(field, ..)| own[field].is_object());
        to.map_or(Bound::Nothing, |(field, kind, gvr)| {
            let uid = of(&format!("/{field}/uid"));
            Bound::To(kind, gvr, of(&format!("/{field}/name")), uid)
        })
    };
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
    ];
    let mut user = User::new(format!("system:serviceaccount:{namespace}:{account}"), groups);
    user.uid.clone_from(&account_uid);
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
    let mut audiences: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
    // Tokens of secrets say nothing of whom they are for.
    if audiences.is_empty() {
        audiences.push(ISSUER.to_owned());
    }
    Ok(Claims {
        audiences,
        issued: claims["iat"].as_i64(),
        not_before: claims["nbf"].as_i64(),
        expires: claims["exp"].as_i64(),
        namespace,
        account,
        account_uid,
        bound,
        asker: Arc::new(authenticated(user.clone())),
        user,
    })
}

impl Claims {
    /// Those of `wanted` (none: this server) that it is for.
    fn audiences(&self, wanted: &[String]) -> Result<Vec<String>, TokenError> {
        let api = [ISSUER.to_owned()];
        let wanted = if wanted.is_empty() { &api } else { wanted };
        let good: Vec<String> = wanted.iter().filter(|a| self.audiences.contains(a)).cloned().collect();
        match good.is_empty() {
            false => Ok(good),
            true => Err(TokenError::Audiences {
                own: self.audiences.clone(),
                wanted: wanted.to_vec(),
            }),
        }
    }

    /// Whether it counts at this time.
    fn in_time(&self, now: Timestamp) -> Result<(), TokenError> {
        let now = now.as_second();
        let after = |t: Option<i64>| t.is_some_and(|t| now + LEEWAY < t);
        if after(self.not_before) {
            return Err(TokenError::NotYet);
        }
        if self.expires.is_some_and(|t| now - LEEWAY > t) {
            return Err(TokenError::Expired);
        }
        if after(self.issued) {
            return Err(TokenError::Future);
        }
        Ok(())
    }
}

/// Tokens whose signature was looked at, by their hash: they themselves are kept nowhere.
#[derive(Default)]
pub(super) struct Remembered(Mutex<BTreeMap<[u8; 32], Arc<Claims>>>);

impl Remembered {
    /// What a token says that was signed with `key`.
    pub(super) fn claims(&self, token: &str, key: &PublicKey) -> Result<Arc<Claims>, TokenError> {
        if token.len() > LONGEST {
            return verified(token, key).map(Arc::new);
        }
        let hash = sha256([token]);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = known.get(&hash) {
            return Ok(claims.clone());
        }
        drop(known);
        let claims = Arc::new(verified(token, key)?);
        known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(hash, claims.clone());
        Ok(claims)
    }
}

fn verified(token: &str, key: &PublicKey) -> Result<Claims, TokenError> {
    let signed = Signed::read(token).ok_or(TokenError::Foreign)?;
    if ![ISSUER, LEGACY_ISSUER].contains(&text(&signed.claims, "/iss")) {
        return Err(TokenError::Foreign);
    }
    if !signed.key.is_empty() && signed.key != key.id() {
        return Err(TokenError::UnknownKey);
    }
    if !key.signed(&signed) {
        return Err(TokenError::Signature);
    }
    read(&signed.claims)
}

impl Server {
    /// What a token says, if this server signed it, it is in time and all is there that it stands for; and those of
    /// `audiences` (none: this server) that it is for.
    ///
    /// # Errors
    /// Why it does not count.
    pub(super) fn service_account(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(Arc<Claims>, Vec<String>), TokenError> {
        let claims = {
            // Without a key it signed nothing.
            let key = self.auth.key.public().map_err(|_| TokenError::UnknownKey)?;
            self.auth.tokens.claims(token, key)?
        };
        let audiences = claims.audiences(audiences)?;
        let now = self.clock.now();
        if let Bound::In(secret) = &claims.bound {
            self.is_in_secret(&claims, token, secret)?;
            self.has_account(&claims, now)?;
            return Ok((claims, audiences));
        }
        claims.in_time(now)?;
        self.has_account(&claims, now)?;
        if let Bound::To(kind, gvr, name, uid) = &claims.bound {
            let ns = if *kind == "Node" { "" } else { &claims.namespace };
            let object = self
                .store
                .get(gvr, &Key::new(ns, name))
                .ok_or(TokenError::Invalidated)?;
            let object = object.value();
            if object.uid() != uid {
                return Err(TokenError::OtherObject {
                    kind,
                    is: object.uid().to_owned(),
                    claim: uid.clone(),
                });
            }
            if is_deleted(&object, now) {
                return Err(TokenError::Invalidated);
            }
        }
        Ok((claims, audiences))
    }

    fn has_account(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        let account = self
            .store
            .get(&ACCOUNTS, &Key::new(&claims.namespace, &claims.account))
            .ok_or_else(|| TokenError::NoAccount(claims.account.clone()))?;
        let account = account.value();
        if account.uid() != claims.account_uid {
            return Err(TokenError::OtherAccount {
                is: account.uid().to_owned(),
                claim: claims.account_uid.clone(),
            });
        }
        match is_deleted(&account, now) {
            true => Err(TokenError::AccountDeleted(format!(
                "{}/{}",
                claims.namespace, claims.account
            ))),
            false => Ok(()),
        }
    }

    /// A token of a secret counts as long as the secret has it.
    fn is_in_secret(&self, claims: &Claims, token: &str, name: &str) -> Result<(), TokenError> {
        let secret = self.store.get(&SECRETS, &Key::new(&claims.namespace, name));
        let secret = secret.ok_or(TokenError::SecretGone)?.value();
        if secret.deleting() {
            return Err(TokenError::SecretGone);
        }
        let kept = STANDARD.decode(secret.text("/data/token")).unwrap_or_default();
        if kept != token.as_bytes() {
            return Err(TokenError::Replaced);
        }
        match secret.label(INVALID_SINCE).is_some_and(|l| !l.is_empty()) {
            true => Err(TokenError::Marked {
                secret: format!("{}/{name}", claims.namespace),
                account: format!("{}/{}", claims.namespace, claims.account),
            }),
            false => Ok(()),
        }
    }
}

/// Whether an object should be gone by now.
fn is_deleted(object: &Value, now: Timestamp) -> bool {
    object
        .time("/metadata/deletionTimestamp")
        .is_some_and(|t| t.as_second() < now.as_second() - LEEWAY)
}

#[cfg(test)]
mod tests {
    use cfn_net::Seed;
    use serde_json::json;

    use super::super::signing::SigningKey;
    use super::*;

    fn claims(more: &Value) -> Value {
        let mut c = json!({"iss": ISSUER, "aud": ["a"], "iat": 1000, "nbf": 1000, "exp": 2000,
            "kubernetes.io": {"namespace": "n", "serviceaccount": {"name": "s", "uid": "u"}}});
        for (k, v) in more.as_object().unwrap() {
            c[k] = v.clone();
        }
        c
    }

    #[test]
    fn signatures_are_looked_at_before_anything_is_believed() {
        let (key, other) = (SigningKey::seeded(Seed(1)), SigningKey::seeded(Seed(2)));
        let known = Remembered::default();
        let of = |token: &str| known.claims(token, key.public().unwrap()).map(|c| c.user.name.clone());
        let good = key.sign(&claims(&json!({}))).unwrap();
        let name = Ok("system:serviceaccount:n:s".to_owned());
        assert_eq!((of(&good), of(&good)), (name.clone(), name));
        assert_eq!(known.0.lock().unwrap().len(), 1);
        let strange = key.sign(&claims(&json!({"iss": "https://example.com"}))).unwrap();
        let (head, signature) = good.rsplit_once('.').unwrap();
        let cut = format!("{head}.{}", &signature[..8]);
        let legacy = key.sign(&json!({"iss": LEGACY_ISSUER, "sub": "x"})).unwrap();
        for (token, why) in [
            ("", TokenError::Foreign),
            ("a.b.c", TokenError::Foreign),
            (strange.as_str(), TokenError::Foreign),
            (&other.sign(&claims(&json!({}))).unwrap(), TokenError::UnknownKey),
            (&cut, TokenError::Signature),
            (&legacy, TokenError::Missing("namespace")),
        ] {
            assert_eq!(of(token), Err(why), "{token}");
        }
        let long = key.sign(&claims(&json!({"aud": ["a".repeat(LONGEST)]}))).unwrap();
        assert!(of(&long).is_ok());
        assert_eq!(
            known.0.lock().unwrap().len(),
            1,
            "only what counts, and is short, is remembered"
        );
    }

    #[test]
    fn audiences_and_times() {
        let c = read(&claims(&json!({}))).unwrap();
        let wanted = |list: &[&str]| c.audiences(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(wanted(&["b", "a"]), Ok(vec!["a".to_owned()]));
        assert_eq!(
            wanted(&["b"]).unwrap_err().of_review(),
            "[invalid bearer token, token audiences [\"a\"] is invalid for the target audiences [\"b\"]]"
        );
        assert!(wanted(&[]).is_err(), "it is not for this server");
        let at = |second| c.in_time(Timestamp::from_second(second).unwrap());
        for (second, expected) in [
            (939, Err(TokenError::NotYet)),
            (940, Ok(())),
            (2060, Ok(())),
            (2061, Err(TokenError::Expired)),
        ] {
            assert_eq!(at(second), expected, "{second}");
        }
    }

    #[test]
    fn what_tokens_are_bound_to() {
        let pod = json!({"name": "p", "uid": "1"});
        let node = json!({"name": "m", "uid": "2"});
        for (own, bound) in [
            (json!({}), Bound::Nothing),
            (
                json!({"pod": pod, "node": node}),
                Bound::To("Pod", &PODS, "p".into(), "1".into()),
            ),
            (json!({"node": node}), Bound::To("Node", &NODES, "m".into(), "2".into())),
        ] {
            let mut c = claims(&json!({}));
            for (k, v) in own.as_object().unwrap() {
                c["kubernetes.io"][k] = v.clone();
            }
            assert_eq!(read(&c).unwrap().bound, bound);
        }
    }
}
