//! The Python client, typed and dynamic, against a cluster on a socket (`python/client.py`). Ignored, with the reason in
//! its name, where Python or the package `kubernetes` is not there.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::Command;

use cfn_net::Transport;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/client.py");

fn main() {
    let mut found = Command::new("python3");
    found.args(["-c", "import kubernetes"]);
    let reason = "there is no Python with the package kubernetes (pip install kubernetes)";
    common::with_program("python_is_at_home", found, reason, python_is_at_home);
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
