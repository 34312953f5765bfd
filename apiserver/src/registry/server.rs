//! The state of one API server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cfn_net::{Seed, SharedClock};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Catalog, Resource, rfc3339, text};
use crate::aggregator::Aggregation;
use crate::audit::Audit;
use crate::auth::Auth;
use crate::auth::signing::SigningKey;
use crate::defaults::AdmissionOptions;
use crate::local::NodeHook;
use crate::schema::{FieldError, not_registered};
use crate::status::{Cause, Status};
use crate::store::Store;
use crate::webhook::Caller;

/// What a server is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the cluster.
    pub name: String,
    /// Numbers of admission.
    pub admission: AdmissionOptions,
    /// The cluster's CA, PEM.
    pub ca_pem: String,
    /// The token of those that join; empty: none.
    pub bootstrap_token: String,
    /// Whether anybody may ask for health and version.
    pub allow_anonymous_health: bool,
}

/// Store, resources and everything else one API server consists of.
pub struct Server {
    /// What is stored.
    pub store: Store,
    /// Which resources there are.
    pub catalog: Catalog,
    /// Who may do what.
    pub auth: Auth,
    /// What custom resources are made from.
    pub definitions: crate::crd::Definitions,
    /// Wall time.
    pub clock: SharedClock,
    /// What it was given.
    pub settings: Settings,
    rng: Mutex<ChaCha8Rng>,
    /// Where ids of requests come from: not from where uids of objects do, which are the same for the same writes, however
    /// many only read.
    request_ids: Mutex<ChaCha8Rng>,
    /// When it began to serve.
    pub(crate) began: jiff::Timestamp,
    /// Who asks webhooks.
    caller: OnceLock<Caller>,
    /// Who did what.
    pub(crate) audit: OnceLock<Audit>,
    /// Revisions by time, so that lists end as etcd's compaction ends them.
    marks: Mutex<VecDeque<(jiff::Timestamp, u64)>>,
    hooks: Mutex<BTreeMap<String, Arc<dyn NodeHook>>>,
    /// Serialises the writes that read other objects first (addresses of services, definitions, disruption budgets).
    pub(super) exclusive: Mutex<()>,
    /// What is known of API servers behind this one.
    pub(crate) aggregation: Aggregation,
    /// Requests for resources that were answered, for /metrics.
    pub(crate) answered: Mutex<crate::http::Answered>,
}

/// Digits of a uid.
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Letters of generated suffixes (`k8s.io/apimachinery/pkg/util/rand`): no vowels, nothing that looks alike.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A version 4 UUID.
pub(crate) fn uuid(mut b: [u8; 16]) -> String {
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let mut text = String::with_capacity(36);
    for (i, byte) in b.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
    }
    text
}

impl Server {
    /// A server with what is in `store`, and what every cluster starts with where that is not there.
    /// `service_account_key` signs the tokens of service accounts.
    pub(crate) fn with_store(
        settings: Settings,
        clock: SharedClock,
        seed: Seed,
        store: Store,
        service_account_key: SigningKey,
    ) -> Arc<Self> {
        let server = Self::empty(settings, clock, seed, store, service_account_key);
        super::bootstrap::fill(&server);
        server
    }

