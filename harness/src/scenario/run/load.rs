//! Requests from clients to a workload, over the emulated links.

use std::time::Duration;

use cfn_net::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::super::ObjectRef;
use super::super::step::Load;
use super::Bench;
use crate::evidence::Sample;

/// A request unanswered for so long has failed.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Bench {
    /// Sends the requests, one after the other, each on the pod's own connection; records how long each took, from
    /// the client's site and with the client's own access.
    pub(super) async fn load(&self, l: &Load) -> Result<String, String> {
        let object = ObjectRef {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(l.namespace.clone()),
            name: None,
            label_selector: Some(l.label_selector.clone()),
        };
        let mut pods = Vec::new();
        for c in &l.clusters {
            for p in self.objects.select(c, &object).await.map_err(|e| e.to_string())? {
                let ready = p["status"]["conditions"]
                    .as_array()
                    .is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"));
                if let (true, Some(ip)) = (ready, p["status"]["podIP"].as_str()) {
                    pods.push(ip.to_owned());
                }
            }
        }
        if pods.is_empty() {
            return Err(format!("no ready pod with {}", l.label_selector));
        }
        let host = format!("client.{}", l.from);
        self.testbed.net.add_host(&host, &l.from);
        let mut connections: Vec<Option<Stream>> = pods.iter().map(|_| None).collect();
        let mut failed = 0;
        for i in 0..l.requests.value as usize {
            let k = i % pods.len();
            let tried = tokio::time::timeout(TIMEOUT, async {
                if connections[k].is_none() {
                    connections[k] = Some(self.testbed.net.connect(&host, &pods[k], l.port).await?);
                }
                let stream = connections[k].as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
                let began = Instant::now();
                request(stream, &pods[k]).await?;
                Ok::<_, std::io::Error>(began.elapsed())
            })
            .await;
            match tried {
                Ok(Ok(took)) => {
                    let value = (took + l.access.0).as_secs_f64() * 1e3;
                    let sample = Sample {
                        series: l.series.value.clone(),
                        value,
                        unit: "ms".into(),
                        at: self.at(),
                    };
                    self.result().record(sample);
                }
                Ok(Err(_)) | Err(_) => {
                    connections[k] = None;
                    failed += 1;
                }
            }
        }
        if failed > 0 {
            Err(format!("{failed} of {} requests failed", l.requests.value))
        } else {
            Ok(format!("{} requests to {}", l.requests.value, pods.join(", ")))
        }
    }
}

async fn request(stream: &mut Stream, host: &str) -> std::io::Result<()> {
    stream
        .write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
        .await?;
    stream.flush().await?;
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let n = stream.read(&mut buffer).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "))
                .and_then(|l| l.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Ok(());
            }
        }
    }
}
