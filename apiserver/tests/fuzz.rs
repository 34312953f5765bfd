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

/// How many changed texts each target is given beside those that are kept: a fuzzer that knows nothing of the program, where
/// there is no other (`FUZZ_EXECUTIONS=100000 cargo test -p cfn-apiserver --test fuzz patterns`).
fn executions() -> u64 {
    std::env::var("FUZZ_EXECUTIONS").map_or(0, |n| n.parse().unwrap())
}

fn play(target: fn(&str), text: &str) -> Result<(), String> {
    // Said when it panics.
    std::panic::catch_unwind(|| target(text)).map_err(|_| format!("panics, on:\n{text}"))
}

/// Numbers without an order (xorshift), the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).unwrap()
    }
}

/// A text of the corpus with some of its characters left out, doubled, or taken from other texts.
fn changed(texts: &[String], dice: &mut Dice) -> String {
    let mut text: Vec<char> = texts[dice.below(texts.len())].chars().collect();
    for _ in 0..=dice.below(4) {
        let at = dice.below(text.len() + 1);
        let end = (at + dice.below(8)).min(text.len());
        match dice.below(4) {
            0 => drop(text.drain(at..end)),
            1 => {
                let part = text[at..end].to_vec();
                let to = dice.below(text.len() + 1);
                text.splice(to..to, part);
            }
            2 => {
                let signs: Vec<char> = "\0 \n\t\"'\\\\:-+*?.,#&!|>%@`{}[]()^$0179aAzEénull~<=/\u{feff}\u{85}\u{1f600}"
                    .chars()
                    .collect();
                text.insert(at, signs[dice.below(signs.len())]);
            }
            _ => {
                let other: Vec<char> = texts[dice.below(texts.len())].chars().collect();
                let from = dice.below(other.len() + 1);
                let to = (from + dice.below(16)).min(other.len());
                text.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    text.into_iter().collect()
}

fn main() {
    let trials = targets::TARGETS.map(|(name, target)| {
        Trial::test(name, move || {
            let texts = corpus(name);
            if texts.is_empty() {
                return Err("the corpus is empty".into());
            }
            for text in &texts {
                play(target, text)?;
            }
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
            for _ in 0..executions() {
                play(target, &changed(&texts, &mut dice))?;
            }
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}
