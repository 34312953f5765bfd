//! Writing a snapshot: under another name, fsynced, renamed; then what it replaces is deleted.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::record::{Frame, Kind, header};
use super::{Image, LogError, path_of, recover, sync_dir};
use crate::local::Gvr;
use crate::store::Key;

/// Bytes of a frame after which the next begins.
const FRAME_SIZE: usize = 1024 * 1024;

/// Writes `image` into `dir`; its size.
pub(super) fn write(dir: &Path, image: &Image) -> Result<u64, LogError> {
    let (part, whole) = (
        path_of(dir, "unfinished", image.revision),
        path_of(dir, "snapshot", image.revision),
    );
    let failed = |e| LogError::io(&part, e);
    let mut f = File::create(&part).map_err(failed)?;
    f.write_all(&header(image.revision)).map_err(failed)?;
    let mut frame = Frame::new();
    let (nothing, nobody) = (Gvr::new("", "", ""), Key::new("", ""));
    frame.push(Kind::Begin, image.revision, &nothing, &nobody, &[]);
    for t in &image.tables {
        frame.push(Kind::Table, t.changed, &t.resource, &nobody, &[]);
        for o in &t.objects {
            frame.push(Kind::Put, o.revision, &t.resource, o.key(), &o.json());
            if frame.len() >= FRAME_SIZE {
                f.write_all(&frame.take()).map_err(failed)?;
            }
        }
    }
    frame.push(Kind::End, image.revision, &nothing, &nobody, &[]);
    f.write_all(&frame.take()).map_err(failed)?;
    f.sync_all().map_err(failed)?;
    let bytes = f.metadata().map_err(failed)?.len();
    std::fs::rename(&part, &whole).map_err(failed)?;
    sync_dir(dir)?;
    recover::delete_before(dir, image.revision)?;
    Ok(bytes)
}
