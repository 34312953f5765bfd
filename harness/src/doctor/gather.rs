//! Looking: the edge at which facts are gathered. Nothing here judges.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, SystemInfo, SystemInfoCgroupVersionEnum};
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::facts::{Daemon, Facts, Kernel, Machine, Port, Privileged, Testbed, Tools};
use super::ports::listening;
use crate::lane::LaneError;
use crate::lane::docker::daemon::{Endpoint, connect};
use crate::lane::docker::plan::{OWNER, TESTBED};
use crate::lane::docker::process::Process;
use crate::lane::docker::reap::is_gone;

/// How long a daemon may take for one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Looks at everything; `images` are looked for, `ports` are asked for.
pub async fn facts(images: &[String], ports: &[u16]) -> Facts {
    let daemon = daemon(images).await.map_err(|e| match e {
        LaneError::Environment { what, cure } => (what, cure),
        other => (other.to_string(), "see the daemon's log".into()),
    });
    Facts {
        machine: machine().await,
        ports: holders(ports),
        tools: Tools {
            kubectl: version("kubectl", &["version", "--client"]),
            kind: version("kind", &["version"]),
        },
        daemon,
        kernel: kernel(),
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn number(path: &str) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// This machine.
pub async fn machine() -> Machine {
    let dir = std::env::temp_dir();
    let probe = dir.join(format!("cfn-doctor-{}", std::process::id()));
    let writable = std::fs::write(&probe, b"x").map_err(|e| e.to_string());
    let _ = std::fs::remove_file(&probe);
    Machine {
        cores: std::thread::available_parallelism().ok().map(|n| n.get() as u64),
        memory: read("/proc/meminfo").and_then(|t| {
            let line = t.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
            Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? / 1024)
        }),
        open_files: read("/proc/self/limits").and_then(|t| {
            let soft = t
                .lines()
                .find_map(|l| l.strip_prefix("Max open files"))?
                .split_whitespace()
                .next()?;
            if soft == "unlimited" {
                Some(u64::MAX)
            } else {
                soft.parse().ok()
            }
        }),
        loopback: Some(loopback().await),
        temporary: dir.display().to_string(),
        writable: Some(writable),
        room: room(&dir),
    }
}

async fn loopback() -> Result<(), String> {
    let net = cfn_net::Net::new(cfn_net::Transport::Tcp, cfn_net::Seed(0));
    net.add_host("doctor", "here");
    net.listen("doctor", 1).await.map(drop).map_err(|e| e.to_string())
}

/// Room for us on the disk of `path`, MiB (`df`, which knows every file system).
fn room(path: &Path) -> Option<u64> {
    let output = Command::new("df")
        .arg("-Pk")
        .arg(path)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kib / 1024)
}

fn version(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    output
        .status
        .success()
        .then(|| text.lines().next().unwrap_or_default().to_owned())
}

/// Who listens at these ports.
fn holders(ports: &[u16]) -> Vec<Port> {
    if ports.is_empty() {
        return Vec::new();
    }
    let all: BTreeMap<u16, u64> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(read)
        .flat_map(|t| listening(&t))
        .collect();
    ports
        .iter()
        .map(|p| Port {
            port: *p,
            holder: all.get(p).map(|inode| holder(*inode)),
        })
        .collect()
}

/// The process with this socket open.
fn holder(inode: u64) -> String {
    let wanted = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for p in processes {
        let has = std::fs::read_dir(p.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|f| std::fs::read_link(f.path()).is_ok_and(|l| l.as_os_str() == wanted.as_str()));
        if has {
            let name = read(p.path().join("comm")).unwrap_or_default();
            return format!("{} (process {})", name.trim(), p.file_name().to_string_lossy());
        }
    }
    "a program that cannot be seen".into()
}

