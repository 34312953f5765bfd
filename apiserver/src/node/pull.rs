//! Which images a node can have (`pkg/kubelet/images/image_manager.go`). Nothing is pulled here: of an image that is there,
//! nothing is ever missing.
//!
//! What a registry has is not known, so it is a convention of this testbed which images are not there: those with a tag of
//! [`MISSING_TAGS`], and those of a registry in the domain `.invalid`, whose names never resolve (RFC 2606).

use std::time::Duration;

use tokio::time::Instant;

use super::events::Told;
use super::status::Waiting;
use crate::defaults::image::Reference;
use crate::schema::quote;

/// Tags of images that no registry has: those that Kubernetes' own tests count on being missing.
const MISSING_TAGS: [&str; 2] = ["404", "non-existent"];
/// The domain whose names never resolve (RFC 2606, 2).
const UNRESOLVED: &str = "invalid";
/// First and longest wait between two pulls (`imageBackOffPeriod` and `MaxImageBackOff` of `pkg/kubelet/kubelet.go`).
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// How soon after a pull that failed the kubelet looks again, and finds itself backing off: the sandbox that it made for the
/// pod is seen when the runtime's containers are listed next (`genericPlegRelistPeriod`).
const RELIST: Duration = Duration::from_secs(1);

/// Why a container waits for its image.
const REASONS: [&str; 4] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
];

/// Whether a container waits for its image.
pub(super) fn is_for_image(waiting: &Waiting) -> bool {
    REASONS.contains(&waiting.0.as_str())
}

/// What a kubelet says of an image that it does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) waiting: Waiting,
    /// Events; none where all was said already.
    pub(super) told: Vec<Told>,
    /// When it looks again.
    pub(super) again: Instant,
}

/// How the runtime fails to pull an image (containerd's texts, over the CRI); `None`: it does not.
fn failure(reference: &Reference) -> Option<String> {
    let host = reference.registry.split(':').next().unwrap_or_default();
    let failed = |code: &str, why: &str| {
        format!(
            "rpc error: code = {code} desc = failed to pull and unpack image \"{reference}\": failed to resolve reference \"{reference}\": {why}"
        )
    };
    if host.rsplit('.').next() == Some(UNRESOLVED) {
        let version = match (&reference.digest, &reference.tag) {
            (Some(digest), _) => digest,
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        };
        let (registry, name) = (&reference.registry, &reference.repository);
        let url = format!("https://{registry}/v2/{name}/manifests/{version}");
        let why = format!("failed to do request: Head \"{url}\": dial tcp: lookup {host}: no such host");
        return Some(failed("Unknown", &why));
    }
    // A digest says more than a tag beside it.
    let tag = reference.tag.as_deref().filter(|_| reference.digest.is_none())?;
    MISSING_TAGS
        .contains(&tag)
        .then(|| failed("NotFound", &format!("{reference}: not found")))
}

/// The pulls of one image for one pod that failed (client-go's `flowcontrol.Backoff`, by pod and image).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pulls {
    /// When the last one failed, and how long the next one waits.
    failed: Instant,
    wait: Duration,
    /// Whether it was told that it waits.
    waits: bool,
}

/// An event of a container, which is not known here.
fn event(warning: bool, reason: &'static str, message: String) -> Told {
    Told {
        warning,
        reason,
        message,
        container: None,
    }
}

