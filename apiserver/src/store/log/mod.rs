//! A store's durable log: every write, in order, on disk before it is told to anybody.
//!
//! A data directory holds, by the revision at which each begins (20 digits, so that names sort as numbers do):
//!
//! * `log-<revision>`: the writes after that revision. The last one grows;
//! * `snapshot-<revision>`: all that was stored at that revision. What is older than the newest is deleted;
//! * `lock`: held by the process that writes here.
//!
//! Both kinds of file are a header and frames, all numbers little-endian:
//!
//! ```text
//! header   8 bytes "cfn-log1" | u64 revision | u32 crc32 of the 16 bytes before
//! frame    4 bytes "frm1" | u32 length of the payload | u32 crc32 (IEEE) of the payload | payload
//! payload  records, each: u32 length | u8 kind | u64 revision | 5 texts | JSON of the object to the record's end
//! text     u32 length | UTF-8: group, version, resource, namespace, name
//! kind     1 put, 2 remove (no JSON), 3 drop of a resource; in snapshots alone: 4 begin, 5 table, 6 end
//! ```
//!
//! All writes that wait together go into one frame, which is written and fsynced before any of them is acknowledged
//! (group commit), and before the next frame begins. So only the last frame can be torn: one that is not whole, or has
//! another checksum, with no good frame behind it, is cut off and said to be ([`Recovery::cut`]). With a good frame
//! behind it, what is broken was acknowledged once, and nothing is started from it ([`LogError::Corrupt`]).
//!
//! A snapshot is written beside the log while that goes on: the log first begins a new file at the snapshot's revision;
//! the snapshot is written under another name, fsynced, renamed, the directory fsynced; then what is older is deleted.
//! A start reads the newest snapshot and every log from its revision on.

mod record;
mod recover;
mod snapshot;
mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use tokio::sync::watch;

pub(super) use recover::Restored;

use super::pack::Packer;
use super::{Event, Key, Object, ResourceKey, Revision};

/// What a log is opened with.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes of log after which a snapshot is taken (more where the last snapshot was bigger: what a restart reads is
    /// then at most about twice what is stored).
    pub snapshot_after: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            snapshot_after: 64 * 1024 * 1024,
        }
    }
}

/// Why a data directory cannot be used, or no longer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The operating system refused: no such directory, no permission, no space.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// Another process has the directory.
    #[error("{path}: in use by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Something that was whole once is not any more.
    #[error("{path}: corrupt at byte {offset}: {what}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file of a format that this version does not read.
    #[error("{path}: not a log of this version")]
    Version {
        /// The file.
        path: PathBuf,
    },
}

impl LogError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }
}

/// The end of a log that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// How many bytes were behind.
    pub bytes: u64,
    /// What was wrong with them.
    pub what: String,
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            path,
            offset,
            bytes,
            what,
        } = self;
        write!(
            f,
            "{}: {what} at byte {offset}: the {bytes} bytes from there, which were never acknowledged, are cut off",
            path.display()
        )
    }
}

/// What was found at a start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The store's revision.
    pub revision: Revision,
    /// How many objects there are.
    pub objects: usize,
    /// What was cut off the log's end.
    pub cut: Option<Cut>,
}

/// All that is stored at one revision.
pub(super) struct Image {
    pub(super) revision: Revision,
    pub(super) tables: Vec<TableImage>,
}

/// One resource of an [`Image`].
pub(super) struct TableImage {
    pub(super) resource: ResourceKey,
    /// Revision of the last write to it.
    pub(super) changed: Revision,
    pub(super) objects: Vec<Arc<Object>>,
}

