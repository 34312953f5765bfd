//! The node itself: carries out a plan, and ends when it is told to.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::Clock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::certificates::{Certificates, certificates, kubeconfig, machine_id, service_account_key};
use super::cluster::Api;
use super::flags::{Checked, Flags, Role};
use super::plan::{self, File, Machine, Probe};
use super::supervise::{Supervisor, command};
use super::{CONFIG, IMAGES, LOGS, NodeError, STATE, containerd, control, kubelet, network, registry, routes};

/// How long to wait between two attempts at what must succeed in the end.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// This container's host name.
///
/// # Errors
/// When the kernel does not say.
pub fn hostname() -> Result<String, NodeError> {
    let file = "/proc/sys/kernel/hostname";
    Ok(fs::read_to_string(file)
        .map_err(NodeError::file(file))?
        .trim()
        .to_owned())
}

/// Runs a node until SIGTERM.
///
/// # Errors
/// When it cannot be set up.
pub fn run(role: Role, flags: Flags, clock: &dyn Clock) -> Result<(), NodeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(NodeError::file("runtime"))?;
    let done = runtime.block_on(node(role, flags, clock));
    // Whoever still waits for a child does so in vain.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn node(role: Role, flags: Flags, clock: &dyn Clock) -> Result<(), NodeError> {
    let host = hostname()?;
    let of = Checked::new(role, flags, &host)?;
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(NodeError::file("SIGTERM"))?,
        signal(SignalKind::interrupt()).map_err(NodeError::file("SIGINT"))?,
    );
    for d in [
        CONFIG,
        LOGS,
        STATE,
        "/var/lib/kubelet",
        "/run/containerd",
        kubelet::DROP_INS,
    ] {
        fs::create_dir_all(d).map_err(NodeError::file(d))?;
    }
    // Written again by the edge agent when it serves.
    let _ = fs::remove_file(kubelet::edge_ca());
    let machine = machine(&of).await?;
    let c = certificates(&of, &machine.ip.to_string(), &host, clock.now())?;
    let made = plan::plan(&of, &machine, &c)?;
    identity(&of)?;
    for file in &made.files {
        write(file)?;
    }
    let (name, who) = match &c.server {
        Some(server) => ("server", &server.admin),
        None => ("agent", &c.kubelet),
    };
    let api = Api::new(&kubeconfig(&of.api, &c.ca.cert_pem, who)).await?;
    let stop = CancellationToken::new();
    let supervisor = Supervisor::new(stop.clone(), Some(api.clone()));
    supervisor.say(&format!(
        "{name} {} at {}, API {}, pods {}, services {}",
        of.name, machine.ip, of.api, of.pods, of.services
    ));
    let mut tasks = tokio::task::JoinSet::new();
    for process in made.processes {
        tasks.spawn(supervisor.clone().keep(process));
    }
    let mut helpers = tokio::task::JoinSet::new();
    if of.role == Role::Server {
        helpers.spawn(serve(supervisor.clone(), of.clone(), c.clone(), api));
    }
    if of.runs_pods() {
        forward(&of, &supervisor);
        helpers.spawn(import(supervisor.clone()));
        helpers.spawn(connect(supervisor.clone(), of.clone(), c));
        if of.flags.cfn_mirror {
            helpers.spawn(registry::serve(supervisor.clone()));
        }
    }
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    supervisor.say("ending");
    stop.cancel();
    helpers.shutdown().await;
    supervisor.end().await;
    Ok(())
}

/// What the machine is, as soon as it has an address. One that starts again while its network is away has the address
/// that it had.
async fn machine(of: &Checked) -> Result<Machine, NodeError> {
    let kept = format!("{STATE}/agent/address");
    let ip = loop {
        let own = command(&["ip", "-j", "-4", "address"]).unwrap_or_default();
        let found = network::interface(&own).map(|i| i.address);
        let found = found.or_else(|| fs::read_to_string(&kept).ok());
        let found = found.and_then(|a| a.trim().parse().ok());
        if let Some(ip) = of.flags.node_ip.or(found) {
            break ip;
        }
        tokio::time::sleep(AGAIN).await;
    };
    write(&File {
        path: kept,
        text: format!("{ip}\n"),
        mode: 0o644,
    })?;
    Ok(Machine {
        ip,
        resolv_conf: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        registries: fs::read_to_string("/etc/rancher/k3s/registries.yaml").ok(),
    })
}

/// What must be the same after a restart.
fn identity(of: &Checked) -> Result<(), NodeError> {
    let id = "/etc/machine-id";
    if fs::read_to_string(id).unwrap_or_default().trim().is_empty() {
        fs::write(id, machine_id(&of.token, &of.name) + "\n").map_err(NodeError::file(id))?;
    }
    let key = control::service_account_key();
    if of.role == Role::Server && !Path::new(&key).exists() {
        write(&File {
            path: key,
            text: service_account_key()?,
            mode: 0o600,
        })?;
    }
    Ok(())
}

