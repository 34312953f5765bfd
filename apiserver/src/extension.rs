//! An extension API server (`k8s.io/apiserver` as `k8s.io/sample-apiserver` sets it up): it serves the resources of the
//! definitions that it is made of and nothing else, behind the aggregator of another API server, which says who asks
//! (`requestheader`), what they may do (`SubjectAccessReview`) and which namespaces there are.

use std::sync::Arc;

use bytes::Bytes;
use cfn_net::{Seed, SharedClock};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::auth::signing::SigningKey;
use crate::auth::{Bearer, Delegate, RequestHeader, bearer};
use crate::defaults::AdmissionOptions;
use crate::http::{Answer, failure, handle};
use crate::local::Gvr;
use crate::registry::{Call, DeleteOptions, Server, Settings};
use crate::status::Status;
use crate::store::{Key, Store};

const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const NAMESPACES: Gvr = Gvr::new("", "v1", "namespaces");

/// Why an extension server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The other server does not say whom to believe: it could not be asked, or who asks may not read it.
    #[error("Unable to get configmap/extension-apiserver-authentication in kube-system: {0}")]
    Trust(#[from] kube::Error),
    /// A definition that it is made of is wrong.
    #[error("{0}")]
    Definition(#[from] Status),
}

/// An extension server.
#[derive(Clone)]
pub struct Extension {
    server: Arc<Server>,
    main: kube::Client,
    delegate: Delegate,
    client_cas: Arc<str>,
}

/// The names of a list in a text of JSON.
fn names(data: &Value, key: &str) -> Vec<String> {
    let text = data[key].as_str().unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

impl Extension {
    /// One of these `definitions` (CustomResourceDefinitions), with nothing stored, behind the server that `main` asks.
    ///
    /// # Errors
    /// [`ExtensionError`].
    pub async fn start(
        main: kube::Client,
        definitions: Vec<Value>,
        clock: SharedClock,
        seed: Seed,
    ) -> Result<Self, ExtensionError> {
        let trust: Value = main
            .request(Request::get(TRUST).body(Vec::new()).map_err(kube::Error::HttpError)?)
            .await?;
        let data = &trust["data"];
        let pem = |key: &str| data[key].as_str().unwrap_or_default().to_owned();
        let (own, front) = (pem("client-ca-file"), pem("requestheader-client-ca-file"));
        let settings = Settings {
            name: "extension".to_owned(),
            admission: AdmissionOptions::default(),
            ca_pem: own.clone(),
            bootstrap_token: String::new(),
            allow_anonymous_health: true,
        };
        // It gives out no tokens: the key is nobody's.
        let (key, _) = SigningKey::generate().map_err(Status::internal)?;
        let server = Server::with_store(settings, clock, seed, Store::default(), key);
        server.catalog.hide_builtin();
        let allowed = names(data, "requestheader-allowed-names");
        let _ = server.auth.request_header.set(RequestHeader::new(&front, allowed));
        let delegate = Delegate::new(main.clone());
        let _ = server.auth.delegate.set(delegate.clone());
        let of = server
            .catalog
            .of_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition");
        let of = of.ok_or_else(Status::no_such_path)?;
        for d in definitions {
            server.create(&mut Call::internal("extension"), &of, "", None, d)?;
        }
        Ok(Self {
            server,
            main,
            delegate,
            client_cas: [own, front].concat().into(),
        })
    }

    /// Who may sign certificates of its clients, PEM.
    #[must_use]
    pub fn client_cas(&self) -> &str {
        &self.client_cas
    }

    /// Answers a request.
    pub async fn handle<B>(&self, mut request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<tower::BoxError>,
    {
        // Tokens are the other server's.
        if let Some(Bearer::Token(token)) = bearer(request.headers()) {
            match self.delegate.authenticate(token).await {
                Ok(user) => drop(request.extensions_mut().insert(Arc::new(user))),
                Err(s) => return failure(&s),
            }
        }
        let writes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
        if let Some(ns) = namespace(request.uri().path()).filter(|_| writes)
            && let Err(s) = self.follow(ns).await
        {
            return failure(&s);
        }
        handle(self.server.clone(), request).await
    }

    /// Has the namespace here if, and only if, the other server has it (`NamespaceLifecycle`'s look-up).
    async fn follow(&self, ns: &str) -> Result<(), Status> {
        let there = Request::get(format!("/api/v1/namespaces/{ns}")).body(Vec::new());
        let there = there.map_err(Status::internal)?;
        let there = match self.main.request::<Value>(there).await {
            Ok(_) => true,
            Err(kube::Error::Api(e)) if e.code == 404 => false,
            Err(e) => return Err(Status::internal(e)),
        };
        let here = self.server.store.get(&NAMESPACES, &Key::new("", ns)).is_some();
        let of = self.server.catalog.of_kind("v1", "Namespace");
        let of = of.ok_or_else(Status::no_such_path)?;
        let mut call = Call::internal("extension");
        let done = match (there, here) {
            (true, false) => self
                .server
                .create(&mut call, &of, "", None, json!({"metadata": {"name": ns}}))
                .map(drop),
            (false, true) => self
                .server
                .delete(&mut call, &of, "", ns, &DeleteOptions::default())
                .map(drop),
            _ => Ok(()),
        };
        // Two requests may have found the same.
        match done {
            Err(e) if !e.is_already_exists() && !e.is_not_found() => Err(e),
            _ => Ok(()),
        }
    }
}

/// The namespace that a path of a resource names.
fn namespace(path: &str) -> Option<&str> {
    let mut parts = path.strip_prefix("/apis/")?.split('/').skip(2);
    let ns = parts.next().filter(|p| *p == "namespaces").and_then(|_| parts.next())?;
    (!ns.is_empty() && parts.next().is_some()).then_some(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_of_paths() {
        for (path, ns) in [
            ("/apis/g/v1/namespaces/a/things", Some("a")),
            ("/apis/g/v1/namespaces/a/things/b", Some("a")),
            ("/apis/g/v1/namespaces/a", None),
            ("/apis/g/v1/things/a/b", None),
            ("/api/v1/namespaces/a/pods", None),
        ] {
            assert_eq!(namespace(path), ns, "{path}");
        }
    }
}
