//! A cluster's DNS: who answers at the address that pods are told, and how a container's programs ask. Records are made
//! when somebody asks: a container that is interpreted does so a few times, and nobody else asks.

mod resolv_conf;
mod zone;

use std::io;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) use resolv_conf::ResolvConf;
use zone::Subject;
pub(crate) use zone::{Data, Type, reverse};

use super::services::Services;

/// The domain of a cluster's names (`clusterDomain` of kubeadm).
pub(crate) const ZONE: &str = "cluster.local";
/// Where it answers: the tenth address of services, as kubeadm has it.
pub(crate) const CLUSTER_DNS: &str = "10.96.0.10";
/// How long its records may be kept, in seconds (kubeadm's `Corefile`).
pub(crate) const TTL: u32 = 30;
/// How long a resolver waits for a server that says nothing, and how often it asks (resolv.conf(5)).
pub(crate) const SILENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 2;
/// How many names a name may lead to before it leads nowhere.
const LONGEST_CHAIN: usize = 8;

/// How a question was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    NoError,
    NxDomain,
    ServFail,
}

impl Code {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::NxDomain => "NXDOMAIN",
            Self::ServFail => "SERVFAIL",
        }
    }
}

/// A record and its owner.
pub(crate) type Record = (String, Data);

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) records: Vec<Record>,
}

impl Reply {
    /// The addresses in it.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let address = |(_, d): &Record| match d {
            Data::Address(ip) => Some(ip.to_string()),
            _ => None,
        };
        self.records.iter().filter_map(address).collect()
    }
}

impl Services {
    /// What there is at a name; `None`: no such name. Outside of the zone there is nobody to ask.
    async fn records(&self, subject: &Subject) -> io::Result<Result<Option<Vec<Data>>, Code>> {
        Ok(Ok(match subject {
            Subject::Outside => return Ok(Err(Code::ServFail)),
            Subject::Nothing => None,
            Subject::Above => Some(Vec::new()),
            Subject::Version => Some(vec![Data::Text("1.1.0".into())]),
            Subject::Pod(ip) => Some(vec![Data::Address(*ip)]),
            Subject::Service { namespace, name, part } => match self.service(namespace, name).await? {
                None => None,
                Some(service) => zone::of_service(&service, &self.slices(&service).await?, part),
            },
            Subject::Reverse(ip) => {
                let services = self.list("/api/v1/services").await?;
                let mut names = zone::names_of(*ip, &services, &[]);
                if names.is_empty() {
                    let slices = self.list("/apis/discovery.k8s.io/v1/endpointslices").await?;
                    names = zone::names_of(*ip, &services, &slices);
                }
                Some(names).filter(|n| !n.is_empty())
            }
        }))
    }

    /// Answers a question as the cluster's server does. An alias is followed as far as it leads in the zone.
    async fn answer(&self, name: &str, kind: Type) -> io::Result<Reply> {
        let mut name = name.to_ascii_lowercase();
        let mut all: Vec<Record> = Vec::new();
        for _ in 0..LONGEST_CHAIN {
            let found = match self.records(&Subject::of(&name)).await? {
                Ok(Some(found)) => found,
                // What an alias leads to is somebody else's.
                _ if !all.is_empty() => break,
                Ok(None) => {
                    return Ok(Reply {
                        code: Code::NxDomain,
                        records: Vec::new(),
                    });
                }
                Err(code) => {
                    return Ok(Reply {
                        code,
                        records: Vec::new(),
                    });
                }
            };
            let alias = found.iter().find_map(|d| match d {
                Data::Alias(to) => Some(to.to_ascii_lowercase()),
                _ => None,
            });
            let wanted = found
                .into_iter()
                .filter(|d| d.kind() == kind || d.kind() == Type::Cname);
            all.extend(wanted.map(|d| (name.clone(), d)));
            match alias {
                Some(to) if kind != Type::Cname => name = to,
                _ => break,
            }
        }
        Ok(Reply {
            code: Code::NoError,
            records: all,
        })
    }
}

/// Asks for one full name, of the first server that answers.
pub(crate) async fn ask(services: &Services, servers: &[String], name: &str, kind: Type) -> io::Result<Reply> {
    for server in servers {
        if server == CLUSTER_DNS {
            return services.answer(name, kind).await;
        }
        // Nobody is there on the node itself; from elsewhere nothing comes.
        if !server.parse::<IpAddr>().is_ok_and(|a| a.is_loopback()) {
            tokio::time::sleep(SILENCE * ATTEMPTS).await;
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// Asks for a name and what it may be short for, until there is such a name: also one without records of the type ends the
/// search (`next_origin` of bind's `dighost.c`, musl's `name_from_dns_search`).
pub(crate) async fn search(services: &Services, conf: &ResolvConf, name: &str, kind: Type) -> io::Result<Reply> {
    let mut last = Reply {
        code: Code::NxDomain,
        records: Vec::new(),
    };
    for full in conf.names(name) {
        let reply = ask(services, &conf.nameservers, &full, kind).await?;
        if reply.code == Code::NoError {
            return Ok(reply);
        }
        last = reply;
    }
    Ok(last)
}

/// The addresses and names of `/etc/hosts`.
pub(crate) fn hosts(text: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?;
        Some((address, words.collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_hosts() {
        let all: Vec<_> = hosts("# x\n127.0.0.1\tlocalhost\n\n1.2.3.4 a b # c\n").collect();
        assert_eq!(all, [("127.0.0.1", vec!["localhost"]), ("1.2.3.4", vec!["a", "b"])]);
    }
}
