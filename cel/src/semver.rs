//! Semantic versions (semver.org), as Kubernetes' library of them reads and orders them.

use std::cmp::Ordering;
use std::fmt;

use super::go::quote;

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

/// Why a text is no version, in the words of `github.com/blang/semver/v4`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct VersionError(pub String);

impl Version {
    /// Reads `1.2.3-rc.1+build`; where it is `loose`, also `v1.2`.
    ///
    /// # Errors
    /// When the text is none.
    pub fn parse(text: &str, loose: bool) -> Result<Self, VersionError> {
        let read = if loose {
            loosened(text).and_then(|text| Self::read(&text))
        } else {
            Self::read(text)
        };
        read.map_err(VersionError)
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (major, minor) = (number(major, "major", "Major")?, number(minor, "minor", "Minor")?);
        let (rest, build) = match rest.split_once('+') {
            Some((rest, build)) => (rest, Some(build)),
            None => (*rest, None),
        };
        let (patch, pre_release) = match rest.split_once('-') {
            Some((patch, pre)) => (patch, Some(pre)),
            None => (rest, None),
        };
        let patch = number(patch, "patch", "Patch")?;
        for part in pre_release.into_iter().flat_map(|p| p.split('.')) {
            if part.is_empty() {
                return Err("Prerelease is empty".to_owned());
            }
            if part.bytes().all(|b| b.is_ascii_digit()) {
                if part.len() > 1 && part.starts_with('0') {
                    let what = "Numeric PreRelease version must not contain leading zeroes";
                    return Err(format!("{what} {}", quote(part)));
                }
                super::strconv::parse_uint(part)?;
            } else if !is_plain(part) {
                return Err(format!("Invalid character(s) found in prerelease {}", quote(part)));
            }
        }
        for part in build.into_iter().flat_map(|b| b.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !is_plain(part) {
                return Err(format!("Invalid character(s) found in build meta data {}", quote(part)));
            }
        }
        Ok(Self {
            major,
            minor,
            patch,
            pre_release: pre_release.unwrap_or_default().to_owned(),
        })
    }
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// One of the three numbers; `name`, and how it begins a sentence.
fn number(text: &str, name: &str, first: &str) -> Result<u64, String> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {name} number {}", quote(text)));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!(
            "{first} number must not contain leading zeroes {}",
            quote(text)
        ));
    }
    super::strconv::parse_uint(text)
}

/// A version without a `v` before it, leading noughts, and with all three numbers
/// (`k8s.io/apiserver/pkg/cel/library/semverlib.go`).
fn loosened(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let plain = |part: &str| match part.trim_start_matches('0') {
        _ if part.len() < 2 => part.to_owned(),
        rest if rest.starts_with(|c: char| c.is_ascii_digit()) => rest.to_owned(),
        rest => format!("0{rest}"),
    };
    let mut parts: Vec<String> = text.splitn(3, '.').map(plain).collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3.max(parts.len()), "0".to_owned());
    Ok(parts.join("."))
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
        for (text, wanted) in [
            ("v1.36", Ok("1.36.0")),
            ("v01.2.3-rc.1+k3s1", Ok("1.2.3-rc.1")),
            (
                "1.36+k3s1",
                Err("short version cannot contain PreRelease/Build meta data"),
            ),
            ("1.x", Err("Invalid character(s) found in minor number \"x\"")),
            (
                "1.2.3-01",
                Err("Numeric PreRelease version must not contain leading zeroes \"01\""),
            ),
        ] {
            let found = Version::parse(text, true).map(|v| v.to_string()).map_err(|e| e.0);
            assert_eq!(found.as_deref().map_err(String::as_str), wanted, "{text}");
        }
    }
}
