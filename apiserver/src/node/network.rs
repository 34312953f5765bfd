//! The network as a container sees it: names that its resolver knows, its own loopback, services, nodes and pods.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::{Net, Stream};

use super::dns::{self, ResolvConf, Type};
use super::files::Files;
use super::services::{Endpoint, Protocol, Services};

/// The network of a container.
#[derive(Clone)]
pub(crate) struct Network {
    pub(crate) net: Net,
    /// Its host in it: its pod's address, or its node.
    pub(crate) host: String,
    /// Whether that is its node's.
    pub(crate) of_node: bool,
    pub(crate) services: Option<Arc<Services>>,
    /// Where its resolver reads what it is told.
    pub(crate) files: Option<Arc<Files>>,
}

/// Whether it is an address of the host itself.
pub(super) fn is_loopback(address: &str) -> bool {
    address.parse::<IpAddr>().is_ok_and(|a| a.is_loopback())
}

impl Network {
    fn file(&self, path: &str) -> String {
        let data = self.files.as_ref().and_then(|f| f.read(path).ok()).unwrap_or_default();
        String::from_utf8_lossy(&data).into_owned()
    }

    /// What its resolver is told.
    pub(crate) fn resolv_conf(&self) -> ResolvConf {
        ResolvConf::read(&self.file("/etc/resolv.conf"))
    }

    /// `/etc/hosts`.
    pub(crate) fn hosts(&self) -> String {
        self.file("/etc/hosts")
    }

    /// Looks a name up as `dig +search` does; without `short`, as it is.
    pub(crate) async fn look_up(&self, name: &str, kind: Type, short: bool) -> io::Result<dns::Reply> {
        let services = self.services.as_ref().ok_or(io::ErrorKind::TimedOut)?;
        let conf = self.resolv_conf();
        match short {
            true => dns::search(services, &conf, name, kind).await,
            false => dns::ask(services, &conf.nameservers, name.trim_end_matches('.'), kind).await,
        }
    }

    /// Asks one server.
    pub(crate) async fn ask(&self, server: &str, name: &str, kind: Type) -> io::Result<dns::Reply> {
        let services = self.services.as_ref().ok_or(io::ErrorKind::TimedOut)?;
        dns::ask(services, &[server.to_owned()], name.trim_end_matches('.'), kind).await
    }

    /// The addresses of a name (`getaddrinfo`): those of `/etc/hosts`, else those that the resolver finds. Other hosts of
    /// the network go by their names.
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Vec<String>> {
        if name.parse::<IpAddr>().is_ok() {
            return Ok(vec![name.to_owned()]);
        }
        let hosts = self.hosts();
        let here: Vec<&str> = dns::hosts(&hosts)
            .filter(|(_, names)| names.iter().any(|n| n.eq_ignore_ascii_case(name)))
            .map(|(address, _)| address)
            .collect();
        // Of both families it is the older one that something listens at.
        if let Some(v4) = here.iter().find(|a| !a.contains(':')).or(here.first()) {
            return Ok(vec![(*v4).to_owned()]);
        }
        if self.net.site_of(name).is_some() {
            return Ok(vec![name.to_owned()]);
        }
        match self.look_up(name, Type::A, true).await {
            Ok(reply) if !reply.addresses().is_empty() => Ok(reply.addresses()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The addresses and ports of a service's endpoints.
    pub(crate) async fn endpoints_of(&self, namespace: &str, service: &str) -> Vec<Endpoint> {
        match &self.services {
            Some(s) => s.all(namespace, service).await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// Where what is sent to an address and port goes.
    async fn target(&self, address: &str, port: u16, protocol: Protocol) -> io::Result<Endpoint> {
        let loopback = is_loopback(address);
        let there = match loopback {
            true => self.host.as_str(),
            false => address,
        };
        let served = match protocol {
            Protocol::Tcp => self.net.listens(there, port),
            Protocol::Udp => self.net.is_bound(there, port),
        };
        let itself = (there.to_owned(), port);
        match &self.services {
            Some(s) if !served && (!loopback || self.of_node) => {
                let found = s.endpoint(&self.host, address, port, protocol).await?;
                Ok(s.routed(found.unwrap_or(itself)))
            }
            _ => Ok(itself),
        }
    }

    /// Connects to a host, or to whoever serves the service that it is: the first of its addresses that answers.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> io::Result<Stream> {
        let mut why = io::Error::from(io::ErrorKind::NotFound);
        for address in self.resolve(host).await? {
            let tried = async {
                let (to, port) = self.target(&address, port, Protocol::Tcp).await?;
                // An address that nobody has: nothing comes back (or an ICMP message does).
                let unreachable = |e: io::Error| match e.kind() {
                    io::ErrorKind::NotFound => io::ErrorKind::HostUnreachable.into(),
                    _ => e,
                };
                self.net.connect(&self.host, &to, port).await.map_err(unreachable)
            };
            match tried.await {
                Ok(stream) => return Ok(stream),
                Err(e) => why = e,
            }
        }
        Err(why)
    }

    /// Sends a datagram to a host or service, and waits so long for the answer: silence is `TimedOut`.
    pub(crate) async fn exchange(&self, host: &str, port: u16, data: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
        let address = self
            .resolve(host)
            .await?
            .into_iter()
            .next()
            .ok_or(io::ErrorKind::NotFound)?;
        let (to, port) = self.target(&address, port, Protocol::Udp).await?;
        let mut socket = self.net.bind(&self.host, 0)?;
        match socket.send(&to, port, data) {
            // Nobody has the address.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
        // Ports are used again: what comes from others is an answer to somebody else.
        let answer = async {
            loop {
                let d = socket.recv().await?;
                if (d.from.0.as_str(), d.from.1) == (to.as_str(), port) {
                    return Ok(d.data);
                }
            }
        };
        match tokio::time::timeout(wait, answer).await {
            Ok(data) => data,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "i/o timeout")),
        }
    }
}
