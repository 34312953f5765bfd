//! References of images (`github.com/distribution/reference`), as far as defaults ask for them.

use std::sync::LazyLock;

use regex::Regex;

/// A name without its domain, a tag and a digest.
const REFERENCE: &str = r"^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?/|\[[a-fA-F0-9:]+\](?::[0-9]+)?/)?((?:[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*/)*[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)(?::([0-9A-Za-z_][0-9A-Za-z_.-]{0,127}))?(@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,})?$";

static PATTERN: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(REFERENCE).ok());

/// When an image is pulled where that is not said: always if its tag is `latest`, said or not; what is no reference
/// has no tag.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if tag(image).is_some_and(|tag| tag == "latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The tag of a reference; `latest` where neither a tag nor a digest is said.
fn tag(image: &str) -> Option<&str> {
    // An identifier is no name.
    if image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let domain = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (registry, rest) = match image.split_once('/') {
        Some((first, rest)) if domain(first) => (Some(first), rest),
        _ => (None, image),
    };
    // Without a registry it is Docker's.
    let whole = format!("{}/{rest}", registry.unwrap_or("docker.io"));
    let found = PATTERN.as_ref()?.captures(&whole)?;
    // A name of one part is that of a library.
    let more = match registry {
        None | Some("docker.io") if !found.get(1)?.as_str().contains('/') => "library/".len(),
        _ => 0,
    };
    if found.get(1)?.len() + more > 255 {
        return None;
    }
    match (found.get(2), found.get(3)) {
        (Some(tag), _) => image
            .get(image.len() - (whole.len() - tag.start())..)
            .and_then(|t| t.get(..tag.len())),
        (None, None) => Some("latest"),
        (None, Some(_)) => Some(""),
    }
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
}
