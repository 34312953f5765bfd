//! A node's own processes: containerd, kubelet, kube-proxy, the edge agent: their configuration and command lines.

use std::net::Ipv4Addr;

use super::control::{api_ready, argv, with};
use super::flags::Checked;
use super::plan::{Probe, Process};
use super::{CONFIG, STATE, containerd};

/// Where the edge agent listens.
pub const EDGE: &str = "127.0.0.1:10261";
/// Drop-ins of the kubelet's configuration, where K3s has them.
pub const DROP_INS: &str = "/var/lib/rancher/k3s/agent/etc/kubelet.conf.d";

/// The kubeconfig of a client on this node called `name`: of the edge agent's making, where there is one.
#[must_use]
pub fn kubeconfig(of: &Checked, name: &str) -> String {
    if of.flags.cfn_edge {
        edge_kubeconfig()
    } else {
        format!("{CONFIG}/{name}.kubeconfig")
    }
}

/// The kubeconfig of the edge agent's clients: they need no identity, it asks as the node.
#[must_use]
pub fn edge_kubeconfig() -> String {
    format!("{CONFIG}/edge.kubeconfig")
}

/// Written by the edge agent when it serves: its own CA.
#[must_use]
pub fn edge_ca() -> String {
    format!("{CONFIG}/edge-ca.crt")
}

/// Kubelet's configuration. Images and pods are never evicted for a full disk, because the disk is the host's; a test
/// that wants that says so by `--kubelet-arg`. Health is told every 4 s (lease of 20 s): a testbed's clusters are small.
#[must_use]
pub fn config(of: &Checked) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://{socket}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true, cacheTTL: 2m0s}}
  x509: {{clientCAFile: {CONFIG}/ca.crt}}
authorization: {{mode: Webhook}}
tlsCertFile: {CONFIG}/kubelet-serving.crt
tlsPrivateKeyFile: {CONFIG}/kubelet-serving.key
clusterDomain: cluster.local
clusterDNS: ['{dns}']
resolvConf: {CONFIG}/resolv.conf
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 80
evictionHard: {{nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%, memory.available: 50Mi}}
nodeStatusUpdateFrequency: 4s
nodeStatusReportFrequency: 1m0s
nodeLeaseDurationSeconds: 20
syncFrequency: 20s
serializeImagePulls: false
enableProfilingHandler: false
shutdownGracePeriod: 0s
{json}",
        // What the edge agent holds back it must understand.
        json = if of.flags.cfn_edge { "contentType: application/json\n" } else { "" },
        socket = containerd::SOCKET,
        dns = of.dns(),
    )
}

/// The processes of a node at `ip`.
#[must_use]
pub fn processes(of: &Checked, ip: Ipv4Addr) -> Vec<Process> {
    let flags = &of.flags;
    let mut all = vec![
        Process::new(
            "containerd",
            argv(
                "containerd",
                &[
                    ("config", containerd::CONFIG.to_owned()),
                    ("log-level", "warn".to_owned()),
                ],
            ),
        )
        .env("GOGC", "100"),
    ];
    // Kubelet tries again by itself, but only after a while: it starts when it can succeed.
    let api = if flags.cfn_edge {
        all.push(Process::new("edge", edge(of)).env("RUST_LOG", "warn"));
        Probe::File(edge_ca())
    } else {
        api_ready(of)
    };
    let mut kubelet = argv(
        "kubelet",
        &[
            ("config", format!("{CONFIG}/kubelet.yaml")),
            ("kubeconfig", kubeconfig(of, "kubelet")),
            ("hostname-override", of.name.clone()),
            ("node-ip", ip.to_string()),
            ("cert-dir", CONFIG.to_owned()),
            ("config-dir", DROP_INS.to_owned()),
        ],
    );
    for (flag, list) in [
        ("node-labels", &flags.node_label),
        ("register-with-taints", &flags.node_taint),
    ] {
        if !list.is_empty() {
            kubelet.push(format!("--{flag}={}", list.join(",")));
        }
    }
    // A connection that a cut link left hanging is noticed after 8 s; Go's default is 45 s.
    let lively = |p: Process| {
        p.env("GOGC", "100")
            .env("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "5")
            .env("HTTP2_PING_TIMEOUT_SECONDS", "3")
    };
    all.push(lively(
        Process::new("kubelet", with(kubelet, &flags.kubelet_arg))
            .after(api.clone())
            .after(Probe::Socket(containerd::SOCKET.to_owned()))
            .after(Probe::File(super::plan::imported())),
    ));
    if !flags.disable_kube_proxy {
        let proxy = argv(
            "kube-proxy",
            &[
                ("kubeconfig", kubeconfig(of, "kube-proxy")),
                ("hostname-override", of.name.clone()),
                ("cluster-cidr", of.pods.to_string()),
                ("proxy-mode", "iptables".to_owned()),
                // The host's, not ours to set.
                ("conntrack-max-per-core", "0".to_owned()),
                ("conntrack-min", "0".to_owned()),
                ("conntrack-tcp-timeout-established", "0s".to_owned()),
                ("conntrack-tcp-timeout-close-wait", "0s".to_owned()),
                ("healthz-bind-address", "127.0.0.1:10256".to_owned()),
            ],
        );
        all.push(lively(
            Process::new("kube-proxy", with(proxy, &flags.kube_proxy_arg)).after(api),
        ));
    }
    all
}

fn edge(of: &Checked) -> Vec<String> {
    let mut line = vec!["cfn".to_owned()];
    let flags = argv(
        "edge",
        &[
            ("kubeconfig", format!("{CONFIG}/upstream.kubeconfig")),
            ("node", of.name.clone()),
            ("store", format!("{STATE}/agent/edge")),
            ("listen", EDGE.to_owned()),
            ("ca-file", edge_ca()),
        ],
    );
    line.extend(with(flags, &of.flags.cfn_edge_arg));
    line
}
