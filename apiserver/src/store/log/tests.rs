use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::record::{FRAME, HEADER};
use super::*;
use crate::local::Gvr;
use crate::store::{Expect, Store, StoreError};

fn maps() -> ResourceKey {
    Arc::new(Gvr::new("", "v1", "configmaps"))
}

fn open(dir: &Path) -> (Store, Recovery) {
    Store::open(dir, &LogOptions::default()).unwrap()
}

/// Writes one object per name, each in a frame of its own; what is stored then.
fn fill(dir: &Path, names: &[&str]) -> BTreeMap<String, Revision> {
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, _) = open(dir);
    for n in names {
        let v = json!({"metadata": {"namespace": "n", "name": n}, "data": {"k": "v".repeat(20)}});
        store.put(&maps(), Key::new("n", *n), Expect::Absent, v).unwrap();
        rt.block_on(store.durable()).unwrap();
    }
    contents(&store)
}

fn contents(store: &Store) -> BTreeMap<String, Revision> {
    let all = store.list(&maps(), None, None).objects;
    all.iter().map(|o| (o.name().to_owned(), o.revision)).collect()
}

fn only_log(dir: &Path) -> PathBuf {
    let mut logs = recover::files(dir, "log").unwrap();
    assert_eq!(logs.len(), 1);
    logs.pop_first().unwrap().1
}

/// Where the frames of a log begin, and where the last ends.
fn frames(path: &Path) -> Vec<usize> {
    let b = std::fs::read(path).unwrap();
    let mut at = vec![HEADER];
    while let Ok(p) = record::read_frame(&b[*at.last().unwrap()..]) {
        at.push(at.last().unwrap() + FRAME + p.len());
    }
    assert_eq!(*at.last().unwrap(), b.len());
    at
}

#[test]
fn everything_written_is_there_again() {
    let dir = tempfile::tempdir().unwrap();
    let (r, key) = (maps(), |n: &str| Key::new("n", n));
    let object = |n: &str| json!({"metadata": {"namespace": "n", "name": n}});
    let (store, found) = open(dir.path());
    assert_eq!((found.objects, store.revision()), (0, 1));
    let a = store.put(&r, key("a"), Expect::Absent, object("a")).unwrap();
    store.put(&r, key("b"), Expect::Absent, object("b")).unwrap();
    let a = store
        .put(&r, key("a"), Expect::Revision(a.revision), object("a"))
        .unwrap();
    store.remove(&r, &key("a"), a.revision, object("a")).unwrap();
    let other: ResourceKey = Arc::new(Gvr::owned("x.io", "v1", "things"));
    store
        .put(&other, Key::new("", "t"), Expect::Absent, object("t"))
        .unwrap();
    store.drop_resource(&other);
    let before = (contents(&store), store.revision(), store.changed(&r));
    drop(store);
    let (store, found) = open(dir.path());
    assert_eq!((contents(&store), store.revision(), store.changed(&r)), before);
    assert_eq!((found.objects, found.cut), (1, None));
    assert!(store.get(&other, &Key::new("", "t")).is_none());
    // A watch goes on where its resource was written last, and not from before.
    assert!(store.watch_since(&r, before.2).is_ok());
    assert!(matches!(
        store.watch_since(&r, a.revision - 1),
        Err(StoreError::TooOld(..))
    ));
    let next = store.put(&r, key("c"), Expect::Absent, object("c")).unwrap();
    assert_eq!(next.revision, before.1 + 1);
}

#[test]
fn a_directory_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    assert!(matches!(
        Store::open(dir.path(), &LogOptions::default()),
        Err(LogError::Locked { .. })
    ));
}

#[test]
fn a_tail_torn_anywhere_is_cut_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = fill(dir.path(), &["a", "b", "c"]);
    let path = only_log(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let last = frames(&path)[2];
    all.remove("c");
    for end in last..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let (store, found) = open(dir.path());
        assert_eq!(contents(&store), all, "torn at {end}");
        assert_eq!(store.revision(), 3);
        match found.cut {
            // Nothing at all of the last frame: nothing to cut.
            None => assert_eq!(end, last),
            Some(c) => assert_eq!(
                (c.path.clone(), c.offset, c.bytes),
                (path.clone(), last as u64, (end - last) as u64)
            ),
        }
        drop(store);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), last as u64);
        // It is said once.
        assert_eq!(open(dir.path()).1.cut, None);
    }
}

