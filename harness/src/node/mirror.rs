//! A registry of what was imported on this node: the part of the [OCI distribution specification][1] that a pull needs.
//! A pod whose image must always be pulled (tag `latest`) runs without any other registry.
//!
//! [1]: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

/// Where it listens.
pub const ADDRESS: &str = "127.0.0.1:10262";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Whether this is a registry (end-1).
    Version,
    /// A manifest by its tag (end-3): the whole name of the image.
    Tag(String),
    /// A manifest or a blob by its digest (end-2, end-3): its hexadecimal SHA-256.
    Digest(String),
    /// Something else.
    Nothing,
}

/// Takes a request apart. containerd says in `ns` whose mirror it asks.
#[must_use]
pub fn asked(path: &str, query: Option<&str>) -> Asked {
    let Some(rest) = path.strip_prefix("/v2/") else {
        return if path == "/v2" { Asked::Version } else { Asked::Nothing };
    };
    if rest.is_empty() {
        return Asked::Version;
    }
    let digest = |reference: &str| {
        let hex = reference.strip_prefix("sha256:")?;
        let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| hex.to_owned())
    };
    if let Some((_, reference)) = rest.rsplit_once("/blobs/") {
        return digest(reference).map_or(Asked::Nothing, Asked::Digest);
    }
    let Some((name, reference)) = rest.rsplit_once("/manifests/") else {
        return Asked::Nothing;
    };
    if let Some(hex) = digest(reference) {
        return Asked::Digest(hex);
    }
    let registry = query
        .unwrap_or_default()
        .split('&')
        .find_map(|p| p.strip_prefix("ns="))
        .map_or_else(
            || "docker.io".to_owned(),
            |ns| ns.replace("%3A", ":").replace("%3a", ":"),
        );
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/:".contains(&b));
    let tag = format!("{registry}/{name}:{reference}");
    if plain(&tag) { Asked::Tag(tag) } else { Asked::Nothing }
}

/// The digest (hexadecimal) of `image` in what `ctr images ls` prints.
#[must_use]
pub fn digest_of(list: &str, image: &str) -> Option<String> {
    let line = list.lines().find(|l| l.split_whitespace().next() == Some(image))?;
    let digest = line.split_whitespace().find_map(|w| w.strip_prefix("sha256:"))?;
    Some(digest.to_owned())
}

/// The media type of a manifest or an index: what it says of itself, or, of an older one, what it holds.
#[must_use]
pub fn media_type(manifest: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(manifest).ok()?;
    if let Some(said) = value["mediaType"].as_str() {
        return Some(said.to_owned());
    }
    let kind = if value["manifests"].is_array() {
        "application/vnd.oci.image.index.v1+json"
    } else if value["layers"].is_array() {
        "application/vnd.oci.image.manifest.v1+json"
    } else {
        return None;
    };
    Some(kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_requests_apart() {
        let hex = "0123456789abcdef".repeat(4);
        let table = [
            ("/v2/".to_owned(), None, Asked::Version),
            (
                "/v2/migu/sentiment/manifests/latest".to_owned(),
                Some("ns=192.168.30.20%3A5000"),
                Asked::Tag("192.168.30.20:5000/migu/sentiment:latest".to_owned()),
            ),
            (
                "/v2/library/x/manifests/1".to_owned(),
                None,
                Asked::Tag("docker.io/library/x:1".to_owned()),
            ),
            (
                format!("/v2/a/b/manifests/sha256:{hex}"),
                None,
                Asked::Digest(hex.clone()),
            ),
            (format!("/v2/a/b/blobs/sha256:{hex}"), None, Asked::Digest(hex.clone())),
            ("/v2/a/blobs/sha256:../../etc/passwd".to_owned(), None, Asked::Nothing),
            ("/v2/a/manifests/x;reboot".to_owned(), None, Asked::Nothing),
            ("/v2/a/tags/list".to_owned(), None, Asked::Nothing),
            ("/".to_owned(), None, Asked::Nothing),
        ];
        for (path, query, want) in table {
            assert_eq!(asked(&path, query), want, "{path}");
        }
    }

    #[test]
    fn finds_digests_and_types() {
        let list = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n\
            a/b:1 application/vnd.docker.distribution.manifest.v2+json sha256:11 2 MiB linux/amd64 -\n";
        assert_eq!(digest_of(list, "a/b:1").as_deref(), Some("11"));
        assert_eq!(digest_of(list, "a/b:2"), None);
        assert_eq!(media_type(br#"{"mediaType":"x"}"#).as_deref(), Some("x"));
        assert_eq!(
            media_type(br#"{"layers":[]}"#).as_deref(),
            Some("application/vnd.oci.image.manifest.v1+json")
        );
        assert_eq!(media_type(b"{}"), None);
    }
}
