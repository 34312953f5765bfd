//! What a cluster costs in memory, measured on this process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "../benches/generated.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod generated;

use cfn_scheduler::engine::{Fleet, Member};
use serde_json::json;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_cluster_costs_at_most_4_kib() {
    const COUNT: u64 = 10_000;
    // As many APIs as a real cluster serves, annotations and managed fields that no decision reads.
    let apis: Vec<_> = (0..25)
        .map(|g| {
            let kinds: Vec<_> = (0..5)
                .map(|k| json!({"name": format!("kinds{g}x{k}"), "kind": format!("Kind{g}x{k}")}))
                .collect();
            json!({"groupVersion": format!("group{g}.example.org/v1"), "resources": kinds})
        })
        .collect();
    let apis: Vec<cfn_api::karmada::cluster::ApiEnablement> = serde_json::from_value(json!(apis)).unwrap();
    let mut n = generated::Numbers(1);
    let mut fleet = Fleet::default();
    let before = resident();
    for i in 0..COUNT {
        let mut c = generated::cluster(i, 20, &mut n);
        c.status.get_or_insert_default().api_enablements.extend(apis.clone());
        c.metadata.annotations = Some([("note".to_owned(), "x".repeat(3000))].into());
        fleet.insert(Member::new(c, None));
    }
    let each = resident().saturating_sub(before) / COUNT;
    println!("{each} bytes a cluster at {} clusters", fleet.len());
    assert!(each <= 4096, "{each} bytes a cluster");
    assert_eq!(fleet.len() as u64, COUNT);
}
