//! `agnhost test-service-account-issuer-discovery` (`test/images/agnhost/openidmetadata`): checks a token with what its
//! issuer publishes, as `github.com/coreos/go-oidc` does.

use http::{HeaderValue, header};
use jiff::Timestamp;
use serde_json::Value;

use super::run::{Io, Process, Shell};
use super::web::{self, Ask, Url};
use crate::auth::signing::{PublicKey, Signed};
use crate::controllers::object::Object;
use crate::schema::{quote, quote_list};

/// Where a pod has what its account is known by (`rest.InClusterConfig`).
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// What it takes: upstream's two, and that of tokens of a run that must be repeatable.
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];
/// Clocks may differ by so many seconds where a token is not valid yet.
const LEEWAY: i64 = 300;

/// What it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    token_path: String,
    audience: String,
}

impl Discovery {
    pub(super) fn of(flags: &[(String, String)]) -> Option<Self> {
        let flag = |name: &str| {
            let last = flags.iter().rev().find(|(k, _)| k == name);
            last.map(|(_, v)| v.clone()).unwrap_or_default()
        };
        let known = |k: &str| matches!(k, "token-path" | "audience" | "in-cluster-discovery");
        flags.iter().all(|(k, _)| known(k)).then(|| Self {
            token_path: flag("token-path"),
            audience: flag("audience"),
        })
    }
}

/// A token's claims as Go's `%#v` prints its structure of them; where a date is in memory says nothing.
fn structure(claims: &Value) -> String {
    let text = |pointer: &str| quote(claims.text(pointer));
    let date = |name: &str| match claims[name].as_i64() {
        Some(_) => "(*jwt.NumericDate)(0xc000012000)",
        None => "(*jwt.NumericDate)(nil)",
    };
    let audiences: Vec<String> = audiences(claims).map(quote).collect();
    let own = "/kubernetes.io";
    format!(
        "openidmetadata.claims{{Claims:jwt.Claims{{Issuer:{}, Subject:{}, Audience:jwt.Audience{{{}}}, Expiry:{}, NotBefore:{}, IssuedAt:{}, ID:{}}}, \
         Kubernetes:openidmetadata.kubeClaims{{Namespace:{}, ServiceAccount:openidmetadata.kubeName{{Name:{}, UID:{}}}}}}}",
        text("/iss"),
        text("/sub"),
        audiences.join(", "),
        date("exp"),
        date("nbf"),
        date("iat"),
        text("/jti"),
        text(&format!("{own}/namespace")),
        text(&format!("{own}/serviceaccount/name")),
        text(&format!("{own}/serviceaccount/uid")),
    )
}

fn audiences(claims: &Value) -> impl Iterator<Item = &str> {
    claims.items("/aud").iter().filter_map(Value::as_str)
}

/// Whether claims are what was expected (`IDTokenVerifier.Verify`, before it looks at the signature).
fn expected(claims: &Value, issuer: &str, audience: &str, now: Timestamp) -> Result<(), String> {
    if claims.text("/iss") != issuer {
        let is = quote(claims.text("/iss"));
        return Err(format!(
            "oidc: id token issued by a different provider, expected {} got {is}",
            quote(issuer)
        ));
    }
    if !audiences(claims).any(|a| a == audience) {
        let (wanted, own) = (quote(audience), quote_list(audiences(claims)));
        return Err(format!("oidc: expected audience {wanted} got {own}"));
    }
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    let shown = |second: i64| Timestamp::from_second(second).unwrap_or_default();
    if time("exp") < now.as_second() {
        return Err(format!("oidc: token is expired (Token Expiry: {})", shown(time("exp"))));
    }
    if now.as_second() + LEEWAY < time("nbf") {
        let from = shown(time("nbf"));
        return Err(format!(
            "oidc: current time {now} before the nbf (not before) time: {from}"
        ));
    }
    Ok(())
}

/// Whether one of these keys signed a token.
fn is_signed(token: &Signed<'_>, keys: &Value) -> bool {
    let keys = keys.items("/keys").iter().filter_map(PublicKey::of_jwk);
    let mut named = keys.filter(|k| token.key.is_empty() || k.id() == token.key);
    named.any(|k| k.signed(token))
}

/// The API server's client of a pod.
struct InCluster<'a> {
    p: &'a Process,
    ca: String,
    ask: Ask,
}

impl<'a> InCluster<'a> {
    fn new(p: &'a Process) -> Result<Self, String> {
        let has = |name: &str| p.env.get(name).is_some_and(|v| !v.is_empty());
        if !has("KUBERNETES_SERVICE_HOST") || !has("KUBERNETES_SERVICE_PORT") {
            return Err("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined".into());
        }
        let file = |name: &str| {
            let path = format!("{ACCOUNT}/{name}");
            let read = p.files.read(&path).map_err(|e| format!("open {path}: {e}"))?;
            Ok::<_, String>(String::from_utf8_lossy(&read).into_owned())
        };
        let bearer = format!("Bearer {}", file("token")?);
        let bearer = HeaderValue::try_from(bearer).map_err(|e| e.to_string())?;
        Ok(Self {
            p,
            ca: file("ca.crt")?,
            ask: Ask {
                headers: vec![(header::AUTHORIZATION, bearer)],
                ..Ask::default()
            },
        })
    }

