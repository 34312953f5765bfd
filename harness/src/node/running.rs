//! What runs on a node, read from its container runtime's own directories: no client of the CRI is needed, and asking
//! costs a few files.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

/// Where containerd keeps the tasks of Kubernetes' namespace: a directory for each process that runs in a container.
pub const TASKS: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
/// Where kubelet keeps containers' logs: `<namespace>_<pod>_<uid>/<container>/<attempt>.log`.
pub const PODS: &str = "/var/log/pods";

/// The running containers of pods, as `crictl ps -o json` prints them, as far as it matters here: whose they are, and
/// which attempt at them runs.
///
/// # Errors
/// When the runtime's directory is there and cannot be read.
pub fn containers(tasks: &Path, pods: &Path, alive: impl Fn(u32) -> bool) -> io::Result<Value> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(tasks) {
        // Nothing was ever run.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(json!({"containers": []})),
        entries => entries?,
    };
    for entry in entries.flatten() {
        let dir = entry.path();
        let pid = std::fs::read_to_string(dir.join("init.pid")).unwrap_or_default();
        let Ok(spec) = std::fs::read(dir.join("config.json")) else {
            // It ended while we looked.
            continue;
        };
        let spec: Value = serde_json::from_slice(&spec).unwrap_or_default();
        let note = |name: &str| {
            let all = spec.get("annotations");
            all.and_then(|a| a.get(format!("io.kubernetes.cri.{name}"))?.as_str())
                .unwrap_or_default()
        };
        if note("container-type") != "container" || !pid.trim().parse().is_ok_and(&alive) {
            continue;
        }
        let name = note("container-name");
        let (namespace, pod, uid) = (note("sandbox-namespace"), note("sandbox-name"), note("sandbox-uid"));
        let logs = pods.join(format!("{namespace}_{pod}_{uid}")).join(name);
        found.push(json!({
            "id": entry.file_name().to_string_lossy(),
            "metadata": {"name": name, "attempt": attempt(&logs)},
            "state": "CONTAINER_RUNNING",
            "labels": {
                "io.kubernetes.container.name": name,
                "io.kubernetes.pod.name": pod,
                "io.kubernetes.pod.namespace": namespace,
                "io.kubernetes.pod.uid": uid,
            },
        }));
    }
    found.sort_by_key(|c| c["id"].as_str().map(str::to_owned));
    Ok(json!({"containers": found}))
}

/// The latest attempt at a container: kubelet names its log by it.
fn attempt(logs: &Path) -> u64 {
    let entries = std::fs::read_dir(logs).into_iter().flatten().flatten();
    entries
        .filter_map(|e| e.file_name().to_string_lossy().strip_suffix(".log")?.parse().ok())
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_containers_of_pods_with_their_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let (tasks, pods) = (dir.path().join("tasks"), dir.path().join("pods"));
        assert_eq!(containers(&tasks, &pods, |_| true).unwrap(), json!({"containers": []}));
        let task = |id: &str, kind: &str, pid: u32| {
            let at = tasks.join(id);
            std::fs::create_dir_all(&at).unwrap();
            std::fs::write(at.join("init.pid"), pid.to_string()).unwrap();
            let spec = json!({"annotations": {
                "io.kubernetes.cri.container-type": kind, "io.kubernetes.cri.container-name": "app",
                "io.kubernetes.cri.sandbox-name": "p", "io.kubernetes.cri.sandbox-namespace": "default",
                "io.kubernetes.cri.sandbox-uid": "u",
            }});
            std::fs::write(at.join("config.json"), spec.to_string()).unwrap();
        };
        task("pause", "sandbox", 1);
        task("runs", "container", 2);
        task("ended", "container", 3);
        let logs = pods.join("default_p_u/app");
        std::fs::create_dir_all(&logs).unwrap();
        for name in ["0.log", "2.log", "1.log", "2.log.20261125"] {
            std::fs::write(logs.join(name), "").unwrap();
        }
        let seen = containers(&tasks, &pods, |pid| pid != 3).unwrap();
        let all = seen["containers"].as_array().unwrap();
        assert_eq!(all.len(), 1, "{seen}");
        assert_eq!(all[0]["metadata"]["attempt"], 2);
        assert_eq!(all[0]["labels"]["io.kubernetes.pod.uid"], "u");
    }
}
