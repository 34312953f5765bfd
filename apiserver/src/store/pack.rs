//! What many objects cost: those that nobody asked for lately are kept as JSON, compressed against others of their
//! kind (LZ4 block format with a dictionary). A pod's tree takes 10 to 25 KB, packed it is some 200 bytes. Who asks for one
//! again does not notice.
//!
//! Packing takes longer than a write, so it is left where it would not be seen: while a store has few objects, all that are
//! there stay trees, and states that were become JSON, which they mostly are already: they were told to somebody.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use lz4_flex::block;
use serde_json::Value;

use super::object::{Object, joined};

/// How many objects a store may have that all stay trees: as many as a busy cluster of a test.
const FEW: usize = 6_144;
/// How many are trees in a store that has more: more than are written at one time.
const OPEN: usize = 512;
/// How many states that were are trees: those that somebody is being told of.
const PAST: usize = 512;
/// How many states that were are JSON that is not compressed, in a store with few objects.
const PLAIN: usize = 16_384;
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

    /// Its JSON, where compressing that would save something.
    pub(super) fn is_plain(&self) -> Option<&Bytes> {
        match &self.text {
            Text::Plain(b) => Some(b).filter(|b| b.len() > SMALL),
            Text::Compressed { .. } => None,
        }
    }

    /// Itself, where it is JSON that may be compressed: nothing is copied.
    pub(super) fn plain_copy(&self) -> Option<Self> {
        let text = Text::Plain(self.is_plain()?.clone());
        let like = self.like.clone();
        Some(Self { like, text })
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
    /// How many objects are there, states of the past not counted.
    there: AtomicUsize,
    queues: Mutex<Queues>,
    likes: Mutex<BTreeMap<String, Arc<Like>>>,
}

/// Those that are not packed, or not wholly: in the order in which they became so.
#[derive(Debug, Default)]
struct Queues {
    open: VecDeque<Weak<Object>>,
    past: VecDeque<Weak<Object>>,
    plain: VecDeque<Weak<Object>>,
}

/// What is to be done with an object.
enum Step {
    /// It is not what it was, or stays a tree.
    Nothing,
    /// Compressed, if it was not used.
    Pack(Arc<Object>),
    /// To JSON, used or not.
    Write(Arc<Object>),
    /// From JSON.
    Compress(Arc<Object>),
    /// It stays a tree, if it is one.
    Keep(Arc<Object>),
}