    /// What is at an URL; otherwise how it went.
    async fn get(&self, at: &str) -> Result<Value, String> {
        let failed = |why: &str| format!("Get {}: {why}", quote(at));
        let url = Url::of(at).ok_or_else(|| failed("unsupported protocol scheme"))?;
        let net = self.p.net.as_ref().ok_or_else(|| failed("network is unreachable"))?;
        let answer = web::ask_trusting(net, &url, &self.ask, &self.ca).await;
        let answer = answer.map_err(|e| failed(&e.to_string()))?;
        if answer.code != 200 {
            let code = http::StatusCode::from_u16(answer.code).map_err(|e| e.to_string())?;
            return Err(format!("{code}: {}", String::from_utf8_lossy(&answer.body)));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|e| format!("oidc: failed to decode provider discovery object: {e}"))
    }
}

/// Checks a token with what its issuer publishes in the cluster.
async fn validate(
    raw: &str,
    audience: &str,
    client: &InCluster<'_>,
    log: &(dyn Fn(&str) + Sync),
) -> Result<(), String> {
    let token = Signed::read(raw).ok_or("go-jose/go-jose: compact JWS format must have three parts")?;
    let issuer = token.claims.text("/iss").to_owned();
    log(&format!("OK: got issuer {issuer}"));
    let shown = structure(&token.claims);
    log(&format!("Full, not-validated claims: \n{shown}"));
    let at = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let provider = client.get(&at).await?;
    let named = provider.text("/issuer");
    if named != issuer {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {} got {}",
            quote(&issuer),
            quote(named)
        ));
    }
    log(&format!("OK: Constructed OIDC provider for issuer {issuer}"));
    expected(&token.claims, &issuer, audience, client.p.clock.now())?;
    if !ALGORITHMS.contains(&token.algorithm()) {
        return Err(format!(
            "oidc: id token signed with unsupported algorithm, expected [\"RS256\" \"ES256\"] got {}",
            quote(token.algorithm())
        ));
    }
    let keys = client.get(provider.text("/jwks_uri")).await;
    let keys = keys.map_err(|e| format!("failed to verify signature: fetching keys oidc: get keys failed: {e}"))?;
    if !is_signed(&token, &keys) {
        return Err("failed to verify signature: failed to verify id token signature".into());
    }
    log("OK: Validated signature on JWT");
    log("OK: Got valid claims from token!");
    log(&format!("Full, validated claims: \n&{shown}"));
    Ok(())
}

async fn tested(d: &Discovery, p: &Process, log: &(dyn Fn(&str) + Sync)) -> Result<(), String> {
    let raw = p
        .files
        .read(&d.token_path)
        .map_err(|e| format!("open {}: {e}", d.token_path))?;
    let raw = String::from_utf8_lossy(&raw).into_owned();
    log("OK: Got token");
    log("validating with in-cluster discovery");
    let client = InCluster::new(p)?;
    let Err(why) = validate(&raw, &d.audience, &client, log).await else {
        return Ok(());
    };
    log(&format!("failed to validate with in-cluster discovery: {why}"));
    log("falling back to validating with external discovery");
    // It trusts the roots of the image alone then, which has none that signed a server here.
    Err("tls: failed to verify certificate: x509: certificate signed by unknown authority".into())
}

/// Runs it to its end.
pub(super) async fn run(d: &Discovery, p: &Process, shell: &Shell, io: &Io) -> i32 {
    let log = |text: &str| {
        let now = p.clock.now().strftime("%Y/%m/%d %H:%M:%S");
        shell.complain(io, &format!("{now} {text}"));
    };
    match tested(d, p, &log).await {
        Ok(()) => 0,
        Err(why) => {
            log(&why);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use cfn_net::Seed;
    use serde_json::json;

    use super::*;
    use crate::auth::signing::SigningKey;

    #[test]
    fn only_the_keys_that_are_named_count() {
        let (one, other) = (SigningKey::generate().unwrap().0, SigningKey::seeded(Seed(1)));
        let token = one.sign(&json!({})).unwrap();
        let token = Signed::read(&token).unwrap();
        let set = |keys: &[&SigningKey]| {
            let keys: Vec<_> = keys.iter().map(|k| k.public().unwrap().jwk()).collect();
            json!({"keys": keys})
        };
        assert!(is_signed(&token, &set(&[&other, &one])));
        assert!(!is_signed(&token, &set(&[&other])));
        let mut renamed = set(&[&one]);
        renamed["keys"][0]["kid"] = json!("x");
        assert!(!is_signed(&token, &renamed));
    }

    #[test]
    fn claims_that_are_expected() {
        let now = Timestamp::from_second(1000).unwrap();
        let claims = json!({"iss": "https://i", "aud": ["a"], "nbf": 1000, "exp": 1001});
        let with = |key: &str, v: Value| {
            let mut c = claims.clone();
            c[key] = v;
            expected(&c, "https://i", "a", now)
        };
        assert_eq!(expected(&claims, "https://i", "a", now), Ok(()));
        for (key, v, why) in [
            ("iss", json!("https://j"), "issued by a different provider"),
            ("aud", json!(["b"]), "expected audience \"a\" got [\"b\"]"),
            (
                "exp",
                json!(999),
                "token is expired (Token Expiry: 1970-01-01T00:16:39Z)",
            ),
            ("nbf", json!(1301), "before the nbf"),
        ] {
            let e = with(key, v).unwrap_err();
            assert!(e.contains(why), "{e}");
        }
    }
}
