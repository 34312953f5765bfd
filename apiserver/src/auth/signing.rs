//! The key that signs service account tokens, and the keys that others check them with (RFC 7515, RFC 7517).
//!
//! It is an ECDSA key on P-256 (`ES256`) of the operating system's randomness. Where a run must be repeatable it is an
//! Ed25519 key (`EdDSA`, RFC 8037) drawn from the run's seed: such a signature is a function of key and text.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use cfn_net::Seed;
use rand::Rng;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Serialize;
use serde_json::{Value, json};

use crate::digest::sha256;

/// What stands before the point of a P-256 key in its `SubjectPublicKeyInfo` (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same of an Ed25519 key (RFC 8410).
const ED25519_INFO: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What a point that is not compressed begins with (SEC 1, 2.3.3).
const UNCOMPRESSED: u8 = 4;
/// Bytes of a coordinate.
const COORDINATE: usize = 32;

/// Why there is no key to sign with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningKeyError {
    /// What was kept is something else.
    #[error("no P-256 key in PKCS #8; without the file a new one is made, and tokens of before count no more")]
    Parse,
    /// The operating system gives no random bytes, or the library refused (never on a working machine).
    #[error("no key can be made")]
    Make,
}

/// The signature algorithms that there are keys for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Es256,
    EdDsa,
}

impl Algorithm {
    /// As a token's header has it (`alg`).
    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &ED25519,
        }
    }
}

/// What checks a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
    id: String,
}

/// A key in a set of them, its fields in go-jose's order.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Jwk {
    #[serde(rename = "use")]
    usage: &'static str,
    kty: &'static str,
    kid: String,
    crv: &'static str,
    alg: &'static str,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

impl PublicKey {
    fn new(algorithm: Algorithm, bytes: Vec<u8>) -> Self {
        let info: &[u8] = match algorithm {
            Algorithm::Es256 => &P256_INFO,
            Algorithm::EdDsa => &ED25519_INFO,
        };
        // keyIDFromPublicKey of k8s.io/kubernetes/pkg/serviceaccount: nobody finds the key by its id.
        let id = URL_SAFE_NO_PAD.encode(sha256([info, &bytes]));
        Self { algorithm, bytes, id }
    }

    /// The key of a JSON web key, if it is of a kind that is known.
    pub(crate) fn of_jwk(jwk: &Value) -> Option<Self> {
        let coordinate = |name: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok()?;
            Some(bytes).filter(|b| b.len() == COORDINATE)
        };
        let mut key = match (jwk["kty"].as_str()?, jwk["crv"].as_str()?) {
            ("EC", "P-256") => {
                let point = [vec![UNCOMPRESSED], coordinate("x")?, coordinate("y")?].concat();
                Self::new(Algorithm::Es256, point)
            }
            ("OKP", "Ed25519") => Self::new(Algorithm::EdDsa, coordinate("x")?),
            _ => return None,
        };
        // Whoever publishes a key names it.
        jwk["kid"].as_str().unwrap_or_default().clone_into(&mut key.id);
        Some(key)
    }

    /// As one of a set.
    pub(crate) fn jwk(&self) -> Jwk {
        let (kty, crv, point) = match self.algorithm {
            Algorithm::Es256 => ("EC", "P-256", &self.bytes[1..]),
            Algorithm::EdDsa => ("OKP", "Ed25519", &self.bytes[..]),
        };
        let (x, y) = point.split_at(COORDINATE);
        Jwk {
            usage: "sig",
            kty,
            kid: self.id.clone(),
            crv,
            alg: self.algorithm.name(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: (!y.is_empty()).then(|| URL_SAFE_NO_PAD.encode(y)),
        }
    }

    /// What tokens call it (`kid`).
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// How it signs (`alg`).
    pub(crate) fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// Whether it signed a token.
    pub(crate) fn signed(&self, token: &Signed<'_>) -> bool {
        let key = UnparsedPublicKey::new(self.algorithm.verification(), &self.bytes);
        token.algorithm == self.algorithm() && key.verify(token.text.as_bytes(), &token.signature).is_ok()
    }
}

