//! Clusters that the `kind` program makes (<https://kind.sigs.k8s.io>): its configuration, written from the topology;
//! running it; and adopting what it made. kind names containers and lets Docker choose addresses, so both are read
//! from what is there.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::address::SERVICES;
use super::bed::cure;
use super::engine::Engine;
use super::flavour::Flavour;
use super::plan::{BedPlan, Container, Role, api_server_flags, controller_manager_flags, kubelet_settings};
use super::{Say, daemon};
use crate::lane::{LaneError, Plan};
use crate::timers::Timers;
use crate::topology::{Cluster, ClusterRole, Topology};

/// The label that kind puts on every container: its cluster's name.
pub const CLUSTER: &str = "io.x-k8s.kind.cluster";
/// How long kind may take for a cluster: a slow machine's time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Lines of what kind said that a complaint repeats.
const LAST_WORDS: usize = 12;
/// As the lane's own for hubs, and with kubeadm's: nodes join by the tokens that these two keep. DaemonSets run: kind's
/// own image has its pods' network and its proxies as such.
const HUB_CONTROLLERS: &str = "*,bootstrapsigner,tokencleaner,-deployment-controller,-statefulset-controller,\
                               -job-controller,-cronjob-controller";

/// The name that kind gives the `index`th container of a role in a cluster (its `MakeNodeNamer`).
#[must_use]
pub fn container(testbed: &str, cluster: &str, role: Role, index: usize) -> String {
    let role = if role == Role::ControlPlane {
        "control-plane"
    } else {
        "worker"
    };
    let number = if index == 0 {
        String::new()
    } else {
        (index + 1).to_string()
    };
    format!("{testbed}-{cluster}-{role}{number}")
}

/// The programs that it takes.
///
/// # Errors
/// Which is not there, with the cure.
pub fn available() -> Result<(), LaneError> {
    let directories: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|p| std::env::split_paths(&p).collect())
        .unwrap_or_default();
    for (program, cure) in [
        (
            "kind",
            "install it (go install sigs.k8s.io/kind@v0.33.0, or nix develop), or choose --flavour node",
        ),
        (
            "docker",
            "kind calls the program docker: install Docker's command line, or choose --flavour node",
        ),
    ] {
        if !directories.iter().any(|d| d.join(program).is_file()) {
            return Err(LaneError::Environment {
                what: format!("there is no program `{program}` in PATH"),
                cure: cure.to_owned(),
            });
        }
    }
    Ok(())
}

/// kind's configuration of a cluster. `token` is that by which its nodes join.
///
/// Kubernetes' names of nodes are the topology's; a control plane's is its cluster's. kubeadm's arguments are given as
/// maps in patches without a version: kind merges these into each version of kubeadm's configuration.
#[must_use]
pub fn configuration(
    t: &Topology,
    c: &Cluster,
    plan: &BedPlan,
    flavour: &Flavour,
    timers: &Timers,
    token: &str,
) -> String {
    let map = |flags: Vec<(&'static str, String)>| flags.into_iter().collect::<BTreeMap<_, _>>();
    let mut controllers = map(controller_manager_flags(timers));
    controllers.insert(
        "node-cidr-mask-size",
        plan.layout.clusters[c.name.as_str()].node_mask.to_string(),
    );
    if c.role == ClusterRole::Hub {
        controllers.insert("controllers", HUB_CONTROLLERS.to_owned());
    }
    let mut kubelet: serde_json::Map<String, Value> = kubelet_settings(timers)
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v))
        .collect();
    kubelet.insert("kind".to_owned(), "KubeletConfiguration".into());
    let patches = [
        json!({
            "kind": "ClusterConfiguration",
            "apiServer": {"extraArgs": map(api_server_flags(timers))},
            "controllerManager": {"extraArgs": controllers},
        }),
        json!({"kind": "InitConfiguration", "bootstrapTokens": [{"token": token}]}),
        json!({"kind": "JoinConfiguration", "discovery": {"bootstrapToken": {"token": token}}}),
        Value::Object(kubelet),
    ];
    let hosts = plan
        .containers
        .iter()
        .filter(|h| h.cluster.as_deref() == Some(c.name.as_str()));
    let nodes: Vec<Value> = hosts.filter_map(|h| node(t, plan, h)).collect();
    text(&json!({
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "networking": {
            "apiServerAddress": "127.0.0.1",
            "podSubnet": plan.layout.clusters[c.name.as_str()].pods.to_string(),
            "serviceSubnet": SERVICES.to_string(),
            "disableDefaultCNI": flavour.own_network,
        },
        "kubeadmConfigPatches": patches.iter().map(text).collect::<Vec<_>>(),
        "nodes": nodes,
    }))
}

