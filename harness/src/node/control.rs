//! The control plane's processes: their command lines.

use std::net::Ipv4Addr;

use super::flags::Checked;
use super::plan::{Probe, Process};
use super::{CONFIG, STATE};

/// Where the control plane's keys are: on the volume only that of the service accounts, which signs what outlives a
/// restart.
#[must_use]
pub fn service_account_key() -> String {
    format!("{STATE}/server/tls/service.key")
}

/// The administrator's kubeconfig of the processes here.
#[must_use]
pub fn admin_kubeconfig() -> String {
    format!("{CONFIG}/admin.kubeconfig")
}

/// Given flags come last: they win over ours.
pub(super) fn with(mut argv: Vec<String>, given: &[String]) -> Vec<String> {
    argv.extend(given.iter().map(|a| format!("--{}", a.trim_start_matches('-'))));
    argv
}

pub(super) fn argv(program: &str, flags: &[(&str, String)]) -> Vec<String> {
    std::iter::once(program.to_owned())
        .chain(flags.iter().map(|(name, value)| format!("--{name}={value}")))
        .collect()
}

/// The controllers and the scheduler start when the API answers; roles are made meanwhile, by the API server itself.
pub(super) fn api_ready(of: &Checked) -> Probe {
    Probe::Ready(format!("{}/readyz?exclude=poststarthook/rbac/bootstrap-roles", of.api))
}

/// etcd, API server, controllers, scheduler.
#[must_use]
pub fn processes(of: &Checked, ip: Ipv4Addr) -> Vec<Process> {
    let file = |name: &str| format!("{CONFIG}/{name}");
    let s = str::to_owned;
    let etcd = argv(
        "etcd",
        &[
            ("name", s("default")),
            ("data-dir", format!("{STATE}/server/db/etcd")),
            ("listen-client-urls", s("http://127.0.0.1:2379")),
            ("advertise-client-urls", s("http://127.0.0.1:2379")),
            ("listen-peer-urls", s("http://127.0.0.1:2380")),
            ("initial-advertise-peer-urls", s("http://127.0.0.1:2380")),
            ("initial-cluster", s("default=http://127.0.0.1:2380")),
            // As durable as the host: what a killed container wrote is there, a power cut may take it.
            ("unsafe-no-fsync", s("true")),
            ("snapshot-count", s("5000")),
            ("heartbeat-interval", s("100")),
            ("election-timeout", s("500")),
            ("log-level", s("warn")),
            ("quota-backend-bytes", (256 << 20).to_string()),
        ],
    );
    let apiserver = argv(
        "kube-apiserver",
        &[
            ("etcd-servers", s("http://127.0.0.1:2379")),
            ("secure-port", of.flags.https_listen_port.to_string()),
            ("advertise-address", ip.to_string()),
            ("tls-cert-file", file("apiserver.crt")),
            ("tls-private-key-file", file("apiserver.key")),
            ("client-ca-file", file("ca.crt")),
            ("kubelet-client-certificate", file("admin.crt")),
            ("kubelet-client-key", file("admin.key")),
            ("kubelet-certificate-authority", file("ca.crt")),
            ("kubelet-preferred-address-types", s("InternalIP,Hostname")),
            (
                "service-account-issuer",
                s("https://kubernetes.default.svc.cluster.local"),
            ),
            ("service-account-key-file", service_account_key()),
            ("service-account-signing-key-file", service_account_key()),
            ("service-cluster-ip-range", of.services.to_string()),
            ("authorization-mode", s("Node,RBAC")),
            ("enable-admission-plugins", s("NodeRestriction")),
            ("enable-bootstrap-token-auth", s("true")),
            ("allow-privileged", s("true")),
            ("profiling", s("false")),
            ("etcd-count-metric-poll-period", s("0")),
        ],
    );
    let admin =
        || ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"].map(|f| (f, admin_kubeconfig()));
    let alone = [
        // One of each: no lease of its former self to wait for after a restart.
        ("leader-elect", s("false")),
        ("bind-address", s("127.0.0.1")),
        ("profiling", s("false")),
    ];
    let mut flags = admin().to_vec();
    flags.extend([
        ("service-account-private-key-file", service_account_key()),
        ("root-ca-file", file("ca.crt")),
        ("cluster-signing-cert-file", file("ca.crt")),
        ("cluster-signing-key-file", file("ca.key")),
        ("allocate-node-cidrs", s("true")),
        ("cluster-cidr", of.pods.to_string()),
        ("service-cluster-ip-range", of.services.to_string()),
        ("use-service-account-credentials", s("false")),
        ("controllers", s("*,tokencleaner")),
    ]);
    flags.extend(alone.clone());
    let controllers = argv("kube-controller-manager", &flags);
    let mut flags = admin().to_vec();
    flags.extend(alone);
    let scheduler = argv("kube-scheduler", &flags);
    let given = &of.flags;
    vec![
        Process::new("etcd", with(etcd, &given.etcd_arg)),
        Process::new("kube-apiserver", with(apiserver, &given.kube_apiserver_arg))
            .after(Probe::Port(2379))
            .env("GOGC", "100"),
        Process::new(
            "kube-controller-manager",
            with(controllers, &given.kube_controller_manager_arg),
        )
        .after(api_ready(of))
        .env("GOGC", "100"),
        Process::new("kube-scheduler", with(scheduler, &given.kube_scheduler_arg))
            .after(api_ready(of))
            .env("GOGC", "100"),
    ]
}
