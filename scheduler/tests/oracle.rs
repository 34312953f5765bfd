//! The engine against placements that a real Karmada made (`oracle/karmada-placements.jsonl.gz`, not part of the
//! repository). Where the file is absent the test is reported as ignored, with the reason in its name.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::ResourceBindingSpec;
use cfn_scheduler::engine::{Config, Fleet, Request, schedule, webster};
use cfn_scheduler::offline;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Where recorded data lies: `CFN_SHARED`, else `shared` beside the workspace.
fn shared() -> PathBuf {
    std::env::var_os("CFN_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

fn targets(v: &Value) -> BTreeMap<&str, i64> {
    let list = v.get("result").and_then(Value::as_array).into_iter().flatten();
    let pairs = list.map(|t| {
        (
            t["name"].as_str().unwrap_or_default(),
            t["replicas"].as_i64().unwrap_or(0),
        )
    });
    pairs.filter(|(_, n)| *n > 0).collect()
}

fn compare(file: &[u8]) -> Result<(), Failed> {
    let mut tally: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut different = Vec::new();
    let ours = offline::run_cases(file, false)?;
    let theirs = offline::documents(file)?;
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let ours: Value = serde_json::from_str(ours)?;
        let same = ours["id"] == theirs["id"] && ours["error"] == theirs["error"] && targets(&ours) == targets(theirs);
        let n = tally
            .entry(theirs["kind"].as_str().unwrap_or_default().to_owned())
            .or_default();
        if same {
            n.0 += 1;
        } else {
            n.1 += 1;
            different.push(format!(
                "ours {ours}, Karmada's {} {} {}",
                theirs["result"], theirs["error"], theirs["message"]
            ));
        }
    }
    let total: u32 = tally.values().map(|n| n.0).sum();
    println!(
        "{total} of {} placements are the same as Karmada's: {tally:?}",
        theirs.len()
    );
    if different.is_empty() {
        Ok(())
    } else {
        Err(different.join("\n").chars().take(4000).collect::<String>().into())
    }
}

/// Karmada's own table tests that speak of things the engine has by the same name.
fn tables(file: &[u8]) -> Result<(), Failed> {
    let mut n = BTreeMap::new();
    for doc in offline::documents(file)? {
        let test = doc["test"].as_str().unwrap_or_default();
        let (case, name) = (&doc["case"], test.split('/').next().unwrap_or_default().to_owned());
        match name.as_str() {
            "TestAllocateWebsterSeats" if case.get("tieBreaker").is_none_or(Value::is_null) => {
                let map =
                    |v: &Value| -> BTreeMap<String, i64> { serde_json::from_value(v.clone()).unwrap_or_default() };
                let seats = case["newSeats"].as_i64().unwrap_or(0);
                let got = webster(
                    seats,
                    &map(&case["partyVotes"]),
                    &map(&case["initialAssignments"]),
                    false,
                );
                let parties = case["expected"].as_array().into_iter().flatten();
                let want: BTreeMap<String, i64> = parties
                    .map(|p| {
                        (
                            p["Name"].as_str().unwrap_or_default().to_owned(),
                            p["Seats"].as_i64().unwrap_or(0),
                        )
                    })
                    .collect();
                if got != want {
                    return Err(format!("{test}: {got:?}, Karmada's {want:?}").into());
                }
            }
            "Test_assignByStaticWeightStrategy" | "Test_dynamicScale" | "Test_dynamicScaleUp" => {
                let Some(wrong) = division(case) else { continue };
                if let Some(why) = wrong {
                    return Err(format!("{test}: {why}").into());
                }
            }
            _ => continue,
        }
        *n.entry(name).or_insert(0) += 1;
    }
    println!("the same as Karmada's tables: {n:?}");
    Ok(())
}

/// A case of Karmada's `assignment_test.go`; `None` when it is not one for the whole engine.
fn division(case: &Value) -> Option<Option<String>> {
    let names = case.get("candidates").or_else(|| case.get("clusters"))?.as_array()?;
    let clusters: Vec<Cluster> = names
        .iter()
        .map(|c| {
            let mut v = c["Cluster"].clone();
            v["apiVersion"] = "cluster.karmada.io/v1alpha1".into();
            v["kind"] = "Cluster".into();
            v["spec"]["syncMode"] = "Push".into();
            v["status"]["apiEnablements"] =
                serde_json::json!([{"groupVersion": "v1", "resources": [{"kind": "X", "name": "x"}]}]);
            serde_json::from_value(v).ok()
        })
        .collect::<Option<_>>()?;
    let mut spec = case.get("object").cloned().unwrap_or_else(|| {
        serde_json::json!({"replicas": case["replicas"], "placement": {"replicaScheduling": {"replicaSchedulingType": "Divided",
            "replicaDivisionPreference": "Weighted", "weightPreference": case["weightPreference"]}}})
    });
    spec["resource"] = serde_json::json!({"apiVersion": "v1", "kind": "X", "name": "x"});
    let spec: ResourceBindingSpec = serde_json::from_value(spec).ok()?;
    let request = Request::of("x", &spec);
    let ours = schedule(&Fleet::new(clusters), &request, &Config::default()).result;
    let set = |list: &Value| -> BTreeMap<String, i64> {
        let list = list.as_array().into_iter().flatten();
        let pairs = list.map(|t| {
            (
                t["name"].as_str().unwrap_or_default().to_owned(),
                t["replicas"].as_i64().unwrap_or(0),
            )
        });
        pairs.filter(|(_, n)| *n > 0).collect()
    };
    if case["wantErr"] == true {
        return Some(ours.ok().map(|o| format!("{o:?}, Karmada refuses")));
    }
    let wants: Vec<Value> = case
        .get("wants")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_else(|| vec![case["want"].clone()]);
    let got = serde_json::to_value(ours.as_deref().unwrap_or_default()).unwrap_or_default();
    let same = ours.is_ok() && wants.iter().any(|w| set(w) == set(&got));
    Some((!same).then(|| format!("{ours:?}, Karmada's {wants:?}")))
}

/// A test over a recorded file; ignored where the file is not there.
fn trial(what: &str, name: &str, run: fn(&[u8]) -> Result<(), Failed>) -> Trial {
    match std::fs::read(shared().join("oracle").join(name)) {
        Ok(file) => Trial::test(what, move || run(&file)),
        Err(_) => Trial::test(format!("{what} (no oracle/{name}; set CFN_SHARED)"), || Ok(())).with_ignored_flag(true),
    }
}

fn main() {
    let args = Arguments::from_args();
    let trials = vec![
        trial("same placements as Karmada", "karmada-placements.jsonl.gz", compare),
        trial(
            "same answers as Karmada's tables",
            "karmada-table-tests.jsonl.gz",
            tables,
        ),
    ];
    libtest_mimic::run(&args, trials).exit();
}
