//! What others check service account tokens with: the discovery document and the keys of OpenID Connect
//! (`pkg/routes/openidmetadata.go`, `pkg/serviceaccount/openidmetadata.go` of `k8s.io/kubernetes`).

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use serde::Serialize;

use super::{Answer, Incoming, negotiate, with_type};
use crate::auth::ISSUER;
use crate::registry::{ADVERTISED, SECURE_PORT, Server};
use crate::status::Status;

/// `OpenIDConfigPath`.
pub(super) const CONFIGURATION: &str = "/.well-known/openid-configuration";
/// `JWKSPath`.
pub(super) const KEYS: &str = "/openid/v1/jwks";
/// The key never changes (`staticPublicKeysGetter`).
const CACHED: &str = "public, max-age=3600";

/// OpenID Connect Discovery 1.0, 3: as much as upstream says of it.
#[derive(Serialize)]
struct Metadata<'a> {
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'a str; 1],
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: [&'a str; 1],
}

/// RFC 7517, 5.
#[derive(Serialize)]
struct Keys<T> {
    keys: [T; 1],
}

/// Answers for one of the two paths.
pub(super) fn serve(server: &Server, r: &Incoming) -> Option<Result<Answer, Status>> {
    let is = |path: &str| r.path.strip_prefix(path).map(|rest| matches!(rest, "" | "/"));
    let (served, kind) = match (is(CONFIGURATION), is(KEYS)) {
        (Some(served), _) => (served, "application/json"),
        (_, Some(served)) => (served, "application/jwk-set+json"),
        _ => return None,
    };
    Some(match served {
        true => document(server, r, kind),
        false => Err(Status::no_such_path()),
    })
}

fn document(server: &Server, r: &Incoming, kind: &'static str) -> Result<Answer, Status> {
    if r.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    negotiate::produced(&r.headers, kind)?;
    let key = server.auth.key.public().map_err(Status::internal)?;
    let text = match r.path.starts_with(KEYS) {
        true => serde_json::to_vec(&Keys { keys: [key.jwk()] }),
        false => serde_json::to_vec(&Metadata {
            issuer: ISSUER,
            // The advertised address and the secure port, where `--service-account-jwks-uri` is not said.
            jwks_uri: format!("https://{ADVERTISED}:{SECURE_PORT}{KEYS}"),
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: [key.algorithm()],
        }),
    };
    let mut answer = with_type(200, kind, Bytes::from(text.map_err(Status::internal)?));
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static(CACHED));
    Ok(answer)
}
