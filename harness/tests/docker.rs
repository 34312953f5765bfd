//! The docker lane where a scenario does not reach: every word for a fault, two testbeds at once, what a killed process
//! leaves. Needs Docker and the images (`ci/images`); without them the tests are reported as ignored, with the reason.
#![allow(clippy::unwrap_used, reason = "a test panics")]

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use cfn::Testbed;
use cfn::input::At;
use cfn::scenario::Fault;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use libtest_mimic::{Arguments, Failed};
use tokio::time::Instant;

/// A member with a node that has a disk of its own, one hop away from its hub.
const TOPOLOGY: &str = "
apiVersion: cfn.akraino.org/v1alpha1
kind: Topology
metadata: {name: breakable}
spec:
  sites:
    - {name: center, role: center}
    - {name: far, role: edge}
    - {name: field, role: edge}
  links:
    - {between: [far, field], latency: 2ms, throughputUl: 1Gbit/s, throughputDl: 1Gbit/s}
    - {between: [center, far], latency: 5ms, throughputUl: 1Gbit/s, throughputDl: 1Gbit/s}
  clusters:
    - {name: hub, site: center, role: hub}
    - name: member
      site: far
      role: member
      nodes:
        - {name: node, cpu: '2', memory: 4Gi, ephemeralStorage: 128Mi}
        - {name: disk, site: field, cpu: '2', memory: 4Gi, edgeAgent: true, autonomy: true}
";

/// How long anything may take to be seen on a small, busy machine.
const SEEN: Duration = Duration::from_secs(120);

fn main() {
    let mut args = Arguments::from_args();
    // Each has clusters of its own: one after the other.
    args.test_threads = Some(1);
    let why = common::no_docker();
    let why = why.as_deref();
    let trials = vec![
        common::trial("every fault is real, and mended", why, || block_on(faults())),
        common::trial("two at once, and a killed one's remains", why, two_at_once),
    ];
    libtest_mimic::run(&args, trials).exit();
}

