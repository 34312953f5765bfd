//! Traffic of clients and vehicles: what crosses the testbed's links as its users' does. Orders and what comes of them
//! are data, so that a lane may carry them out in another process (`cfn client`), in a container at the site.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use cfn_net::{Net, Seed, Stream};
use cfn_v2x::drive::{DriveEvidence, DriveOptions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::LaneError;

/// A request unanswered for so long has failed.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Requests of a client at a site, one after the other, to several servers in turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// The client's site.
    pub from: String,
    /// The servers: addresses of pods.
    pub to: Vec<String>,
    /// Their port.
    pub port: u16,
    /// How many in all.
    pub count: usize,
}

/// One request, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    /// The server.
    pub to: String,
    /// When it ended, since the first request's beginning.
    #[serde(with = "seconds")]
    pub at: Duration,
    /// How long it took, connecting left out; none: it failed.
    #[serde(with = "seconds::option", default, skip_serializing_if = "Option::is_none")]
    pub took: Option<Duration>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A drive, for another process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveOrder {
    /// Options; the map's endpoints are addresses.
    pub options: DriveOptions,
    /// Seed.
    pub seed: u64,
    /// From which address who is at a (radio) site connects.
    pub sources: BTreeMap<String, IpAddr>,
}

/// A line of what another process says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Said {
    /// A request is done.
    Exchange(Exchange),
    /// Seconds driven, seconds to drive.
    Progress(f64, f64),
    /// What a drive showed.
    Evidence(Box<DriveEvidence>),
}

impl Said {
    /// The lines of an output; what else a program may print is left out.
    ///
    /// # Errors
    /// A line that looks like one and is none: another version speaks.
    pub fn read(output: &str) -> Result<Vec<Self>, LaneError> {
        let lines = output.lines().filter(|l| l.starts_with('{'));
        lines
            .map(|l| serde_json::from_str(l).map_err(|e| LaneError::Failed(format!("a client said `{l}`: {e}"))))
            .collect()
    }
}

/// Who makes a testbed's traffic.
#[async_trait]
pub trait Traffic: Send + Sync {
    /// Sends the requests, each on its server's own connection, which is kept for the next. A request that fails is
    /// no error: it shows in its [`Exchange`].
    ///
    /// # Errors
    /// When there is no client at that site, or it cannot be told what to do.
    async fn load(&self, requests: &Requests) -> Result<Vec<Exchange>, LaneError>;

    /// Drives vehicles and sensors, and gathers the evidence.
    ///
    /// # Errors
    /// When they cannot be told what to do, or an edge does not tell its statistics.
    async fn drive(&self, options: DriveOptions, seed: Seed) -> Result<DriveEvidence, LaneError>;
}

/// Sends `requests` from `host`, and tells `on` of each as soon as it is done.
pub async fn send(net: &Net, host: &str, requests: &Requests, mut on: impl FnMut(Exchange) + Send) {
    let mut connections: Vec<Option<Stream>> = requests.to.iter().map(|_| None).collect();
    let start = Instant::now();
    for i in 0..requests.count {
        let Some(k) = i.checked_rem(requests.to.len()) else {
            return;
        };
        let to = &requests.to[k];
        let tried = tokio::time::timeout(TIMEOUT, async {
            if connections[k].is_none() {
                connections[k] = Some(net.connect(host, to, requests.port).await?);
            }
            let stream = connections[k].as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
            let began = Instant::now();
            request(stream, to).await?;
            Ok::<_, std::io::Error>(began.elapsed())
        })
        .await;
        let (took, error) = match tried {
            Ok(Ok(took)) => (Some(took), None),
            Ok(Err(e)) => (None, Some(e.to_string())),
            Err(_) => (None, Some(format!("no answer in {TIMEOUT:?}"))),
        };
        if error.is_some() {
            connections[k] = None;
        }
        let (to, at) = (to.clone(), start.elapsed());
        on(Exchange { to, at, took, error });
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

/// Durations as seconds, which is what other programs read in JSON lines.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(d.as_secs_f64())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(d: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(d)?).map_err(D::Error::custom)
    }

    pub(super) mod option {
        use super::{Deserialize, Deserializer, Duration, Error, Serializer};

        pub(in super::super) fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
            match d {
                Some(d) => super::serialize(d, s),
                None => s.serialize_none(),
            }
        }

        pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(d: D) -> Result<Option<Duration>, D::Error> {
            Option::<f64>::deserialize(d)?
                .map(|s| Duration::try_from_secs_f64(s).map_err(D::Error::custom))
                .transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_tells_is_what_it_saw() {
        for e in [
            Exchange {
                to: "10.0.0.1".into(),
                at: Duration::from_nanos(1_234_567_891),
                took: Some(Duration::from_nanos(19_400_001)),
                error: None,
            },
            Exchange {
                to: "10.0.0.1".into(),
                at: Duration::ZERO,
                took: None,
                error: Some("reset".into()),
            },
        ] {
            let line = serde_json::to_string(&Said::Exchange(e.clone())).unwrap();
            let output = format!("starting\n{line}\n");
            assert_eq!(Said::read(&output).unwrap(), [Said::Exchange(e)], "{line}");
        }
        assert!(Said::read("{\"other\": 1}").is_err());
        {}
    }
}
