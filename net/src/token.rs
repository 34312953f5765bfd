//! Bearer tokens: fixed, or in a file that the kubelet renews.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

/// How long a token that was read is used before its file is read again, as client-go does
/// (`transport.NewCachedFileTokenSource`): bound tokens live an hour and are renewed long before.
const FRESH: Duration = Duration::from_secs(60);

/// A token in a file.
pub(crate) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(Instant, HeaderValue)>>,
}

impl TokenFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: Mutex::new(None),
        }
    }

    /// The header's value now. When the file cannot be read any more, the last one goes on being used.
    pub(crate) fn header(&self) -> io::Result<HeaderValue> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((at, value)) = &*read
            && now.duration_since(*at) < FRESH
        {
            return Ok(value.clone());
        }
        match (bearer_of(&self.path), &*read) {
            (Ok(value), _) => {
                *read = Some((now, value.clone()));
                Ok(value)
            }
            (Err(_), Some((_, old))) => Ok(old.clone()),
            (Err(e), None) => Err(e),
        }
    }
}

fn bearer_of(path: &Path) -> io::Result<HeaderValue> {
    let shown = |e: io::Error| io::Error::new(e.kind(), format!("reading the token {}: {e}", path.display()));
    bearer(std::fs::read_to_string(path).map_err(shown)?.trim())
}

/// The header's value for a token; never shown in logs.
pub(crate) fn bearer(token: &str) -> io::Result<HeaderValue> {
    let mut value: HeaderValue = format!("Bearer {token}")
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the token cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_renewed_token_is_used_after_a_minute() {
        let path = std::env::temp_dir().join(format!("cfn-net-renewed-{}", std::process::id()));
        std::fs::write(&path, "first\n").unwrap();
        let token = TokenFile::new(&path);
        let used = |t: &TokenFile| t.header().map(|v| v.to_str().unwrap_or_default().to_owned()).unwrap();
        assert_eq!(used(&token), "Bearer first");
        std::fs::write(&path, "second").unwrap();
        assert_eq!(used(&token), "Bearer first");
        tokio::time::advance(FRESH).await;
        assert_eq!(used(&token), "Bearer second");
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(used(&token), "Bearer second");
        assert!(TokenFile::new(&path).header().is_err());
        assert!(!format!("{:?}", token.header()).contains("second"), "never in a log");
    }
}
