//! A host that dies and comes back, and what really runs on it.

use jiff::Timestamp;

use super::{Doing, Exit, Runtime};
use crate::local::Ending;

/// Exit code of a container whose host died under it, as containerd finds it after a reboot.
const LOST: i32 = 255;

/// A container that runs on the host: ground truth for asserts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunningPod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Running containers: name, how often it was restarted, since when it runs.
    pub containers: Vec<(String, u32, Timestamp)>,
}

impl Runtime {
    /// The host dies: everything that runs is gone, the records stay.
    pub(crate) fn crash(&self) {
        let now = self.clock.now();
        let mut inner = self.inner();
        let mut addresses = Vec::new();
        for s in inner.pods.values_mut() {
            addresses.extend(s.ip);
            for c in s.containers.values_mut() {
                c.stop();
                let lost = Exit {
                    code: LOST,
                    reason: "Unknown",
                    message: String::new(),
                };
                c.end(lost, now, Ending::Lost);
                c.view.stopping = false;
            }
        }
        drop(inner);
        self.net.stop_host(&self.node);
        for ip in addresses {
            self.net.stop_host(&ip.to_string());
        }
    }

    /// The host is back.
    pub(crate) fn boot(&self) {
        self.net.start_host(&self.node);
        let addresses: Vec<_> = self.inner().pods.values().filter_map(|s| s.ip).collect();
        for ip in addresses {
            self.net.start_host(&ip.to_string());
        }
    }

    pub(crate) fn running(&self) -> Vec<RunningPod> {
        let inner = self.inner();
        let mut list: Vec<_> = inner
            .pods
            .iter()
            .filter_map(|(uid, s)| {
                let containers: Vec<_> = s
                    .containers
                    .iter()
                    .filter_map(|(n, c)| match c.view.doing {
                        Doing::Running { started, .. } => Some((n.clone(), c.view.restarts, started)),
                        Doing::Exited(_) => None,
                    })
                    .collect();
                let pod = RunningPod {
                    namespace: s.namespace.clone(),
                    name: s.name.clone(),
                    uid: uid.clone(),
                    containers,
                };
                (!pod.containers.is_empty()).then_some(pod)
            })
            .collect();
        list.sort();
        list
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use cfn_net::{Net, Seed, SystemClock, Transport};

    use super::*;
    use crate::node::runtime::Addresses;

    fn runtime(net: &Net, size: u32, addresses: Addresses) -> Runtime {
        let range = (Ipv4Addr::new(10, 1, 2, 0), size);
        Runtime::new("n", net.clone(), Arc::new(SystemClock), range, addresses)
    }

    #[test]
    fn an_address_is_there_as_long_as_one_of_those_who_share_it() {
        let net = Net::new(Transport::Memory, Seed(1));
        net.add_host("n", "s");
        let runtime = runtime(&net, 256, Addresses::Shared);
        let uids: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        assert!(uids.iter().all(|uid| runtime.sandbox(uid, "ns", uid, false)));
        let address = |uid: &String| runtime.address(uid).unwrap();
        let all: BTreeSet<_> = uids.iter().map(address).collect();
        assert_eq!(all.len(), 253, "who comes late shares, each with another");
        let shared = (253..300)
            .filter(|n| address(&uids[*n]) == address(&uids[n - 253]))
            .count();
        assert_eq!(shared, 47);
        let (gone, left) = uids.split_at(150);
        gone.iter().for_each(|uid| runtime.remove(uid));
        for uid in left {
            assert!(net.site_of(&address(uid)).is_some(), "{uid}");
        }
        let there = net.hosts().len();
        assert_eq!(there, 1 + left.iter().map(address).collect::<BTreeSet<_>>().len());
        left.iter().for_each(|uid| runtime.remove(uid));
        assert_eq!(net.hosts().len(), 1, "nobody is left");
    }

    #[test]
    fn every_pod_has_an_address_of_its_own_or_none() {
        let net = Net::new(Transport::Memory, Seed(1));
        net.add_host("n", "s");
        let runtime = runtime(&net, 8, Addresses::Own);
        let sandbox = |uid: &str| runtime.sandbox(uid, "ns", uid, false);
        let made: Vec<bool> = ["a", "b", "c", "d", "e", "f"].map(sandbox).into();
        assert_eq!(
            made,
            [true, true, true, true, true, false],
            "the network's, the node's and the last are nobody's"
        );
        let addresses: BTreeSet<_> = runtime.pods().iter().filter_map(|uid| runtime.address(uid)).collect();
        assert_eq!(addresses.len(), 5, "{addresses:?}");
        assert!(runtime.sandbox("host", "ns", "host", true));
        assert!(sandbox("c"), "it has one");
        let left = runtime.address("c");
        runtime.remove("c");
        assert!(sandbox("f"));
        assert_eq!(runtime.address("f"), left);
    }
}
