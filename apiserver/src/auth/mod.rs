//! Who asks (certificates, tokens, impersonation) and what they may do (RBAC).

mod impersonate;
mod rbac;
mod review;
mod token;
mod x509;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::Seed;
use http::HeaderMap;
use jiff::Timestamp;
use rand::RngExt;

use crate::registry::{Server, Settings, User};
use crate::status::Status;

pub use rbac::Attributes;
pub(crate) use review::review;

/// The state of authentication and authorisation.
pub struct Auth {
    ca: x509::ClientCa,
    /// Certificates seen, by their DER: who they name and until when.
    seen: Mutex<BTreeMap<Vec<u8>, x509::Subject>>,
    /// Signs service account tokens.
    key: [u8; 32],
    bootstrap_token: String,
    rules: Mutex<Option<Arc<rbac::Rules>>>,
}

/// How many certificates are remembered.
const SEEN: usize = 1024;

impl Auth {
    /// The key of a run that must be repeatable: no secret.
    pub(crate) fn seeded_key(seed: Seed) -> [u8; 32] {
        seed.rng("service account key").random()
    }

    pub(crate) fn new(settings: &Settings, key: [u8; 32]) -> Self {
        Self {
            ca: x509::ClientCa::new(&settings.ca_pem),
            seen: Mutex::default(),
            key,
            bootstrap_token: settings.bootstrap_token.clone(),
            rules: Mutex::default(),
        }
    }

    /// The user a client certificate names, if this cluster's CA signed it.
    fn by_certificate(&self, der: &[u8], now: Timestamp) -> Option<User> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.contains_key(der) {
            let subject = self.ca.verify(der)?;
            if seen.len() >= SEEN {
                seen.clear();
            }
            seen.insert(der.to_vec(), subject);
        }
        seen.get(der).filter(|s| s.valid_at(now)).map(|s| s.user.clone())
    }
}

/// The user `name` with the group everybody known is in.
fn authenticated(mut user: User) -> User {
    if user.name != "system:anonymous" && !user.groups.iter().any(|g| g == "system:authenticated") {
        user.groups.push("system:authenticated".to_owned());
    }
    user
}

impl Server {
    /// Who sends a request with these headers, over a connection with this client certificate (DER).
    ///
    /// # Errors
    /// 401 when credentials are given and wrong.
    pub fn authenticate(&self, headers: &HeaderMap, certificate: Option<&[u8]>) -> Result<User, Status> {
        if let Some(user) = certificate.and_then(|der| self.auth.by_certificate(der, self.clock.now())) {
            return Ok(authenticated(user));
        }
        if let Some(a) = headers.get(http::header::AUTHORIZATION) {
            let token = a
                .to_str()
                .ok()
                .and_then(|s| s.strip_prefix("Bearer "))
                .map(str::trim)
                .unwrap_or_default();
            return self.by_token(token).map(authenticated).ok_or_else(Status::unauthorized);
        }
        if certificate.is_some() {
            return Err(Status::unauthorized());
        }
        Ok(User::new("system:anonymous", ["system:unauthenticated"]))
    }

    /// The user a bearer token names.
    pub(crate) fn by_token(&self, token: &str) -> Option<User> {
        if token.is_empty() {
            return None;
        }
        if token == self.auth.bootstrap_token {
            let id = token.split('.').next().unwrap_or_default();
            return Some(User::new(format!("system:bootstrap:{id}"), ["system:bootstrappers"]));
        }
        self.service_account(token)
    }
}
