//! The container daemon.

use super::Size;
use super::facts::{Daemon, Privileged};
use super::finding::{Finding, Lane, State};

const DOCKER: [Lane; 1] = [Lane::Docker];

/// Memory of hosts, MiB, as measured: a control plane with its node 300, a node 65 to 90.
const MEMORY_CLUSTER: u64 = 300;
const MEMORY_HOST: u64 = 90;
/// Room on the daemon's disk, MiB: the images, once, and what each host writes (etcd, logs, images unpacked in it).
const ROOM_IMAGES: u64 = 1000;
const ROOM_HOST: u64 = 200;

/// What follows.
#[must_use]
pub fn judge(daemon: &Result<Daemon, (String, String)>, size: Size) -> Vec<Finding> {
    let d = match daemon {
        Ok(d) => d,
        Err((what, cure)) => return vec![Finding::fail("daemon", &DOCKER, what.clone(), cure.clone())],
    };
    let mut out = vec![who(d)];
    out.extend(rootless(d));
    out.extend(cgroup(d));
    out.push(privileged(d));
    out.extend(memory(d, size));
    out.extend(room(d, size));
    out.extend(subnets(d));
    out.extend(testbeds(d));
    out.extend(images(d));
    out
}

/// Why the docker lane cannot work on a daemon, whatever it has on it: the lane refuses before it makes anything.
#[must_use]
pub fn refuses(d: &Daemon, size: Size) -> Option<Finding> {
    rootless(d)
        .into_iter()
        .chain(memory(d, size))
        .chain(room(d, size))
        .find(|f| f.state == State::Fail)
}

fn who(d: &Daemon) -> Finding {
    let seen = format!(
        "{} at {} (from {}), {}, storage {}",
        d.name, d.address, d.from, d.system, d.storage
    );
    if d.storage == "vfs" {
        return Finding::warn(
            "daemon",
            &DOCKER,
            seen,
            "vfs copies an image for each container: use overlay2 on ext4 or xfs (storage-driver in /etc/docker/daemon.json)",
        );
    }
    Finding::ok("daemon", &DOCKER, seen)
}

/// Without root: nodes need what an ordinary user may not give away.
fn rootless(d: &Daemon) -> Option<Finding> {
    if d.rootless {
        return Some(if d.cgroup == Some(1) {
            Finding::fail(
                "rootless",
                &DOCKER,
                format!("{} runs without root, with control groups of version 1", d.name),
                "a kubelet needs delegated control groups: boot with systemd.unified_cgroup_hierarchy=1, or use a daemon \
                 with root (DOCKER_HOST=unix:///var/run/docker.sock)",
            )
        } else {
            Finding::warn(
                "rootless",
                &DOCKER,
                format!("{} runs without root", d.name),
                "delegate cpu, cpuset, io, memory and pids to the user (a drop-in for user@.service with Delegate=yes); what \
                 still fails needs a daemon with root (DOCKER_HOST=unix:///var/run/docker.sock). Not tried with rootless here",
            )
        });
    }
    d.userns.then(|| {
        Finding::fail(
            "user namespaces",
            &DOCKER,
            "the daemon maps users (userns-remap)",
            "nodes mount file systems: take userns-remap out of /etc/docker/daemon.json, or use another daemon",
        )
    })
}

fn cgroup(d: &Daemon) -> Option<Finding> {
    match d.cgroup? {
        1 => Some(Finding::warn(
            "control groups",
            &DOCKER,
            "version 1",
            "works (kubelet's failCgroupV1 is off in our images), but Kubernetes gives version 1 up: boot with \
             systemd.unified_cgroup_hierarchy=1",
        )),
        n => Some(Finding::ok("control groups", &DOCKER, format!("version {n}"))),
    }
}