/// What a kubelet makes of a container's image now; `None`: the container can be started with it.
pub(super) fn missing(image: &str, policy: &str, pulls: &mut Option<Pulls>, now: Instant) -> Option<Missing> {
    let quoted = quote(image);
    let waiting = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
    // What is said beside it when the container is not made for it (`startContainer`).
    let error = |reason: &str| event(true, "Failed", format!("Error: {reason}"));
    let never = |reason: &str, told: &'static str, message: String, pulls: &mut Option<Pulls>| {
        let first = pulls.is_none();
        *pulls = Some(Pulls {
            failed: now,
            wait: FIRST,
            waits: true,
        });
        let told = [event(true, told, message.clone()), error(reason)];
        Missing {
            waiting: waiting(reason, &message),
            told: told.into_iter().filter(|_| first).collect(),
            again: now + FIRST,
        }
    };
    let reference = match Reference::parse(image) {
        Ok(r) => r,
        Err(e) => {
            let why = format!("Failed to apply default image tag {quoted}: couldn't parse image name {quoted}: {e}");
            return Some(never("InvalidImageName", "InspectFailed", why, pulls));
        }
    };
    let Some(why) = failure(&reference) else {
        *pulls = None;
        return None;
    };
    if policy == "Never" {
        let message = format!("Container image {quoted} is not present with pull policy of Never");
        return Some(never("ErrImageNeverPull", "ErrImageNeverPull", message, pulls));
    }
    if let Some(p) = pulls.as_mut().filter(|p| now < p.failed + p.wait) {
        let again = p.failed + p.wait;
        // Just failed: it is seen so until the kubelet looks again.
        if now < p.failed + RELIST {
            return Some(Missing {
                waiting: waiting("ErrImagePull", &why),
                told: Vec::new(),
                again: p.failed + RELIST,
            });
        }
        let message = format!("Back-off pulling image {quoted}");
        let first = !std::mem::replace(&mut p.waits, true);
        let told = [event(false, "BackOff", message.clone()), error("ImagePullBackOff")];
        return Some(Missing {
            waiting: waiting("ImagePullBackOff", &format!("{message}: ErrImagePull: {why}")),
            told: told.into_iter().filter(|_| first).collect(),
            again,
        });
    }
    // As `Backoff.Next`: what was not tried for twice the longest wait begins anew.
    let wait = match pulls {
        Some(p) if now.duration_since(p.failed) <= LONGEST * 2 => (p.wait * 2).min(LONGEST),
        _ => FIRST,
    };
    *pulls = Some(Pulls {
        failed: now,
        wait,
        waits: false,
    });
    Some(Missing {
        told: vec![
            event(false, "Pulling", format!("Pulling image {quoted}")),
            event(true, "Failed", format!("Failed to pull image {quoted}: {why}")),
            error("ErrImagePull"),
        ],
        waiting: waiting("ErrImagePull", &why),
        again: now + RELIST,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_are_not_there() {
        let zeros = "0".repeat(64);
        for (image, code) in [
            ("webserver:404", Some("NotFound")),
            ("foo:non-existent", Some("NotFound")),
            ("example.com:5000/a:404", Some("NotFound")),
            ("r.invalid/a", Some("Unknown")),
            ("invalid:5000/a:1", Some("Unknown")),
            ("invalid/a", None),
            ("r.invalid.com/a", None),
            ("404", None),
            ("a:405", None),
            (&format!("a:404@sha256:{zeros}"), None),
        ] {
            let found = failure(&Reference::parse(image).unwrap());
            let expected = code.map(|c| format!("rpc error: code = {c} desc = "));
            assert!(
                match (&found, &expected) {
                    (Some(f), Some(e)) => f.starts_with(e.as_str()),
                    (f, e) => f.is_none() && e.is_none(),
                },
                "{image}: {found:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pulls_back_off() {
        let mut pulls = None;
        let (begun, mut seen) = (Instant::now(), Vec::new());
        while begun.elapsed() < Duration::from_secs(1300) {
            let m = missing("a:404", "IfNotPresent", &mut pulls, Instant::now()).unwrap();
            assert!(m.again > Instant::now());
            if m.waiting.0 == "ErrImagePull" {
                seen.push(begun.elapsed().as_secs());
                assert_eq!(m.told.len(), 3);
            } else {
                assert_eq!(m.told.len(), 2, "each wait is told once");
                assert!(
                    m.waiting
                        .1
                        .starts_with("Back-off pulling image \"a:404\": ErrImagePull: rpc error")
                );
            }
            // Looking again in between tells nothing again.
            assert!(
                missing("a:404", "Always", &mut pulls, Instant::now())
                    .unwrap()
                    .told
                    .is_empty()
            );
            tokio::time::sleep_until(m.again).await;
        }
        assert_eq!(seen, [0, 10, 30, 70, 150, 310, 610, 910, 1210]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_pulled_at_all() {
        let now = Instant::now();
        for (image, policy, reason, message) in [
            (
                "a:404",
                "Never",
                "ErrImageNeverPull",
                "Container image \"a:404\" is not present with pull policy of Never",
            ),
            (
                "A b",
                "Always",
                "InvalidImageName",
                "Failed to apply default image tag \"A b\": couldn't parse image name \"A b\": invalid reference format: repository name (library/A b) must be lowercase",
            ),
        ] {
            let mut pulls = None;
            let m = missing(image, policy, &mut pulls, now).unwrap();
            assert_eq!((m.waiting.0.as_str(), m.waiting.1.as_str()), (reason, message));
            assert_eq!(m.told.len(), 2);
            assert!(missing(image, policy, &mut pulls, m.again).unwrap().told.is_empty());
        }
        let mut pulls = None;
        missing("a:404", "Always", &mut pulls, now);
        assert_eq!(missing("a:1", "Never", &mut pulls, now), None);
        assert_eq!(pulls, None, "what is there now was not missing");
    }
}
