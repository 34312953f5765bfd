//! Links under connections in virtual time: exact latency, throughput, order under every fault.
#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::time::Duration;

use cfn_net::link::LatencyDistribution;
use cfn_net::{LinkSpec, Listener, Net, Seed, Transport};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

fn link(latency: f64) -> LinkSpec {
    LinkSpec {
        latency,
        ..LinkSpec::default()
    }
}

fn net(links: &[(&str, &str, LinkSpec)]) -> Net {
    let net = Net::new(Transport::Memory, Seed(1));
    for (a, b, spec) in links {
        net.set_link(a, b, spec.clone());
        net.add_host(a, a);
        net.add_host(b, b);
    }
    net
}

fn echo(mut listener: Listener) {
    tokio::spawn(async move {
        while let Ok(mut s) = listener.accept().await {
            tokio::spawn(async move {
                let mut buf = vec![0; 64 * 1024];
                while let Ok(n @ 1..) = s.read(&mut buf).await {
                    if s.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn micros(since: Instant) -> u128 {
    let e = since.elapsed();
    assert_eq!(e.as_nanos() % 1000, 0, "{e:?}");
    e.as_micros()
}

#[tokio::test(start_paused = true)]
async fn latency_is_exact() {
    let net = net(&[
        ("car", "s1", link(9.4)),
        ("s1", "s2", link(4.5)),
        ("x", "y", link(4.5)),
        ("car", "s3", link(0.35)),
        ("car", "s4", link(5.0)),
    ]);
    for (from, to, one_way) in [
        ("car", "s1", 9400),
        ("car", "s2", 13900),
        ("x", "y", 4500),
        ("car", "s3", 350),
    ] {
        echo(net.listen(to, 80).await.unwrap());
        let t = Instant::now();
        let mut s = net.connect(from, to, 80).await.unwrap();
        assert_eq!(micros(t), 2 * one_way, "a handshake takes a round trip");
        for _ in 0..3 {
            let t = Instant::now();
            s.write_all(b"hello").await.unwrap();
            s.read_exact(&mut [0; 5]).await.unwrap();
            assert_eq!(micros(t), 2 * one_way, "{from} to {to}");
        }
    }
    assert_eq!(net.counters()[&("car".to_owned(), "s1".to_owned())], (30, 30));
}

#[tokio::test(start_paused = true)]
async fn many_connections_keep_their_latency_and_tokio_its_milliseconds() {
    let start = Instant::now();
    let net = Net::new(Transport::Memory, Seed(1));
    net.add_host("hub", "hub");
    echo(net.listen("hub", 80).await.unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..100_u64 {
        let (site, one_way) = (format!("s{i}"), 1000 + i * 37 % 10_000);
        net.set_link(&site, "hub", link(one_way as f64 / 1e3));
        net.add_host(&site, &site);
        let net = net.clone();
        tasks.spawn(async move {
            let mut s = net.connect(&site, "hub", 80).await.unwrap();
            for _ in 0..20 {
                let t = Instant::now();
                s.write_all(b"hello").await.unwrap();
                s.read_exact(&mut [0; 5]).await.unwrap();
                assert_eq!(micros(t), u128::from(2 * one_way));
            }
        });
    }
    for ms in 1..50_u64 {
        tasks.spawn(async move {
            tokio::time::sleep_until(start + Duration::from_millis(ms)).await;
            assert_eq!(micros(start), u128::from(ms) * 1000);
        });
    }
    while let Some(r) = tasks.join_next().await {
        r.unwrap();
    }
}

/// Sends `bytes` from a to b and tells how long the last took.
async fn transfer(net: &Net, from: &str, to: &str, port: u16, bytes: usize) -> Duration {
    let mut listener = net.listen(to, port).await.unwrap();
    let mut s = net.connect(from, to, port).await.unwrap();
    let mut far = listener.accept().await.unwrap();
    let t = Instant::now();
    let data = vec![7; bytes];
    let (_, got) = tokio::join!(
        async {
            s.write_all(&data).await.unwrap();
            s.shutdown().await.unwrap();
        },
        async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        }
    );
    assert_eq!(got.len(), bytes);
    t.elapsed()
}

#[tokio::test(start_paused = true)]
async fn throughput_is_within_two_percent() {
    let spec = LinkSpec {
        latency: 5.0,
        throughput_ul: 10.0,
        throughput_dl: 40.0,
        ..LinkSpec::default()
    };
    let net = net(&[("a", "b", spec), ("b", "c", link(20.0))]);
    let bytes = 10_000_000;
    for (from, to, port, mbps) in [("a", "b", 1, 10.0), ("b", "a", 2, 40.0), ("a", "c", 3, 10.0)] {
        let took = transfer(&net, from, to, port, bytes).await.as_secs_f64();
        let got = bytes as f64 * 8.0 / 1e6 / took;
        assert!((got / mbps - 1.0).abs() < 0.02, "{from} to {to}: {got} Mbit/s");
    }
    // Two at once share the line.
    let (x, y) = tokio::join!(transfer(&net, "a", "b", 4, bytes), transfer(&net, "a", "b", 5, bytes));
    let got = 2.0 * bytes as f64 * 8.0 / 1e6 / x.max(y).as_secs_f64();
    assert!((got / 10.0 - 1.0).abs() < 0.02, "shared: {got} Mbit/s");
    assert!(
        (x.as_secs_f64() / y.as_secs_f64() - 1.0).abs() < 0.2,
        "fairly: {x:?} {y:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn variation_and_loss_depend_on_the_seed_only() {
    async fn run(seed: u64, others: bool) -> Vec<Duration> {
        let spec = LinkSpec {
            latency: 20.0,
            latency_variation: 3.0,
            latency_distribution: LatencyDistribution::Paretonormal,
            packet_loss: 2.0,
            ..LinkSpec::default()
        };
        let net = Net::new(Transport::Memory, Seed(seed));
        net.set_link("a", "b", spec);
        for h in ["a", "b", "b2"] {
            net.add_host(h, &h[..1]);
        }
        echo(net.listen("b", 80).await.unwrap());
        echo(net.listen("b2", 80).await.unwrap());
        let mut s = net.connect("a", "b", 80).await.unwrap();
        let mut other = net.connect("a", "b2", 80).await.unwrap();
        let mut all = Vec::new();
        for _ in 0..300 {
            if others {
                other.write_all(b"noise").await.unwrap();
                other.read_exact(&mut [0; 5]).await.unwrap();
            }
            let t = Instant::now();
            s.write_all(b"hello").await.unwrap();
            s.read_exact(&mut [0; 5]).await.unwrap();
            all.push(t.elapsed());
        }
        all
    }
    let all = run(1, false).await;
    assert_eq!(all, run(1, false).await);
    assert_eq!(all, run(1, true).await, "another connection disturbs nothing");
    assert_ne!(all, run(2, false).await);
    let (lost, fine): (Vec<Duration>, Vec<Duration>) = all.into_iter().partition(|d| *d >= Duration::from_millis(200));
    assert!((2..30).contains(&lost.len()), "{lost:?}");
    let mean = fine.iter().map(|d| d.as_secs_f64()).sum::<f64>() / fine.len() as f64;
    assert!((mean - 0.040).abs() < 0.001, "{mean}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_holds_and_healing_delivers() {
    let net = net(&[("a", "b", link(5.0))]);
    let mut listener = net.listen("b", 80).await.unwrap();
    let mut s = net.connect("a", "b", 80).await.unwrap();
    let mut far = listener.accept().await.unwrap();
    let t = Instant::now();
    s.write_all(b"under way ").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    net.cut("a", "b");
    s.write_all(b"held").await.unwrap();
    let mut buf = [0; 14];
    let wait = Duration::from_secs(3600);
    assert!(tokio::time::timeout(wait, far.read(&mut buf)).await.is_err());
    assert!(
        tokio::time::timeout(wait, net.connect("a", "b", 80)).await.is_err(),
        "connects wait"
    );
    assert!(!net.reachable("a", "b"));
    let ((), connected) = tokio::join!(
        async {
            net.heal("a", "b");
            far.read_exact(&mut buf).await.unwrap();
            assert_eq!(micros(t), 2000 + 2 * wait.as_micros() + 5000);
            assert_eq!(&buf, b"under way held");
        },
        net.connect("a", "b", 80)
    );
    connected.unwrap();
    assert_eq!(
        net.counters()[&("a".to_owned(), "b".to_owned())],
        (14, 0),
        "sent again counts once"
    );
    net.cut_one_way("a", "b");
    far.write_all(b"back").await.unwrap();
    s.read_exact(&mut [0; 4]).await.unwrap();
    drop(s);
    assert!(
        tokio::time::timeout(wait, far.read(&mut buf)).await.is_err(),
        "the end is held as well"
    );
    far.write_all(b"nobody reads, nobody knows").await.unwrap();
    net.heal("b", "a");
    assert_eq!(far.read(&mut buf).await.unwrap(), 0);
    assert!(far.write_all(b"now it is known").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn isolation_reset_and_stop() {
    let net = net(&[("a", "b", link(5.0)), ("b", "c", link(5.0))]);
    net.add_host("a2", "a");
    for h in ["a", "b", "c"] {
        echo(net.listen(h, 80).await.unwrap());
    }
    let quick = |from: &'static str, to: &'static str| {
        let net = net.clone();
        async move {
            match tokio::time::timeout(Duration::from_secs(1), net.connect(from, to, 80)).await {
                Ok(Ok(_)) => "ok".to_owned(),
                Ok(Err(e)) => e.kind().to_string(),
                Err(_) => "waits".to_owned(),
            }
        }
    };
    net.isolate("a");
    assert_eq!(quick("a2", "a").await, "ok");
    assert_eq!(quick("a", "b").await, "waits");
    net.heal_site("a");
    net.isolate("b");
    assert_eq!(quick("a", "c").await, "waits");
    net.heal_site("b");
    assert_eq!(quick("a", "c").await, "ok");

    let mut through = net.connect("a", "c", 80).await.unwrap();
    let mut beside = net.connect("b", "c", 80).await.unwrap();
    let mut home = net.connect("a2", "a", 80).await.unwrap();
    net.reset("a", "b");
    assert_eq!(
        through.read(&mut [0]).await.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert!(through.write(&[0]).await.is_err());
    for s in [&mut beside, &mut home] {
        s.write_all(b"x").await.unwrap();
        s.read_exact(&mut [0]).await.unwrap();
    }
    net.stop_host("c");
    assert!(beside.read(&mut [0]).await.is_err());
    assert_eq!(quick("a", "c").await, "connection refused");
    assert_eq!(quick("c", "a").await, "connection refused");
    net.start_host("c");
    assert_eq!(quick("a", "c").await, "ok");
    net.remove_host("c");
    assert_eq!(quick("a", "c").await, "entity not found");
    assert_eq!(quick("a", "nowhere").await, "entity not found");
}

#[tokio::test(start_paused = true)]
async fn connections_follow_hosts_and_links() {
    let net = net(&[("a", "b", link(5.0)), ("b", "c", link(2.5))]);
    net.add_host("car", "a");
    echo(net.listen("a", 80).await.unwrap());
    let mut s = net.connect("car", "a", 80).await.unwrap();
    for (site, rtt) in [("a", 0), ("b", 10_000), ("c", 15_000), ("a", 0)] {
        net.add_host("car", site);
        let t = Instant::now();
        s.write_all(b"x").await.unwrap();
        s.read_exact(&mut [0]).await.unwrap();
        assert_eq!(micros(t), rtt, "at {site}");
    }
    net.add_host("car", "b");
    assert!(net.update_link("b", "a", |l| l.latency = 6.5));
    let t = Instant::now();
    s.write_all(b"x").await.unwrap();
    s.read_exact(&mut [0]).await.unwrap();
    assert_eq!(micros(t), 13_000);
    assert!(net.remove_link("a", "b"));
    s.write_all(b"x").await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_secs(60), s.read_exact(&mut [0]))
            .await
            .is_err()
    );
    net.set_link("b", "a", link(1.0));
    s.read_exact(&mut [0]).await.unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Wait(u64),
    Cut,
    CutOneWay,
    Heal,
    Move(bool),
    Link(f64, f64, f64, f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_usize..50_000).prop_map(Step::Write),
        2 => (0_u64..50_000).prop_map(Step::Wait),
        1 => Just(Step::Cut),
        1 => Just(Step::CutOneWay),
        2 => Just(Step::Heal),
        1 => any::<bool>().prop_map(Step::Move),
        1 => (0.0..50.0, 0.0..20.0, 0.0..100.0, 0.0..20.0_f64).prop_map(|(a, b, c, d)| Step::Link(a, b, c, d)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn bytes_arrive_whole_and_in_order(steps in prop::collection::vec(step(), 1..40), seed: u64) {
        let rt = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        rt.block_on(async move {
            let net = Net::new(Transport::Memory, Seed(seed));
            net.set_link("a", "b", link(3.3));
            net.add_host("x", "a");
            net.add_host("y", "b");
            let mut listener = net.listen("y", 1).await.unwrap();
            let mut s = net.connect("x", "y", 1).await.unwrap();
            let mut far = listener.accept().await.unwrap();
            let reader = tokio::spawn(async move {
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                got
            });
            let (tx, mut rx) = tokio::sync::mpsc::unbounded_channel::<Vec<u8>>();
            let writer = tokio::spawn(async move {
                while let Some(data) = rx.recv().await {
                    s.write_all(&data).await.unwrap();
                }
                s.shutdown().await.unwrap();
                s
            });
            let mut sent = Vec::new();
            for step in steps {
                match step {
                    Step::Write(n) => {
                        let data: Vec<u8> = (0..n).map(|i| ((sent.len() + i) % 251) as u8).collect();
                        sent.extend_from_slice(&data);
                        tx.send(data).unwrap();
                    }
                    Step::Wait(us) => cfn_net::timer::sleep_until(Instant::now() + Duration::from_micros(us)).await,
                    Step::Cut => net.cut("a", "b"),
                    Step::CutOneWay => net.cut_one_way("a", "b"),
                    Step::Heal => net.heal("b", "a"),
                    Step::Move(home) => net.add_host("y", if home { "a" } else { "b" }),
                    Step::Link(latency, latency_variation, throughput_ul, packet_loss) => {
                        let spec = LinkSpec { latency, latency_variation, throughput_ul, packet_loss, ..LinkSpec::default() };
                        net.set_link("a", "b", spec);
                    }
                }
            }
            drop(tx);
            net.heal("a", "b");
            let _writer = writer.await.unwrap();
            let got = tokio::time::timeout(Duration::from_secs(36_000), reader).await.unwrap().unwrap();
            assert!(got == sent, "{} of {} bytes, or not the same", got.len(), sent.len());
        });
    }
}

#[tokio::test]
async fn memory_works_in_real_time_too() {
    let net = net(&[("a", "b", link(1.5))]);
    echo(net.listen("b", 80).await.unwrap());
    let mut s = net.connect("a", "b", 80).await.unwrap();
    let t = Instant::now();
    s.write_all(b"x").await.unwrap();
    s.read_exact(&mut [0]).await.unwrap();
    assert!(t.elapsed() >= Duration::from_millis(3));
}
