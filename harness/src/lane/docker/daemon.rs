//! Finding the container daemon (Docker, rootless Docker, Podman) and talking to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use sha2::{Digest, Sha256};

use crate::lane::LaneError;

/// How long a daemon may take to answer its first question.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests that stream (building, waiting for a container) may take this long, in seconds.
const REQUEST: u64 = 600;
/// API versions to ask with when the daemon refuses our own as too new: the oldest that Docker 29 accepts, and that of
/// Docker 20.10 and of Podman.
const OLDER: [ClientVersion; 2] = [
    ClientVersion {
        major_version: 1,
        minor_version: 44,
    },
    ClientVersion {
        major_version: 1,
        minor_version: 41,
    },
];

/// What the environment says about where a daemon is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`, else `currentContext` of Docker's config file; not for `default`.
    pub context: Option<String>,
    /// The address in that context's file; none when it cannot be read.
    pub context_host: Option<String>,
    /// `XDG_RUNTIME_DIR`, else `/run/user/<uid>` where that is known.
    pub runtime_dir: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

/// Who says where the daemon is, in the environment.
const DOCKER_HOST: &str = "DOCKER_HOST";
/// Docker's own place.
const DOCKERS_OWN: &str = "unix:///var/run/docker.sock";

/// Where a daemon may be, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `unix:///var/run/docker.sock`, `tcp://host:2375`.
    pub address: String,
    /// Who says so.
    pub from: String,
}

impl Endpoint {
    fn new(address: impl Into<String>, from: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            from: from.into(),
        }
    }

    /// Whether testcontainers looks there: it knows `DOCKER_HOST` and Docker's own socket, no contexts, and neither rootless
    /// Docker's nor Podman's place. There is no way to tell it but by the process's environment, which is not ours to change.
    #[must_use]
    pub fn is_testcontainers(&self) -> bool {
        self.from == DOCKER_HOST || self.address == DOCKERS_OWN
    }

    /// The path of a socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        self.address.strip_prefix("unix://").map(Path::new)
    }
}

/// The places to look, in order: `DOCKER_HOST`, the context, Docker's own socket, rootless Docker's, Docker Desktop's,
/// Podman's of the user and of the system. The first two are what somebody said: nothing else is then tried.
///
/// # Errors
/// A context without a readable address.
pub fn endpoints(w: &Whereabouts) -> Result<Vec<Endpoint>, LaneError> {
    if let Some(h) = w.docker_host.as_ref().filter(|h| !h.is_empty()) {
        return Ok(vec![Endpoint::new(h, DOCKER_HOST)]);
    }
    if let Some(c) = &w.context {
        return match &w.context_host {
            Some(h) => Ok(vec![Endpoint::new(h, format!("Docker's context `{c}`"))]),
            None => Err(LaneError::Environment {
                what: format!("Docker's context `{c}` says nothing of where its daemon is"),
                cure: "docker context use default, or set DOCKER_HOST".into(),
            }),
        };
    }
    let unix = |p: &Path| format!("unix://{}", p.display());
    let mut all = vec![Endpoint::new(DOCKERS_OWN, "Docker's own place")];
    if let Some(r) = &w.runtime_dir {
        all.push(Endpoint::new(unix(&r.join("docker.sock")), "rootless Docker"));
    }
    if let Some(h) = &w.home {
        all.push(Endpoint::new(
            unix(&h.join(".docker/run/docker.sock")),
            "Docker Desktop",
        ));
    }
    if let Some(r) = &w.runtime_dir {
        all.push(Endpoint::new(unix(&r.join("podman/podman.sock")), "rootless Podman"));
    }
    all.push(Endpoint::new("unix:///run/podman/podman.sock", "Podman"));
    Ok(all)
}

