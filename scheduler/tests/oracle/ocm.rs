//! 1,300 placements that a real Open Cluster Management made: decisions in order, what each filter left, what each
//! prioritizer said, the sums, how many are missing.

use cfn_scheduler::offline::{Options, cases};
use libtest_mimic::Failed;
use serde_json::Value;

use super::raw;

/// Prioritizers by name: upstream runs them in no particular order.
fn by_name(list: &Value) -> Vec<String> {
    let mut all: Vec<String> = list.as_array().into_iter().flatten().map(Value::to_string).collect();
    all.sort();
    all
}

pub fn compare(file: &[u8]) -> Result<(), Failed> {
    let ours = cases(file, &Options::default())?;
    let theirs = raw(file)?;
    assert_eq!(ours.lines.len(), theirs.len());
    let (mut same, mut different) = (0, Vec::new());
    for (ours, theirs) in ours.lines.iter().zip(&theirs) {
        let ours: Value = serde_json::from_str(ours)?;
        let exact = ["id", "decisions", "filters", "sum", "unscheduled", "status"];
        let wrong: Vec<&str> = exact
            .into_iter()
            .filter(|f| ours[f] != theirs[f])
            .chain((by_name(&ours["prioritizers"]) != by_name(&theirs["prioritizers"])).then_some("prioritizers"))
            .collect();
        if wrong.is_empty() {
            same += 1;
        } else {
            different.push(format!("{wrong:?}: ours {ours}, OCM's {theirs}"));
        }
    }
    println!("{same} of {} placements are the same as OCM's", theirs.len());
    if different.is_empty() {
        Ok(())
    } else {
        Err(different.join("\n").chars().take(6000).collect::<String>().into())
    }
}