fn block_on(test: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(test)
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool, Failed>) -> Result<(), Failed> {
    let end = Instant::now() + SEEN;
    while !holds().await? {
        if Instant::now() >= end {
            return Err(format!("not within {} s: {what}", SEEN.as_secs()).into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("  {what}");
    Ok(())
}

/// The containers of a testbed, as a person would look at them.
struct Hosts {
    bed: String,
}

impl Hosts {
    /// Of the testbed in which a cluster is published at this address.
    fn of(kubeconfig: &str) -> Result<Self, Failed> {
        let port = kubeconfig
            .lines()
            .find_map(|l| l.trim().strip_prefix("server: https://127.0.0.1:"))
            .ok_or("no server")?
            .to_owned();
        let all = sh("docker", &["ps", "--format", "{{.Names}} {{.Ports}}"])?;
        let line = all
            .lines()
            .find(|l| l.contains(&format!(":{port}->")))
            .ok_or("no container")?;
        let name = line.split(' ').next().unwrap_or_default();
        let bed = name.rsplit_once('-').ok_or("no testbed's name")?.0.to_owned();
        Ok(Self { bed })
    }

    /// Runs a script in a host; its exit code and output.
    fn run(&self, host: &str, script: &str) -> Result<(i32, String), Failed> {
        let name = format!("{}-{host}", self.bed);
        let out = Command::new("docker")
            .args(["exec", &name, "bash", "-c", script])
            .output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        Ok((out.status.code().unwrap_or(-1), said))
    }

    /// Its address.
    fn address(&self, host: &str) -> Result<String, Failed> {
        let name = format!("{}-{host}", self.bed);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        Ok(sh("docker", &["inspect", "--format", format, &name])?.trim().to_owned())
    }

    /// Datagrams that came to a port where nobody listens.
    fn stray(&self, host: &str) -> Result<u64, Failed> {
        let (_, said) = self.run(host, "grep ^Udp: /proc/net/snmp | tail -1 | cut -d' ' -f3")?;
        Ok(said.trim().parse()?)
    }

    /// Whether datagrams from one host reach another.
    async fn reaches(&self, from: &str, to: &str) -> Result<bool, Failed> {
        let (before, address) = (self.stray(to)?, self.address(to)?);
        self.run(
            from,
            &format!("for i in 1 2 3; do echo x > /dev/udp/{address}/9; sleep 0.1; done; true"),
        )?;
        let end = Instant::now() + Duration::from_secs(1);
        while self.stray(to)? == before {
            if Instant::now() >= end {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(true)
    }

    /// How long a connection takes to be there, milliseconds.
    fn connect(&self, from: &str, to: &str) -> Result<f64, Failed> {
        let a = self.address(to)?;
        let script = format!("s=${{EPOCHREALTIME/./}}; exec 3<>/dev/tcp/{a}/6443; echo $((${{EPOCHREALTIME/./}}-s))");
        let (_, said) = self.run(from, &script)?;
        Ok(said.trim().parse::<f64>().map_err(|e| format!("{said}: {e}"))? / 1000.0)
    }
}

fn sh(program: &str, args: &[&str]) -> Result<String, Failed> {
    let out = Command::new(program).args(args).output()?;
    if !out.status.success() {
        return Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn fault(yaml: &str) -> Fault {
    serde_yaml::from_str(yaml).unwrap()
}

async fn faults() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("breakable.yaml");
    std::fs::write(&file, TOPOLOGY)?;
    let bed = Testbed::builder(&file.to_string_lossy()).lane("docker").start().await?;
    let hosts = Hosts::of(bed.kubeconfig("hub")?)?;
    let nodes: Api<Node> = Api::all(bed.client("member")?);
    let condition = async |kind: &str, status: &str| {
        let node = nodes.get("node").await?;
        let all = node.status.and_then(|s| s.conditions).unwrap_or_default();
        Ok::<_, Failed>(all.iter().any(|c| c.type_ == kind && c.status == status))
    };
    let ready = async || condition("Ready", "True").await;
    let member = async |wanted: &str| {
        let all: Api<cfn_api::karmada::cluster::Cluster> = Api::all(bed.hub()?);
        let c = all.get("member").await?;
        let conditions = c.status.map(|s| s.conditions).unwrap_or_default();
        Ok::<_, Failed>(conditions.iter().any(|c| c.type_ == "Ready" && c.status == wanted))
    };
    // A list that nobody waits longer for than a client would.
    let answers = async |cluster: &str| {
        let api: Api<Node> = Api::all(bed.client(cluster)?);
        let all = ListParams::default();
        let list = api.list(&all);
        Ok::<_, Failed>(matches!(
            tokio::time::timeout(Duration::from_secs(3), list).await,
            Ok(Ok(_))
        ))
    };

    println!("processes");
    for (component, host) in [("kube-apiserver/member", "member"), ("etcd/hub", "hub")] {
        let broken = bed.kill(component).await?;
        until(&format!("{component} is dead"), async || Ok(!answers(host).await?)).await?;
        broken.heal().await?;
        until(&format!("{component} is back"), async || answers(host).await).await?;
    }
    let broken = bed.kill("kubelet/node").await?;
    until(
        "the node is not Ready without its kubelet",
        async || Ok(!ready().await?),
    )
    .await?;
    broken.heal().await?;
    until("it is with it", ready).await?;
    for process in ["containerd", "kube-proxy"] {
        let broken = bed.kill(&format!("{process}/node")).await?;
        assert_ne!(
            hosts.run("node", &format!("pgrep -x {process}"))?.0,
            0,
            "{process} lives"
        );
        broken.heal().await?;
        until(&format!("{process} is back"), async || {
            Ok(hosts.run("node", &format!("pgrep -x {process}"))?.0 == 0)
        })
        .await?;
    }
    until("the node is Ready", ready).await?;
    let broken = bed.kill("agent/member").await?;
    until("a member without its agent is not Ready", async || {
        Ok(!member("True").await?)
    })
    .await?;
    broken.heal().await?;
    until("with it it is", async || member("True").await).await?;

    println!("hosts");
    let broken = bed.fault(fault("{kind: pause, node: node}")).await?;
    until("a paused node is not Ready", async || Ok(!ready().await?)).await?;
    broken.heal().await?;
    until("it goes on", ready).await?;
    let broken = bed.stop_control_plane("member").await?;
    until("a stopped control plane does not answer", async || {
        Ok(!answers("member").await?)
    })
    .await?;
    broken.heal().await?;
    until("it answers again", async || answers("member").await).await?;
    until("the member is Ready", async || member("True").await).await?;

    println!("links");
    assert!(hosts.reaches("hub", "node").await? && hosts.reaches("node", "hub").await?);
    let one_way = Fault {
        one_way: true,
        between: Some([At::nowhere("center".into()), At::nowhere("far".into())]),
        ..fault("{kind: partition}")
    };
    let broken = bed.fault(one_way).await?;
    assert!(
        !hosts.reaches("hub", "node").await?,
        "from the first to the second nothing passes"
    );
    assert!(
        hosts.reaches("node", "hub").await?,
        "from the second to the first it does"
    );
    broken.heal().await?;
    assert!(hosts.reaches("hub", "node").await?);
    let before = hosts.connect("node", "hub")?;
    let broken = bed
        .fault(fault("{kind: shape, between: [center, far], link: {latency: 60ms}}"))
        .await?;
    let shaped = hosts.connect("node", "hub")?;
    broken.heal().await?;
    assert!(
        before >= 10.0 && shaped >= 120.0,
        "a connection took {before} ms, then {shaped} ms"
    );
    // The API server says nothing to a client that says nothing: what ends the connection is the reset.
    let hub = hosts.address("hub")?;
    let name = format!("{}-node", hosts.bed);
    let script = format!("exec 3<>/dev/tcp/{hub}/6443; echo there; read -t 8 x <&3; echo $?");
    let mut open = Command::new("docker")
        .args(["exec", &name, "bash", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = std::io::BufReader::new(open.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line)?;
    assert_eq!(line.trim(), "there");
    bed.fault(fault("{kind: reset, between: [center, far]}"))
        .await?
        .heal()
        .await?;
    line.clear();
    std::io::BufRead::read_line(&mut said, &mut line)?;
    assert_eq!(line.trim(), "1", "142 would be the time that ran out");
    open.wait()?;

    println!("disk and memory");
    let write = "dd if=/dev/zero of=/var/lib/kubelet/x bs=1M count=1 2>&1; rm -f /var/lib/kubelet/x";
    let broken = bed.fault(fault("{kind: fulldisk, node: node}")).await?;
    assert!(
        hosts.run("node", write)?.1.contains("No space left"),
        "the disk is full"
    );
    until("the kubelet says so", async || condition("DiskPressure", "True").await).await?;
    broken.heal().await?;
    until("there is room again", async || {
        Ok(!hosts.run("node", write)?.1.contains("No space left"))
    })
    .await?;
    let refused = bed
        .fault(fault("{kind: slowdisk, node: node}"))
        .await
        .err()
        .ok_or("memory was slowed down")?;
    assert!(
        refused.to_string().contains("on no disk"),
        "a disk in memory has no device: {refused}"
    );
    let direct = "s=${EPOCHREALTIME/./}; dd if=/dev/zero of=/var/lib/kubelet/x bs=1M count=3 oflag=direct 2>/dev/null; \
                  echo $((${EPOCHREALTIME/./}-s)); rm -f /var/lib/kubelet/x";
    let seconds = || Ok::<f64, Failed>(hosts.run("disk", direct)?.1.trim().parse::<f64>()? / 1e6);
    let quick = seconds()?;
    let broken = bed.fault(fault("{kind: slowdisk, node: disk}")).await?;
    let slow = seconds()?;
    broken.heal().await?;
    assert!(slow > 2.0, "3 MiB at 1 MiB/s took {slow} s, before {quick} s");
    let resident = "cat /proc/$(pgrep -f '^cfn fault memory')/status | grep VmRSS | tr -dc 0-9";
    let broken = bed.fault(fault("{kind: memory, node: node, mib: 200}")).await?;
    let kib: u64 = hosts.run("node", resident)?.1.trim().parse()?;
    assert!(kib >= 200 * 1024, "{kib} KiB are taken");
    broken.heal().await?;
    until("memory is given back", async || {
        Ok(hosts.run("node", "pgrep -f '^cfn fault memory'")?.0 != 0)
    })
    .await?;
    let refused = bed
        .fault(fault("{kind: clock, node: node}"))
        .await
        .err()
        .ok_or("a clock was changed")?;
    assert!(refused.to_string().contains("clock"), "{refused}");
    let refused = bed
        .fault(fault("{kind: memory, node: node, mib: 9000000}"))
        .await
        .err()
        .ok_or("too much")?;
    assert!(refused.to_string().contains("without memory"), "{refused}");
    edge_autonomy(&bed, dir.path()).await?;
    let bed_name = hosts.bed.clone();
    bed.stop().await;
    let left = sh("docker", &["ps", "-a", "--format", "{{.Names}}"])?;
    assert!(!left.lines().any(|l| l.starts_with(&format!("{bed_name}-"))), "{left}");
    Ok(())
}

/// What P2-02 does not see: logs and exec of a pod whose node was cut off and lost power, before and after.
async fn edge_autonomy(bed: &Testbed, dir: &std::path::Path) -> Result<(), Failed> {
    println!("edge autonomy");
    let (config, manifest) = (dir.join("member.kubeconfig"), dir.join("pod.yaml"));
    std::fs::write(&config, bed.kubeconfig("member")?)?;
    std::fs::write(
        &manifest,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: stays, namespace: default}\n\
         spec: {nodeName: disk, containers: [{name: app, image: 'cfn.akraino.org/echo:1'}]}\n",
    )?;
    let kubectl = |args: &[&str]| {
        let config = config.to_string_lossy();
        sh(
            "kubectl",
            &[&["--kubeconfig", &config, "--request-timeout=10s"], args].concat(),
        )
    };
    kubectl(&["apply", "-f", &manifest.to_string_lossy()])?;
    let inside =
        async || Ok(kubectl(&["exec", "stays", "--", "/cfn", "--version"]).is_ok_and(|s| s.starts_with("cfn ")));
    until("a program is run in the pod", inside).await?;
    let runs = async || Ok::<_, Failed>(bed.running(&["disk"]).await?.into_iter().find(|p| p.name == "stays"));
    let uid = runs().await?.ok_or("it does not run")?.uid;
    let cut = bed.isolate("field").await?;
    bed.crash_node("disk").await?.heal().await?;
    until("the pod runs again from the node's own disk", async || {
        Ok(runs().await?.is_some())
    })
    .await?;
    let again = runs().await?.ok_or("it does not run")?;
    assert!(
        again.uid == uid && again.restarts == 1,
        "the same pod, restarted once: {again:?}"
    );
    cut.heal().await?;
    until("a program is run in it after the heal", inside).await?;
    kubectl(&["logs", "stays"])?;
    let known = kubectl(&[
        "get",
        "pod",
        "stays",
        "-o",
        "jsonpath={.status.containerStatuses[0].restartCount}",
    ])?;
    assert_eq!(known, "1", "restarts, as the cluster knows them");
    Ok(())
}

/// `cfn up` twice at once, one of them killed; the next start removes what it left, and not the living one.
#[allow(clippy::disallowed_methods, reason = "other processes are waited for, in real time")]
fn two_at_once() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("breakable.yaml");
    std::fs::write(&file, TOPOLOGY)?;
    let start = |name: &str| {
        let log = std::fs::File::create(dir.path().join(format!("{name}.log")))?;
        Command::new(env!("CARGO_BIN_EXE_cfn"))
            .args(["up", "--lane", "docker", "--timers", "fast", "--dir"])
            .arg(dir.path().join(name))
            .arg(&file)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    };
    let said = |name: &str| std::fs::read_to_string(dir.path().join(format!("{name}.log"))).unwrap_or_default();
    let up = |name: &str, child: &mut std::process::Child| {
        let end = std::time::Instant::now() + Duration::from_secs(240);
        while !said(name).contains("is up") {
            if let Some(status) = child.try_wait()? {
                return Err(Failed::from(format!("{name} ended with {status}: {}", said(name))));
            }
            if std::time::Instant::now() > end {
                return Err(format!("{name} did not come up: {}", said(name)).into());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    };
    let containers = || sh("docker", &["ps", "-aq", "--filter", "label=cfn.akraino.org/testbed"]);
    let before = containers()?.lines().count();
    let (mut a, mut b) = (start("a")?, start("b")?);
    up("a", &mut a)?;
    up("b", &mut b)?;
    let each = (containers()?.lines().count() - before) / 2;
    assert!(each >= 5, "two testbeds of three hosts and their shapers: {each}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dir.path().join("a/hub.kubeconfig"))?);
    assert_eq!(mode & 0o777, 0o600, "who reads it has the cluster");
    a.kill()?;
    a.wait()?;
    assert_eq!(
        containers()?.lines().count() - before,
        2 * each,
        "a killed process removes nothing"
    );
    let mut c = start("c")?;
    up("c", &mut c)?;
    assert!(said("c").contains("left by a process that is gone"), "{}", said("c"));
    assert_eq!(containers()?.lines().count() - before, 2 * each, "b and c");
    for name in ["b", "c"] {
        let out = Command::new(env!("CARGO_BIN_EXE_cfn"))
            .args(["down", "--dir"])
            .arg(dir.path().join(name))
            .output()?;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    b.wait()?;
    c.wait()?;
    assert_eq!(containers()?.lines().count(), before, "nothing is left");
    Ok(())
}
