//! The store: revisions, watches, what was.

use super::*;
use serde_json::json;

fn object(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[test]
fn writes_have_increasing_revisions_and_reach_watchers_in_order() {
    let store = Store::default();
    let r: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    let a = store.put(&r, Key::new("n", "a"), Expect::Absent, object("a")).unwrap();
    let mut w = store.watch_since(&r, a.revision).unwrap();
    let b = store
        .put(&r, Key::new("n", "a"), Expect::Revision(a.revision), object("a"))
        .unwrap();
    assert!(b.revision > a.revision);
    assert_eq!(
        store
            .put(&r, Key::new("n", "a"), Expect::Revision(a.revision), object("a"))
            .unwrap_err(),
        StoreError::Changed
    );
    assert_eq!(
        store
            .put(&r, Key::new("n", "a"), Expect::Absent, object("a"))
            .unwrap_err(),
        StoreError::Exists
    );
    store.remove(&r, &Key::new("n", "a"), b.revision, object("a")).unwrap();
    let seen: Vec<_> = std::iter::from_fn(|| w.try_recv().ok()).map(|e| e.kind).collect();
    assert_eq!(seen, [EventKind::Modified, EventKind::Deleted]);
}

#[test]
fn a_watch_from_forgotten_times_is_too_old() {
    let store = Store::default();
    let r: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    let first = store.put(&r, Key::new("n", "a"), Expect::Absent, object("a")).unwrap();
    let mut last = first.revision;
    for _ in 0..=history::HISTORY {
        last = store
            .put(&r, Key::new("n", "a"), Expect::Revision(last), object("a"))
            .unwrap()
            .revision;
    }
    assert!(matches!(
        store.watch_since(&r, first.revision),
        Err(StoreError::TooOld(..))
    ));
    assert!(store.watch_since(&r, last).is_ok());
}

#[test]
fn a_watch_is_told_what_was_as_it_was() {
    let store = Store::default();
    let r: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    let key = || Key::new("n", "a");
    let state = |data: &str| json!({"metadata": {"namespace": "n", "name": "a"}, "data": {"k": data}});
    let a = store.put(&r, key(), Expect::Absent, state("1")).unwrap();
    let b = store.put(&r, key(), Expect::Revision(a.revision), state("2")).unwrap();
    store.remove(&r, &key(), b.revision, state("3")).unwrap();
    let c = store.put(&r, key(), Expect::Absent, state("4")).unwrap();
    let mut w = store.watch_since(&r, a.revision - 1).unwrap();
    let seen: Vec<_> = std::iter::from_fn(|| w.try_recv().ok())
        .map(|e| {
            let data = |o: &Arc<Object>| (o.value()["data"]["k"].clone(), o.revision);
            (e.kind, data(&e.object), e.previous.as_ref().map(data), e.revision)
        })
        .collect();
    let (ra, rb, rc) = (a.revision, b.revision, c.revision);
    let rd = rb + 1;
    assert_eq!(
        seen,
        [
            (EventKind::Added, (json!("1"), ra), None, ra),
            (EventKind::Modified, (json!("2"), rb), Some((json!("1"), ra)), rb),
            (EventKind::Deleted, (json!("3"), rd), Some((json!("2"), rb)), rd),
            (EventKind::Added, (json!("4"), rc), None, rc),
        ]
    );
}

#[test]
fn a_list_can_be_had_as_it_was() {
    let store = Store::default();
    let r: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    let in_ns = |n: &str| json!({"metadata": {"namespace": "n", "name": n}});
    let a = store.put(&r, Key::new("n", "a"), Expect::Absent, in_ns("a")).unwrap();
    let b = store.put(&r, Key::new("n", "b"), Expect::Absent, in_ns("b")).unwrap();
    store.remove(&r, &Key::new("n", "a"), a.revision, in_ns("a")).unwrap();
    store.put(&r, Key::new("n", "c"), Expect::Absent, in_ns("c")).unwrap();
    let names = |rev: u64| {
        let page = store.list_at(&r, Some("n"), None, rev).unwrap();
        page.objects.iter().map(|o| o.name().to_owned()).collect::<String>()
    };
    assert_eq!((names(a.revision), names(b.revision)), ("a".into(), "ab".into()));
    assert_eq!(
        (names(b.revision + 1), names(b.revision + 2)),
        ("b".into(), "bc".into())
    );
}

#[test]
fn lists_are_ordered_and_continue_after_a_key() {
    let store = Store::default();
    let r: ResourceKey = Arc::new(Gvr::new("", "v1", "configmaps"));
    for (ns, n) in [("b", "x"), ("a", "z"), ("a", "y")] {
        store.put(&r, Key::new(ns, n), Expect::Absent, object(n)).unwrap();
    }
    let names = |p: Page| p.objects.iter().map(|o| o.name().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(store.list(&r, None, None)), ["y", "z", "x"]);
    assert_eq!(names(store.list(&r, Some("a"), Some(&Key::new("a", "y")))), ["z"]);
}