fn text(v: &Value) -> String {
    // A map with texts as keys always has a text.
    serde_yaml::to_string(v).unwrap_or_default()
}

/// A node of kind's; none of what is no host.
fn node(t: &Topology, plan: &BedPlan, h: &Container) -> Option<Value> {
    // What the flavour has a kubelet told: NAME=VALUE.
    let arguments: BTreeMap<&str, &str> = h.command.iter().filter_map(|a| a.split_once('=')).collect();
    let mut registration = json!({"name": h.host});
    if !arguments.is_empty() {
        registration["kubeletExtraArgs"] = json!(arguments);
    }
    let (role, kind) = match h.role {
        Role::ControlPlane => ("control-plane", "InitConfiguration"),
        Role::Node => ("worker", "JoinConfiguration"),
        Role::Clients | Role::Shaper => return None,
    };
    if let Some((_, n, _)) = t.nodes().find(|(_, _, name)| h.role == Role::Node && *name == h.host)
        && !n.taints.is_empty()
    {
        registration["taints"] = json!(n.taints);
    }
    let patch = json!({"kind": kind, "nodeRegistration": registration});
    let mut made = json!({"role": role, "kubeadmConfigPatches": [text(&patch)]});
    if !h.image.is_empty() {
        made["image"] = json!(h.image);
    }
    if let Some(d) = plan.nodes.get(&h.host).filter(|d| !d.labels.is_empty()) {
        made["labels"] = json!(d.labels);
    }
    Some(made)
}

/// A plan with the addresses that its hosts have, by their containers' names.
///
/// # Errors
/// The name of a container that is not there.
pub fn adopt(mut plan: BedPlan, found: &BTreeMap<String, Ipv4Addr>) -> Result<BedPlan, String> {
    for c in &mut plan.containers {
        if matches!(c.role, Role::ControlPlane | Role::Node) {
            let address = *found.get(&c.name).ok_or_else(|| c.name.clone())?;
            c.address = Some(address);
            plan.layout.hosts.insert(c.host.clone(), address);
        }
    }
    Ok(plan)
}

/// Makes all clusters of a plan, side by side, in its network, which is there; says where their hosts are.
///
/// # Errors
/// What kind said.
pub(super) async fn create(
    engine: &Engine,
    flavour: &Flavour,
    plan: BedPlan,
    p: &Plan,
    token: &str,
    say: &Say,
) -> Result<BedPlan, LaneError> {
    let (_, daemon) = daemon::connect().await?;
    for c in plan
        .containers
        .iter()
        .filter(|c| matches!(c.role, Role::ControlPlane | Role::Node))
    {
        // Of a kind that was killed between making a container and starting it. The name is of our network: ours.
        engine.remove(&c.name).await?;
    }
    say(&format!(
        "{}: kind makes {} clusters",
        plan.name,
        p.topology.spec.clusters.len()
    ));
    let images = match flavour.images.included {
        true => Vec::new(),
        false => engine.workloads().await?,
    };
    let makes = p.topology.spec.clusters.iter().map(|c| {
        let config = configuration(&p.topology, c, &plan, flavour, &p.timers, token);
        let directory = p.dir.join("kind");
        make(&plan.name, c.name.as_str(), config, directory, &daemon.address, &images)
    });
    futures::future::try_join_all(makes).await?;
    let found = engine.attached(&plan.name).await?;
    adopt(plan, &found).map_err(|name| LaneError::Failed(format!("kind made no container {name} in our network")))
}

/// Runs kind for one cluster.
async fn make(
    testbed: &str,
    cluster: &str,
    config: String,
    directory: PathBuf,
    docker_host: &str,
    images: &[&str],
) -> Result<(), LaneError> {
    let file = directory.join(format!("{cluster}.yaml"));
    crate::secret::write(&file, &config).map_err(|e| LaneError::io(&format!("writing {}", file.display()), &e))?;
    let name = format!("{testbed}-{cluster}");
    let kind = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("kind");
        command
            .args(arguments)
            .args(["--name", &name])
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", testbed)
            .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
            .env("DOCKER_HOST", docker_host);
        command
    };
    let mut create = kind(&["create", "cluster"]);
    create.arg("--config").arg(&file);
    // Not into the user's own.
    let kubeconfig = directory.join(format!("{cluster}.kubeconfig"));
    create.arg("--kubeconfig").arg(kubeconfig);
    run(create, &format!("kind create cluster --name {name}")).await?;
    if !images.is_empty() {
        let load = [["load", "docker-image"].as_slice(), images].concat();
        run(kind(&load), &format!("kind load docker-image --name {name}")).await?;
    }
    Ok(())
}

