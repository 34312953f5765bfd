//! Certificates of a cluster's own that are made when somebody asks for them: most clusters in memory are never asked.

use std::sync::OnceLock;

use cfn_net::pki::{Ca, KeyCert, PkiError, Reserved};

/// A certificate and its key, once somebody asked for them.
pub(crate) struct Certificate {
    made: OnceLock<KeyCert>,
    key: Reserved,
}

impl Certificate {
    /// One that `ca` will sign, with the key that is the next now: it does not depend on who is asked for first.
    pub(crate) fn of(ca: &Ca) -> Self {
        Self {
            made: OnceLock::new(),
            key: ca.reserve(),
        }
    }

    /// What was made before, or is now.
    ///
    /// # Errors
    /// As `make`; it is tried again then.
    pub(crate) fn get(&self, make: impl FnOnce(Reserved) -> Result<KeyCert, PkiError>) -> Result<&KeyCert, PkiError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        let made = make(self.key)?;
        Ok(self.made.get_or_init(|| made))
    }
}
