//! The kernel that containers run on: it is the host's, and so are its limits.

use super::Size;
use super::facts::Kernel;
use super::finding::{Finding, Lane};

const DOCKER: [Lane; 1] = [Lane::Docker];

/// inotify instances, as counted on a running cluster: API server 3, controller manager 5 and containerd 2; of each
/// node containerd 2 and the kubelet 6. Others on the machine hold some, too.
const INSTANCES_BASE: u64 = 20;
const INSTANCES_CLUSTER: u64 = 10;
const INSTANCES_HOST: u64 = 8;
/// Watches of a host with some pods.
const WATCHES_HOST: u64 = 1000;
/// Processes and threads of a host with some pods; the control plane's are a part of it.
const THREADS_HOST: u64 = 300;

/// How many inotify instances a testbed takes.
#[must_use]
pub fn instances(size: Size) -> u64 {
    INSTANCES_BASE + size.clusters * INSTANCES_CLUSTER + size.hosts * INSTANCES_HOST
}

/// What follows.
#[must_use]
pub fn judge(k: &Kernel, size: Size) -> Vec<Finding> {
    let mut out = Vec::new();
    let hosts = size.hosts;
    let mut limit = |check: &str, key: &str, seen: Option<u64>, needed: u64, better: u64| {
        let Some(n) = seen else { return };
        out.push(if n < needed {
            Finding::fail(
                check,
                &DOCKER,
                format!("{key} is {n}; {hosts} hosts take some {needed}"),
                format!(
                    "sysctl -w {key}={} (for good: a file in /etc/sysctl.d)",
                    better.max(needed.next_power_of_two())
                ),
            )
        } else {
            Finding::ok(
                check,
                &DOCKER,
                format!("{key} is {n}, {hosts} hosts take some {needed}"),
            )
        });
    };
    limit(
        "inotify instances",
        "fs.inotify.max_user_instances",
        k.inotify_instances,
        instances(size),
        8192,
    );
    limit(
        "inotify watches",
        "fs.inotify.max_user_watches",
        k.inotify_watches,
        hosts * WATCHES_HOST,
        524_288,
    );
    limit("processes", "kernel.pid_max", k.pid_max, hosts * THREADS_HOST, 131_072);
    if k.forwards == Some(false) {
        out.push(Finding::fail(
            "forwarding",
            &DOCKER,
            "net.ipv4.ip_forward is 0: pods on different hosts cannot reach each other",
            "sysctl -w net.ipv4.ip_forward=1",
        ));
    }
    out.push(links(k));
    out
}

/// How links are shaped.
fn links(k: &Kernel) -> Finding {
    let netem = match k.netem {
        Some(true) => "the kernel has netem, too",
        Some(false) => "the kernel has no netem, and none is needed",
        None => "whether the kernel has netem cannot be seen, and none is needed",
    };
    match k.nfqueue {
        Some(true) => Finding::ok(
            "links",
            &DOCKER,
            format!("shaped in user space by NFQUEUE (cfn link measure says how exactly); {netem}"),
        ),
        Some(false) => Finding::fail(
            "links",
            &DOCKER,
            "the kernel has no NFQUEUE: links between containers cannot be shaped",
            "load it on the host: modprobe -a nfnetlink_queue xt_NFQUEUE; or use a kernel with \
             CONFIG_NETFILTER_NETLINK_QUEUE and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
        ),
        None => Finding::warn(
            "links",
            &DOCKER,
            format!("whether the kernel has NFQUEUE cannot be seen; {netem}"),
            "try it: cfn link measure",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    fn well() -> Kernel {
        Kernel {
            release: Some("6.18".into()),
            inotify_instances: Some(8192),
            inotify_watches: Some(524_288),
            netem: Some(false),
            nfqueue: Some(true),
            pid_max: Some(32768),
            forwards: Some(true),
            bridge_filter: None,
        }
    }

    #[test]
    fn each_lack_is_told_with_its_cure() {
        let size = Size::default();
        assert!(judge(&well(), size).iter().all(|f| f.state == State::Ok));
        type Change = fn(&mut Kernel);
        let cases: [(Change, &str, State, &str); 6] = [
            (
                |k| k.inotify_instances = Some(64),
                "inotify instances",
                State::Fail,
                "max_user_instances=8192",
            ),
            (
                |k| k.inotify_watches = Some(4000),
                "inotify watches",
                State::Fail,
                "max_user_watches=524288",
            ),
            (|k| k.pid_max = Some(1000), "processes", State::Fail, "pid_max=131072"),
            (|k| k.forwards = Some(false), "forwarding", State::Fail, "ip_forward=1"),
            (|k| k.nfqueue = Some(false), "links", State::Fail, "modprobe"),
            (|k| k.nfqueue = None, "links", State::Warn, "cfn link measure"),
        ];
        for (change, check, state, cure) in cases {
            let mut k = well();
            change(&mut k);
            let found = judge(&k, size);
            let wrong: Vec<_> = found.iter().filter(|f| f.state != State::Ok).collect();
            assert_eq!(wrong.len(), 1, "{check}: {wrong:?}");
            assert_eq!((wrong[0].check.as_str(), wrong[0].state), (check, state));
            assert!(
                wrong[0].cure.as_ref().is_some_and(|c| c.contains(cure)),
                "{:?}",
                wrong[0]
            );
        }
    }

    /// Seen on a machine with the usual 128: the fifth cluster of one control plane and one node did not come up.
    #[test]
    fn the_usual_limit_ends_at_the_fifth_cluster() {
        let enough = |n| {
            128 >= instances(Size {
                clusters: n,
                hosts: 2 * n,
            })
        };
        assert!(enough(4) && !enough(5));
    }
}
