//! Semantic versions (semver.org), as Kubernetes' library of them reads and orders them.

use std::cmp::Ordering;
use std::fmt;

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What breaks users.
    pub major: u64,
    /// What adds to it.
    pub minor: u64,
    /// What mends it.
    pub patch: u64,
    /// What comes before the release: `rc.1`.
    pub pre_release: String,
}

/// The text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a version: {0}")]
pub struct VersionError(pub String);

impl Version {
    /// Reads `1.2.3-rc.1+build`; where it is `loose`, also `v1.2`.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str, loose: bool) -> Result<Self, VersionError> {
        Self::read(text, loose).ok_or_else(|| VersionError(text.to_owned()))
    }

    fn read(text: &str, loose: bool) -> Option<Self> {
        let text = if loose { text.trim_start_matches('v') } else { text };
        let text = text.split('+').next().unwrap_or_default();
        let (core, pre_release) = text.split_once('-').unwrap_or((text, ""));
        let mut parts = core.split('.');
        let mut next = |must: bool| match parts.next() {
            Some(p) if p.bytes().all(|b| b.is_ascii_digit()) => p.parse::<u64>().ok(),
            None if !must => Some(0),
            _ => None,
        };
        let (major, minor, patch) = (next(true)?, next(!loose)?, next(!loose)?);
        parts.next().is_none().then(|| Self {
            major,
            minor,
            patch,
            pre_release: pre_release.to_owned(),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        if self.pre_release.is_empty() {
            return Ok(());
        }
        write!(f, "-{}", self.pre_release)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    /// A pre-release comes before its release.
    fn cmp(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| self.pre_release.is_empty().cmp(&other.pre_release.is_empty()))
            .then_with(|| identifiers(&self.pre_release, &other.pre_release))
    }
}

/// Identifiers left to right, numbers before words (semver.org, 11).
fn identifiers(a: &str, b: &str) -> Ordering {
    let part = |s: &str| {
        s.parse::<u64>()
            .map_or_else(|_| (1, 0, s.to_owned()), |n| (0, n, String::new()))
    };
    a.split('.').map(part).cmp(b.split('.').map(part))
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn order_is_that_of_the_standard() {
        // semver.org, 11.4.
        let all =
            "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1";
        let all: Vec<Version> = all.split(' ').map(|v| Version::parse(v, false).unwrap()).collect();
        assert!(all.is_sorted());
        for bad in ["", "1", "1.2", "v1.2.3", "1.2.3.4", "a.b.c"] {
            assert!(Version::parse(bad, false).is_err(), "{bad}");
        }
        assert_eq!(Version::parse("v1.36+k3s1", true).unwrap().to_string(), "1.36.0");
    }
}