/// Asks the environment and Docker's config files.
#[must_use]
pub fn whereabouts() -> Whereabouts {
    let var = |k: &str| std::env::var(k).ok().filter(|v| !v.is_empty());
    let home = var("HOME").map(PathBuf::from);
    let config = var("DOCKER_CONFIG")
        .map(PathBuf::from)
        .or_else(|| home.as_ref().map(|h| h.join(".docker")));
    let json = |p: PathBuf| -> Option<serde_json::Value> { serde_json::from_slice(&std::fs::read(p).ok()?).ok() };
    let context = var("DOCKER_CONTEXT")
        .or_else(|| {
            let c = json(config.as_ref()?.join("config.json"))?;
            c.get("currentContext")?.as_str().map(str::to_owned)
        })
        .filter(|c| !c.is_empty() && c != "default");
    let context_host = context.as_ref().zip(config.as_ref()).and_then(|(c, dir)| {
        // Docker's context store: the directory is named by the SHA-256 of the context's name.
        let id: String = Sha256::digest(c.as_bytes())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let meta = json(dir.join("contexts/meta").join(id).join("meta.json"))?;
        meta.pointer("/Endpoints/docker/Host")?.as_str().map(str::to_owned)
    });
    Whereabouts {
        docker_host: var("DOCKER_HOST"),
        context,
        context_host,
        runtime_dir: var("XDG_RUNTIME_DIR").map(PathBuf::from).or_else(|| {
            use std::os::unix::fs::MetadataExt;
            let uid = std::fs::metadata("/proc/self").ok()?.uid();
            Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|p| p.is_dir())
        }),
        home,
    }
}

/// A client of the daemon that the environment names, speaking a version of the API that the daemon has, and where it was
/// found.
///
/// # Errors
/// [`LaneError::Environment`] with the cure: no daemon is there, may not be talked to, or does not answer.
pub async fn connect() -> Result<(Docker, Endpoint), LaneError> {
    let all = endpoints(&whereabouts())?;
    let said = all.len() == 1;
    let there: Vec<&Endpoint> = all
        .iter()
        .filter(|e| said || e.socket().is_some_and(Path::exists))
        .collect();
    let mut first = None;
    for e in there {
        match ask(e).await {
            Ok(d) => return Ok((d, e.clone())),
            Err(x) => {
                first.get_or_insert(x);
            }
        }
    }
    Err(first.unwrap_or_else(|| absent(&all)))
}

fn absent(all: &[Endpoint]) -> LaneError {
    let places: Vec<&str> = all.iter().map(|e| e.address.as_str()).collect();
    LaneError::Environment {
        what: format!("no Docker daemon: there is none of {}", places.join(", ")),
        cure: format!(
            "install Docker and start it (systemctl start docker, or dockerd &), or Podman (systemctl --user start \
             podman.socket), or say where it is by DOCKER_HOST; {WITHOUT}"
        ),
    }
}

const WITHOUT: &str = "without one, cfn run --lane local and --lane sim work";

/// A first question to one daemon.
async fn ask(e: &Endpoint) -> Result<Docker, LaneError> {
    let mut last = None;
    for version in std::iter::once(API_DEFAULT_VERSION).chain(&OLDER) {
        let docker = open(e, version)?;
        match tokio::time::timeout(ANSWER, docker.negotiate_version()).await {
            Ok(Ok(d)) => return Ok(d),
            Ok(Err(x)) => {
                let again = matches!(
                    x,
                    bollard::errors::Error::DockerResponseServerError { status_code: 400, .. }
                );
                last = Some(unanswered(e, &x));
                if !again {
                    break;
                }
            }
            Err(_) => {
                last = Some(LaneError::Environment {
                    what: format!(
                        "the daemon at {} does not answer within {} s",
                        e.address,
                        ANSWER.as_secs()
                    ),
                    cure: "look at its log (journalctl -u docker), then systemctl restart docker".into(),
                });
                break;
            }
        }
    }
    Err(last.unwrap_or_else(|| absent(std::slice::from_ref(e))))
}

fn open(e: &Endpoint, version: &ClientVersion) -> Result<Docker, LaneError> {
    let made = match e.address.split_once("://") {
        Some(("unix", _)) => Docker::connect_with_unix(&e.address, REQUEST, version),
        Some(("tcp" | "http", _)) if std::env::var("DOCKER_TLS_VERIFY").is_ok_and(|v| !v.is_empty()) => {
            return Err(elsewhere(e, "TLS to a daemon"));
        }
        Some(("tcp" | "http", _)) => Docker::connect_with_http(&e.address, REQUEST, version),
        Some((scheme, _)) => return Err(elsewhere(e, &format!("{scheme}:// to a daemon"))),
        None => return Err(elsewhere(e, "an address without unix:// or tcp://")),
    };
    made.map_err(|x| unanswered(e, &x))
}

/// What we do not speak: nodes are containers whose addresses must be reachable, so that a far daemon is of no use.
fn elsewhere(e: &Endpoint, what: &str) -> LaneError {
    LaneError::Environment {
        what: format!("{} (from {}): {what} is not supported", e.address, e.from),
        cure: "use a daemon on this machine by its socket (DOCKER_HOST=unix:///var/run/docker.sock), or forward it: \
               ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST"
            .into(),
    }
}

