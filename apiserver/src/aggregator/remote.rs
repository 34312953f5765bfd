//! One APIService that names a service.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::owned;
use crate::registry::text;

/// What an APIService says of the server behind its service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: u16,
    /// Who signed its certificate, PEM.
    pub(crate) ca_pem: String,
    /// Whether its certificate is not looked at.
    pub(crate) insecure: bool,
    pub(crate) group_priority: i64,
    pub(crate) version_priority: i64,
    /// Whether its condition says so.
    pub(crate) available: bool,
}

impl Remote {
    /// `None`: this server is meant.
    pub(super) fn of(v: &Value) -> Option<Self> {
        let (spec, service) = (&v["spec"], &v["spec"]["service"]);
        if !service.is_object() {
            return None;
        }
        let ca = STANDARD.decode(text(spec, "/caBundle")).unwrap_or_default();
        let mut conditions = v["status"]["conditions"].as_array().into_iter().flatten();
        Some(Self {
            name: owned(v, "/metadata/name"),
            group: owned(spec, "/group"),
            version: owned(spec, "/version"),
            namespace: owned(service, "/namespace"),
            service: owned(service, "/name"),
            port: service["port"]
                .as_u64()
                .and_then(|p| u16::try_from(p).ok())
                .unwrap_or(443),
            ca_pem: String::from_utf8_lossy(&ca).into_owned(),
            insecure: spec["insecureSkipTLSVerify"] == true,
            group_priority: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            version_priority: spec["versionPriority"].as_i64().unwrap_or_default(),
            available: conditions.any(|c| c["type"] == "Available" && c["status"] == "True"),
        })
    }

    /// Whom its certificate must name (`BuildTransportConfig`).
    pub(crate) fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }

    /// Where its group and version begin.
    pub(crate) fn root(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_apiservice_says() {
        let mut v = json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1", "caBundle": "UEVN",
            "groupPriorityMinimum": 2000, "versionPriority": 15, "service": {"namespace": "n", "name": "s"}}});
        let of = Remote::of(&v).unwrap();
        assert_eq!(
            (of.port, of.ca_pem.as_str(), of.available, of.insecure),
            (443, "PEM", false, false)
        );
        assert_eq!(
            (of.server_name(), of.root()),
            ("s.n.svc".to_owned(), "/apis/g/v1".to_owned())
        );
        v["spec"]["service"]["port"] = json!(7443);
        v["status"] =
            json!({"conditions": [{"type": "Other", "status": "True"}, {"type": "Available", "status": "True"}]});
        let of = Remote::of(&v).unwrap();
        assert_eq!((of.port, of.available), (7443, true));
        v["spec"]["service"] = Value::Null;
        assert_eq!(Remote::of(&v), None);
    }
}