impl Queues {
    /// The next step in a store of few objects, or of more; `None`: all is as it should be.
    fn next(&mut self, few: bool, there: usize) -> Option<Step> {
        let of = |first: Option<Weak<Object>>, step: fn(Arc<Object>) -> Step| {
            Some(first.and_then(|w| w.upgrade()).map_or(Step::Nothing, step))
        };
        if self.past.len() > PAST {
            let step = if few { Step::Write } else { Step::Pack };
            return of(self.past.pop_front(), step);
        }
        if self.plain.len() > if few { PLAIN } else { 0 } {
            return of(self.plain.pop_front(), Step::Compress);
        }
        // Some in the queue are not open any more: with few objects, those are all that go.
        if self.open.len() <= if few { 2 * there + OPEN } else { OPEN } {
            return None;
        }
        let step = if few { Step::Keep } else { Step::Pack };
        of(self.open.pop_front(), step)
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Packer {
    /// Notes that an object became a tree.
    pub(super) fn opened(&self, object: &Arc<Object>) {
        let (weak, past) = (Arc::downgrade(object), object.is_past());
        let mut queues = lock(&self.queues);
        match past {
            true => queues.past.push_back(weak),
            false => queues.open.push_back(weak),
        }
    }

    /// Notes that an object is there that was not.
    pub(super) fn came(&self) {
        self.there.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that this many are there.
    pub(super) fn has(&self, n: usize) {
        self.there.store(n, Ordering::Relaxed);
    }

    /// Notes that `n` objects are gone.
    pub(super) fn went(&self, n: usize) {
        self.there.fetch_sub(n, Ordering::Relaxed);
    }

    /// Notes that this is what an object was.
    pub(super) fn passed(&self, object: &Arc<Object>) {
        object.set_past();
        if object.is_open() {
            lock(&self.queues).past.push_back(Arc::downgrade(object));
        }
    }

    /// Packs some of what is open beyond what may be.
    pub(super) fn work(&self) {
        let there = self.there.load(Ordering::Relaxed);
        let few = there <= FEW;
        // More than one is opened between two calls at times; never so much work that a write would wait for it long.
        let behind = {
            let queues = lock(&self.queues);
            queues.past.len() > 2 * PAST || !few && queues.open.len() > 4 * OPEN
        };
        for _ in 0..if behind { 32 } else { 4 } {
            let Some(step) = lock(&self.queues).next(few, there) else {
                return;
            };
            match step {
                Step::Nothing => {}
                Step::Pack(o) => {
                    if !o.pack(self) {
                        self.opened(&o);
                    }
                }
                Step::Write(o) => {
                    if o.write(self) {
                        lock(&self.queues).plain.push_back(Arc::downgrade(&o));
                    }
                }
                Step::Compress(o) => o.compress(self),
                // Looked at without the lock: somebody may be reading it just now.
                Step::Keep(o) if o.is_open() && !o.is_past() => self.opened(&o),
                Step::Keep(_) => {}
            }
        }
    }

    /// What objects with this head have in common, as far as it is known.
    fn like(&self, value: &Value, head: String) -> Arc<Like> {
        lock(&self.likes).get(&head).cloned().unwrap_or_else(|| {
            Arc::new(Like {
                head,
                api_version: value["apiVersion"].as_str().unwrap_or_default().to_owned(),
                dictionary: Vec::new(),
            })
        })
    }

    /// An object as JSON: its tree, how its JSON begins, and what is after that.
    pub(super) fn plain(&self, value: &Value, head: String, bare: Bytes) -> Packed {
        let like = self.like(value, head);
        // The first of its kind makes it known: the others share it.
        self.know(&like);
        let text = Text::Plain(bare);
        Packed { like, text }
    }

    /// As [`Packer::plain`], compressed.
    pub(super) fn pack(&self, value: &Value, head: String, bare: Bytes) -> Packed {
        let like = self.like(value, head);
        self.compress(like, bare)
    }

    /// What is JSON, compressed; `None`: it is already, or not worth it.
    pub(super) fn compressed(&self, packed: &Packed) -> Option<Packed> {
        let bare = packed.is_plain()?.clone();
        // Its kind may be better known since.
        let known = lock(&self.likes).get(&packed.like.head).cloned();
        Some(self.compress(known.unwrap_or_else(|| packed.like.clone()), bare))
    }

    fn compress(&self, like: Arc<Like>, bare: Bytes) -> Packed {
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

    /// A store's objects, written one after the other; one in 512 is used.
    fn kept(packer: &Arc<Packer>, n: usize) -> Vec<Arc<Object>> {
        let one = |i| {
            let key = Arc::new(Key::new("default", format!("pod-{i}")));
            let o = Object::kept(key, pod(i), i as u64, packer);
            packer.came();
            packer.work();
            if i % OPEN == 0 {
                let _ = o.value();
            }
            o
        };
        (0..n).map(one).collect()
    }

    fn until_done(packer: &Arc<Packer>) {
        let queued = {
            let queues = lock(&packer.queues);
            queues.open.len() + queues.plain.len() + queues.past.len()
        };
        for _ in 0..queued {
            packer.work();
        }
    }

    #[test]
    fn of_many_objects_those_used_last_stay_open() {
        let packer = Arc::new(Packer::default());
        let all = kept(&packer, FEW + 2 * OPEN);
        until_done(&packer);
        assert!(lock(&packer.queues).open.len() <= OPEN);
        let open = all.iter().filter(|o| o.is_open()).count();
        assert_eq!(open, OPEN);
        // Asked for, it is there again, and counts as open.
        assert!(all[1].is_packed());
        assert_eq!(*all[1].value(), pod(1));
        assert!(!all[1].is_packed());
        packer.work();
        assert!(lock(&packer.queues).open.len() <= OPEN);
    }

    #[test]
    fn few_objects_stay_open_and_what_they_were_is_json() {
        let packer = Arc::new(Packer::default());
        let all = kept(&packer, 100);
        let before = kept(&packer, 3 * PAST);
        for o in &before {
            packer.passed(o);
            packer.went(1);
            packer.work();
        }
        until_done(&packer);
        assert!(all.iter().all(|o| o.is_open()));
        assert_eq!(before.iter().filter(|o| o.is_open()).count(), PAST);
        assert_eq!(lock(&packer.queues).plain.len(), 2 * PAST);
        // Who asks for one of them gets it.
        assert_eq!(*before[0].value(), pod(0));
        // With many more, all is compressed.
        packer.has(FEW + 1);
        until_done(&packer);
        assert_eq!(lock(&packer.queues).plain.len(), 0);
        assert!(before[1].is_packed());
        assert_eq!(*before[1].peek(), pod(1));
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