/// A token as it came: nobody has looked at its signature.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Signed<'a> {
    algorithm: String,
    /// The key that is said to have signed it; empty: any.
    pub(crate) key: String,
    pub(crate) claims: Value,
    text: &'a str,
    signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    /// How it is said to be signed (`alg`).
    pub(crate) fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// Reads the compact form (RFC 7515, 7.1).
    pub(crate) fn read(token: &'a str) -> Option<Self> {
        let (text, signature) = token.rsplit_once('.')?;
        let (header, claims) = text.split_once('.')?;
        let decode = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let header = decode(header)?;
        Some(Self {
            algorithm: header["alg"].as_str()?.to_owned(),
            key: header["kid"].as_str().unwrap_or_default().to_owned(),
            claims: decode(claims).filter(Value::is_object)?,
            text,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }
}

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key that is there.
struct Made {
    pair: Pair,
    public: PublicKey,
    random: SystemRandom,
}

impl Made {
    fn new(pair: Pair) -> Self {
        let public = match &pair {
            Pair::P256(k) => PublicKey::new(Algorithm::Es256, k.public_key().as_ref().to_vec()),
            Pair::Ed25519(k) => PublicKey::new(Algorithm::EdDsa, k.public_key().as_ref().to_vec()),
        };
        Self {
            pair,
            public,
            random: SystemRandom::new(),
        }
    }

    fn of_pkcs8(der: &[u8]) -> Result<Self, SigningKeyError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new())
            .map(|k| Self::new(Pair::P256(k)))
            .map_err(|_| SigningKeyError::Parse)
    }

    fn of_seed(seed: Seed) -> Result<Self, SigningKeyError> {
        let mut bytes = [0; 32];
        seed.rng("service account key").fill_bytes(&mut bytes);
        Ed25519KeyPair::from_seed_unchecked(&bytes)
            .map(|k| Self::new(Pair::Ed25519(k)))
            .map_err(|_| SigningKeyError::Make)
    }
}

/// A P-256 key of the operating system's randomness, PKCS #8.
fn random_pkcs8() -> Result<impl AsRef<[u8]>, SigningKeyError> {
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|_| SigningKeyError::Make)
}

/// A key that signs. One that is kept nowhere is made when it is asked for first: most clusters in memory never sign.
pub struct SigningKey {
    made: OnceLock<Result<Made, SigningKeyError>>,
    /// What it is drawn from; `None`: the operating system.
    seed: Option<Seed>,
}

impl SigningKey {
    fn kept(made: Made) -> Self {
        Self {
            made: OnceLock::from(Ok(made)),
            seed: None,
        }
    }

    /// A new one, and its PEM to be kept.
    ///
    /// # Errors
    /// [`SigningKeyError::Make`].
    pub(crate) fn generate() -> Result<(Self, String), SigningKeyError> {
        let der = random_pkcs8()?;
        Ok((Self::kept(Made::of_pkcs8(der.as_ref())?), pem(der.as_ref())))
    }

