//! Rollouts, as tables.

use super::*;

fn deployment(n: i64, image: &str, strategy: Value) -> Arc<Value> {
    Arc::new(
        json!({"metadata": {"name": "d", "namespace": "x", "uid": "du", "generation": 1},
        "spec": {"replicas": n, "strategy": strategy, "selector": {"matchLabels": {"a": "b"}}, "revisionHistoryLimit": 10,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"image": image}]}}}}),
    )
}

fn set(d: &Value, name: &str, rev: i64, replicas: i64, available: i64) -> Arc<Value> {
    Arc::new(json!({"metadata": {"name": name, "namespace": "x", "uid": name,
        "annotations": {REVISION: rev.to_string(), DESIRED: d["spec"]["replicas"].to_string()}},
        "spec": {"replicas": replicas, "template": pods::with_hash(&d["spec"]["template"], name)},
        "status": {"replicas": replicas, "availableReplicas": available}}))
}

fn scales(p: &Plan) -> Vec<(String, i64)> {
    p.actions
        .iter()
        .filter_map(|a| match a {
            Action::Create { gvr: g, object, .. } | Action::Update { gvr: g, object } if *g == gvr::REPLICA_SETS => {
                Some((object.name().to_owned(), replicas(object)))
            }
            _ => None,
        })
        .collect()
}

fn now() -> Now {
    Now {
        wall: jiff::Timestamp::UNIX_EPOCH,
        tick: tokio::time::Instant::now(),
    }
}

#[tokio::test]
async fn first_set_has_all_replicas_and_revision_one() {
    let d = deployment(3, "v1", json!({"type": "RollingUpdate"}));
    let plan = reconcile(&d, &[], &BTreeSet::new(), now());
    let Some(Action::Create { object, .. }) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    assert_eq!(replicas(object), 3);
    assert_eq!(revision(object), 1);
    assert!(object.label(HASH_LABEL).is_some());
}

#[tokio::test]
async fn rolls_within_its_bounds() {
    let (v1, v2) = (deployment(4, "v1", json!({})), deployment(4, "v2", json!({})));
    let (old, new) = ("old", "new");
    // (old spec, old available, new spec, new available) -> scales; 25 % of 4: one more, one less.
    for (a, b, c, e, expected) in [
        (4, 4, 0, 0, vec![(new, 1)]),
        (4, 4, 1, 0, vec![(old, 3)]),
        (3, 3, 1, 0, vec![(new, 2)]),
        (3, 3, 2, 0, vec![]),
        (3, 3, 2, 1, vec![(old, 2)]),
        (0, 0, 4, 4, vec![]),
    ] {
        let mut n = (*set(&v2, new, 2, c, e)).clone();
        set_meta(&mut n, "annotations", MAXIMUM, "5");
        let mut o = (*set(&v1, old, 1, a, b)).clone();
        set_meta(&mut o, "annotations", MAXIMUM, "5");
        let plan = reconcile(&v2, &[Arc::new(o), Arc::new(n)], &BTreeSet::new(), now());
        let expected: Vec<_> = expected.into_iter().map(|(n, r)| (n.to_owned(), r)).collect();
        assert_eq!(scales(&plan), expected, "old {a}/{b} new {c}/{e}");
    }
}

#[tokio::test]
async fn recreate_waits_for_the_old_pods() {
    let (v1, v2) = (
        deployment(2, "v1", json!({"type": "Recreate"})),
        deployment(2, "v2", json!({"type": "Recreate"})),
    );
    let running = BTreeSet::from(["old".to_owned()]);
    let plan = reconcile(&v2, &[set(&v1, "old", 1, 2, 2)], &running, now());
    assert_eq!(scales(&plan), [("old".to_owned(), 0)]);
    let plan = reconcile(&v2, &[set(&v1, "old", 1, 0, 0)], &running, now());
    assert_eq!(scales(&plan), []);
    let plan = reconcile(&v2, &[set(&v1, "old", 1, 0, 0)], &BTreeSet::new(), now());
    assert_eq!(scales(&plan).iter().map(|s| s.1).collect::<Vec<_>>(), [2]);
}

#[tokio::test]
async fn undo_gives_the_old_set_a_new_revision() {
    let v1 = deployment(1, "v1", json!({}));
    let v2 = deployment(1, "v2", json!({}));
    let sets = [set(&v1, "one", 1, 0, 0), set(&v2, "two", 2, 1, 1)];
    let plan = reconcile(&v1, &sets, &BTreeSet::new(), now());
    let Some(Action::Update { object, .. }) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (object.name(), revision(object), object.annotation(HISTORY)),
        ("one", 3, Some("1"))
    );
}

#[tokio::test]
async fn scaling_in_the_middle_is_shared_out() {
    let (v1, v2) = (deployment(10, "v1", json!({})), deployment(20, "v2", json!({})));
    let mut o = (*set(&v1, "old", 1, 8, 8)).clone();
    let mut n = (*set(&v1, "new", 2, 5, 2)).clone();
    n["spec"]["template"] = v2["spec"]["template"].clone();
    for s in [&mut o, &mut n] {
        set_meta(s, "annotations", MAXIMUM, "13");
    }
    let plan = reconcile(&v2, &[Arc::new(o), Arc::new(n)], &BTreeSet::new(), now());
    let total: i64 = ["old", "new"]
        .iter()
        .map(|n| scales(&plan).iter().rev().find(|s| s.0 == *n).map_or(0, |s| s.1))
        .sum();
    assert_eq!(total, 25, "{:?}", scales(&plan));
}
