//! Our node image with a real kubelet: an edge node that is cut off, killed and started again lives on, and what
//! happened meanwhile is put right when the link heals. Needs a Docker engine with the images of `ci/images`; ignored, with
//! the reason, where there are none.

use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

const IMAGE: &str = "cfn.akraino.org/node:1.36.3";
const ECHO: &str = "cfn.akraino.org/echo:1";

fn docker(arguments: &[&str]) -> Result<String, Failed> {
    let done = Command::new("docker")
        .args(arguments)
        .output()
        .map_err(|e| format!("docker: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Err(format!("docker {}: {said}", arguments.join(" ")).into())
}

/// Why the tests cannot run here.
fn missing() -> Option<String> {
    match docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE]) {
        Ok(_) => None,
        Err(_) if docker(&["version"]).is_err() => Some("no Docker engine answers".into()),
        Err(_) => Some(format!("there is no image {IMAGE}: run ci/images")),
    }
}

/// Containers and their network, gone when the test is.
struct Bed {
    name: String,
}

impl Bed {
    fn new() -> Result<Self, Failed> {
        let bed = Self {
            name: format!("cfn-node-test-{}", std::process::id()),
        };
        // Only a network whose addresses were said gives a container the one that it had.
        let subnet = format!("172.31.{}.0/24", 200 + std::process::id() % 50);
        docker(&[
            "network",
            "create",
            "--subnet",
            &subnet,
            "--label",
            &bed.label(),
            &bed.name,
        ])?;
        Ok(bed)
    }

    fn label(&self) -> String {
        format!("cfn.akraino.org/testbed={}", self.name)
    }

    fn container(&self, role: &str) -> String {
        format!("{}-{role}", self.name)
    }

    fn start(&self, role: &str, environment: &[&str], command: &[&str]) -> Result<(), Failed> {
        let (name, label) = (self.container(role), self.label());
        let mut line = vec!["run", "-d", "--name", &name, "--hostname", role, "--label", &label];
        line.extend([
            "--network",
            &self.name,
            "--cap-add",
            "SYS_ADMIN",
            "--cap-add",
            "NET_ADMIN",
        ]);
        line.extend(["--security-opt", "seccomp=unconfined", "-e", "K3S_TOKEN=secret"]);
        for e in environment {
            line.extend(["-e", e]);
        }
        line.push(IMAGE);
        line.extend(command);
        docker(&line).map(drop)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, Failed> {
        let server = self.container("server");
        let mut line = vec!["exec", &server, "kubectl", "--request-timeout=5s"];
        line.extend(arguments);
        docker(&line)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let filter = format!("label={}", self.label());
        let all = docker(&["ps", "-aq", "--filter", &filter]).unwrap_or_default();
        let mut line = vec!["rm", "-fv"];
        line.extend(all.lines());
        if line.len() > 2 {
            let _ = docker(&line);
        }
        let _ = docker(&["network", "rm", &self.name]);
    }
}

/// Asks until it holds, two minutes at most.
async fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let mut last = String::new();
    let asked = async {
        loop {
            match holds() {
                Ok(true) => return,
                Ok(false) => last.clear(),
                Err(e) => last = e.message().unwrap_or_default().to_owned(),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(120), asked).await {
        Ok(()) => Ok(()),
        Err(_) => Err(format!("not within two minutes: {what} {last}").into()),
    }
}

async fn cut_off_killed_and_back() -> Result<(), Failed> {
    let bed = Bed::new()?;
    bed.start("server", &[], &["server", "--node-taint=control=true:NoSchedule"])?;
    let address = |role: &str| {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        docker(&["inspect", "--format", format, &bed.container(role)])
    };
    let url = format!("K3S_URL=https://{}:6443", address("server")?);
    let flags = [
        "agent",
        "--cfn-edge",
        "--cfn-edge-arg=heartbeat-interval=1s",
        "--cfn-mirror",
        "--cfn-capacity=cpu=7,memory=3Gi",
    ];
    bed.start("edge", &[&url], &flags)?;
    let edge = bed.container("edge");
    let ready = || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        Ok(bed.kubectl(&["get", "node", "edge", "-o", path])? == "True")
    };
    until("the edge node is Ready", ready).await?;
    let capacity = bed.kubectl(&[
        "get",
        "node",
        "edge",
        "-o",
        "jsonpath={.status.capacity['cpu','memory']}",
    ])?;
    assert_eq!(capacity, "7 3Gi");

    bed.kubectl(&["create", "secret", "generic", "s", "--from-literal=k=v"])?;
    for name in ["stays", "goes"] {
        let overrides = serde_json::json!({"spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": name, "image": ECHO, "imagePullPolicy": "Always", "resources": {"requests": {"cpu": "3"}},
                "volumeMounts": [{"name": "s", "mountPath": "/s"}]}],
            "volumes": [{"name": "s", "secret": {"secretName": "s"}}],
        }})
        .to_string();
        bed.kubectl(&["run", name, "--image", ECHO, "--overrides", &overrides])?;
    }
    let running = || {
        let all = bed.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.phase}"])?;
        Ok(all == "Running Running")
    };
    until("both pods run", running).await?;

    let network = &bed.name;
    let address = address("edge")?;
    docker(&["network", "disconnect", network, &edge])?;
    docker(&["kill", &edge])?;
    bed.kubectl(&["delete", "pod", "goes", "--wait=false"])?;
    docker(&["start", &edge])?;
    until("its pods run again, from its own disk", || {
        let all = docker(&["exec", &edge, "ps", "ax"])?;
        Ok(all.matches("/cfn workload echo").count() == 2)
    })
    .await?;

    docker(&["network", "connect", "--ip", &address, network, &edge])?;
    until(
        "what was deleted meanwhile is gone, what stayed has started once more",
        || {
            let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount}{end}";
            Ok(bed.kubectl(&["get", "pods", "-o", path])? == "stays 1")
        },
    )
    .await?;
    until("the node is Ready", ready).await?;
    until("logs and exec work", || {
        bed.kubectl(&["logs", "stays"])?;
        let said = bed.kubectl(&["exec", "stays", "--", "/cfn", "--version"])?;
        Ok(said.starts_with("cfn "))
    })
    .await?;

    docker(&["stop", &edge])?;
    let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &edge])?;
    assert_eq!(code, "0", "docker stop ends a node well");
    Ok(())
}

fn main() -> ExitCode {
    let missing = missing();
    let name = match &missing {
        None => "cut_off_killed_and_back".to_owned(),
        Some(why) => format!("cut_off_killed_and_back ({why})"),
    };
    let trial = Trial::test(name, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failed::from(e.to_string()))?
            .block_on(cut_off_killed_and_back())
    });
    let trials = vec![trial.with_ignored_flag(missing.is_some())];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
