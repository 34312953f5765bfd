//! The engine against placements that a real Karmada made (`oracle/karmada-placements.jsonl.gz`, not part of the
//! repository). Where the file is absent the test is reported as ignored, with the reason in its name.

use std::collections::BTreeMap;
use std::path::PathBuf;

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

fn main() {
    let args = Arguments::from_args();
    let trial = match std::fs::read(shared().join("oracle/karmada-placements.jsonl.gz")) {
        Ok(file) => Trial::test("same placements as Karmada", move || compare(&file)),
        Err(_) => Trial::test(
            "same placements as Karmada (no oracle/karmada-placements.jsonl.gz; set CFN_SHARED)",
            || Ok(()),
        )
        .with_ignored_flag(true),
    };
    libtest_mimic::run(&args, vec![trial]).exit();
}