/// The kernel.
#[must_use]
pub fn kernel() -> Kernel {
    let release = read("/proc/sys/kernel/osrelease").map(|r| r.trim().to_owned());
    Kernel {
        netem: module(release.as_deref(), "sch_netem", "CONFIG_NET_SCH_NETEM"),
        // The queue of packets and the target that hands them there.
        nfqueue: module(release.as_deref(), "nfnetlink_queue", "CONFIG_NETFILTER_NETLINK_QUEUE")
            .zip(module(
                release.as_deref(),
                "xt_NFQUEUE",
                "CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
            ))
            .map(|(a, b)| a && b),
        release,
        inotify_instances: number("/proc/sys/fs/inotify/max_user_instances"),
        inotify_watches: number("/proc/sys/fs/inotify/max_user_watches"),
        pid_max: number("/proc/sys/kernel/pid_max"),
        forwards: number("/proc/sys/net/ipv4/ip_forward").map(|n| n == 1),
        bridge_filter: number("/proc/sys/net/bridge/bridge-nf-call-iptables").map(|n| n == 1),
    }
}

/// Whether the kernel has a module: loaded, built in, or to be loaded; by its configuration where it tells it. None
/// when neither its modules nor its configuration can be seen.
fn module(release: Option<&str>, name: &str, option: &str) -> Option<bool> {
    if Path::new("/sys/module").join(name).exists() {
        return Some(true);
    }
    let dir = Path::new("/lib/modules").join(release?);
    let listed = ["modules.builtin", "modules.dep"]
        .iter()
        .filter_map(|f| read(dir.join(f)))
        .any(|t| t.contains(&format!("/{name}.ko")));
    if listed {
        return Some(true);
    }
    let config = configuration(release?)?;
    Some(
        config
            .lines()
            .any(|l| l.strip_prefix(option).is_some_and(|rest| matches!(rest, "=y" | "=m"))),
    )
}

fn configuration(release: &str) -> Option<String> {
    read(format!("/boot/config-{release}")).or_else(|| {
        use std::io::Read;
        let packed = std::fs::read("/proc/config.gz").ok()?;
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_string(&mut text)
            .ok()?;
        Some(text)
    })
}

/// Asks the daemon, with a bound.
async fn answer<T>(f: impl Future<Output = Result<T, bollard::errors::Error>>) -> Option<T> {
    tokio::time::timeout(ANSWER, f).await.ok()?.ok()
}

/// The daemon, and what is on it.
///
/// # Errors
/// There is none, or it does not answer.
pub async fn daemon(images: &[String]) -> Result<Daemon, LaneError> {
    let (docker, endpoint) = connect().await?;
    let (mut d, info) = itself(&docker, &endpoint).await?;
    for i in images {
        let there = tokio::time::timeout(ANSWER, docker.inspect_image(i)).await;
        d.images.insert(i.clone(), there.is_ok_and(|r| r.is_ok()));
    }
    let image = d.images.iter().find(|(_, there)| **there).map(|(i, _)| i.clone());
    d.privileged = privileged(&docker, &endpoint, &info, image.as_deref()).await;
    d.testbeds = testbeds(&docker).await;
    d.subnets = subnets(&docker).await;
    Ok(d)
}

