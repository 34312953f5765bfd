//! An extension API server (`k8s.io/apiserver` as `k8s.io/sample-apiserver` sets it up): it serves the resources of the
//! definitions that it is made of and nothing else, behind the aggregator of another API server, which says who asks
//! (`requestheader`), what they may do (`SubjectAccessReview`) and which namespaces there are.

use std::sync::Arc;

use bytes::Bytes;
use cfn_net::server::PeerCert;
use cfn_net::{Seed, SharedClock};
use http::Request;
use serde_json::Value;

use crate::auth::signing::SigningKey;
use crate::auth::{Bearer, Delegate, RequestHeader, bearer};
use crate::defaults::AdmissionOptions;
use crate::http::{Answer, failure, handle};
use crate::registry::{Call, Server, Settings};
use crate::status::Status;
use crate::store::Store;

const TRUST: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

/// Why an extension server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// The other server does not say whom to believe: it could not be asked, or who asks may not read it.
    #[error("Unable to get configmap/extension-apiserver-authentication in kube-system: {0}")]
    Trust(#[from] kube::Error),
    /// The other server says whom to believe about others in a way that cannot be read.
    #[error("unable to load configmap based request-header-client-ca-file: {0}")]
    RequestHeader(#[from] serde_json::Error),
    /// A definition that it is made of is wrong.
    #[error("{0}")]
    Definition(#[from] Status),
}

/// An extension server.
#[derive(Clone)]
pub struct Extension {
    server: Arc<Server>,
    delegate: Delegate,
    client_cas: Arc<str>,
}

/// The names of a list in a text of JSON, or of none (`deserializeStrings`). One that cannot be read is not taken for
/// empty: that would be anybody.
fn names(data: &Value, key: &str) -> Result<Vec<String>, serde_json::Error> {
    match data[key].as_str().unwrap_or_default() {
        "" => Ok(Vec::new()),
        // Go reads null as no list.
        text => serde_json::from_str::<Option<Vec<String>>>(text).map(Option::unwrap_or_default),
    }
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
        let allowed = names(data, "requestheader-allowed-names")?;
        // It gives out no tokens: there is no key of its own.
        let key = SigningKey::passing();
        let server = Server::with_store(settings, clock, seed, Store::default(), key);
        server.catalog.hide_builtin();
        let _ = server.auth.request_header.set(RequestHeader::new(&front, allowed));
        let delegate = Delegate::new(main);
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
        // Certificates come first: a token beside one is not looked at (`DelegatingAuthenticatorConfig.New`).
        let certificate = request.extensions().get::<PeerCert>();
        let known = certificate.and_then(|c| self.server.by_connection(request.headers(), &c.0));
        let user = match (known, bearer(request.headers())) {
            (None, Some(Bearer::Token(token))) => match self.delegate.authenticate(token).await {
                // Tokens are the other server's.
                Ok(user) => Some(Arc::new(user)),
                Err(s) => return failure(&s),
            },
            (known, _) => known,
        };
        if let Some(user) = user {
            request.extensions_mut().insert(user);
        }
        handle(self.server.clone(), request).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_that_cannot_be_read_are_not_empty_ones() {
        let of = |text: Value| names(&json!({"k": text}), "k").ok();
        for (text, wanted) in [
            (Value::Null, Some(vec![])),
            (json!(""), Some(vec![])),
            (json!("[]"), Some(vec![])),
            (json!("null"), Some(vec![])),
            (json!("[\"a\",\"b\"]"), Some(vec!["a".to_owned(), "b".to_owned()])),
            (json!("a"), None),
            (json!("[\"a\""), None),
            (json!("[1]"), None),
            (json!("\"a\""), None),
        ] {
            assert_eq!(of(text.clone()), wanted, "{text}");
        }
    }
}
