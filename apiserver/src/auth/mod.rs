//! Who asks (certificates, tokens, impersonation) and what they may do (RBAC).

mod claims;
mod coverage;
mod delegated;
mod escalation;
mod flow;
mod impersonate;
mod rbac;
mod request_header;
mod review;
pub(crate) mod signing;
mod token;
mod x509;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::HeaderMap;
use jiff::Timestamp;

use crate::registry::{Server, Settings, User};
use crate::status::Status;
use signing::SigningKey;

pub(crate) use claims::{ISSUER, LEGACY_ISSUER};
use claims::{Remembered, TokenError};
pub use delegated::Delegate;
pub(crate) use flow::{FLOWS, LEVELS};
pub use rbac::Attributes;
pub(crate) use rbac::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES};
pub use request_header::RequestHeader;
pub(crate) use review::{is_review, review};

/// The state of authentication and authorisation.
pub struct Auth {
    ca: x509::ClientCa,
    /// Certificates seen, by their DER: who they name and until when.
    seen: Mutex<BTreeMap<Vec<u8>, Known>>,
    /// Signs service account tokens.
    pub(crate) key: Arc<SigningKey>,
    tokens: Remembered,
    bootstrap_token: String,
    /// By who asks, the way to act as another that was open last.
    ways: Mutex<BTreeMap<String, impersonate::Mode>>,
    rules: Mutex<Option<Arc<rbac::Rules>>>,
    flows: Mutex<Option<Arc<flow::Flows>>>,
    /// Who is believed about others; set once.
    pub(crate) request_header: OnceLock<RequestHeader>,
    /// Who says what users may do, where that is not this server; set once.
    pub(crate) delegate: OnceLock<Delegate>,
}

/// A certificate that was seen.
struct Known {
    /// Whom it names, as one who was asked.
    user: Arc<User>,
    when: x509::Validity,
}

/// How many certificates are remembered.
const SEEN: usize = 1024;

impl Auth {
    pub(crate) fn new(settings: &Settings, key: SigningKey) -> Self {
        Self {
            ca: x509::ClientCa::new(&settings.ca_pem),
            seen: Mutex::default(),
            key: Arc::new(key),
            tokens: Remembered::default(),
            bootstrap_token: settings.bootstrap_token.clone(),
            ways: Mutex::default(),
            rules: Mutex::default(),
            flows: Mutex::default(),
            request_header: OnceLock::new(),
            delegate: OnceLock::new(),
        }
    }

    /// The user a client certificate names, if this cluster's CA signed it.
    fn by_certificate(&self, der: &[u8], now: Timestamp) -> Option<Arc<User>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let valid = |known: &Known| known.when.has(now).then(|| known.user.clone());
        if let Some(known) = seen.get(der) {
            return valid(known);
        }
        let subject = self.ca.verify(der)?;
        let known = Known {
            user: Arc::new(authenticated(subject.user)),
            when: subject.when,
        };
        let user = valid(&known);
        if seen.len() >= SEEN {
            seen.clear();
        }
        seen.insert(der.to_vec(), known);
        user
    }
}

/// The user `name` with the group everybody known is in.
fn authenticated(mut user: User) -> User {
    if user.name != "system:anonymous" && !user.groups.iter().any(|g| g == "system:authenticated") {
        user.groups.push("system:authenticated".to_owned());
    }
    user
}

/// What a request says of a bearer token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer<'a> {
    /// One.
    Token(&'a str),
    /// One behind more than one space, which counts for nothing.
    Misplaced,
}

/// The token of a request's headers (`authentication/request/bearertoken`); other ways to say who asks are not known.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<Bearer<'_>> {
    let said = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?.trim();
    let parts: Vec<&str> = said.splitn(3, ' ').collect();
    match parts.as_slice() {
        [kind, ..] if !kind.eq_ignore_ascii_case("bearer") => None,
        [_, ""] | [_] | [] => None,
        [_, "", _] => Some(Bearer::Misplaced),
        [_, token, ..] => Some(Bearer::Token(token)),
    }
}

impl Server {
    /// Who sends a request with these headers, over a connection with this client certificate (DER).
    ///
    /// # Errors
    /// 401 when credentials are given and wrong.
    pub fn authenticate(&self, headers: &HeaderMap, certificate: Option<&[u8]>) -> Result<Arc<User>, Status> {
        if let Some(user) = certificate.and_then(|der| self.by_connection(headers, der)) {
            return Ok(user);
        }
        if let Some(Bearer::Token(token)) = bearer(headers) {
            return self.by_token(token).ok_or_else(Status::unauthorized);
        }
        if certificate.is_some() {
            return Err(Status::unauthorized());
        }
        Ok(Arc::new(User::new("system:anonymous", ["system:unauthenticated"])))
    }

    /// Whom a client certificate (DER) says a request is of: the front proxy's whomever the headers name, another one its
    /// own subject.
    pub(crate) fn by_connection(&self, headers: &HeaderMap, der: &[u8]) -> Option<Arc<User>> {
        let now = self.clock.now();
        let named = self
            .auth
            .request_header
            .get()
            .and_then(|trust| trust.user(headers, der, now));
        match named {
            Some(user) => Some(Arc::new(authenticated(user))),
            None => self.auth.by_certificate(der, now),
        }
    }

    /// Whom a bearer token names, and which of `audiences` it is for.
    ///
    /// # Errors
    /// Why it does not count.
    pub(crate) fn token_review(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), TokenError> {
        match self.bootstrapper(token) {
            // Such a token says nothing of whom it is for.
            Some(user) => Ok((user, audiences.to_vec())),
            None => {
                let (claims, audiences) = self.service_account(token, audiences)?;
                Ok((claims.user.clone(), audiences))
            }
        }
    }

    /// The user of the bootstrap token.
    fn bootstrapper(&self, token: &str) -> Option<User> {
        let id = token.split('.').next().unwrap_or_default();
        let good = !token.is_empty() && token == self.auth.bootstrap_token;
        good.then(|| User::new(format!("system:bootstrap:{id}"), ["system:bootstrappers"]))
    }

    /// The user a bearer token names, as one who asks.
    fn by_token(&self, token: &str) -> Option<Arc<User>> {
        if let Some(user) = self.bootstrapper(token) {
            return Some(Arc::new(authenticated(user)));
        }
        self.service_account(token, &[])
            .ok()
            .map(|(claims, _)| claims.asker.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bearer_tokens_say_who_asks() {
        let of = |s: &str| {
            let mut h = HeaderMap::new();
            h.insert(http::header::AUTHORIZATION, s.parse().unwrap());
            bearer(&h).map(|b| match b {
                Bearer::Token(t) => t.to_owned(),
                Bearer::Misplaced => "misplaced".to_owned(),
            })
        };
        for (said, token) in [
            ("Bearer x", Some("x")),
            ("bearer x", Some("x")),
            (" Bearer x y ", Some("x")),
            ("Bearer  x", Some("misplaced")),
            ("Bearer ", None),
            ("Basic eDp5", None),
            ("x", None),
        ] {
            assert_eq!(of(said).as_deref(), token, "{said}");
        }
    }
}