/// The cure for what a connection ended with.
fn unanswered(e: &Endpoint, x: &bollard::errors::Error) -> LaneError {
    let kind = io_kind(x);
    let (what, cure) = match (kind, x) {
        (Some(std::io::ErrorKind::PermissionDenied), _) => (
            format!("{} may not be used by this user", e.address),
            "join its group (sudo usermod -aG docker $USER, then log in again), or use rootless Docker or Podman"
                .into(),
        ),
        (Some(std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound), _)
        | (_, bollard::errors::Error::SocketNotFoundError(_)) => (
            format!("no daemon listens at {} (from {})", e.address, e.from),
            format!("start it: systemctl start docker, or dockerd &; {WITHOUT}"),
        ),
        _ => (
            format!("the daemon at {} (from {}) does not answer: {x}", e.address, e.from),
            "look at its log (journalctl -u docker), then systemctl restart docker".into(),
        ),
    };
    LaneError::Environment { what, cure }
}

/// The operating system's error at the bottom.
fn io_kind(x: &bollard::errors::Error) -> Option<std::io::ErrorKind> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(x);
    let mut found = None;
    while let Some(s) = source {
        if let Some(io) = s.downcast_ref::<std::io::Error>() {
            found = Some(io.kind());
        }
        source = s.source();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_said_comes_first_and_alone() {
        let own = Whereabouts {
            runtime_dir: Some("/run/user/7".into()),
            home: Some("/home/x".into()),
            ..Whereabouts::default()
        };
        let addresses = |w: &Whereabouts| -> Vec<String> {
            endpoints(w)
                .map(|all| all.into_iter().map(|e| e.address).collect())
                .unwrap_or_else(|e| vec![e.to_string()])
        };
        let context = |host: Option<&str>| Whereabouts {
            context: Some("far".into()),
            context_host: host.map(str::to_owned),
            ..own.clone()
        };
        for (w, want) in [
            (
                own.clone(),
                vec![
                    "unix:///var/run/docker.sock",
                    "unix:///run/user/7/docker.sock",
                    "unix:///home/x/.docker/run/docker.sock",
                    "unix:///run/user/7/podman/podman.sock",
                    "unix:///run/podman/podman.sock",
                ],
            ),
            (
                Whereabouts::default(),
                vec!["unix:///var/run/docker.sock", "unix:///run/podman/podman.sock"],
            ),
            (
                Whereabouts {
                    docker_host: Some("tcp://127.0.0.1:2375".into()),
                    ..context(Some("unix:///x"))
                },
                vec!["tcp://127.0.0.1:2375"],
            ),
            (context(Some("unix:///x.sock")), vec!["unix:///x.sock"]),
            (
                context(None),
                vec!["Docker's context `far` says nothing of where its daemon is"],
            ),
        ] {
            assert_eq!(addresses(&w), want, "{w:?}");
        }
    }

    #[test]
    fn testcontainers_looks_in_two_places() {
        let all = endpoints(&Whereabouts {
            runtime_dir: Some("/run/user/7".into()),
            ..Whereabouts::default()
        });
        let found: Vec<bool> = all
            .unwrap_or_default()
            .iter()
            .map(Endpoint::is_testcontainers)
            .collect();
        assert_eq!(found, [true, false, false, false]);
        let said = endpoints(&Whereabouts {
            docker_host: Some("unix:///run/podman/podman.sock".into()),
            ..Whereabouts::default()
        });
        assert!(said.is_ok_and(|all| all[0].is_testcontainers()));
    }

    #[tokio::test]
    async fn each_trouble_has_its_cure() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        for (address, what, cure) in [
            (
                format!("unix://{}", dir.path().join("none.sock").display()),
                "no daemon listens",
                "start it",
            ),
            (format!("unix://{}", stale.display()), "no daemon listens", "start it"),
            ("ssh://host".into(), "ssh:// to a daemon is not supported", "ssh -nNT"),
            ("docker.sock".into(), "without unix:// or tcp://", "DOCKER_HOST"),
        ] {
            match ask(&Endpoint::new(&address, "a test")).await {
                Err(LaneError::Environment { what: w, cure: c }) => {
                    assert!(w.contains(what) && c.contains(cure), "{address}: {w}; {c}");
                }
                other => panic!("{address}: {other:?}"),
            }
        }
    }
}
