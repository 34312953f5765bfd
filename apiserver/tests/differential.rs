//! The same requests, played against this server and compared with what a real kube-apiserver answered.
//!
//! `differential/corpus.yaml` is the requests, `differential/golden.json.gz` the real server's answers with what differs
//! from run to run masked, `differential/known.yaml` the differences that are known, each with its reason. A difference
//! that is not known fails, and so does a known one that is none any more.
//!
//! With `CFN_DIFFERENTIAL_KUBECONFIG` the requests go to that cluster instead; with `CFN_DIFFERENTIAL_RECORD` its answers
//! are written to that file. `ci/differential` does both with a real control plane. `CFN_DIFFERENTIAL_CORPUS` names another
//! file of requests.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/wire.rs"]
mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use cfn_net::Transport;
use play::{Answer, Case, play};
use serde_json::Value;

/// A case's name and its answers, in the order of its requests.
type Golden = BTreeMap<String, Vec<Answer>>;

fn at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(name)
}

fn corpus() -> Vec<Case> {
    let path = std::env::var("CFN_DIFFERENTIAL_CORPUS").map_or_else(|_| at("corpus.yaml"), PathBuf::from);
    serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn read_golden(path: &Path) -> Golden {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut golden: Golden = serde_json::from_str(&text).unwrap();
    // What is masked now need not have been when it was recorded.
    golden
        .values_mut()
        .flatten()
        .for_each(|answer| play::mask(&mut answer.0));
    golden
}

fn write_golden(path: &Path, golden: &Golden) {
    let file = std::fs::File::create(path).unwrap();
    let mut out = flate2::GzBuilder::new()
        .mtime(0)
        .write(file, flate2::Compression::best());
    out.write_all(&serde_json::to_vec(golden).unwrap()).unwrap();
    out.finish().unwrap();
}

/// Where two values differ first.
fn difference(ours: &Value, real: &Value, path: &str) -> Option<String> {
    match (ours, real) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|k| {
                let (x, y) = (a.get(k).unwrap_or(&Value::Null), b.get(k).unwrap_or(&Value::Null));
                if a.contains_key(k) != b.contains_key(k) {
                    return Some(format!("{path}.{k}: ours {x}, real {y}"));
                }
                difference(x, y, &format!("{path}.{k}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut all = a.iter().zip(b).enumerate();
            all.find_map(|(i, (x, y))| difference(x, y, &format!("{path}[{i}]")))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: ours {a}, real {b}")),
    }
}

#[tokio::test]
async fn answers_are_those_of_the_real_server() {
    let cases = corpus();
    let client = match std::env::var("CFN_DIFFERENTIAL_KUBECONFIG") {
        Ok(path) => {
            rustls::crypto::ring::default_provider().install_default().ok();
            let file = kube::config::Kubeconfig::read_from(path).unwrap();
            let config = kube::Config::from_custom_kubeconfig(file, &Default::default())
                .await
                .unwrap();
            (kube::Client::try_from(config).unwrap(), None)
        }
        Err(_) => {
            let (cluster, _net) = common::cluster(Transport::Memory, false).await;
            // Nothing but timers to wait for in there: watches that last their second need none.
            tokio::time::pause();
            (cluster.client(), Some(cluster))
        }
    };
    let mut answers = Golden::new();
    for (i, case) in cases.iter().enumerate() {
        answers.insert(case.feature.clone(), play(&client.0, case, i).await);
    }
    assert_eq!(answers.len(), cases.len(), "every case has a name of its own");
    if let Ok(path) = std::env::var("CFN_DIFFERENTIAL_RECORD") {
        write_golden(Path::new(&path), &answers);
        return;
    }
    let golden = std::env::var("CFN_DIFFERENTIAL_GOLDEN").map_or_else(|_| at("golden.json.gz"), PathBuf::from);
    let golden = read_golden(&golden);
    let known: BTreeMap<String, String> =
        serde_yaml::from_str(&std::fs::read_to_string(at("known.yaml")).unwrap()).unwrap();
    let (mut report, mut table) = (String::new(), BTreeMap::<String, (usize, usize)>::new());
    let (mut same, mut total, mut unexpected) = (0, 0, 0);
    for case in &cases {
        let none = Vec::new();
        let real = golden.get(&case.feature).unwrap_or(&none);
        for (i, request) in case.requests.iter().enumerate() {
            let name = format!("{} #{}", case.feature, i + 1);
            let (a, b) = (&answers[&case.feature][i].0, real.get(i).map_or(&Value::Null, |r| &r.0));
            let differs = difference(a, b, "");
            total += 1;
            let line = table.entry(case.group().to_owned()).or_default();
            line.1 += 1;
            match (&differs, known.contains_key(&name)) {
                (None, known) => {
                    same += 1;
                    line.0 += 1;
                    if known {
                        unexpected += 1;
                        let _ = writeln!(report, "same, though known.yaml says it differs: {name}");
                    }
                }
                (Some(_), true) => {}
                (Some(d), false) => {
                    unexpected += 1;
                    let _ = writeln!(report, "{name}: {}\n    {d}", request.line());
                }
            }
        }
    }
    let mut summary = String::new();
    for (group, (same, all)) in &table {
        let _ = writeln!(summary, "{group:32} {same:4} of {all:4}");
    }
    println!("{summary}{same} of {total} the same, {} known differences", known.len());
    if let Ok(path) = std::env::var("CFN_DIFFERENTIAL_REPORT") {
        std::fs::write(path, format!("{summary}\n{report}")).unwrap();
    }
    assert_eq!(unexpected, 0, "\n{report}{same} of {total} the same");
}
