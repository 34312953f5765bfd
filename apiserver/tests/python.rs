//! The Python client, typed and dynamic, against a cluster on a socket (`python/client.py`). Ignored, with the reason in
//! its name, where Python or the package `kubernetes` is not there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::{Command, Stdio};

use cfn_net::Transport;
use libtest_mimic::{Arguments, Trial};

const NAME: &str = "python_is_at_home";
const REASON: &str = "there is no Python with the package kubernetes (pip install kubernetes)";
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

fn main() {
    let found = Command::new("python3")
        .args(["-c", "import kubernetes"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let trial = if found.is_ok_and(|s| s.success()) {
        Trial::test(NAME, || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            runtime.block_on(python_is_at_home());
            Ok(())
        })
    } else {
        Trial::test(format!("{NAME} ({REASON})"), || Err(REASON.into())).with_ignored_flag(true)
    };
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

async fn python_is_at_home() {
    let (cluster, net) = common::cluster(Transport::Tcp, true).await;
    let nodes = common::nodes(&cluster, &net, 2).await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("config");
    std::fs::write(&config, cluster.kubeconfig()).unwrap();
    let done = tokio::task::spawn_blocking(move || Command::new("python3").arg(PROGRAM).arg(&config).output())
        .await
        .unwrap()
        .unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    drop(nodes);
    cluster.stop().await;
}
