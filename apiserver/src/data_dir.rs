//! What a cluster keeps in its data directory beside the store's log ([`crate::store::log`], in `store/`): the keys that
//! make clients' credentials outlive a restart, and the address it was reached at.
//!
//! `pki/ca.crt`, `pki/ca.key`, `pki/front-proxy-ca.crt`, `pki/front-proxy-ca.key` and `pki/sa.key` are named as kubeadm
//! names them; `address` is the real socket.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cfn_net::pki::{Ca, PkiError};
use jiff::Timestamp;

use crate::aggregator::FRONT_PROXY_CA;
use crate::auth::signing::{SigningKey, SigningKeyError};
use crate::store::Store;
use crate::store::log::{LogError, LogOptions, Recovery};

/// Why a data directory cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataDirError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// A key or certificate in it is none, or one of a pair is missing.
    #[error("{path}: {what}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The store's log.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What was kept, or made for the first time.
pub(crate) struct DataDir {
    pub(crate) ca: Ca,
    /// Who signs the certificate that servers behind this one are shown.
    pub(crate) front_proxy_ca: Ca,
    pub(crate) service_account_key: SigningKey,
    pub(crate) store: Store,
    pub(crate) recovery: Recovery,
    /// Where the API server was reached.
    pub(crate) address: Option<SocketAddr>,
}

fn io_error(path: &Path, source: io::Error) -> DataDirError {
    DataDirError::Io {
        path: path.to_owned(),
        source: Arc::new(source),
    }
}

impl DataDir {
    /// Opens `path`, made where it is not there. `name`: of a CA that is made.
    pub(crate) fn open(path: &Path, name: &str, now: Timestamp) -> Result<Self, DataDirError> {
        let dir = path.join("pki");
        std::fs::create_dir_all(&dir).map_err(|e| io_error(&dir, e))?;
        // First of all: it says when another process is here.
        let (store, recovery) = Store::open(&path.join("store"), &LogOptions::default())?;
        Ok(Self {
            ca: authority(&dir, "ca", name, now)?,
            front_proxy_ca: authority(&dir, FRONT_PROXY_CA, FRONT_PROXY_CA, now)?,
            service_account_key: account_key(&dir)?,
            store,
            recovery,
            address: read(&path.join("address"))?.and_then(|t| t.trim().parse().ok()),
        })
    }

    /// Remembers where the API server is reached.
    pub(crate) fn keep_address(path: &Path, at: SocketAddr) -> Result<(), DataDirError> {
        write(&path.join("address"), &format!("{at}\n"))
    }
}

/// The CA in these files; made, and called `name`, where they are not there.
fn authority(dir: &Path, file: &str, name: &str, now: Timestamp) -> Result<Ca, DataDirError> {
    let (cert, key) = (dir.join(format!("{file}.crt")), dir.join(format!("{file}.key")));
    let bad = |path: &Path, e: PkiError| DataDirError::Key {
        path: path.to_owned(),
        what: e.to_string(),
    };
    match (read(&cert)?, read(&key)?) {
        (Some(c), Some(k)) => Ca::from_pem(&c, &k).map_err(|e| bad(&cert, e)),
        // The certificate is written last: a key alone was not used yet.
        (None, _) => {
            let ca = Ca::new(name, now).map_err(|e| bad(&cert, e))?;
            write(&key, ca.key_pem())?;
            write(&cert, ca.cert_pem())?;
            Ok(ca)
        }
        (Some(_), None) => Err(DataDirError::Key {
            path: key,
            what: format!("missing, but {file}.crt is there"),
        }),
    }
}

fn account_key(dir: &Path) -> Result<SigningKey, DataDirError> {
    let path = dir.join("sa.key");
    let bad = |e: SigningKeyError| DataDirError::Key {
        path: path.clone(),
        what: e.to_string(),
    };
    if let Some(pem) = read(&path)? {
        return SigningKey::from_pem(&pem).map_err(bad);
    }
    let (key, pem) = SigningKey::generate().map_err(bad)?;
    write(&path, &pem)?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<String>, DataDirError> {
    match std::fs::read_to_string(path) {
        Ok(t) => Ok(Some(t)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(path, e)),
    }
}

/// A file of the owner's alone, whole or not there at all.
fn write(path: &Path, text: &str) -> Result<(), DataDirError> {
    let part = path.with_extension("part");
    let mut options = std::fs::OpenOptions::new();
    options.create(true).write(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut f = options.open(&part).map_err(|e| io_error(&part, e))?;
    f.write_all(text.as_bytes())
        .and_then(|()| f.sync_all())
        .map_err(|e| io_error(&part, e))?;
    std::fs::rename(&part, path).map_err(|e| io_error(path, e))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| io_error(dir, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let open = || DataDir::open(dir.path(), "c CA", now).unwrap();
        let first = open();
        let keys = |d: &DataDir| {
            let authorities = [&d.ca, &d.front_proxy_ca].map(|ca| ca.cert_pem().to_owned());
            (authorities, d.service_account_key.public().unwrap().clone())
        };
        let was = keys(&first);
        assert_eq!(first.address, None);
        let at = "127.0.0.1:7".parse().unwrap();
        DataDir::keep_address(dir.path(), at).unwrap();
        drop(first);
        let second = open();
        assert_eq!(keys(&second), was);
        assert_eq!(second.address, Some(at));
        drop(second);
        let refused = |at: &str| match DataDir::open(dir.path(), "c CA", now) {
            Err(DataDirError::Key { path, .. }) => path.ends_with(at),
            _ => false,
        };
        // What is no key is not written over.
        std::fs::write(dir.path().join("pki/sa.key"), "AAAA\n").unwrap();
        assert!(refused("pki/sa.key"));
        for key in ["pki/front-proxy-ca.key", "pki/ca.key"] {
            std::fs::remove_file(dir.path().join(key)).unwrap();
            assert!(refused(key));
        }
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_the_owners() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path(), "c", "2026-01-01T00:00:00Z".parse().unwrap()).unwrap());
        for f in ["pki/ca.key", "pki/front-proxy-ca.key", "pki/sa.key"] {
            let mode = std::fs::metadata(dir.path().join(f)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{f}");
        }
    }
}
