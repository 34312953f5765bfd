//! Flavours: what a cluster in containers is made of, as data. One code path brings all of them up.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bundled;
use crate::input::{At, Problem, Problems, Source, parse};
use crate::topology::{API_VERSION, Metadata};

/// A flavour file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlavourFile {
    /// Always `cfn.akraino.org/v1alpha1`.
    pub api_version: At<String>,
    /// Always `Flavour`.
    pub kind: At<String>,
    /// Its name.
    pub metadata: Metadata,
    /// What its clusters are made of.
    pub spec: Flavour,
}

/// What clusters are made of. Texts may name `{token}`, `{server}` (the control plane's address), `{name}` and
/// `{address}` (of the container's own host), `{pods}`, `{services}`, `{nodeMask}` and `{image}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flavour {
    /// Who makes the clusters.
    pub driver: Driver,
    /// The image of every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<At<String>>,
    /// What helps when the image is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub obtain: String,
    /// Driver `kind`: the image has its pods' network itself (kind's `disableDefaultCNI`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_network: bool,
    /// The image of what shapes links beside each host: a program `cfn` with `link`, `probe` and `client`.
    #[serde(default = "shaper")]
    pub shaper: String,
    /// What every container may do and has.
    #[serde(default)]
    pub container: Container,
    /// A control plane.
    #[serde(default)]
    pub server: Role,
    /// A node.
    #[serde(default)]
    pub agent: Role,
    /// How the command line says things.
    #[serde(default)]
    pub flags: Flags,
    /// The API server's port in its container.
    #[serde(default = "api_port")]
    pub api_port: u16,
    /// Where the administrator's kubeconfig is, in a control plane's container.
    #[serde(default)]
    pub kubeconfig: String,
    /// Directory for a drop-in of the kubelet's configuration (kubelet's `--config-dir`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet_config_dir: Option<String>,
    /// How images reach a node.
    #[serde(default)]
    pub images: Images,
    /// Prints the node's running containers as the CRI's JSON does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list_containers: Vec<String>,
    /// Processes that faults are about.
    #[serde(default)]
    pub processes: Processes,
    /// How long hosts may take to come up, in seconds: more on an emulated or a very busy machine.
    #[serde(default = "startup_seconds", skip_serializing_if = "is_usual_startup")]
    pub startup_seconds: u32,
}

/// Twenty times what a cluster takes on two cores.
fn startup_seconds() -> u32 {
    180
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_usual_startup(seconds: &u32) -> bool {
    *seconds == startup_seconds()
}

/// Who makes the clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// This lane: a container per host.
    Containers,
    /// The `kind` program; adopted afterwards.
    Kind,
    /// Nobody: they exist, and kubeconfigs lead to them.
    Kubeconfig,
}

/// What a container may do and has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Container {
    /// Everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Capabilities beyond Docker's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// As `docker run --security-opt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Devices, the same path inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// As `docker run --device-cgroup-rule`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Directories on volumes of their own, gone with the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    /// Directories in memory, as `docker run --tmpfs`: `PATH[:OPTIONS]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// The runtime, if not the daemon's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
}

/// What a container runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// Its command: arguments of the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<At<String>>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, At<String>>,
    /// More arguments for a control plane that is no node itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_node: Vec<At<String>>,
}

/// How the command line says things; what is not there cannot be said to this flavour. With driver `kind`, nodes' texts
/// are `NAME=VALUE` of kubeadm's `kubeletExtraArgs`; labels, taints and flags of the control plane have their own places
/// in kind's configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flags {
    /// A node's label, of `{key}` and `{value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<At<String>>,
    /// A node's taint, of `{key}`, `{value}` and `{effect}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taint: Option<At<String>>,
    /// A kubelet's flag, of `{flag}` (without dashes) and `{value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubelet: Option<At<String>>,
    /// An API server's flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_server: Option<At<String>>,
    /// A controller manager's flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller_manager: Option<At<String>>,
    /// What a node reports as its `{capacity}` (`cpu=16,memory=32Gi`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<At<String>>,
    /// The edge agent stands between the kubelet and its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<At<String>>,
    /// An edge agent's timer, of `{flag}` and `{value}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge_timer: Option<At<String>>,
    /// Images that were imported answer pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<At<String>>,
}

/// How images reach a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Images {
    /// The workloads' images are in the host's image already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub included: bool,
    /// Where an archive is put in the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub directory: String,
    /// What imports `{archive}` afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import: Vec<At<String>>,
}

/// Processes of a host that can be killed alone, and how. Others cannot be in this flavour.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Processes {
    /// Their names: `kubelet`, `kube-apiserver`, `edge` ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Kills `{process}` and keeps it from coming back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hold: Vec<At<String>>,
    /// Lets `{process}` come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub release: Vec<At<String>>,
}