/// What the writer is given, in the order of revisions.
enum Entry {
    Write(Key, Arc<Event>),
    Drop(ResourceKey, Revision),
    Snapshot(Image),
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
struct Progress {
    durable: Revision,
    failed: Option<LogError>,
}

/// A running log. Dropping it writes what it was given, and ends.
pub(super) struct Log {
    /// `None` only while it is dropped.
    queue: Option<Sender<Entry>>,
    progress: watch::Receiver<Progress>,
    snapshot_due: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _lock: File,
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(t) = self.thread.take() {
            // A writer that panicked has said so.
            let _ = t.join();
        }
    }
}

impl Log {
    /// Reads what is in `dir` (made where there is none) and goes on from there.
    pub(super) fn open(dir: &Path, options: &LogOptions, packer: &Arc<Packer>) -> Result<(Self, Restored), LogError> {
        std::fs::create_dir_all(dir).map_err(|e| LogError::io(dir, e))?;
        let path = dir.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| LogError::io(&path, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(LogError::Locked { path: dir.to_owned() }),
            Err(std::fs::TryLockError::Error(e)) => return Err(LogError::io(&path, e)),
        }
        let restored = recover::recover(dir, packer)?;
        let snapshot_due = Arc::new(AtomicBool::new(false));
        let (progress, seen) = watch::channel(Progress {
            durable: restored.image.revision,
            failed: None,
        });
        let writer = writer::Writer::new(dir, options, &restored, snapshot_due.clone(), progress)?;
        let (queue, entries) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-log".into())
            .spawn(move || writer.run(&entries))
            .map_err(|e| LogError::io(dir, e))?;
        let log = Self {
            queue: Some(queue),
            progress: seen,
            snapshot_due,
            thread: Some(thread),
            _lock: lock,
        };
        Ok((log, restored))
    }

    fn send(&self, e: Entry) {
        if let Some(q) = &self.queue {
            // A writer that failed reads no more; who waits is told why.
            let _ = q.send(e);
        }
    }

    pub(super) fn write(&self, key: Key, event: Arc<Event>) {
        self.send(Entry::Write(key, event));
    }

    pub(super) fn drop_resource(&self, resource: ResourceKey, revision: Revision) {
        self.send(Entry::Drop(resource, revision));
    }

    pub(super) fn snapshot(&self, image: Image) {
        self.send(Entry::Snapshot(image));
    }

    /// Whether a snapshot is to be given now: true once each time it is due.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.snapshot_due.load(Ordering::Relaxed) && self.snapshot_due.swap(false, Ordering::Relaxed)
    }

    /// The newest revision on disk.
    pub(super) fn durable(&self) -> Revision {
        self.progress.borrow().durable
    }

    /// Waits until `revision` is on disk.
    pub(super) fn wait(&self, revision: Revision) -> impl Future<Output = Result<(), LogError>> + Send + 'static {
        let mut progress = self.progress.clone();
        async move {
            match progress.wait_for(|p| p.durable >= revision || p.failed.is_some()).await {
                Ok(p) if p.durable >= revision => Ok(()),
                Ok(p) => Err(p.failed.clone().unwrap_or_else(ended)),
                Err(_) => Err(ended()),
            }
        }
    }

    /// Waits until the log cannot be written any more; for ever while it can.
    pub(super) fn failed(&self) -> impl Future<Output = LogError> + Send + 'static {
        let mut progress = self.progress.clone();
        async move {
            let failed = progress.wait_for(|p| p.failed.is_some()).await;
            let failed = failed.ok().map(|p| p.failed.clone().unwrap_or_else(ended));
            match failed {
                Some(e) => e,
                // Closed in order.
                None => std::future::pending().await,
            }
        }
    }
}

fn ended() -> LogError {
    LogError::io(Path::new("log"), io::Error::other("the writer ended"))
}

/// The directory's own entries are on disk after this.
fn sync_dir(dir: &Path) -> Result<(), LogError> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| LogError::io(dir, e))
}

fn path_of(dir: &Path, kind: &str, revision: Revision) -> PathBuf {
    dir.join(format!("{kind}-{revision:020}"))
}

#[cfg(test)]
mod tests;
