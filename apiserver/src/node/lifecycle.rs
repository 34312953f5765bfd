//! Hooks and looks of the kubelet at interpreted containers: commands, HTTP, TCP and gRPC.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::shell::{self, Process};
use super::shell::{health, web};
use super::workload::WorkloadContext;
use crate::controllers::object::Object;

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

/// Does what a probe or a hook says and whether it went well; `None`: it cannot be done here.
pub(crate) async fn act(ctx: &WorkloadContext, container: &Value, process: &Process, action: &Value) -> Option<bool> {
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
        return Some(shell::execute(process, &argv, Vec::new()).await.code == 0);
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
            let path = h.text("/path");
            let answer = match h.text("/scheme") {
                "HTTPS" => web::get_tls(&ctx.net, &ctx.node, at, path).await,
                _ => web::get(&ctx.net, &ctx.node, at, path).await,
            };
            answer.is_ok_and(|a| (200..400).contains(&a.code))
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
        Some(h) => act(ctx, container, process, h).await != Some(false),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