    /// A server for tests, at a time that stands.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Arc<Self> {
        let settings = Settings {
            name: "c".to_owned(),
            admission: crate::defaults::AdmissionOptions::default(),
            ca_pem: String::new(),
            bootstrap_token: String::new(),
            allow_anonymous_health: true,
        };
        let clock = cfn_net::VirtualClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let seed = Seed(1);
        Self::with_store(
            settings,
            Arc::new(clock),
            seed,
            Store::default(),
            SigningKey::seeded(seed),
        )
    }

    /// As [`Server::with_store`], with what is in `store` alone.
    pub(super) fn empty(
        settings: Settings,
        clock: SharedClock,
        seed: Seed,
        store: Store,
        service_account_key: SigningKey,
    ) -> Arc<Self> {
        let auth = Auth::new(&settings, service_account_key);
        // A server that goes on must not draw the uids of its last life again.
        let seed = match store.revision() {
            1 => seed,
            r => seed.child(&r.to_string()),
        };
        let server = Arc::new(Self {
            store,
            catalog: Catalog::default(),
            definitions: crate::crd::Definitions::default(),
            auth,
            began: clock.now(),
            clock,
            rng: Mutex::new(seed.rng("apiserver")),
            request_ids: Mutex::new(seed.rng("requests")),
            caller: OnceLock::new(),
            audit: OnceLock::new(),
            settings,
            marks: Mutex::default(),
            hooks: Mutex::default(),
            exclusive: Mutex::new(()),
            aggregation: Aggregation::default(),
            answered: Mutex::default(),
        });
        crate::crd::changed(&server);
        server
    }

    fn with_rng<T>(&self, f: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        f(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How webhooks are asked; once.
    pub fn set_caller(&self, caller: Caller) {
        let _ = self.caller.set(caller);
    }

    pub(crate) fn caller(&self) -> Option<&Caller> {
        self.caller.get()
    }

    /// Where requests are written down; once.
    pub fn set_audit(&self, audit: Audit) {
        let _ = self.audit.set(audit);
    }

    /// A uid in the form of a version 4 UUID.
    pub(crate) fn uid(&self) -> String {
        uuid(self.with_rng(|r| r.random()))
    }

    /// The id of a request whose client has none for it.
    pub(crate) fn request_id(&self) -> String {
        uuid(self.request_ids.lock().unwrap_or_else(PoisonError::into_inner).random())
    }

    /// `base` with five letters behind it (`generateName`).
    pub(super) fn generated_name(&self, base: &str) -> String {
        // names.maxGeneratedNameLength
        let base: String = base.chars().take(58).collect();
        let suffix: String = self.with_rng(|r| {
            (0..5)
                .map(|_| char::from(SUFFIX_LETTERS[r.random_range(0..SUFFIX_LETTERS.len())]))
                .collect()
        });
        base + &suffix
    }

    /// The revision that was newest five minutes ago (kube-apiserver's `--etcd-compaction-interval`): lists of before
    /// are not continued. Asked for by lists in pages alone, and exact to half a minute.
    pub(super) fn compacted(&self) -> u64 {
        let now = self.clock.now();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |t: jiff::Timestamp| now.duration_since(t).as_secs();
        if marks.back().is_none_or(|(t, _)| age(*t) >= 30) {
            marks.push_back((now, self.store.revision()));
        }
        while marks.get(1).is_some_and(|(t, _)| age(*t) >= 300) {
            marks.pop_front();
        }
        marks.front().filter(|(t, _)| age(*t) >= 300).map_or(0, |(_, r)| *r)
    }

    /// A number below `n`.
    pub(super) fn random_below(&self, n: u32) -> u32 {
        self.with_rng(|r| r.random_range(0..n))
    }

    /// Now, as objects say it.
    pub(crate) fn now(&self) -> String {
        rfc3339(self.clock.now())
    }

    /// Where the pods on `node` are asked.
    pub fn set_node_hook(&self, node: &str, hook: Option<Arc<dyn NodeHook>>) {
        let mut hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        match hook {
            Some(h) => hooks.insert(node.to_owned(), h),
            None => hooks.remove(node),
        };
    }

    /// What was registered for `node`.
    #[must_use]
    pub fn node_hook(&self, node: &str) -> Option<Arc<dyn NodeHook>> {
        self.hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(node)
            .cloned()
    }
}

/// 422 with the errors' texts; nothing when there are none.
pub(super) fn refuse(r: &Resource, name: &str, errors: &[FieldError]) -> Result<(), Status> {
    if errors.is_empty() {
        return Ok(());
    }
    let causes = errors
        .iter()
        .map(|e| {
            // Go prints the path of the object itself so.
            let path = if e.path.is_empty() { "<nil>" } else { &e.path };
            Cause::new(e.reason(), path, e.message())
        })
        .collect();
    // Events are of one internal type, in the core group.
    let group = if r.is("events.k8s.io", "events") { "" } else { &r.group };
    Err(Status::invalid(group, &r.kind, name, causes))
}

/// 400 unless the object says it is of this resource's version and kind; says so where it says nothing.
pub(super) fn check_type(r: &Resource, v: &mut Value) -> Result<(), Status> {
    let Some(m) = v.as_object_mut() else {
        return Err(Status::bad_request(
            "the object provided is unrecognized (must be an object)",
        ));
    };
    let said = |k: &str| m.get(k).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (said("apiVersion"), said("kind"));
    // What nearly all say.
    if version == r.api_version && kind == r.kind {
        return Ok(());
    }
    if !version.is_empty() && version != r.api_version && r.custom.is_none() {
        let why = not_registered(version, kind);
        return Err(Status::not_handled(kind, version, &r.kind, &why));
    }
    if !version.is_empty() && version != r.api_version {
        return Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            r.api_version
        )));
    }
    if !kind.is_empty() && kind != r.kind && r.custom.is_some() {
        let cause = Cause::invalid("kind", &kind.into(), &format!("must be {}", r.kind));
        let name = m.get("metadata").map_or("", |m| text(m, "/name"));
        return Err(Status::invalid(&r.group, kind, name, vec![cause]));
    }
    if !kind.is_empty() && kind != r.kind {
        let why = "the kind does not match";
        return Err(Status::not_handled(kind, &r.version, &r.kind, why));
    }
    m.insert("apiVersion".into(), r.api_version.as_str().into());
    m.insert("kind".into(), r.kind.as_str().into());
    Ok(())
}
