//! References of images (`github.com/distribution/reference`), as far as defaults and kubelets ask for them.

use std::sync::LazyLock;

use regex::Regex;

/// A name without its domain, a tag and a digest.
const REFERENCE: &str = r"^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?/|\[[a-fA-F0-9:]+\](?::[0-9]+)?/)?((?:[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/)*[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)(?::([0-9A-Za-z_][0-9A-Za-z_.-]{0,127}))?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$";

static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(REFERENCE).ok());

/// The registry of a name without one.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Longest name of a repository (`RepositoryNameTotalLengthMax`).
const LONGEST: usize = 255;

/// Why a text refers to no image (`ParseNormalizedNamed`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReferenceError {
    /// It is an identifier: 64 hexadecimal digits.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// A name in capitals.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// Anything else that does not read as one.
    #[error("invalid reference format")]
    Format,
    /// A name that is too long.
    #[error("repository name must not be more than {LONGEST} characters")]
    TooLong,
    /// A digest of an algorithm that is not known.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// A digest of another length than its algorithm's.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// A digest in capitals.
    #[error("invalid checksum digest format")]
    Digest,
}

/// What a text refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) registry: String,
    /// The name in the registry.
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    /// With its algorithm.
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Reads one; what is not said of registry and library is Docker's.
    pub(crate) fn parse(image: &str) -> Result<Self, ReferenceError> {
        if image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ReferenceError::Identifier(image.to_owned()));
        }
        let is_registry = |first: &str| {
            first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
        };
        let (registry, rest) = match image.split_once('/') {
            Some(("index.docker.io", rest)) => (DEFAULT_REGISTRY, rest),
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, image),
        };
        // A name of one part is that of a library.
        let rest = match registry == DEFAULT_REGISTRY && !rest.contains('/') {
            true => format!("library/{rest}"),
            false => rest.to_owned(),
        };
        let name = rest.split(':').next().unwrap_or_default();
        if name.to_lowercase() != name {
            return Err(ReferenceError::Uppercase(name.to_owned()));
        }
        let whole = format!("{registry}/{rest}");
        let found = PATTERN
            .as_ref()
            .and_then(|p| p.captures(&whole))
            .ok_or(ReferenceError::Format)?;
        let group = |n: usize| found.get(n).map(|m| m.as_str().to_owned());
        let repository = group(1).unwrap_or_default();
        if repository.len() > LONGEST {
            return Err(ReferenceError::TooLong);
        }
        let digest = group(3).map(|d| d.trim_start_matches('@').to_owned());
        if let Some(d) = &digest {
            check_digest(d)?;
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag: group(2),
            digest,
        })
    }
}

/// `github.com/opencontainers/go-digest`'s `Validate`.
fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let (algorithm, encoded) = digest.split_once(':').unwrap_or_default();
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ReferenceError::Algorithm),
    };
    if encoded.len() != length {
        return Err(ReferenceError::DigestLength);
    }
    match encoded.bytes().any(|b| b.is_ascii_uppercase()) {
        true => Err(ReferenceError::Digest),
        false => Ok(()),
    }
}

impl std::fmt::Display for Reference {
    /// In full; `latest` where neither a tag nor a digest is said (`TagNameOnly`).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match (&self.tag, &self.digest) {
            (_, Some(digest)) => write!(f, "@{digest}"),
            (tag, None) => write!(f, ":{}", tag.as_deref().unwrap_or("latest")),
        }
    }
}

/// When an image is pulled where that is not said: always if its tag is `latest`, said or not; what is no reference
/// has no tag.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let latest = Reference::parse(image).is_ok_and(|r| match (r.tag, r.digest) {
        (Some(tag), _) => tag == "latest",
        (None, digest) => digest.is_none(),
    });
    if latest { "Always" } else { "IfNotPresent" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_the_latest_tag_are_pulled_always() {
        for always in ["a", "a:latest", "example.com:5000/a/b", "localhost/a", "a/b/c"] {
            assert_eq!(pull_policy(always), "Always", "{always}");
        }
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for other in [
            "a:1",
            "example.com:5000/a:1",
            &digest,
            "",
            "A_b",
            "a b",
            "-a",
            "../a",
            "/abs/x",
            &"a".repeat(64),
            "$(A)",
            "é",
        ] {
            assert_eq!(pull_policy(other), "IfNotPresent", "{other}");
        }
        assert_eq!(pull_policy(&format!("a:latest@sha256:{}", "0".repeat(64))), "Always");
    }

    #[test]
    fn references_in_full_and_what_is_none() {
        let zeros = "0".repeat(64);
        for (image, full) in [
            ("a", "docker.io/library/a:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("index.docker.io/a:1", "docker.io/library/a:1"),
            ("docker.io/a", "docker.io/library/a:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("r.invalid:5000/a/b", "r.invalid:5000/a/b:latest"),
            (
                &format!("a:1@sha256:{zeros}"),
                &format!("docker.io/library/a@sha256:{zeros}"),
            ),
        ] {
            assert_eq!(Reference::parse(image).unwrap().to_string(), full, "{image}");
        }
        for (image, why) in [
            (
                "A_b",
                "invalid reference format: repository name (library/A_b) must be lowercase",
            ),
            ("a b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("/abs/x", "invalid reference format"),
            (
                &zeros,
                &format!("invalid repository name ({zeros}), cannot specify 64-byte hexadecimal strings"),
            ),
            (&"a".repeat(256), "repository name must not be more than 255 characters"),
            (&format!("a@sha1:{zeros}"), "unsupported digest algorithm"),
            (&format!("a@sha256:{zeros}0"), "invalid checksum digest length"),
            (
                &format!("a@sha256:{}", "A".repeat(64)),
                "invalid checksum digest format",
            ),
        ] {
            assert_eq!(Reference::parse(image).unwrap_err().to_string(), why, "{image}");
        }
    }
}