#[test]
fn a_log_that_was_just_begun_may_have_no_header() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &[]);
    let path = only_log(dir.path());
    let whole = std::fs::read(&path).unwrap();
    for end in 0..HEADER {
        std::fs::write(&path, &whole[..end]).unwrap();
        assert_eq!(open(dir.path()).0.revision(), 1);
        assert_eq!(std::fs::read(&path).unwrap(), whole, "begun again");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever byte of the last frame changes, the frame is cut and what is before it is there.
    #[test]
    fn a_corrupt_tail_is_cut(at in 0.0..1.0, xor in 1_u8..) {
        let dir = tempfile::tempdir().unwrap();
        let mut all = fill(dir.path(), &["a", "b"]);
        all.remove("b");
        let path = only_log(dir.path());
        let mut b = std::fs::read(&path).unwrap();
        let last = frames(&path)[1];
        let at = last + ((b.len() - last) as f64 * at) as usize;
        b[at] ^= xor;
        std::fs::write(&path, &b).unwrap();
        let (store, found) = open(dir.path());
        prop_assert_eq!(contents(&store), all);
        prop_assert_eq!(found.cut.map(|c| c.offset), Some(last as u64));
    }

    /// Whatever byte before the last frame changes, nothing is started and the place is named.
    #[test]
    fn a_corrupt_middle_refuses(at in 0.0..1.0, xor in 1_u8..) {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), &["a", "b"]);
        let path = only_log(dir.path());
        let mut b = std::fs::read(&path).unwrap();
        let at = (frames(&path)[1] as f64 * at) as usize;
        b[at] ^= xor;
        std::fs::write(&path, &b).unwrap();
        match Store::open(dir.path(), &LogOptions::default()) {
            Err(LogError::Corrupt { path: p, offset, .. }) => {
                prop_assert_eq!(p, path.clone());
                prop_assert!(offset <= at as u64);
            }
            Err(e) => prop_assert!(false, "{}", e),
            Ok(_) => prop_assert!(false, "started"),
        }
        prop_assert_eq!(std::fs::read(&path).unwrap(), b, "left as it was");
    }
}

#[test]
fn snapshots_replace_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { snapshot_after: 2000 };
    let rt = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, _) = Store::open(dir.path(), &options).unwrap();
    let r = maps();
    for n in 0..500 {
        let (name, old) = (format!("m{}", n % 7), n % 7);
        let key = Key::new("n", name.clone());
        let v =
            json!({"metadata": {"namespace": "n", "name": name}, "data": {"old": old.to_string(), "n": n.to_string()}});
        let expect = match store.get(&r, &key) {
            Some(o) => Expect::Revision(o.revision),
            None => Expect::Absent,
        };
        store.put(&r, key, expect, v).unwrap();
        rt.block_on(store.durable()).unwrap();
    }
    let before = (contents(&store), store.revision());
    drop(store);
    assert_eq!(recover::files(dir.path(), "snapshot").unwrap().len(), 1);
    let logs = recover::files(dir.path(), "log").unwrap();
    assert!(logs.len() <= 2, "{logs:?}");
    let (store, _) = Store::open(dir.path(), &options).unwrap();
    assert_eq!((contents(&store), store.revision()), before);
    assert_eq!(store.changed(&r), before.1);
    drop(store);
    // A snapshot was whole when it got its name: one that is not refuses.
    let (_, path) = recover::files(dir.path(), "snapshot").unwrap().pop_last().unwrap();
    let b = std::fs::read(&path).unwrap();
    std::fs::write(&path, &b[..b.len() - 1]).unwrap();
    assert!(matches!(
        Store::open(dir.path(), &options),
        Err(LogError::Corrupt { .. })
    ));
}

#[test]
fn a_snapshot_that_was_not_finished_is_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let all = fill(dir.path(), &["a"]);
    std::fs::write(path_of(dir.path(), "unfinished", 2), b"half").unwrap();
    assert_eq!(contents(&open(dir.path()).0), all);
    assert!(recover::files(dir.path(), "unfinished").unwrap().is_empty());
}

#[test]
fn another_format_is_told_from_a_broken_one() {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path(), &["a"]);
    let path = only_log(dir.path());
    let mut b = std::fs::read(&path).unwrap();
    b[7] = b'2';
    let crc = crc32fast::hash(&b[..16]);
    b[16..20].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &b).unwrap();
    assert!(matches!(
        Store::open(dir.path(), &LogOptions::default()),
        Err(LogError::Version { .. })
    ));
}