fn privileged(d: &Daemon) -> Finding {
    let check = "--privileged";
    let explicit = "the flavour node needs no --privileged: it lists its capabilities; k3s and kind do";
    match &d.privileged {
        Privileged::Works => Finding::ok(check, &DOCKER, "containers start with it"),
        Privileged::Unknown => Finding::warn(
            check,
            &DOCKER,
            "not known: the daemon's process cannot be seen, and there is no image to try it with",
            explicit,
        ),
        Privileged::Lacks(caps) => Finding::warn(
            check,
            &DOCKER,
            format!("refused: the daemon itself lacks {}", caps.join(", ")),
            format!(
                "{explicit}: give the daemon all capabilities, or a default runtime that takes {} out of each bundle",
                caps.join(", ")
            ),
        ),
        Privileged::Refused(why) => Finding::warn(check, &DOCKER, format!("refused: {why}"), explicit),
    }
}

fn memory(d: &Daemon, size: Size) -> Option<Finding> {
    let needed = size.clusters * MEMORY_CLUSTER + size.hosts.saturating_sub(size.clusters) * MEMORY_HOST;
    let n = d.memory?;
    let seen = format!("{n} MiB; {} hosts take some {needed}", size.hosts);
    Some(if n < needed {
        Finding::fail(
            "daemon's memory",
            &DOCKER,
            seen,
            "end other programs, give the daemon's machine more, or use a smaller topology",
        )
    } else if n < needed * 2 {
        Finding::warn(
            "daemon's memory",
            &DOCKER,
            seen,
            "workloads come on top: end other programs, or use a smaller topology",
        )
    } else {
        Finding::ok("daemon's memory", &DOCKER, seen)
    })
}

fn room(d: &Daemon, size: Size) -> Option<Finding> {
    let needed = ROOM_IMAGES + size.hosts * ROOM_HOST;
    let n = d.room?;
    let seen = format!(
        "room for {n} MiB in {}; {} hosts take some {needed}",
        d.root, size.hosts
    );
    Some(if n < needed {
        Finding::fail(
            "daemon's disk",
            &DOCKER,
            seen,
            "remove what is not used (docker image prune, docker volume prune), or move data-root to a larger disk",
        )
    } else {
        Finding::ok("daemon's disk", &DOCKER, seen)
    })
}

/// A testbed takes one 10.N.0.0/16; what a network of the daemon overlaps is not free.
fn subnets(d: &Daemon) -> Option<Finding> {
    let taken: std::collections::BTreeSet<u8> = d
        .subnets
        .iter()
        .filter_map(|s| {
            let c: crate::link::Cidr = s.parse().ok()?;
            let [a, b, ..] = c.address().octets();
            // A wider one than /16 takes all of its /16s.
            let many = 1_u16
                .checked_shl(u32::from(16_u8.saturating_sub(c.prefix())))
                .unwrap_or(256)
                .min(256);
            (a == 10).then(|| (0..many).filter_map(move |i| u8::try_from(u16::from(b) + i).ok()))
        })
        .flatten()
        .collect();
    let free = 256 - taken.len();
    if d.subnets.is_empty() {
        return None;
    }
    Some(if free == 0 {
        Finding::fail(
            "addresses",
            &DOCKER,
            "every 10.N.0.0/16 is taken by a network of the daemon",
            "remove networks that are not used: docker network prune, cfn down --all",
        )
    } else {
        Finding::ok(
            "addresses",
            &DOCKER,
            format!("{free} of 256 networks 10.N.0.0/16 are free"),
        )
    })
}

fn testbeds(d: &Daemon) -> Vec<Finding> {
    d.testbeds
        .iter()
        .map(|t| {
            let (check, n, name) = ("testbeds", t.containers, &t.name);
            if t.stale {
                Finding::warn(
                    check,
                    &DOCKER,
                    format!("{name}: {n} containers, left by a run that was killed"),
                    "removed at the next start; at once: cfn down --all",
                )
            } else {
                Finding::ok(check, &DOCKER, format!("{name}: {n} containers"))
            }
        })
        .collect()
}