fn write(file: &File) -> Result<(), NodeError> {
    let path = Path::new(&file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(NodeError::file(parent))?;
    }
    let new = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(file.mode)
        .open(&new)
        .and_then(|mut f| std::io::Write::write_all(&mut f, file.text.as_bytes()))
        .and_then(|()| fs::set_permissions(&new, fs::Permissions::from_mode(file.mode)))
        .and_then(|()| fs::rename(&new, path));
    written.map_err(NodeError::file(path))
}

/// Pods' packets are passed on; to the outside they go under the node's address.
fn forward(of: &Checked, says: &Supervisor) {
    if let Err(e) = fs::write("/proc/sys/net/ipv4/ip_forward", "1") {
        says.say(&format!("/proc/sys/net/ipv4/ip_forward: {e}"));
    }
    let pods = of.pods.to_string();
    let rule = [
        "POSTROUTING",
        "-s",
        &pods,
        "!",
        "-d",
        &pods,
        "!",
        "-o",
        "cni0",
        "-j",
        "MASQUERADE",
    ];
    let table = |action: &'static str| [["iptables", "-w", "-t", "nat", action].as_slice(), &rule].concat();
    if command(&table("-C")).is_err()
        && let Err(e) = command(&table("-A"))
    {
        says.say(&e);
    }
}

/// Imports the images that came with the node, then those of the user.
async fn import(says: Arc<Supervisor>) {
    says.wait(&Probe::Socket(containerd::SOCKET.to_owned())).await;
    for directory in [IMAGES.to_owned(), format!("{STATE}/agent/images")] {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        let mut archives: Vec<String> = entries
            .filter_map(|e| e.ok()?.path().to_str().map(str::to_owned))
            .filter(|p| {
                [".tar", ".tar.gz", ".tgz", ".tar.zst"]
                    .iter()
                    .any(|end| p.ends_with(end))
            })
            .collect();
        archives.sort_unstable();
        for archive in archives {
            let (of, path) = (says.clone(), archive.clone());
            let done = tokio::task::spawn_blocking(move || {
                // Unpacked when a pod needs it: most nodes run few of the images.
                command(&[
                    "ctr",
                    "-n",
                    "k8s.io",
                    "images",
                    "import",
                    "--local",
                    "--no-unpack",
                    &path,
                ])
            })
            .await;
            match done {
                Ok(Ok(_)) => of.say(&format!("{archive} is imported")),
                Ok(Err(e)) => of.say(&e),
                Err(_) => return,
            }
        }
    }
    if let Err(e) = fs::write(plan::imported(), "") {
        says.say(&format!("{}: {e}", plan::imported()));
    }
}

/// The pods' network, from the nodes that the API server knows, as kube-proxy sees them.
async fn connect(says: Arc<Supervisor>, of: Checked, c: Certificates) {
    let api = loop {
        let text = if of.flags.cfn_edge {
            says.wait(&Probe::File(kubelet::edge_ca())).await;
            fs::read_to_string(kubelet::edge_kubeconfig()).unwrap_or_default()
        } else {
            kubeconfig(&of.api, &c.ca.cert_pem, &c.proxy)
        };
        match Api::new(&text).await {
            Ok(api) => break api,
            Err(e) => says.say(&e.to_string()),
        }
        tokio::time::sleep(AGAIN).await;
    };
    let (send, receive) = watch::channel(BTreeMap::new());
    tokio::join!(routes::follow(api, send), routes::apply(says, of.name, receive));
}

/// What the server does when its API answers: the kubeconfig, the objects that a cluster of ours has, its own node.
async fn serve(says: Arc<Supervisor>, of: Checked, c: Certificates, api: Api) {
    says.wait(&control::api_ready(&of)).await;
    if let Some(server) = &c.server {
        let mode = u32::from_str_radix(&of.flags.write_kubeconfig_mode, 8).unwrap_or(0o600);
        let file = File {
            path: of.flags.write_kubeconfig.clone(),
            text: kubeconfig(&of.api, &c.ca.cert_pem, &server.admin),
            mode,
        };
        match write(&file) {
            Ok(()) => says.say(&format!("the API answers; kubeconfig: {}", file.path)),
            Err(e) => says.say(&e.to_string()),
        }
    }
    while let Err(e) = api.bootstrap().await {
        tracing::debug!("bootstrap: {e}");
        tokio::time::sleep(AGAIN).await;
    }
    if of.runs_pods() {
        while let Err(e) = api.mark_control_plane(&of.name).await {
            tracing::debug!("marking the node: {e}");
            tokio::time::sleep(AGAIN).await;
        }
    }
    // What those who start K3s wait for in its log.
    eprintln!("Node controller sync successful");
}