/// What a daemon says of itself.
///
/// # Errors
/// It does not answer.
pub async fn itself(docker: &Docker, endpoint: &Endpoint) -> Result<(Daemon, SystemInfo), LaneError> {
    let silent = || LaneError::Environment {
        what: format!("the daemon at {} does not answer", endpoint.address),
        cure: "look at its log (journalctl -u docker), then systemctl restart docker".into(),
    };
    let info = answer(docker.info()).await.ok_or_else(silent)?;
    let version = answer(docker.version()).await.ok_or_else(silent)?;
    let podman = version.components.iter().flatten().any(|c| c.name.contains("Podman"));
    let security = info.security_options.clone().unwrap_or_default();
    let has = |what: &str| security.iter().any(|o| o.contains(what));
    let root = info.docker_root_dir.clone().unwrap_or_default();
    let daemon = Daemon {
        address: endpoint.address.clone(),
        from: endpoint.from.clone(),
        name: format!(
            "{} {}",
            if podman { "Podman" } else { "Docker" },
            version.version.unwrap_or_default()
        ),
        podman,
        system: info.operating_system.clone().unwrap_or_default(),
        // Podman does not say it in every version.
        rootless: has("name=rootless") || Process::of(endpoint).await.is_some_and(|p| p.user != 0),
        userns: has("name=userns"),
        cgroup: match info.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_1) => Some(1),
            Some(SystemInfoCgroupVersionEnum::_2) => Some(2),
            _ => None,
        },
        storage: info.driver.clone().unwrap_or_default(),
        memory: info.mem_total.and_then(|b| u64::try_from(b >> 20).ok()),
        cores: info.ncpu.and_then(|n| u64::try_from(n).ok()),
        // Of use only where the daemon's files are this machine's.
        room: Some(Path::new(&root)).filter(|r| r.is_dir()).and_then(room),
        root,
        privileged: Privileged::default(),
        testbeds: Vec::new(),
        images: BTreeMap::new(),
        subnets: BTreeSet::new(),
    };
    Ok((daemon, info))
}

async fn subnets(docker: &Docker) -> BTreeSet<String> {
    let networks = answer(docker.list_networks(None)).await.unwrap_or_default();
    networks
        .into_iter()
        .filter_map(|n| n.ipam?.config)
        .flatten()
        .filter_map(|c| c.subnet)
        .collect()
}

async fn testbeds(docker: &Docker) -> Vec<Testbed> {
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&[("label", vec![TESTBED])].into())
        .build();
    let containers = answer(docker.list_containers(Some(options))).await.unwrap_or_default();
    let mut all: BTreeMap<String, Testbed> = BTreeMap::new();
    for c in containers {
        let labels = c.labels.unwrap_or_default();
        let Some(name) = labels.get(TESTBED) else { continue };
        let t = all.entry(name.clone()).or_insert_with(|| Testbed {
            name: name.clone(),
            containers: 0,
            stale: labels.get(OWNER).is_some_and(|o| is_gone(o)),
        });
        t.containers += 1;
    }
    all.into_values().collect()
}

/// Whether the daemon starts containers with `--privileged`: it cannot give what it does not have. Its process tells
/// when it can be seen and starts containers by plain runc; else a container that ends at once does.
async fn privileged(docker: &Docker, e: &Endpoint, info: &SystemInfo, image: Option<&str>) -> Privileged {
    let plain = info
        .default_runtime
        .as_deref()
        .is_none_or(|r| matches!(r, "runc" | "crun"));
    if plain && let Some(missing) = Process::of(e).await.and_then(|p| p.lacks()) {
        return if missing.is_empty() {
            Privileged::Works
        } else {
            Privileged::Lacks(missing)
        };
    }
    match image {
        Some(i) => tried(docker, i).await,
        None => Privileged::Unknown,
    }
}

/// Starts a container with `--privileged` of an image that is there. What it runs need not be in the image: the runtime
/// sets capabilities first, so that the error tells which of the two it was.
async fn tried(docker: &Docker, image: &str) -> Privileged {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/true".into()]),
        labels: Some([(TESTBED.to_owned(), "doctor".to_owned())].into()),
        host_config: Some(HostConfig {
            privileged: Some(true),
            network_mode: Some("none".into()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let Some(made) = answer(docker.create_container(None, body)).await else {
        return Privileged::Unknown;
    };
    let started = tokio::time::timeout(ANSWER, docker.start_container(&made.id, None)).await;
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    let _ = answer(docker.remove_container(&made.id, Some(options))).await;
    match started {
        Ok(Ok(())) => Privileged::Works,
        Ok(Err(e)) if e.to_string().contains("no such file") => Privileged::Works,
        Ok(Err(e)) => Privileged::Refused(e.to_string()),
        Err(_) => Privileged::Unknown,
    }
}
