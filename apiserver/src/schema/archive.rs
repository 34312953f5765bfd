//! The recorded documents under `data/`: packs of separately compressed chunks, unpacked when first needed.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;

/// One pack: an index and the compressed chunks behind it (format: `ci/record-openapi`).
pub(super) struct Pack {
    chunks: &'static [u8],
    index: BTreeMap<String, Entry>,
}

/// Where a chunk lies, and what the index says of it besides.
struct Entry {
    offset: usize,
    length: usize,
    hash: String,
}

/// Definitions without descriptions, by package; chunk `kinds` maps `group/version/Kind` to their names.
pub(super) static SCHEMAS: LazyLock<Pack> = LazyLock::new(|| Pack::open(include_bytes!("../../data/schemas.pack")));
/// Definitions with descriptions, by package, one per line: name, tab, JSON.
pub(super) static DEFINITIONS: LazyLock<Pack> =
    LazyLock::new(|| Pack::open(include_bytes!("../../data/definitions.pack")));
/// The documents without the shared definitions.
pub(super) static DOCUMENTS: LazyLock<Pack> = LazyLock::new(|| Pack::open(include_bytes!("../../data/documents.pack")));

/// The aggregated discovery document.
pub(super) fn discovery_document() -> Value {
    serde_json::from_str(&unpack(include_bytes!("../../data/discovery.json.gz"))).expect("recorded discovery is JSON")
}

impl Pack {
    /// Reads the index; the chunks stay compressed.
    fn open(data: &'static [u8]) -> Pack {
        let (length, rest) = data.split_at(4);
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let (head, chunks) = rest.split_at(length);
        let index: BTreeMap<String, Vec<Value>> = serde_json::from_slice(head).expect("recorded index is JSON");
        let index = index
            .into_iter()
            .map(|(name, entry)| {
                let number = |i: usize| entry.get(i).and_then(Value::as_u64).unwrap_or_default() as usize;
                let hash = entry.get(2).and_then(Value::as_str).unwrap_or_default().to_owned();
                (
                    name,
                    Entry {
                        offset: number(0),
                        length: number(1),
                        hash,
                    },
                )
            })
            .collect();
        Pack { chunks, index }
    }

    /// Names of the chunks, with the hashes of what they were before they were taken apart.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.index
            .iter()
            .map(|(name, entry)| (name.as_str(), entry.hash.as_str()))
    }

    /// A chunk's text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let entry = self.index.get(name)?;
        Some(unpack(&self.chunks[entry.offset..entry.offset + entry.length]))
    }
}

fn unpack(data: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(data)
        .read_to_string(&mut text)
        .expect("recorded data is intact, it is part of the program");
    text
}
