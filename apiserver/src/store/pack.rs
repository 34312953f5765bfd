//! What many objects cost: those that nobody asked for lately are kept as JSON, compressed against others of their
//! kind (LZ4 block format with a dictionary). A pod's tree takes 10 to 25 KB, packed it is some 200 bytes. Who asks for one
//! again does not notice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use lz4_flex::block;
use serde_json::Value;

use super::object::{Object, joined};

/// How many objects of a store (states of the past included) are trees before the first are packed: more than a small
/// cluster has, and not so many that their trees would count.
const OPEN: usize = 2_048;
/// Up to this size, in bytes, JSON is kept as it is: compressing it would save little, and lists of it are as fast as memory.
const SMALL: usize = 512;
/// How far a dictionary grows, in bytes. LZ4 can look back 64 KB; past this the kinds of objects differ too much to gain.
const DICTIONARY: usize = 16 * 1_024;
/// What is left of an object, in parts of a hundred, that is compressed badly: the dictionary lacks its like.
const BADLY: usize = 15;

/// What objects of one kind have in common.
#[derive(Debug, Default)]
struct Like {
    /// The JSON's beginning: kind and apiVersion.
    head: String,
    api_version: String,
    /// JSON of some, that others are compressed against.
    dictionary: Vec<u8>,
}

/// An object's JSON without its head.
#[derive(Debug)]
pub(super) struct Packed {
    like: Arc<Like>,
    text: Text,
}

#[derive(Debug)]
enum Text {
    Plain(Bytes),
    Compressed { block: Box<[u8]>, size: u32 },
}

impl Packed {
    /// From the first brace on, without apiVersion and kind.
    pub(super) fn bare(&self) -> Bytes {
        match &self.text {
            Text::Plain(b) => b.clone(),
            Text::Compressed { block, size } => {
                let text = block::decompress_with_dict(block, *size as usize, &self.like.dictionary);
                // It was compressed here, and never written to since.
                Bytes::from(text.unwrap_or_default())
            }
        }
    }

    /// The whole JSON.
    pub(super) fn bytes(&self) -> Bytes {
        let bare = self.bare();
        let mut head = Vec::with_capacity(self.like.head.len() + bare.len());
        head.extend_from_slice(self.like.head.as_bytes());
        joined(head, |out| out.extend_from_slice(&bare))
    }

    /// Whether this is its apiVersion.
    pub(super) fn is_version(&self, api_version: &str) -> bool {
        self.like.api_version == api_version
    }

    /// The tree.
    pub(super) fn value(&self) -> Value {
        let mut value = serde_json::from_slice(&self.bytes()).unwrap_or_default();
        crate::patch::fold(&mut value);
        value
    }
}

