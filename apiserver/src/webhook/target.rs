//! Where a webhook is: `clientConfig` with an URL, or with a service, which is looked up as kube-proxy would.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde_json::Value;

use crate::endpoints;
use crate::local::Gvr;
use crate::registry::{Server, text};
use crate::schema::quote;
use crate::store::Key;

const SERVICES: Gvr = Gvr::new("", "v1", "services");
const SLICES: Gvr = Gvr::new("discovery.k8s.io", "v1", "endpointslices");

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `https://name:port`: whom its certificate must name.
    pub(super) server: String,
    /// Path and query.
    pub(super) path: String,
    /// Host and port to connect to.
    pub(super) connect: (String, u16),
    pub(super) ca_pem: String,
}

impl Target {
    /// The whole URL, as errors tell it.
    pub(super) fn url(&self) -> String {
        format!("{}{}", self.server, self.path)
    }
}

/// Why there is no target: the URL that was to be asked (as far as it is known), and why not.
pub(super) type NoTarget = (Option<String>, String);

/// Adds client-go's `timeout` parameter.
fn with_timeout(path: &str, timeout: Duration) -> String {
    let sep = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sep}timeout={}s", timeout.as_secs())
}

/// A path that begins with a slash.
fn rooted(path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    }
}

impl Server {
    pub(super) fn webhook_target(&self, config: &Value, timeout: Duration) -> Result<Target, NoTarget> {
        let ca = STANDARD.decode(text(config, "/caBundle")).unwrap_or_default();
        let ca_pem = String::from_utf8_lossy(&ca).into_owned();
        let url = text(config, "/url");
        if !url.is_empty() {
            let uri: Uri = url.parse().map_err(|e| (None, format!("parse {}: {e}", quote(url))))?;
            let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let path = uri.path_and_query().map_or("/", |p| p.as_str());
            return Ok(Target {
                server: format!("https://{}", uri.authority().map_or("", |a| a.as_str())),
                path: with_timeout(path, timeout),
                connect: (host, uri.port_u16().unwrap_or(443)),
                ca_pem,
            });
        }
        let service = &config["service"];
        let (ns, name) = (text(service, "/namespace"), text(service, "/name"));
        let port = service["port"]
            .as_u64()
            .and_then(|p| u16::try_from(p).ok())
            .unwrap_or(443);
        let server = format!("https://{name}.{ns}.svc:{port}");
        let path = with_timeout(&rooted(text(service, "/path")), timeout);
        let turn = self.caller().map_or(0, super::Caller::turn);
        let connect = self
            .service_endpoint(ns, name, port, turn)
            .map_err(|why| (Some(format!("{server}{path}")), why))?;
        Ok(Target {
            server,
            path,
            connect,
            ca_pem,
        })
    }

    /// A ready endpoint of a service's port: the one of those that are ready whose turn it is.
    pub(crate) fn service_endpoint(
        &self,
        ns: &str,
        name: &str,
        port: u16,
        turn: usize,
    ) -> Result<(String, u16), String> {
        let service = self
            .store
            .get(&SERVICES, &Key::new(ns, name))
            .ok_or_else(|| format!("service {} not found", quote(name)))?;
        let service = service.value();
        if text(&service, "/spec/type") == "ExternalName" {
            return Ok((text(&service, "/spec/externalName").to_owned(), port));
        }
        let wanted = endpoints::port_name(&service, "port", port, None)
            .ok_or_else(|| format!("no service port {port} found for service {}", quote(name)))?;
        let all = self.store.list(&SLICES, Some(ns), None).objects;
        let all: Vec<_> = all.iter().map(|o| o.value()).collect();
        let of_it = |s: &&Value| s["metadata"]["labels"]["kubernetes.io/service-name"] == name;
        let slices = all.iter().map(|s| &**s).filter(of_it);
        let places = endpoints::of_slices(slices, wanted, None);
        let place = places.get(turn % places.len().max(1));
        let place = place.map(|p| (p.address.to_owned(), p.port));
        place.ok_or_else(|| format!("no endpoints available for service {}", quote(name)))
    }
}
