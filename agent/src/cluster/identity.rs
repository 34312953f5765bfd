//! The agent's identity on the hub: a client certificate, kept on disk so that a restart is the same agent.

use std::path::Path;

use cfn_net::Identity;

use super::{AgentError, ClusterAgentOptions};

/// Certificate and key, PEM.
#[derive(Debug, Clone)]
pub struct AgentIdentity {
    /// Certificate, PEM.
    pub cert_pem: String,
    /// Key, PEM.
    pub key_pem: String,
}

impl AgentIdentity {
    /// What was kept in `dir`, if anything.
    #[must_use]
    pub fn load(dir: &Path) -> Option<Self> {
        Some(Self {
            cert_pem: std::fs::read_to_string(dir.join("agent.crt")).ok()?,
            key_pem: std::fs::read_to_string(dir.join("agent.key")).ok()?,
        })
    }

    /// Keeps it in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), AgentError> {
        let failed = |source| AgentError::State {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        std::fs::write(dir.join("agent.crt"), &self.cert_pem).map_err(failed)?;
        write_secret(&dir.join("agent.key"), &self.key_pem).map_err(failed)
    }

    /// The hub's client with this identity.
    ///
    /// # Errors
    /// When the certificate does not parse.
    pub fn client(&self, options: &ClusterAgentOptions) -> Result<kube::Client, AgentError> {
        let mut config = options.hub.clone();
        config.identity = Identity::Certificate {
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
        };
        Ok(config.client(&options.net, &options.host)?)
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
