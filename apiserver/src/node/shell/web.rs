//! HTTP as probes, hooks and `curl` speak it: one question, one answer.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use cfn_net::{Net, Transport};
use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::commands::print;
use super::run::{Io, Shell};
use crate::anyone;
use crate::node::services::Network;

/// Largest answer read.
const LARGEST: usize = 1024 * 1024;
/// How long `curl` tries where nothing is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

/// `GET`s a path from a server of the network.
pub(crate) async fn get(net: &Net, from: &str, (host, port): (&str, u16), path: &str) -> io::Result<Answer> {
    let stream = net.connect(from, host, port).await?;
    exchange(stream, (host, port), path).await
}

/// As [`get`], of whoever has a name.
pub(super) async fn get_named(net: &Network, at: (&str, u16), path: &str) -> io::Result<Answer> {
    exchange(net.connect(at.0, at.1).await?, at, path).await
}

/// As [`get`] over TLS, whoever the server is: the kubelet does not look at certificates (`InsecureSkipVerify`).
pub(crate) async fn get_tls(net: &Net, from: &str, at: (&str, u16), path: &str) -> io::Result<Answer> {
    // There is no TLS in memory.
    if net.transport() == Transport::Memory {
        return get(net, from, at, path).await;
    }
    let stream = net.connect(from, at.0, at.1).await?;
    exchange(anyone::connect(stream, at.0).await?, at, path).await
}

async fn exchange<S>(stream: S, (host, port): (&str, u16), path: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = Request::get(format!("{slash}{path}"))
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, "cfn")
        .header(header::ACCEPT, "*/*")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        let code = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        let body = body.map_err(io::Error::other)?.to_bytes().to_vec();
        Ok(Answer { code, body })
    };
    // The connection ends with the answer: whoever was asked is let go.
    tokio::pin!(connection, asked);
    tokio::select! {
        answer = &mut asked => answer,
        _ = &mut connection => asked.await,
    }
}

/// Host, port and path of an `http` URL.
pub(super) fn address(url: &str) -> Option<(String, u16, String)> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    if rest.contains("://") {
        return None;
    }
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let (host, port) = match host.rsplit_once(':') {
        Some((h, p)) => (h, p.parse().ok()?),
        None => (host, 80),
    };
    Some((host.to_owned(), port, path.to_owned()))
}

/// `curl [OPTION]... URL`.
pub(super) async fn curl(shell: &Shell, args: &[&str], io: &Io) -> i32 {
    let (mut url, mut patience) = (None, PATIENCE);
    let mut rest = args.iter();
    while let Some(a) = rest.next() {
        match *a {
            "--connect-timeout" | "--max-time" | "-m" => {
                let seconds = rest.next().and_then(|n| n.parse().ok());
                patience = seconds.map_or(patience, Duration::from_secs);
            }
            "-o" | "-w" | "-H" | "--interface" => {
                rest.next();
            }
            a if a.starts_with('-') => {}
            a => url = Some(a),
        }
    }
    let Some((host, port, path)) = url.and_then(address) else {
        shell.complain(io, "curl: (3) URL rejected");
        return 3;
    };
    let Some(net) = &shell.p.net else {
        shell.complain(io, "curl: (7) no network");
        return 7;
    };
    match tokio::time::timeout(patience, get_named(net, (&host, port), &path)).await {
        Ok(Ok(a)) => print(shell, io, &String::from_utf8_lossy(&a.body)),
        Ok(Err(e)) if e.kind() == io::ErrorKind::NotFound => {
            shell.complain(io, &format!("curl: (6) Could not resolve host: {host}"));
            6
        }
        Ok(Err(_)) => {
            shell.complain(io, &format!("curl: (7) Failed to connect to {host} port {port}"));
            7
        }
        Err(_) => {
            shell.complain(io, "curl: (28) Connection timed out");
            28
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, expected) in [
            ("http://10.0.0.1:8080/a?b=c", Some(("10.0.0.1", 8080, "/a?b=c"))),
            ("10.0.0.1", Some(("10.0.0.1", 80, ""))),
            ("https://x", None),
            ("x:y/z", None),
        ] {
            let expected = expected.map(|(h, p, q)| (h.to_owned(), p, q.to_owned()));
            assert_eq!(address(url), expected, "{url}");
        }
    }
}