fn shaper() -> String {
    super::plan::SHAPER_IMAGE.to_owned()
}

fn api_port() -> u16 {
    6443
}

/// What a text may name.
const NAMES: &[&str] = &[
    "token", "server", "name", "address", "pods", "services", "nodeMask", "image", "key", "value", "effect", "flag",
    "capacity", "archive", "process",
];

/// A flavour with its name.
#[derive(Debug, Clone)]
pub struct Named {
    /// `k3s`, `node`.
    pub name: String,
    /// What it says.
    pub flavour: Flavour,
}

impl Named {
    /// Reads and checks a flavour.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        let file: FlavourFile = parse(source)?;
        let mut problems = Problems::default();
        for (at, wanted, what) in [
            (&file.api_version, API_VERSION, "apiVersion"),
            (&file.kind, "Flavour", "kind"),
        ] {
            if at.value != wanted {
                problems
                    .0
                    .push(Problem::new(source, at.location, format!("{what} `{at}`")).one_of(at, [wanted]));
            }
        }
        let f = &file.spec;
        let texts = f
            .server
            .command
            .iter()
            .chain(&f.server.without_node)
            .chain(&f.agent.command)
            .chain(&f.images.import)
            .chain(&f.processes.hold)
            .chain(&f.processes.release)
            .chain(f.server.env.values())
            .chain(f.agent.env.values())
            .chain(
                [
                    &f.flags.label,
                    &f.flags.taint,
                    &f.flags.kubelet,
                    &f.flags.api_server,
                    &f.flags.controller_manager,
                    &f.flags.capacity,
                    &f.flags.edge,
                    &f.flags.edge_timer,
                    &f.flags.mirror,
                ]
                .into_iter()
                .flatten(),
            );
        for t in texts {
            for name in named(t) {
                if !NAMES.contains(&name) {
                    let p = Problem::new(source, t.location, format!("unknown name `{{{name}}}`"));
                    problems.0.push(p.one_of(name, NAMES.iter().copied()));
                }
            }
        }
        if f.driver == Driver::Containers && f.image.is_none() {
            let p = Problem::new(source, file.metadata.name.location, "a flavour without an image");
            problems
                .0
                .push(p.expected("`image`, as driver `containers` makes containers of it"));
        }
        problems.into_result()?;
        Ok(Self {
            name: file.metadata.name.value,
            flavour: file.spec,
        })
    }

    /// A flavour by its name or by its file's path.
    ///
    /// # Errors
    /// When there is no such flavour or file, or the file is wrong.
    pub fn find(name: &str) -> Result<Self, Problems> {
        if let Some((_, text)) = bundled::FLAVOURS.iter().find(|(n, _)| *n == name) {
            return Self::read(&Source::new(format!("harness/flavours/{name}.yaml"), *text));
        }
        if name.ends_with(".yaml") || name.contains('/') {
            return Self::read(&Source::read(std::path::Path::new(name))?);
        }
        let p = Problem::of_file(name, format!("unknown flavour `{name}`"));
        Err(p.one_of(name, bundled::FLAVOURS.iter().map(|(n, _)| *n)).into())
    }

    /// The image of its hosts; empty where it makes none.
    #[must_use]
    pub fn image(&self) -> &str {
        self.flavour.image.as_ref().map_or("", |i| i.as_str())
    }
}

/// The names in a text, each in braces.
fn named(text: &str) -> Vec<&str> {
    text.split('{')
        .skip(1)
        .filter_map(|p| p.split_once('}').map(|(n, _)| n))
        .collect()
}

/// A text with its names filled in; a name without a value stays as it is.
#[must_use]
pub fn fill(text: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(text.to_owned(), |t, (k, v)| t.replace(&format!("{{{k}}}"), v))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_flavours_are_right() {
        for (name, _) in bundled::FLAVOURS {
            let f = Named::find(name).unwrap();
            assert_eq!(f.name, *name);
        }
    }

    #[test]
    fn a_wrong_name_in_a_text_is_told_with_its_place() {
        let (_, text) = bundled::FLAVOURS.iter().find(|(n, _)| *n == "node").unwrap();
        let text = text.replace("{server}", "{serber}");
        let e = Named::read(&Source::new("x.yaml", text)).unwrap_err();
        assert_eq!(e.0[0].nearest.as_deref(), Some("server"), "{:?}", e.0);
        assert!(e.0[0].line > 1);
    }

    #[test]
    fn texts_are_filled() {
        assert_eq!(
            fill("https://{server}:{port}", &[("server", "10.1.2.3"), ("token", "x")]),
            "https://10.1.2.3:{port}"
        );
    }
}