    /// One kept from before.
    ///
    /// # Errors
    /// [`SigningKeyError::Parse`].
    pub(crate) fn from_pem(pem: &str) -> Result<Self, SigningKeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| SigningKeyError::Parse)?;
        Made::of_pkcs8(der.secret_pkcs8_der()).map(Self::kept)
    }

    /// One that nobody keeps.
    pub(crate) fn passing() -> Self {
        Self {
            made: OnceLock::new(),
            seed: None,
        }
    }

    /// That of a run that must be repeatable: no secret.
    pub(crate) fn seeded(seed: Seed) -> Self {
        Self {
            made: OnceLock::new(),
            seed: Some(seed),
        }
    }

    fn made(&self) -> Result<&Made, SigningKeyError> {
        let make = || match self.seed {
            Some(seed) => Made::of_seed(seed),
            None => Made::of_pkcs8(random_pkcs8()?.as_ref()),
        };
        self.made.get_or_init(make).as_ref().map_err(Clone::clone)
    }

    /// What others check its signatures with.
    ///
    /// # Errors
    /// [`SigningKeyError::Make`].
    pub(crate) fn public(&self) -> Result<&PublicKey, SigningKeyError> {
        self.made().map(|m| &m.public)
    }

    /// A token with these claims, in the compact form.
    ///
    /// # Errors
    /// [`SigningKeyError::Make`].
    pub(crate) fn sign(&self, claims: &Value) -> Result<String, SigningKeyError> {
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let key = self.made()?;
        let header = json!({"alg": key.public.algorithm(), "kid": key.public.id()});
        let text = format!("{}.{}", encode(&header), encode(claims));
        let signature = match &key.pair {
            Pair::P256(k) => k
                .sign(&key.random, text.as_bytes())
                .map_err(|_| SigningKeyError::Make)?,
            Pair::Ed25519(k) => k.sign(text.as_bytes()),
        };
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// RFC 7468.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<String> = text
        .as_bytes()
        .chunks(64)
        .map(|l| String::from_utf8_lossy(l).into_owned())
        .collect();
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7517, A.1, whose id is made as that of a key of a cluster.
    const EXAMPLE: &str = r#"{"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;

    #[test]
    fn who_has_the_public_key_checks_and_nobody_else_signs() {
        let (kept, pem) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&pem).unwrap();
        assert_eq!(kept.public().unwrap(), again.public().unwrap());
        let (other, _) = SigningKey::generate().unwrap();
        for key in [kept, SigningKey::seeded(Seed(1))] {
            let published: Value = serde_json::to_value(key.public().unwrap().jwk()).unwrap();
            let known = PublicKey::of_jwk(&published).unwrap();
            assert_eq!(&known, key.public().unwrap());
            let token = key.sign(&json!({"sub": "a"})).unwrap();
            let read = Signed::read(&token).unwrap();
            assert_eq!(
                (read.claims["sub"].as_str(), read.key.as_str()),
                (Some("a"), known.id())
            );
            assert!(known.signed(&read) && !other.public().unwrap().signed(&read));
            // Other claims under the same signature, and the same under another one.
            let (text, signature) = token.rsplit_once('.').unwrap();
            let header = text.split_once('.').unwrap().0;
            let forged = URL_SAFE_NO_PAD.encode(json!({"sub": "b"}).to_string());
            let flipped = if signature.starts_with('A') { "B" } else { "A" }.to_owned() + &signature[1..];
            for wrong in [format!("{header}.{forged}.{signature}"), format!("{text}.{flipped}")] {
                assert!(!known.signed(&Signed::read(&wrong).unwrap()), "{wrong}");
            }
        }
    }

    #[test]
    fn seeded_signatures_are_the_same_each_time() {
        let sign = |seed| SigningKey::seeded(Seed(seed)).sign(&json!({"a": 1})).unwrap();
        assert_eq!(sign(1), sign(1));
        assert_ne!(sign(1), sign(2));
    }

    #[test]
    fn what_is_no_token_or_key() {
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = URL_SAFE_NO_PAD.encode("{}");
        for wrong in [
            "",
            "a",
            "a.b",
            "a.b.c",
            &format!("{none}.[].x"),
            &format!("{none}.{claims}.="),
        ] {
            assert_eq!(Signed::read(wrong), None, "{wrong}");
        }
        // Without a signature it is read, and signed by nobody.
        let unsigned = format!("{none}.{claims}.");
        let key = SigningKey::seeded(Seed(1));
        assert!(!key.public().unwrap().signed(&Signed::read(&unsigned).unwrap()));
        for wrong in [
            "",
            "AAAA",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            assert_eq!(
                SigningKey::from_pem(wrong).err(),
                Some(SigningKeyError::Parse),
                "{wrong}"
            );
        }
    }

    #[test]
    fn ids_are_those_of_the_keys_der() {
        let key = PublicKey::of_jwk(&serde_json::from_str(EXAMPLE).unwrap()).unwrap();
        // openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | basenc --base64url
        let id = PublicKey::new(key.algorithm, key.bytes).id;
        assert_eq!(id, "UblEzfpUTUwyc6pr81BiWn3VO7tqcXIydPU4sZogd2A");
    }
}