fn images(d: &Daemon) -> Vec<Finding> {
    d.images
        .iter()
        .map(|(image, there)| {
            if *there {
                Finding::ok("image", &DOCKER, format!("{image} is there"))
            } else {
                Finding::fail("image", &DOCKER, format!("{image} is not there"), "build it: ci/images")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;
    use crate::doctor::facts::Testbed;

    fn well() -> Daemon {
        Daemon {
            address: "unix:///var/run/docker.sock".into(),
            from: "Docker's own place".into(),
            name: "Docker 28.2.2".into(),
            system: "Debian".into(),
            cgroup: Some(2),
            storage: "overlay2".into(),
            memory: Some(16_000),
            cores: Some(4),
            root: "/var/lib/docker".into(),
            room: Some(50_000),
            privileged: Privileged::Works,
            images: [("a:1".to_owned(), true)].into(),
            subnets: ["172.17.0.0/16".to_owned(), "10.4.0.0/16".to_owned()].into(),
            ..Daemon::default()
        }
    }

    #[test]
    fn each_lack_is_told_with_its_cure() {
        let size = Size::default();
        assert!(judge(&Ok(well()), size).iter().all(|f| f.state == State::Ok));
        let absent = judge(&Err(("no Docker daemon".into(), "install Docker".into())), size);
        assert_eq!((absent.len(), absent[0].state), (1, State::Fail));
        type Change = fn(&mut Daemon);
        let cases: [(Change, &str, State, &str); 14] = [
            (|d| d.storage = "vfs".into(), "daemon", State::Warn, "overlay2"),
            (|d| d.rootless = true, "rootless", State::Warn, "Delegate=yes"),
            (|d| d.userns = true, "user namespaces", State::Fail, "userns-remap"),
            (|d| d.cgroup = Some(1), "control groups", State::Warn, "unified_cgroup"),
            (
                |d| d.privileged = Privileged::Unknown,
                "--privileged",
                State::Warn,
                "flavour node",
            ),
            (
                |d| d.privileged = Privileged::Lacks(vec!["SYS_RESOURCE".into()]),
                "--privileged",
                State::Warn,
                "takes SYS_RESOURCE out",
            ),
            (
                |d| d.privileged = Privileged::Refused("unable to apply caps".into()),
                "--privileged",
                State::Warn,
                "flavour node",
            ),
            (
                |d| d.memory = Some(500),
                "daemon's memory",
                State::Fail,
                "smaller topology",
            ),
            (|d| d.memory = Some(2000), "daemon's memory", State::Warn, "workloads"),
            (|d| d.room = Some(500), "daemon's disk", State::Fail, "prune"),
            (
                |d| d.subnets.extend(["10.0.0.0/8".to_owned()]),
                "addresses",
                State::Fail,
                "network prune",
            ),
            (
                |d| {
                    d.testbeds.push(Testbed {
                        name: "t".into(),
                        containers: 3,
                        stale: true,
                    });
                },
                "testbeds",
                State::Warn,
                "cfn down --all",
            ),
            (
                |d| d.images.extend([("node:1".to_owned(), false)]),
                "image",
                State::Fail,
                "ci/images",
            ),
            (
                |d| {
                    d.podman = true;
                    d.name = "Podman 5.4.0".into();
                    d.rootless = true;
                },
                "rootless",
                State::Warn,
                "with root",
            ),
        ];
        for (change, check, state, cure) in cases {
            let mut d = well();
            change(&mut d);
            let found = judge(&Ok(d), size);
            let wrong: Vec<_> = found.iter().filter(|f| f.state != State::Ok).collect();
            assert_eq!(wrong.len(), 1, "{check}: {wrong:?}");
            assert_eq!((wrong[0].check.as_str(), wrong[0].state), (check, state));
            assert!(
                wrong[0].cure.as_ref().is_some_and(|c| c.contains(cure)),
                "{:?}",
                wrong[0]
            );
        }
        let mut both = well();
        (both.rootless, both.cgroup) = (true, Some(1));
        let found = judge(&Ok(both), size);
        assert!(found.iter().any(|f| f.check == "rootless" && f.state == State::Fail));
    }
}