/// Packs the objects of one store, those first that were not used for longest: a queue in which who was used gets a
/// second chance (the clock of page replacement). It works when something is written, in small steps.
#[derive(Debug, Default)]
pub(super) struct Packer {
    open: Mutex<VecDeque<Weak<Object>>>,
    likes: Mutex<BTreeMap<String, Arc<Like>>>,
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Packer {
    /// Notes that an object became a tree.
    pub(super) fn opened(&self, object: &Arc<Object>) {
        lock(&self.open).push_back(Arc::downgrade(object));
    }

    /// Packs some of what is open beyond what may be.
    pub(super) fn work(&self) {
        // More than one is opened between two calls at times; never so much work that a write would wait for it long.
        let behind = lock(&self.open).len() > 2 * OPEN;
        for _ in 0..if behind { 32 } else { 4 } {
            let first = {
                let mut open = lock(&self.open);
                if open.len() <= OPEN {
                    return;
                }
                open.pop_front()
            };
            let Some(object) = first.and_then(|w| w.upgrade()) else {
                continue;
            };
            if !object.pack(self) {
                self.opened(&object);
            }
        }
    }

    /// An object packed: its tree, how its JSON begins, and what is after that.
    pub(super) fn pack(&self, value: &Value, head: String, bare: Bytes) -> Packed {
        let like = lock(&self.likes).get(&head).cloned().unwrap_or_else(|| {
            Arc::new(Like {
                head,
                api_version: value["apiVersion"].as_str().unwrap_or_default().to_owned(),
                dictionary: Vec::new(),
            })
        });
        if bare.len() <= SMALL {
            self.know(&like);
            let text = Text::Plain(bare);
            return Packed { like, text };
        }
        let block = block::compress_with_dict(&bare, &like.dictionary);
        let packed = |like: Arc<Like>, block: Vec<u8>| Packed {
            like,
            text: Text::Compressed {
                block: block.into_boxed_slice(),
                size: u32::try_from(bare.len()).unwrap_or(u32::MAX),
            },
        };
        if block.len() * 100 <= bare.len() * BADLY || like.dictionary.len() + bare.len() > DICTIONARY {
            self.know(&like);
            return packed(like, block);
        }
        // Those that come after it have it to be compared with.
        let mut dictionary = like.dictionary.clone();
        dictionary.extend_from_slice(&bare);
        let better = Arc::new(Like {
            head: like.head.clone(),
            api_version: like.api_version.clone(),
            dictionary,
        });
        self.know(&better);
        packed(like, block)
    }

    fn know(&self, like: &Arc<Like>) {
        let mut likes = lock(&self.likes);
        let known = likes.get(&like.head);
        if known.is_none_or(|k| k.dictionary.len() < like.dictionary.len()) {
            likes.insert(like.head.clone(), like.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::Key;
    use super::super::object::head;
    use super::*;

    fn pod(i: usize) -> Value {
        let container = |n: usize| {
            json!({"name": format!("c{n}"), "image": "registry.example/app:1", "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}, "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File", "volumeMounts": [{"mountPath": "/var/run/secrets", "name": "token", "readOnly": true}]})
        };
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("pod-{i}"), "namespace": "default", "uid": format!("{i:08x}-0000-4000-8000-000000000000"),
                "labels": {"app": "a"}},
            "spec": {"containers": (0..6).map(container).collect::<Vec<_>>()}, "status": {"phase": "Pending"}})
    }

    #[test]
    fn an_object_whose_json_was_asked_for_is_packed_the_same() {
        let packer = Arc::new(Packer::default());
        let nothing_but_its_kind = json!({"apiVersion": "v1", "kind": "Pod"});
        for v in [pod(1), nothing_but_its_kind] {
            let [asked, other] = [(); 2].map(|()| Object::kept(Arc::new(Key::new("", "a")), v.clone(), 7, &packer));
            let whole = asked.bytes();
            assert!(asked.pack(&packer) && asked.is_packed());
            assert!(other.pack(&packer) && other.is_packed());
            assert_eq!(asked.bytes(), whole);
            assert_eq!(asked.bare_bytes(), other.bare_bytes());
        }
    }

    #[test]
    fn what_is_packed_is_the_same_and_smaller() {
        let packer = Arc::new(Packer::default());
        let mut sizes = Vec::new();
        for i in 0..100 {
            let v = pod(i);
            let open = Arc::new(Object::new(v.clone(), 7));
            let (bytes, bare) = (open.bytes(), open.bare_bytes());
            let packed = packer.pack(&v, head(&v).expect("it has a kind"), bare.clone());
            assert_eq!(packed.bytes(), bytes);
            assert_eq!(packed.bare(), bare);
            assert_eq!(packed.value(), v);
            if let Text::Compressed { block, .. } = &packed.text {
                sizes.push(block.len());
            }
        }
        assert_eq!(sizes.len(), 100, "all are large enough");
        assert!(sizes[99] < 100, "{sizes:?}");
    }

    #[test]
    fn those_used_last_stay_open() {
        let packer = Arc::new(Packer::default());
        let all: Vec<Arc<Object>> = (0..3 * OPEN)
            .map(|i| {
                let key = Arc::new(Key::new("default", format!("pod-{i}")));
                let o = Object::kept(key, pod(i), i as u64, &packer);
                packer.work();
                if i % OPEN == 0 {
                    let _ = o.value();
                }
                o
            })
            .collect();
        assert!(lock(&packer.open).len() <= OPEN + 1);
        assert_eq!(all.iter().filter(|o| o.is_packed()).count(), 2 * OPEN);
        // Asked for, it is there again, and counts as open.
        assert!(all[1].is_packed());
        assert_eq!(*all[1].value(), pod(1));
        assert!(!all[1].is_packed());
        packer.work();
        assert!(lock(&packer.open).len() <= OPEN + 1);
    }

    proptest! {
        #[test]
        fn any_texts_come_back(texts in prop::collection::vec("\\PC{0,4000}", 1..8)) {
            let packer = Packer::default();
            for t in texts {
                let v = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": t, "b": t.repeat(3)}});
                let bare = Arc::new(Object::new(v.clone(), 1)).bare_bytes();
                let packed = packer.pack(&v, head(&v).expect("it has a kind"), bare);
                prop_assert_eq!(packed.value(), v);
            }
        }
    }
}
