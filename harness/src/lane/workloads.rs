//! Container images that the testbed runs in its own process.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cfn_apiserver::node::{Workload, WorkloadContext, Workloads};
use cfn_net::{Listener, Stream};
use cfn_v2x::roadside::RoadsideOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A web service that answers every request with its place, after its cluster's service time: stands for inference.
pub const ECHO_IMAGE: &str = "cfn.akraino.org/echo";
/// The roadside service.
pub const ROADSIDE_IMAGE: &str = "cfn.akraino.org/roadside";

/// The images of one cluster.
#[must_use]
pub fn of_cluster(cluster: &str, service_time: Duration, drop_context: bool) -> Workloads {
    let mut w = Workloads::default();
    w.register(
        ECHO_IMAGE,
        Arc::new(Echo {
            cluster: cluster.to_owned(),
            service_time,
        }),
    );
    w.register(ROADSIDE_IMAGE, Arc::new(Roadside { drop_context }));
    w
}

struct Echo {
    cluster: String,
    service_time: Duration,
}

#[async_trait]
impl Workload for Echo {
    async fn run(&self, ctx: WorkloadContext) -> i32 {
        let port = ctx.env.get("PORT").and_then(|p| p.parse().ok()).unwrap_or(ECHO_PORT);
        let listener = match ctx.net.listen(&ctx.host, port).await {
            Ok(l) => l,
            Err(e) => {
                (ctx.log)(&format!("cannot listen: {e}"));
                return 1;
            }
        };
        (ctx.log)(&format!("serving on {}:{port}", ctx.host));
        let _ = ctx.ready.send(true);
        let place = format!("{}/{}", self.cluster, ctx.node);
        echo(listener, place, self.service_time, ctx.cancel).await;
        0
    }
}

/// Port of the web service without `PORT`.
pub const ECHO_PORT: u16 = 8080;

/// The web service: answers every request with `place`, after `service_time`, until cancelled.
pub async fn echo(mut listener: Listener, place: String, service_time: Duration, cancel: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            Some(_) = connections.join_next() => {}
            stream = listener.accept() => match stream {
                Ok(s) => { connections.spawn(answer(s, place.clone(), service_time)); }
                Err(e) => tracing::warn!("accept: {e}"),
            },
        }
    }
}

/// Answers HTTP/1.1 requests without a body, one after the other, until the client goes.
async fn answer(mut stream: Stream, body: String, service_time: Duration) {
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 && seen.len() < 64 * 1024 => seen.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
        seen.clear();
        cfn_net::timer::sleep_until(tokio::time::Instant::now() + service_time).await;
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(response.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

struct Roadside {
    drop_context: bool,
}

#[async_trait]
impl Workload for Roadside {
    async fn run(&self, ctx: WorkloadContext) -> i32 {
        let mut env = ctx.env.clone();
        // One manifest serves every edge: the place comes from the node.
        env.entry("ROADSIDE_SITE".to_owned())
            .or_insert_with(|| ctx.site.clone());
        if self.drop_context {
            env.insert("ROADSIDE_DEFECT".to_owned(), "DropContext".to_owned());
        }
        let mut options = match RoadsideOptions::from_env(&env, &ctx.host, ctx.net.clone(), ctx.clock.clone(), ctx.seed)
        {
            Ok(o) => o,
            Err(e) => {
                (ctx.log)(&e.to_string());
                return 2;
            }
        };
        options.records = ctx.api.as_ref().and_then(|api| api.client(&ctx.net, &ctx.node).ok());
        options.ready = ctx.ready;
        match cfn_v2x::roadside::run(options, ctx.cancel).await {
            Ok(()) => 0,
            Err(e) => {
                (ctx.log)(&e.to_string());
                1
            }
        }
    }
}
