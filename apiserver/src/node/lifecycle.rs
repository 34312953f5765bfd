//! Hooks and looks of the kubelet at interpreted containers: commands, HTTP, TCP and gRPC.

use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::shell::health;
use super::shell::web::{self, Ask};
use super::shell::{self, Process};
use super::workload::WorkloadContext;
use crate::controllers::object::Object;
use crate::local::Stdio;

/// The number of a port that may be given by its name.
fn port(container: &Value, port: Option<&Value>) -> Option<u16> {
    let number = |n: u64| u16::try_from(n).ok();
    match port? {
        Value::String(name) => {
            let mut all = container.items("/ports").iter();
            let named = all.find(|p| p.text("/name") == name);
            named
                .and_then(|p| p["containerPort"].as_u64())
                .and_then(number)
                .or_else(|| name.parse().ok())
        }
        p => number(p.as_u64()?),
    }
}

/// What the kubelet does something for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Probe,
    Hook,
}

impl Purpose {
    /// Who a kubelet says it is then (`pkg/probe`, `pkg/kubelet/lifecycle`).
    pub(crate) const fn agent(self) -> &'static str {
        match self {
            Self::Probe => "kube-probe/1.36",
            Self::Hook => "kube-lifecycle/1.36",
        }
    }
}

/// What is asked over HTTP (`NewRequestForHTTPGetAction`): the headers that are given, and who asks.
fn question(get: &Value, purpose: Purpose) -> Ask {
    let given = get.items("/httpHeaders").iter().filter_map(|h| {
        let name: HeaderName = h.text("/name").parse().ok()?;
        Some((name, HeaderValue::from_str(h.text("/value")).ok()?))
    });
    let mut headers: Vec<_> = given.collect();
    if !headers.iter().any(|(k, _)| *k == header::USER_AGENT) {
        headers.push((header::USER_AGENT, HeaderValue::from_static(purpose.agent())));
    }
    Ask {
        headers,
        ..Ask::default()
    }
}

/// Does what a probe or a hook says and whether it went well; `None`: it cannot be done here.
pub(crate) async fn act(
    ctx: &WorkloadContext,
    container: &Value,
    process: &Process,
    action: &Value,
    purpose: Purpose,
) -> Option<bool> {
    let argv: Vec<String> = action
        .items("/exec/command")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if !argv.is_empty() {
        if !shell::is_understood(&argv) {
            return None;
        }
        let process = Process {
            term: CancellationToken::new(),
            ..process.clone()
        };
        return Some(shell::execute(process, &argv, Stdio::null()).await == 0);
    }
    if let Some(seconds) = action.int("/sleep/seconds") {
        tokio::time::sleep(Duration::from_secs(seconds.unsigned_abs())).await;
        return Some(true);
    }
    if let Some(g) = action.get("grpc").filter(|g| g.is_object()) {
        let at = (ctx.host.as_str(), port(container, g.get("port"))?);
        let healthy = health::check(&ctx.net, &ctx.node, at, g.text("/service")).await;
        return Some(healthy.unwrap_or(false));
    }
    let (http, tcp) = (action.get("httpGet"), action.get("tcpSocket"));
    let what = http.or(tcp)?;
    let host = match what.text("/host") {
        "" => ctx.host.as_str(),
        h => h,
    };
    let at = (host, port(container, what.get("port"))?);
    Some(match http {
        Some(h) => {
            let answer = web::look(&ctx.net, &ctx.node, at, h, &question(h, purpose)).await;
            // A hook is done when it is answered, whatever the answer.
            answer.is_ok_and(|a| purpose == Purpose::Hook || (200..400).contains(&a.code))
        }
        None => ctx.net.connect(&ctx.node, at.0, at.1).await.is_ok(),
    })
}

/// Runs a container's hook, if it has one.
pub(crate) async fn hook(ctx: &WorkloadContext, container: &Value, process: &Process, name: &str) -> bool {
    match container
        .pointer("/lifecycle")
        .and_then(|l| l.get(name))
        .filter(|h| h.is_object())
    {
        Some(h) => act(ctx, container, process, h, Purpose::Hook).await != Some(false),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn headers_that_are_given_and_who_asks() {
        let get = json!({"httpHeaders": [{"name": "Host", "value": "a"}, {"name": "X", "value": "1"}, {"name": "X", "value": "2"}]});
        let of = |get: &Value, purpose| {
            let all = question(get, purpose).headers;
            let lines: Vec<String> = all
                .iter()
                .map(|(k, v)| format!("{k}={}", v.to_str().unwrap()))
                .collect();
            lines.join(" ")
        };
        assert_eq!(of(&get, Purpose::Probe), "host=a x=1 x=2 user-agent=kube-probe/1.36");
        let named = json!({"httpHeaders": [{"name": "User-Agent", "value": "me"}]});
        assert_eq!(of(&named, Purpose::Probe), "user-agent=me");
        assert_eq!(of(&json!({}), Purpose::Hook), "user-agent=kube-lifecycle/1.36");
    }

    #[test]
    fn ports_by_name() {
        let c = json!({"ports": [{"name": "web", "containerPort": 8080}]});
        for (given, expected) in [
            (json!("web"), Some(8080)),
            (json!(80), Some(80)),
            (json!("81"), Some(81)),
            (json!("x"), None),
        ] {
            assert_eq!(port(&c, Some(&given)), expected, "{given}");
        }
    }
}
