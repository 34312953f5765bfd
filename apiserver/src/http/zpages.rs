//! `/statusz` and `/flagz`: what this server is, since when, and how it was started (`apiserver/pkg/server/statusz` and
//! `flagz`). Text for people; with `as=Statusz;v=v1beta1;g=config.k8s.io` an object.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::{Answer, Incoming, health, negotiate, output, paths, with_type};
use crate::registry::{ADVERTISED, SECURE_PORT, Server, rfc3339, service_range};
use crate::status::Status;

/// The component's name.
const NAME: &str = "kube-apiserver";
/// Paths that are no help to those who look for what is wrong.
const NOT_LISTED: [&str; 5] = ["/apis", "/api", "/openid", "/openapi", "/.well-known"];

/// The answer where a path is one of these, whatever the method.
pub(super) fn serve(server: &Server, r: &Incoming) -> Option<Result<Answer, Status>> {
    let (page, kind) = match r.path.as_str() {
        "/statusz" => ("statusz", "Statusz"),
        "/flagz" => ("flagz", "Flagz"),
        _ => return None,
    };
    let wanted = match negotiate::page(&r.headers, kind) {
        Ok(wanted) => wanted,
        Err(e) => return Some(Err(e)),
    };
    let Some((encoding, version)) = wanted else {
        let said = match page {
            "statusz" => status_text(server),
            _ => flags().into_iter().map(|(k, v)| format!("{k}: {v}\n")).collect(),
        };
        let text = format!(
            "\n{NAME} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility \
             guarantees and is for debugging purposes only.\n{said}"
        );
        return Some(Ok(with_type(200, health::TEXT, Bytes::from(text))));
    };
    let mut v = match page {
        "statusz" => status(server),
        _ => json!({"flags": flags()}),
    };
    v["kind"] = json!(kind);
    v["apiVersion"] = json!(format!("config.k8s.io/{version}"));
    v["metadata"] = json!({"name": NAME});
    Some(output::encoded(encoding, &v).map(|(kind, body)| {
        let mut a = with_type(200, kind, body);
        if version == "v1alpha1" {
            let text =
                format!("299 - \"This version of the {page} endpoint is deprecated. Please use a newer version.\"");
            a.headers_mut()
                .extend(HeaderValue::from_str(&text).map(|t| (header::WARNING, t)));
        }
        a
    }))
}

/// The first parts of the paths that lead to more.
fn listed(server: &Server) -> Vec<String> {
    let first = |p: &String| Some(format!("/{}", p.split('/').nth(1).filter(|s| !s.is_empty())?));
    let mut all: Vec<String> = paths(server).iter().filter_map(first).collect();
    // It is made when the others are there.
    all.retain(|p| !NOT_LISTED.contains(&p.as_str()) && p != "/statusz");
    all.dedup();
    all
}

fn uptime(server: &Server) -> i64 {
    server.clock.now().duration_since(server.began).as_secs().max(0)
}

fn status(server: &Server) -> Value {
    json!({"startTime": rfc3339(server.began), "uptimeSeconds": uptime(server), "goVersion": "",
        "binaryVersion": crate::cluster::VERSION.trim_start_matches('v'), "emulationVersion": "1.36", "paths": listed(server)})
}

fn status_text(server: &Server) -> String {
    let up = uptime(server);
    // `time.UnixDate`.
    let started = server.began.strftime("%a %b %e %H:%M:%S UTC %Y");
    let version = crate::cluster::VERSION.trim_start_matches('v');
    format!(
        "\nStarted: {started}\nUp: {} hr {:02} min {:02} sec\nGo version: \nBinary version: {version}\n\
         Emulation version: 1.36\nPaths: {}\n",
        up / 3600,
        up / 60 % 60,
        up % 60,
        listed(server).join(" ")
    )
}

/// kube-apiserver's flags that tell how this server is started.
fn flags() -> BTreeMap<&'static str, String> {
    [
        ("advertise-address", ADVERTISED.to_owned()),
        ("authorization-mode", "[RBAC]".to_owned()),
        ("secure-port", SECURE_PORT.to_string()),
        ("service-cluster-ip-range", service_range()),
        ("service-node-port-range", "30000-32767".to_owned()),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn pages_are_text_unless_their_kind_is_asked_for() {
        let text = Ok(None);
        let refused = Err(
            "only the following media types are accepted: application/json, application/yaml, text/plain".to_owned(),
        );
        for (accept, then) in [
            ("", text.clone()),
            ("*/*", text.clone()),
            ("text/*", text.clone()),
            ("text/plain", text.clone()),
            ("application/json, text/plain", text.clone()),
            ("application/json", refused.clone()),
            ("application/json;as=Statusz;v=v1;g=config.k8s.io", refused.clone()),
            ("application/json;as=Flagz;v=v1beta1;g=config.k8s.io", refused),
            (
                "application/json;as=Statusz;v=v1beta1;g=config.k8s.io",
                Ok(Some("application/json v1beta1".to_owned())),
            ),
            (
                "application/yaml;as=Statusz;v=v1alpha1;g=config.k8s.io",
                Ok(Some("application/yaml v1alpha1".to_owned())),
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            let page = negotiate::page(&headers, "Statusz");
            let page = page.map(|p| p.map(|(e, v)| format!("{} {v}", e.media_type())));
            assert_eq!(page.map_err(|s| s.message), then, "{accept}");
        }
    }
}
