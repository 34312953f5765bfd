//! Reading a data directory: the newest snapshot, then every log from its revision on.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{self, BadHeader, FRAME, HEADER, Kind, Record};
use super::{Cut, Image, LogError, Recovery, TableImage, sync_dir};
use crate::store::pack::Packer;
use crate::store::{Key, Object, ResourceKey, Revision};

/// A store's state as it was on disk.
pub(in crate::store) struct Restored {
    pub(in crate::store) image: Image,
    pub(in crate::store) recovery: Recovery,
    /// Revision at which the log that goes on begins; `None`: there is none yet.
    pub(super) log: Option<Revision>,
    /// Bytes of log since the snapshot.
    pub(super) log_bytes: u64,
    /// Bytes of the snapshot.
    pub(super) snapshot_bytes: u64,
}

/// A resource while it is read.
#[derive(Default)]
struct Reading {
    changed: Revision,
    objects: BTreeMap<Arc<Key>, Arc<Object>>,
}

struct State {
    packer: Arc<Packer>,
    revision: Revision,
    tables: BTreeMap<ResourceKey, Reading>,
}

/// Files of `kind` in `dir` by the revision they begin at.
pub(super) fn files(dir: &Path, kind: &str) -> Result<BTreeMap<Revision, PathBuf>, LogError> {
    let mut found = BTreeMap::new();
    for e in std::fs::read_dir(dir).map_err(|e| LogError::io(dir, e))? {
        let path = e.map_err(|e| LogError::io(dir, e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let number = name.strip_prefix(kind).and_then(|n| n.strip_prefix('-'));
        // What has another name (a snapshot that was not finished) is not looked at.
        if let Some(n) = number.filter(|n| n.len() == 20).and_then(|n| n.parse().ok()) {
            found.insert(n, path);
        }
    }
    Ok(found)
}

pub(super) fn recover(dir: &Path, packer: &Arc<Packer>) -> Result<Restored, LogError> {
    let mut state = State {
        // As a store that was never written.
        revision: 1,
        packer: packer.clone(),
        tables: BTreeMap::new(),
    };
    let mut snapshot_bytes = 0;
    if let Some((revision, path)) = files(dir, "snapshot")?.pop_last() {
        snapshot_bytes = read_snapshot(&path, revision, &mut state)?;
    }
    let begin = state.revision;
    let mut logs = files(dir, "log")?;
    // What is older than the snapshot was to be deleted.
    logs.retain(|r, _| *r >= begin);
    let last = logs.keys().next_back().copied();
    let mut recovery = Recovery::default();
    let mut log_bytes = 0;
    let mut whole = None;
    for (revision, path) in &logs {
        if *revision != state.revision {
            let what = format!(
                "begins after revision {revision}, but what is before it ends at {}",
                state.revision
            );
            return Err(LogError::corrupt(path, 0, what));
        }
        match read_log(path, *revision, Some(*revision) == last, &mut state)? {
            (bytes, None) => {
                log_bytes += bytes;
                whole = Some(*revision);
            }
            (bytes, Some(cut)) => {
                tracing::warn!("{cut}");
                truncate(&cut)?;
                log_bytes += bytes;
                // A file without a header is begun again, under the same name.
                whole = (bytes >= HEADER as u64).then_some(*revision);
                recovery.cut = Some(cut);
            }
        }
    }
    delete_unfinished(dir)?;
    recovery.revision = state.revision;
    recovery.objects = state.tables.values().map(|t| t.objects.len()).sum();
    let tables = state.tables.into_iter().map(|(resource, t)| TableImage {
        resource,
        changed: t.changed,
        objects: t.objects.into_values().collect(),
    });
    Ok(Restored {
        image: Image {
            revision: recovery.revision,
            tables: tables.collect(),
        },
        recovery,
        log: whole,
        log_bytes,
        snapshot_bytes,
    })
}

fn truncate(cut: &Cut) -> Result<(), LogError> {
    let f = File::options()
        .write(true)
        .open(&cut.path)
        .map_err(|e| LogError::io(&cut.path, e))?;
    f.set_len(cut.offset)
        .and_then(|()| f.sync_all())
        .map_err(|e| LogError::io(&cut.path, e))?;
    sync_dir(cut.path.parent().unwrap_or(Path::new(".")))
}

/// Applies a log's records; how many bytes of it are good, and what is to be cut off behind them.
fn read_log(path: &Path, revision: Revision, is_last: bool, state: &mut State) -> Result<(u64, Option<Cut>), LogError> {
    let b = std::fs::read(path).map_err(|e| LogError::io(path, e))?;
    let cut = |offset: usize, what: &str| Cut {
        path: path.to_owned(),
        offset: offset as u64,
        bytes: (b.len() - offset) as u64,
        what: what.to_owned(),
    };
    match record::read_header(&b) {
        Ok(r) if r == revision => {}
        Ok(_) => return Err(LogError::corrupt(path, 8, "its name says another revision")),
        Err(BadHeader::Version) => return Err(LogError::Version { path: path.to_owned() }),
        // The header is on disk before anything is written behind it.
        Err(BadHeader::Broken) if is_last && record::find_frame(&b, 0).is_none() => {
            return Ok((0, Some(cut(0, "a header that is not whole"))));
        }
        Err(BadHeader::Broken) => return Err(LogError::corrupt(path, 0, "the header is broken")),
    }
    let mut at = HEADER;
    while at < b.len() {
        let payload = match record::read_frame(&b[at..]) {
            Ok(p) => p,
            Err(what) if is_last && record::find_frame(&b, at + 1).is_none() => {
                return Ok((at as u64, Some(cut(at, what))));
            }
            Err(what) => return Err(LogError::corrupt(path, at as u64, what)),
        };
        let records =
            record::records(payload).ok_or_else(|| LogError::corrupt(path, at as u64, "a record that is none"))?;
        for r in records {
            state
                .apply(r)
                .map_err(|what| LogError::corrupt(path, at as u64, what))?;
        }
        at += FRAME + payload.len();
    }
    Ok((b.len() as u64, None))
}

/// Reads a snapshot; its size. It was whole when it got its name.
fn read_snapshot(path: &Path, revision: Revision, state: &mut State) -> Result<u64, LogError> {
    let b = std::fs::read(path).map_err(|e| LogError::io(path, e))?;
    match record::read_header(&b) {
        Ok(r) if r == revision => {}
        Ok(_) => return Err(LogError::corrupt(path, 8, "its name says another revision")),
        Err(BadHeader::Version) => return Err(LogError::Version { path: path.to_owned() }),
        Err(BadHeader::Broken) => return Err(LogError::corrupt(path, 0, "the header is broken")),
    }
    let mut at = HEADER;
    let mut ended = false;
    while at < b.len() {
        let broken = |what: &str| LogError::corrupt(path, at as u64, what);
        let payload = record::read_frame(&b[at..]).map_err(broken)?;
        for r in record::records(payload).ok_or_else(|| broken("a record that is none"))? {
            match r.kind {
                Kind::Begin => state.revision = r.revision,
                Kind::Table => state.tables.entry(r.resource).or_default().changed = r.revision,
                Kind::Put => {
                    let o = state.kept(r.key, r.value, r.revision);
                    let objects = &mut state.tables.entry(r.resource).or_default().objects;
                    objects.insert(o.key().clone(), o);
                }
                Kind::End => ended = true,
                Kind::Remove | Kind::Drop => return Err(broken("a record that does not belong there")),
            }
        }
        at += FRAME + payload.len();
    }
    if !ended {
        return Err(LogError::corrupt(path, b.len() as u64, "the end is missing"));
    }
    Ok(b.len() as u64)
}

impl State {
    /// An object; of many, the first are packed.
    fn kept(&self, key: Key, value: serde_json::Value, revision: Revision) -> Arc<Object> {
        let object = Object::kept(Arc::new(key), value, revision, &self.packer);
        // Counted again when all is read: some replace others.
        self.packer.came();
        self.packer.work();
        object
    }

    fn apply(&mut self, r: Record) -> Result<(), String> {
        if r.kind == Kind::Drop {
            self.tables.remove(&r.resource);
            return Ok(());
        }
        if r.revision != self.revision + 1 {
            return Err(format!("revision {} follows {}", r.revision, self.revision));
        }
        self.revision = r.revision;
        if r.kind == Kind::Put {
            let o = self.kept(r.key, r.value, r.revision);
            let table = self.tables.entry(r.resource).or_default();
            table.changed = r.revision;
            table.objects.insert(o.key().clone(), o);
            return Ok(());
        }
        let table = self.tables.entry(r.resource).or_default();
        table.changed = r.revision;
        match r.kind {
            Kind::Remove => drop(table.objects.remove(&r.key)),
            _ => return Err("a record that does not belong there".into()),
        }
        Ok(())
    }
}

/// Deletes what a snapshot at `revision` makes needless. What cannot be deleted is only in the way.
pub(super) fn delete_before(dir: &Path, revision: Revision) -> Result<(), LogError> {
    for kind in ["log", "snapshot"] {
        for (r, path) in files(dir, kind)? {
            if r < revision
                && let Err(e) = std::fs::remove_file(&path)
            {
                tracing::warn!(error = %e, "deleting {}", path.display());
            }
        }
    }
    Ok(())
}

/// Deletes snapshots that a process did not live to finish.
fn delete_unfinished(dir: &Path) -> Result<(), LogError> {
    for path in files(dir, "unfinished")?.values() {
        std::fs::remove_file(path).map_err(|e| LogError::io(path, e))?;
    }
    Ok(())
}
