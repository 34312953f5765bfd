//! 2,000 placements that a real Karmada made.

use std::collections::BTreeMap;

use cfn_scheduler::offline::{Options, cases, documents};
use libtest_mimic::Failed;
use serde_json::Value;

use super::targets;

pub fn compare(file: &[u8]) -> Result<(), Failed> {
    let mut tally: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut different = Vec::new();
    let ours = cases(file, &Options::default())?;
    let theirs = documents(file)?;
    assert_eq!(ours.lines.len(), theirs.len());
    for (ours, theirs) in ours.lines.iter().zip(&theirs) {
        let ours: Value = serde_json::from_str(ours)?;
        let same = ours["id"] == theirs["id"]
            && ours["error"] == theirs["error"]
            && targets(&ours["result"]) == targets(&theirs["result"]);
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
