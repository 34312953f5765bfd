//! The agent's identity on the hub: a client certificate, kept so that a restart is the same agent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cfn_net::Identity;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams};

use super::member::{is_not_found, until_ok};
use super::register::MANAGER;
use super::{AgentError, ClusterAgentOptions};

/// Where an identity is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Nowhere: a restarted agent registers anew.
    #[default]
    Forgotten,
    /// In a directory; the key is readable by its owner alone.
    Directory(PathBuf),
    /// In a Secret of the member, of the type `kubernetes.io/tls`.
    Secret {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// Certificate and key, PEM.
#[derive(Clone)]
pub struct AgentIdentity {
    /// Certificate, PEM.
    pub cert_pem: String,
    /// Key, PEM.
    pub key_pem: String,
}

impl std::fmt::Debug for AgentIdentity {
    /// Without the key: it may come into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentIdentity").finish_non_exhaustive()
    }
}

/// Names of the two in a directory.
const FILES: [&str; 2] = ["agent.crt", "agent.key"];
/// Names of the two in a Secret: those of the type `kubernetes.io/tls`.
const KEYS: [&str; 2] = ["tls.crt", "tls.key"];

impl AgentIdentity {
    /// What was kept, if anything.
    pub async fn load(options: &ClusterAgentOptions) -> Option<Self> {
        let [cert_pem, key_pem] = match &options.state {
            State::Forgotten => return None,
            State::Directory(dir) => FILES.map(|f| std::fs::read_to_string(dir.join(f)).ok()),
            State::Secret { namespace, name } => {
                let api: Api<Secret> = Api::namespaced(options.member.clone(), namespace);
                let secret = until_ok("reading the kept identity", || async { api.get_opt(name).await }).await;
                let mut data = secret.and_then(|s| s.data).unwrap_or_default();
                KEYS.map(|k| data.remove(k).and_then(|b| String::from_utf8(b.0).ok()))
            }
        };
        Some(Self {
            cert_pem: cert_pem?,
            key_pem: key_pem?,
        })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the directory cannot be written; a Secret is tried again for as long as it takes.
    pub async fn save(&self, options: &ClusterAgentOptions) -> Result<(), AgentError> {
        match &options.state {
            State::Forgotten => Ok(()),
            State::Directory(dir) => self.save_in(dir).map_err(|source| AgentError::State {
                path: dir.clone(),
                source,
            }),
            State::Secret { namespace, name } => {
                let api: Api<Secret> = Api::namespaced(options.member.clone(), namespace);
                let data = KEYS.into_iter().zip([&self.cert_pem, &self.key_pem]);
                let secret = Secret {
                    metadata: ObjectMeta {
                        name: Some(name.clone()),
                        ..ObjectMeta::default()
                    },
                    type_: Some("kubernetes.io/tls".into()),
                    data: Some(
                        data.map(|(k, v)| (k.to_owned(), ByteString(v.clone().into_bytes())))
                            .collect(),
                    ),
                    ..Secret::default()
                };
                let params = PatchParams::apply(MANAGER).force();
                until_ok("keeping the identity", || async {
                    api.patch(name, &params, &Patch::Apply(&secret)).await.map(|_| ())
                })
                .await;
                Ok(())
            }
        }
    }

    /// Forgets what was kept.
    pub async fn forget(options: &ClusterAgentOptions) {
        match &options.state {
            State::Forgotten => {}
            State::Directory(dir) => {
                for f in FILES {
                    // It may never have been kept.
                    let _ = std::fs::remove_file(dir.join(f));
                }
            }
            State::Secret { namespace, name } => {
                let api: Api<Secret> = Api::namespaced(options.member.clone(), namespace);
                until_ok("forgetting the identity", || async {
                    match api.delete(name, &DeleteParams::default()).await {
                        Err(e) if !is_not_found(&e) => Err(e),
                        _ => Ok(()),
                    }
                })
                .await;
            }
        }
    }

    fn save_in(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join(FILES[0]), &self.cert_pem)?;
        write_secret(&dir.join(FILES[1]), &self.key_pem)
    }

    /// As a client shows it.
    #[must_use]
    pub fn as_identity(&self) -> Identity {
        Identity::Certificate {
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
        }
    }

    /// The hub's client with this identity.
    ///
    /// # Errors
    /// When the certificate does not parse.
    pub fn client(&self, options: &ClusterAgentOptions) -> Result<kube::Client, AgentError> {
        let mut config = options.hub.clone();
        config.identity = self.as_identity();
        Ok(config.client(&options.net, &options.host)?)
    }

    /// How its time stands.
    #[must_use]
    pub fn term(&self, now: Timestamp) -> Term {
        match cfn_net::pki::validity(&self.cert_pem) {
            Ok((from, to)) => term(from, to, now),
            // Not to be read: as good as none.
            Err(_) => Term::Over,
        }
    }

    /// Waits until it is to be renewed. Whoever runs the agent starts it again, and it renews as it starts.
    pub async fn until_renewal(&self, options: &ClusterAgentOptions) {
        // A look now and then, not one long wait: a machine that slept has other dates.
        while self.term(options.clock.now()) == Term::Good {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Between two looks at the certificate's time.
const LOOK: Duration = Duration::from_secs(3600);
/// The part of its life after which a certificate is renewed; kubelet's own is between 70 and 90 %.
const RENEW_AFTER: f64 = 0.8;

/// How a certificate's time stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// In the middle of it.
    Good,
    /// It still works, and is to be renewed with its own help.
    Ending,
    /// It does not work any more.
    Over,
}

fn term(from: Timestamp, to: Timestamp, now: Timestamp) -> Term {
    let life = to.duration_since(from).as_secs_f64();
    let lived = now.duration_since(from).as_secs_f64();
    if lived >= life {
        Term::Over
    } else if lived >= life * RENEW_AFTER {
        Term::Ending
    } else {
        Term::Good
    }
}

#[cfg(unix)]
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_four_fifths_of_its_life() {
        let at = |s: &str| s.parse::<Timestamp>().unwrap();
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-01-11T00:00:00Z"));
        for (now, is) in [
            ("2026-01-01T00:00:00Z", Term::Good),
            ("2026-01-08T23:59:59Z", Term::Good),
            ("2026-01-09T00:00:00Z", Term::Ending),
            ("2026-01-10T23:59:59Z", Term::Ending),
            ("2026-01-11T00:00:00Z", Term::Over),
            ("2027-01-11T00:00:00Z", Term::Over),
        ] {
            assert_eq!(term(from, to, at(now)), is, "{now}");
        }
    }

    #[test]
    fn no_key_in_a_log() {
        let i = AgentIdentity {
            cert_pem: "CERT".into(),
            key_pem: "KEY".into(),
        };
        assert!(!format!("{i:?}").contains("KEY"));
    }
}
