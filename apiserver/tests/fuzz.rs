//! What fuzzing found worth keeping (`apiserver/fuzz`), played without a fuzzer: no text may make a parser panic or break what
//! is said of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::io::{BufRead, BufReader};
use std::path::Path;

use libtest_mimic::{Arguments, Trial};

fn corpus(target: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/corpus/{target}.jsonl.gz"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    BufReader::new(flate2::read::GzDecoder::new(file))
        .lines()
        .map(|l| serde_json::from_str(&l.unwrap()).unwrap())
        .collect()
}

fn main() {
    let trials = targets::TARGETS.map(|(name, target)| {
        Trial::test(name, move || {
            let texts = corpus(name);
            if texts.is_empty() {
                return Err("the corpus is empty".into());
            }
            for text in texts {
                // Said when it panics.
                let shown = text.clone();
                let done = std::panic::catch_unwind(move || target(&text));
                if done.is_err() {
                    return Err(format!("panics, on:\n{shown}").into());
                }
            }
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}
