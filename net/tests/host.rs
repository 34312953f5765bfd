//! The transport of real networks, on this machine's loopback: 127.0.0.0/8 stands for several hosts.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::pki::Ca;
use cfn_net::server::{PeerCert, serve, tls_server_config};
use cfn_net::{ClientConfig, Clock, Identity, Listener, Net, Seed, SystemClock, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

fn net() -> Net {
    Net::new(Transport::Host, Seed(1))
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

/// Tells every client the address it comes from.
fn tell_addresses(mut listener: tokio::net::TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut s, from)) = accept(&mut listener).await {
            s.write_all(from.ip().to_string().as_bytes()).await.unwrap();
        }
    });
}

async fn accept(l: &mut tokio::net::TcpListener) -> std::io::Result<(tokio::net::TcpStream, std::net::SocketAddr)> {
    l.accept().await
}

async fn what_comes(s: &mut cfn_net::Stream) -> String {
    let mut text = String::new();
    s.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn names_are_addresses_and_sites_are_where_one_connects_from() {
    #[allow(clippy::disallowed_methods, reason = "a peer that is not of a Net")]
    let outside = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = outside.local_addr().unwrap().port();
    tell_addresses(outside);
    let net = net();
    net.set_address("edge", ip("127.0.0.1"));
    net.set_source("radio-a", ip("127.0.0.5"));
    net.set_source("radio-b", ip("127.0.0.6"));
    net.add_host("vehicle", "radio-a");
    let mut first = net.connect("vehicle", "edge", port).await.unwrap();
    net.add_host("vehicle", "radio-b");
    let mut second = net.connect("vehicle", "127.0.0.1", port).await.unwrap();
    // A connection keeps its address; the next one is from the new site's.
    assert_eq!(what_comes(&mut first).await, "127.0.0.5");
    assert_eq!(what_comes(&mut second).await, "127.0.0.6");
    // Who stands nowhere, or where no address is set, connects from where the system likes; names are resolved.
    let mut third = net.connect("anybody", "localhost", port).await.unwrap();
    assert_eq!(what_comes(&mut third).await, "127.0.0.1");
}

#[tokio::test]
async fn listens_at_the_real_address_and_port() {
    let net = net();
    net.set_address("server", ip("127.0.0.7"));
    let mut listener = net.listen("server", 0).await.unwrap();
    let port = listener.port();
    assert_eq!(
        net.socket_addr("server", port).unwrap().to_string(),
        format!("127.0.0.7:{port}")
    );
    let taken = net.listen("127.0.0.7", port).await.err().map(|e| e.kind());
    assert_eq!(taken, Some(ErrorKind::AddrInUse), "by the operating system's own word");
    let served = tokio::spawn(async move {
        let mut s = listener.accept().await.unwrap();
        let mut word = [0; 5];
        s.read_exact(&mut word).await.unwrap();
        s.write_all(&word).await.unwrap();
        listener
    });
    let mut c = net.connect("client", "server", port).await.unwrap();
    c.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    c.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"hello");
    let listener: Listener = served.await.unwrap();
    drop(listener);
    let refused = net.connect("client", "server", port).await.err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn nothing_is_emulated() {
    let net = net();
    net.set_link(
        "a",
        "b",
        cfn_net::LinkSpec {
            latency: 10_000.0,
            ..cfn_net::LinkSpec::default()
        },
    );
    net.add_host("127.0.0.1", "b");
    net.add_host("x", "a");
    net.cut("a", "b");
    let mut l = net.listen("127.0.0.1", 0).await.unwrap();
    let port = l.port();
    let (c, s) = tokio::time::timeout(Duration::from_secs(5), async {
        tokio::join!(net.connect("x", "127.0.0.1", port), l.accept())
    })
    .await
    .unwrap();
    let (mut c, mut s) = (c.unwrap(), s.unwrap());
    // A network that changes under living connections changes nothing either.
    net.add_host("x", "c");
    net.heal("a", "b");
    c.write_all(b"x").await.unwrap();
    assert_eq!(s.read_u8().await.unwrap(), b'x');
    // A host that is taken away takes its connections along: a process's part that ends.
    net.remove_host("x");
    assert!(c.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn unknown_names_and_addresses_of_others_are_told_at_once() {
    let net = net();
    assert!(net.connect("x", "no-such-host.invalid", 80).await.is_err());
    // 192.0.2.0/24 is for documentation: never this machine's.
    net.set_source("elsewhere", ip("192.0.2.1"));
    net.add_host("y", "elsewhere");
    let e = net.connect("y", "127.0.0.1", 80).await.err().map(|e| e.kind());
    assert_eq!(e, Some(ErrorKind::AddrNotAvailable));
    // No IPv6 address of a name that has one only in the other family.
    net.set_address("six", ip("::1"));
    let e = net.connect("y", "six", 80).await.err().map(|e| e.kind());
    assert_eq!(e, Some(ErrorKind::NotFound));
}

#[tokio::test]
async fn tls_certificates_and_token_files() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let net = net();
    let now = SystemClock.now();
    let ca = Ca::new("test", now).unwrap();
    let cert = ca.server("test", &["127.0.0.1".to_owned()], now).unwrap();
    let listener = net.listen("127.0.0.1", 0).await.unwrap();
    let server = format!("https://127.0.0.1:{}", listener.port());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = seen.clone();
    let handler = move |req: http::Request<hyper::body::Incoming>| {
        let token = req
            .headers()
            .get("authorization")
            .map(|v| v.to_str().unwrap().to_owned());
        let cert = req.extensions().get::<PeerCert>().is_some();
        told.lock().unwrap().push((token, cert));
        async {
            let body = r#"{"major":"1","minor":"36","gitVersion":"v","gitCommit":"","gitTreeState":"","buildDate":"","goVersion":"","compiler":"","platform":""}"#;
            Ok::<_, std::convert::Infallible>(http::Response::new(body.to_owned()))
        }
    };
    let tls = tls_server_config(&cert, Some(ca.cert_pem())).unwrap();
    let cancel = CancellationToken::new();
    tokio::spawn(serve(listener, Some(tls), handler, cancel.clone()));
    let dir = std::env::temp_dir().join(format!("cfn-net-token-{}", std::process::id()));
    std::fs::write(&dir, "first\n").unwrap();
    let config = |identity| ClientConfig {
        server: server.clone(),
        ca_pem: ca.cert_pem().to_owned(),
        identity,
        timeout: Duration::from_secs(5),
    };
    let by_file = config(Identity::TokenFile(dir.clone())).client(&net, "x").unwrap();
    by_file.apiserver_version().await.unwrap();
    std::fs::write(&dir, "second").unwrap();
    by_file.apiserver_version().await.unwrap();
    std::fs::remove_file(&dir).unwrap();
    let client = ca.client("me", &[], now).unwrap();
    let by_cert = config(Identity::Certificate {
        cert_pem: client.cert_pem,
        key_pem: client.key_pem,
    });
    by_cert.client(&net, "x").unwrap().apiserver_version().await.unwrap();
    cancel.cancel();
    let seen = seen.lock().unwrap().clone();
    let first = Some("Bearer first".to_owned());
    // Within a minute of its reading a token is used as it was read.
    assert_eq!(seen, [(first.clone(), false), (first, false), (None, true)]);
}

/// Sends until the peer, who does not read, has room for no more; says how much that was.
async fn fill(s: &mut cfn_net::Stream) -> usize {
    let mut sent = 0;
    std::future::poll_fn(|cx| {
        use tokio::io::AsyncWrite;
        loop {
            match std::pin::Pin::new(&mut *s).poll_write(cx, &[7; 65536]) {
                std::task::Poll::Ready(n) => sent += n.unwrap(),
                std::task::Poll::Pending => return std::task::Poll::Ready(()),
            }
        }
    })
    .await;
    sent
}

#[tokio::test]
async fn what_was_given_up_is_not_delivered_later() {
    #[allow(clippy::disallowed_methods, reason = "a peer that is not of a Net")]
    let mut peer = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = peer.local_addr().unwrap().port();
    let net = net();
    for taken_back in [false, true] {
        let mut client = net.connect("client", "127.0.0.1", port).await.unwrap();
        let (mut server, _) = accept(&mut peer).await.unwrap();
        let sent = fill(&mut client).await;
        if taken_back {
            client.drop_undelivered().unwrap();
        }
        drop(client);
        let mut seen = Vec::new();
        let end = server.read_to_end(&mut seen).await;
        if taken_back {
            assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
            assert!(seen.len() < sent);
        } else {
            // The kernel goes on for the program that is not there any more.
            assert_eq!(end.unwrap(), sent);
        }
    }
}
