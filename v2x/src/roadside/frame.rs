//! What edges say to each other: frames of a JSON header and, where a whole context travels, its bytes.
//!
//! On the wire: length of the header and length of the context (each 4 bytes, big endian), the header, the context. No
//! frame is an answer that anybody waits for: every one can be lost, late or repeated, and the service's timers and the
//! numbers in the frames (relocation id, epoch, sequence) deal with it.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::context::Update;
use crate::units::Micros;

/// Largest header and largest context that are read, bytes.
pub const MAX_HEADER: u32 = 4 * 1024 * 1024;
/// See [`MAX_HEADER`].
pub const MAX_CONTEXT: u32 = 512 * 1024 * 1024;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Site of the sender.
    pub from: String,
    /// What it says.
    pub word: Word,
    /// The context that goes with it.
    pub context: Option<Bytes>,
}

/// What a frame says. Source: the edge that serves the vehicle; target: the edge that will.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Word {
    /// Source to target, with the context: a copy ahead of the crossing.
    Snapshot {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
    },
    /// Target to source: the context up to `last` is here.
    SnapshotAck {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
        /// Last update in it.
        last: u64,
    },
    /// Target to source: not taken.
    Refused {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
        /// Why.
        reason: String,
    },
    /// Source to target: an update since the snapshot.
    Delta {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
        /// The update.
        update: Update,
    },
    /// Source to target: the rest of the context (all of it, when the frame carries a context). The source has stopped
    /// applying updates of epochs before `epoch`.
    Handover {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
        /// Epoch from which the target serves.
        epoch: u64,
        /// Last updates, oldest first (some may be at the target already).
        updates: Vec<Update>,
        /// Last update of the context.
        last: u64,
        /// Warnings given.
        warnings: BTreeMap<String, Micros>,
    },
    /// Target to source: the vehicle is here; hand over, `have` is here already.
    Take {
        /// The vehicle.
        vehicle: String,
        /// Last update of the copy at the target.
        have: Option<u64>,
        /// The vehicle's epoch.
        epoch: u64,
        /// When it showed up.
        detected_at: Micros,
    },
    /// Source to target: cannot hand over.
    NotHere {
        /// The vehicle.
        vehicle: String,
        /// The epoch asked about.
        epoch: u64,
        /// The vehicle has meanwhile come back (else its context is unknown here).
        stale: bool,
    },
    /// Target to source: the vehicle is served here since `at`.
    Serving {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
        /// The vehicle's epoch.
        epoch: u64,
        /// Since when.
        at: Micros,
    },
    /// Source to target: throw the copy away.
    Drop {
        /// Relocation at the source.
        id: u64,
        /// The vehicle.
        vehicle: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    from: String,
    #[serde(flatten)]
    word: Word,
}

/// Writes a frame and flushes.
///
/// # Errors
/// Whatever the stream says.
pub async fn write<W: AsyncWrite + Unpin>(w: &mut W, f: &Frame) -> io::Result<()> {
    let header = crate::topics::to_json(&Header {
        from: f.from.clone(),
        word: f.word.clone(),
    });
    let context = f.context.as_deref().unwrap_or_default();
    let size = |n: usize| u32::try_from(n).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "frame too large"));
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend_from_slice(&size(header.len())?.to_be_bytes());
    head.extend_from_slice(&size(context.len())?.to_be_bytes());
    head.extend_from_slice(&header);
    w.write_all(&head).await?;
    w.write_all(context).await?;
    w.flush().await
}

/// Reads a frame; None at the end of the stream.
///
/// # Errors
/// Whatever the stream says; `InvalidData` for what is no frame.
pub async fn read<R: AsyncRead + Unpin>(r: &mut R) -> io::Result<Option<Frame>> {
    let header = match r.read_u32().await {
        Ok(n) => n,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    };
    let context = r.read_u32().await?;
    if header > MAX_HEADER || context > MAX_CONTEXT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too large"));
    }
    let mut bytes = vec![0; header as usize];
    r.read_exact(&mut bytes).await?;
    let h: Header = serde_json::from_slice(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    let mut body = vec![0; context as usize];
    r.read_exact(&mut body).await?;
    Ok(Some(Frame {
        from: h.from,
        word: h.word,
        context: (context > 0).then(|| Bytes::from(body)),
    }))
}
