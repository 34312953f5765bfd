//! The thread that writes: takes all that waits, writes it as one frame, fsyncs, says so.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::record::{Frame, HEADER, Kind, header};
use super::{Entry, Image, LogError, LogOptions, Progress, Restored, path_of, snapshot, sync_dir};
use crate::store::{EventKind, Key, Revision};

/// Bytes of a frame after which it is written though more is waiting.
const FRAME_SIZE: usize = 4 * 1024 * 1024;

pub(super) struct Writer {
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes of log since the snapshot.
    log_bytes: u64,
    snapshot_bytes: u64,
    snapshot_after: u64,
    snapshot_due: Arc<AtomicBool>,
    /// A snapshot was asked for, or is being written.
    asked: bool,
    snapshotting: Option<JoinHandle<Result<u64, LogError>>>,
    progress: watch::Sender<Progress>,
}

/// A new log file with its header, on disk.
fn begin(dir: &Path, revision: Revision) -> Result<(PathBuf, File), LogError> {
    let path = path_of(dir, "log", revision);
    let failed = |e| LogError::io(&path, e);
    let mut file = File::create(&path).map_err(failed)?;
    file.write_all(&header(revision)).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    sync_dir(dir)?;
    Ok((path, file))
}

impl Writer {
    pub(super) fn new(
        dir: &Path,
        options: &LogOptions,
        restored: &Restored,
        snapshot_due: Arc<AtomicBool>,
        progress: watch::Sender<Progress>,
    ) -> Result<Self, LogError> {
        let (path, file) = match restored.log {
            Some(r) => {
                let path = path_of(dir, "log", r);
                let file = File::options()
                    .append(true)
                    .open(&path)
                    .map_err(|e| LogError::io(&path, e))?;
                (path, file)
            }
            None => begin(dir, restored.image.revision)?,
        };
        Ok(Self {
            dir: dir.to_owned(),
            path,
            file,
            log_bytes: restored.log_bytes,
            snapshot_bytes: restored.snapshot_bytes,
            snapshot_after: options.snapshot_after,
            snapshot_due,
            asked: false,
            snapshotting: None,
            progress,
        })
    }

    /// Writes until nobody can give anything any more, or the disk refuses.
    pub(super) fn run(mut self, entries: &Receiver<Entry>) {
        if let Err(e) = self.write_all(entries) {
            tracing::error!(error = %e, "the log cannot be written any more");
            self.progress.send_modify(|p| p.failed = Some(e));
        }
        if let Some(t) = self.snapshotting.take() {
            let _ = t.join();
        }
    }

    fn write_all(&mut self, entries: &Receiver<Entry>) -> Result<(), LogError> {
        let mut frame = Frame::new();
        while let Ok(first) = entries.recv() {
            let mut next = Some(first);
            let mut newest = None;
            let mut image = None;
            while let Some(entry) = next.take() {
                match entry {
                    Entry::Write(key, e) => {
                        let revision = e.revision;
                        newest = Some(revision);
                        if e.kind == EventKind::Deleted {
                            frame.push(Kind::Remove, revision, &e.resource, &key, &[]);
                        } else {
                            frame.push(Kind::Put, revision, &e.resource, &key, &e.object.bytes());
                        }
                    }
                    Entry::Drop(r, revision) => frame.push(Kind::Drop, revision, &r, &Key::new("", ""), &[]),
                    // What comes after it belongs into the next file.
                    Entry::Snapshot(i) => {
                        image = Some(i);
                        break;
                    }
                }
                if frame.len() < FRAME_SIZE {
                    next = entries.try_recv().ok();
                }
            }
            if !frame.is_empty() {
                self.write(&frame.take())?;
            }
            if let Some(r) = newest {
                self.progress.send_modify(|p| p.durable = r);
            }
            if let Some(i) = image {
                self.snapshot(i)?;
            }
            self.ask_for_snapshot();
        }
        Ok(())
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), LogError> {
        self.file
            .write_all(frame)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| LogError::io(&self.path, e))?;
        self.log_bytes += frame.len() as u64;
        Ok(())
    }

    /// The log goes on in a new file while the snapshot is written.
    fn snapshot(&mut self, image: Image) -> Result<(), LogError> {
        (self.path, self.file) = begin(&self.dir, image.revision)?;
        self.log_bytes = HEADER as u64;
        let dir = self.dir.clone();
        let thread = std::thread::Builder::new().name("store-snapshot".into());
        let written = thread.spawn(move || snapshot::write(&dir, &image));
        self.snapshotting = Some(written.map_err(|e| LogError::io(&self.dir, e))?);
        Ok(())
    }

    fn ask_for_snapshot(&mut self) {
        if let Some(t) = self.snapshotting.take_if(|t| t.is_finished()) {
            self.asked = false;
            match t.join() {
                Ok(Ok(bytes)) => self.snapshot_bytes = bytes,
                // The logs are all there still: tried again when this one has grown.
                Ok(Err(e)) => tracing::error!(error = %e, "snapshot"),
                Err(_) => tracing::error!("writing a snapshot panicked"),
            }
        }
        if !self.asked && self.log_bytes >= self.snapshot_after.max(self.snapshot_bytes) {
            self.asked = true;
            self.snapshot_due.store(true, Ordering::Relaxed);
        }
    }
}
