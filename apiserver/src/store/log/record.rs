//! Headers, frames and records: bytes to and from what they say. No file is touched here.

use std::sync::Arc;

use serde_json::Value;

use crate::local::Gvr;
use crate::store::{Key, ResourceKey, Revision};

const MAGIC: &[u8; 8] = b"cfn-log1";
const MARK: &[u8; 4] = b"frm1";
/// Bytes of a file's header.
pub(super) const HEADER: usize = 20;
/// Bytes of a frame before its payload.
pub(super) const FRAME: usize = 12;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put = 1,
    Remove = 2,
    Drop = 3,
    Begin = 4,
    Table = 5,
    End = 6,
}

impl Kind {
    fn of(b: u8) -> Option<Self> {
        [Self::Put, Self::Remove, Self::Drop, Self::Begin, Self::Table, Self::End]
            .into_iter()
            .find(|k| *k as u8 == b)
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) revision: Revision,
    pub(super) resource: ResourceKey,
    pub(super) key: Key,
    /// `Null` where it has none.
    pub(super) value: Value,
}

/// A file's first bytes.
pub(super) fn header(revision: Revision) -> [u8; HEADER] {
    let mut b = [0; HEADER];
    b[..8].copy_from_slice(MAGIC);
    b[8..16].copy_from_slice(&revision.to_le_bytes());
    let crc = crc32fast::hash(&b[..16]);
    b[16..].copy_from_slice(&crc.to_le_bytes());
    b
}

/// Why a header is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not whole, or another checksum.
    Broken,
    /// Of another format.
    Version,
}

/// The revision that a file begins at.
pub(super) fn read_header(b: &[u8]) -> Result<Revision, BadHeader> {
    let h = b.get(..HEADER).ok_or(BadHeader::Broken)?;
    if u32_at(h, 16) != Some(crc32fast::hash(&h[..16])) {
        return Err(BadHeader::Broken);
    }
    if &h[..8] != MAGIC {
        return Err(BadHeader::Version);
    }
    Ok(u64::from_le_bytes(h[8..16].try_into().map_err(|_| BadHeader::Broken)?))
}

fn u32_at(b: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(b.get(at..at + 4)?.try_into().ok()?))
}

/// A frame that is being filled.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new() -> Self {
        let mut b = Vec::with_capacity(4096);
        b.extend_from_slice(MARK);
        b.extend_from_slice(&[0; 8]);
        Self(b)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() <= FRAME
    }

    /// Adds a record.
    pub(super) fn push(&mut self, kind: Kind, revision: Revision, r: &Gvr, key: &Key, json: &[u8]) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.push(kind as u8);
        self.0.extend_from_slice(&revision.to_le_bytes());
        for text in [&*r.group, &*r.version, &*r.resource, &key.namespace, &key.name] {
            self.0.extend_from_slice(&size(text.len()).to_le_bytes());
            self.0.extend_from_slice(text.as_bytes());
        }
        self.0.extend_from_slice(json);
        let n = size(self.0.len() - start - 4);
        self.0[start..start + 4].copy_from_slice(&n.to_le_bytes());
    }

    /// The frame with its length and checksum; empties it.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut b = std::mem::replace(self, Self::new()).0;
        let (n, crc) = (size(b.len() - FRAME), crc32fast::hash(&b[FRAME..]));
        b[4..8].copy_from_slice(&n.to_le_bytes());
        b[8..12].copy_from_slice(&crc.to_le_bytes());
        b
    }
}

/// A length as it is written. Requests are limited to 3 MiB, and frames end soon after 4: no length comes near.
fn size(n: usize) -> u32 {
    u32::try_from(n).expect("frames and records are far below 4 GiB")
}

/// The payload of the frame at the start of `b`; why there is none otherwise.
pub(super) fn read_frame(b: &[u8]) -> Result<&[u8], &'static str> {
    if b.len() < FRAME {
        return Err("a frame that is not whole");
    }
    if &b[..4] != MARK {
        return Err("no frame");
    }
    let (Some(n), Some(crc)) = (u32_at(b, 4), u32_at(b, 8)) else {
        return Err("a frame that is not whole");
    };
    let Some(payload) = b[FRAME..].get(..n as usize) else {
        return Err("a frame that is not whole");
    };
    if n == 0 || crc32fast::hash(payload) != crc {
        return Err("a frame with another checksum");
    }
    Ok(payload)
}

/// Where the next good frame in `b` begins, at byte `from` or later.
pub(super) fn find_frame(b: &[u8], from: usize) -> Option<usize> {
    let rest = b.get(from..)?;
    rest.windows(MARK.len())
        .enumerate()
        .filter(|(_, w)| w == MARK)
        .map(|(i, _)| from + i)
        .find(|i| read_frame(&b[*i..]).is_ok())
}

/// The records of a payload; `None`: they are not what was written.
pub(super) fn records(mut payload: &[u8]) -> Option<Vec<Record>> {
    let mut list = Vec::new();
    while !payload.is_empty() {
        let n = u32_at(payload, 0)? as usize;
        list.push(record(payload.get(4..4 + n)?)?);
        payload = &payload[4 + n..];
    }
    Some(list)
}

fn record(b: &[u8]) -> Option<Record> {
    let kind = Kind::of(*b.first()?)?;
    let revision = u64::from_le_bytes(b.get(1..9)?.try_into().ok()?);
    let mut at = 9;
    let mut text = || {
        let n = u32_at(b, at)? as usize;
        let s = std::str::from_utf8(b.get(at + 4..at + 4 + n)?).ok()?;
        at += 4 + n;
        Some(s)
    };
    let resource = Arc::new(Gvr::owned(text()?, text()?, text()?));
    let key = Key::new(text()?, text()?);
    let value = match b.get(at..)? {
        [] => Value::Null,
        json => serde_json::from_slice(json).ok()?,
    };
    Some(Record {
        kind,
        revision,
        resource,
        key,
        value,
    })
}