/// Runs kind to its end; `what` is for complaints.
async fn run(mut kind: tokio::process::Command, what: &str) -> Result<(), LaneError> {
    let failed = |said: &str| {
        let what = format!("{what}: {said}");
        match cure(&what) {
            Some(cure) => LaneError::Environment {
                what,
                cure: cure.to_owned(),
            },
            None => LaneError::Failed(what),
        }
    };
    let done = kind.stdin(Stdio::null()).kill_on_drop(true).output();
    match tokio::time::timeout(PATIENCE, done).await {
        Err(_) => Err(failed(&format!("not done within {} s", PATIENCE.as_secs()))),
        Ok(Err(e)) => Err(failed(&e.to_string())),
        Ok(Ok(out)) if out.status.success() => Ok(()),
        Ok(Ok(out)) => Err(failed(&last_words(&String::from_utf8_lossy(&out.stderr)))),
    }
}

/// The end of what kind said, without what it draws on a terminal.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::docker::flavour::Named;
    use crate::lane::docker::plan::{Identity, plan};
    use crate::scenario::find_topology;

    fn of(topology: &str, flavour: &str) -> (Topology, Named, BedPlan) {
        let t = find_topology(topology, None).unwrap().1;
        let f = Named::find(flavour).unwrap();
        let id = Identity {
            slot: 101,
            token: "TOKEN",
            owner: "OWNER",
        };
        let p = plan(&t, &f, &Timers::find("fast-docker").unwrap(), &id).unwrap();
        (t, f, p)
    }

    #[test]
    fn configurations_are_as_they_were() {
        for (topology, flavour, cluster) in [
            ("r7-lab", "kind", "control"),
            ("r7-lab", "kind-node", "member1"),
            ("joint-oracle", "kind-node", "hub"),
            ("default", "kind-node", "cloud"),
        ] {
            let (t, f, p) = of(topology, flavour);
            let c = t.spec.clusters.iter().find(|c| c.name.value == cluster).unwrap();
            let timers = Timers::find("fast-docker").unwrap();
            let made = configuration(&t, c, &p, &f.flavour, &timers, "abcdef.0123456789abcdef");
            insta::assert_snapshot!(format!("{topology}-{flavour}-{cluster}"), made);
        }
    }

    #[test]
    fn every_host_is_named_as_kind_names_it_and_adopted() {
        let (_, _, p) = of("r7-lab", "kind");
        let hosts: Vec<(&str, &str)> = p
            .containers
            .iter()
            .filter(|c| c.role < Role::Clients)
            .map(|c| (c.host.as_str(), c.name.as_str()))
            .collect();
        assert_eq!(hosts[0], ("control", "cfn-101-control-control-plane"));
        assert!(hosts.contains(&("worker-5", "cfn-101-member1-worker")));
        assert!(hosts.contains(&("worker-20", "cfn-101-member1-worker3")));
        for c in p.containers.iter().filter(|c| c.role == Role::Shaper) {
            assert!(
                hosts.iter().any(|(_, name)| c.shares.as_deref() == Some(name)),
                "{}",
                c.name
            );
        }
        let mut found: BTreeMap<String, Ipv4Addr> = (2_u8..)
            .zip(&hosts)
            .map(|(i, (_, name))| ((*name).to_owned(), Ipv4Addr::new(10, 101, 0, i)))
            .collect();
        let adopted = adopt(p.clone(), &found).unwrap();
        for (host, name) in &hosts {
            assert_eq!(adopted.layout.hosts[*host], found[*name]);
            let c = adopted.containers.iter().find(|c| c.name == *name).unwrap();
            assert_eq!(c.address, Some(found[*name]));
        }
        found.remove("cfn-101-member1-worker3");
        assert_eq!(adopt(p.clone(), &found), Err("cfn-101-member1-worker3".to_owned()));
    }

    #[test]
    fn complaints_end_with_what_was_said_last() {
        let said: String = (0..40).map(|i| format!("line {i}\n\n")).collect();
        let words = last_words(&said);
        assert!(words.starts_with("line 28\n") && words.ends_with("line 39"), "{words}");
        assert_eq!(last_words(""), "");
    }
}
