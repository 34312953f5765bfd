//! The engine against placements and table tests of a real Karmada and a real Open Cluster Management (`oracle/*.jsonl.gz`,
//! not part of the repository). Where a file is absent its test is reported as ignored, with the reason in its name.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod karmada;
mod karmada_tables;
mod ocm;
mod ocm_tables;

use std::collections::BTreeMap;
use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Where recorded data lies: `CFN_SHARED`, else `shared` beside the workspace.
fn shared() -> PathBuf {
    std::env::var_os("CFN_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    )
}

/// A test over a recorded file; ignored where the file is not there.
fn trial(what: &str, name: &str, run: fn(&[u8]) -> Result<(), Failed>) -> Trial {
    match std::fs::read(shared().join("oracle").join(name)) {
        Ok(file) => Trial::test(what, move || run(&file)),
        Err(_) => Trial::test(format!("{what} (no oracle/{name}; set CFN_SHARED)"), || Ok(())).with_ignored_flag(true),
    }
}

/// How a row of a table test came out.
enum Row {
    Same,
    Different(String),
    /// It speaks of something that is not a decision of the engine.
    NotHere(&'static str),
}

impl Row {
    fn equal<T: PartialEq + std::fmt::Debug>(ours: &T, theirs: &T) -> Self {
        if ours == theirs {
            Self::Same
        } else {
            Self::Different(format!("{ours:?}, theirs {theirs:?}"))
        }
    }
}

/// Runs every row of a file of table tests; says what is the same, what differs and what does not apply.
fn table(file: &[u8], run: fn(&str, &Value) -> Row) -> Result<(), Failed> {
    let mut same: BTreeMap<String, u32> = BTreeMap::new();
    let mut apart: BTreeMap<String, (u32, &str)> = BTreeMap::new();
    let mut different = Vec::new();
    for doc in raw(file)? {
        let test = doc["test"].as_str().unwrap_or_default();
        let path = doc["file"].as_str().unwrap_or_default();
        let source = path.rsplit('/').next().unwrap_or_default().trim_end_matches("_test.go");
        let name = format!("{source}:{}", test.split('/').next().unwrap_or_default());
        match run(&name, &doc["case"]) {
            Row::Same => *same.entry(name).or_default() += 1,
            Row::Different(why) => different.push(format!("{source}:{test}: {why}")),
            Row::NotHere(why) => apart.entry(name).or_insert((0, why)).0 += 1,
        }
    }
    let sum = |m: &BTreeMap<String, u32>| m.values().sum::<u32>();
    println!("{} rows the same: {same:?}", sum(&same));
    for (name, (n, why)) in &apart {
        println!("does not apply: {name} ({n} rows): {why}");
    }
    println!(
        "{} rows different, {} do not apply",
        different.len(),
        apart.values().map(|a| a.0).sum::<u32>()
    );
    if different.is_empty() {
        Ok(())
    } else {
        Err(different.join("\n").chars().take(8000).collect::<String>().into())
    }
}

/// The documents as they are written, nulls kept.
fn raw(file: &[u8]) -> Result<Vec<Value>, Failed> {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(file), &mut text)?;
    let docs: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    Ok(docs?)
}

/// Takes nulls out, so that lists and maps that Go has not made are absent.
fn tidy(v: &Value) -> Value {
    match v {
        Value::Object(o) => {
            let kept = o.iter().filter(|(_, v)| !v.is_null());
            Value::Object(kept.map(|(k, v)| (k.clone(), tidy(v))).collect())
        }
        Value::Array(a) => Value::Array(a.iter().map(tidy).collect()),
        other => other.clone(),
    }
}

/// Names and numbers of a list of target clusters, zeroes dropped.
fn targets(list: &Value) -> BTreeMap<String, i64> {
    let list = list.as_array().into_iter().flatten();
    let pairs = list.map(|t| {
        (
            t["name"].as_str().unwrap_or_default().to_owned(),
            t["replicas"].as_i64().unwrap_or(0),
        )
    });
    pairs.filter(|(_, n)| *n > 0).collect()
}

fn main() {
    let args = Arguments::from_args();
    let trials = vec![
        trial(
            "same placements as Karmada",
            "karmada-placements.jsonl.gz",
            karmada::compare,
        ),
        trial(
            "same answers as Karmada's tables",
            "karmada-table-tests.jsonl.gz",
            |f| table(f, karmada_tables::row),
        ),
        trial("same placements as OCM", "ocm-placements.jsonl.gz", ocm::compare),
        trial("same answers as OCM's tables", "ocm-table-tests.jsonl.gz", |f| {
            table(f, ocm_tables::row)
        }),
    ];
    libtest_mimic::run(&args, trials).exit();
}
