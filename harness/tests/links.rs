//! Links between containers, measured: needs Docker and the image cfn.akraino.org/shaper:1 (`ci/images`), or another
//! with iproute2 and iptables by CFN_SHAPER_IMAGE, into which the cfn of this build is mounted. Without them the tests
//! are reported as ignored, with the reason.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use cfn::lane::docker::engine::Engine;
use cfn::link::measure::{self, Case, Figures};
use cfn::link::pair::{Host, Means, Pair};
use cfn::link::probe::{Amount, PORT};
use cfn::link::{Cidr, Rule, ShapeConfig};
use cfn_net::way::Hop;
use libtest_mimic::{Arguments, Failed, Trial};

const IMAGE: &str = "cfn.akraino.org/shaper:1";

/// How much longer than configured the median may be: two wake-ups of a shaper and one of the program, on two cores that
/// others use, too.
const SLACK: f64 = 1.5;

fn means() -> Means {
    match std::env::var("CFN_SHAPER_IMAGE") {
        Ok(image) => Means {
            image,
            program: Some(env!("CARGO_BIN_EXE_cfn").to_owned()),
        },
        Err(_) => Means {
            image: IMAGE.into(),
            program: None,
        },
    }
}

/// The daemon, or why there is none to test with.
fn needs(rt: &tokio::runtime::Runtime) -> Result<Engine, String> {
    let engine = rt.block_on(Engine::connect()).map_err(|e| e.to_string())?;
    let image = means().image;
    rt.block_on(engine.docker().inspect_image(&image))
        .map_err(|_| format!("no image {image}: ci/images builds it"))?;
    Ok(engine)
}

fn hop(latency: f64, packet_loss: f64, rate: f64) -> Hop {
    Hop {
        latency,
        packet_loss,
        rate,
        ..Hop::default()
    }
}

fn measured(rt: &tokio::runtime::Runtime, engine: &Engine) -> Result<(), Failed> {
    let case = |name: &str, hops: &[Hop]| Case {
        name: name.into(),
        hops: hops.to_vec(),
    };
    let cases = [
        case("1 ms", &[hop(1.0, 0.0, 0.0)]),
        case("9 ms", &[hop(9.0, 0.0, 0.0)]),
        case("two links", &[hop(4.0, 0.0, 0.0), hop(5.0, 0.0, 0.0)]),
        case("lossy", &[hop(5.0, 5.0, 0.0)]),
        case("20 Mbit/s", &[hop(2.0, 0.0, 20.0)]),
    ];
    let amount = Amount {
        requests: 200,
        datagrams: 2000,
        bulk_ms: 2000,
    };
    let m = rt.block_on(measure::measure(engine.clone(), means(), &cases, amount, |_| {}))?;
    println!("{}", measure::table(&m));
    let mut wrong = Vec::new();
    for f in &m.figures {
        wrong.extend(differs(f, amount));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Where figures are not as configured.
fn differs(f: &Figures, amount: Amount) -> Vec<String> {
    let name = &f.case.name;
    let latency: f64 = f.case.hops.iter().map(|h| h.latency).sum();
    let loss: f64 = f.case.hops.iter().map(|h| h.packet_loss).sum();
    let rate = f.case.hops.iter().map(|h| h.rate).fold(0.0, f64::max);
    let mut wrong = Vec::new();
    for (what, p50) in [("TCP", f.tcp_p50), ("UDP", f.udp_p50)] {
        if p50 < latency || p50 > latency + SLACK {
            wrong.push(format!("{name}: median over {what} {p50} ms, configured {latency} ms"));
        }
    }
    // Four standard deviations of a binomial share: one run in 16000 is beyond.
    let p = loss / 100.0;
    let deviation = 400.0 * (p * (1.0 - p) / f64::from(amount.datagrams)).sqrt();
    if (f.loss - loss).abs() > deviation {
        wrong.push(format!("{name}: {} % lost, configured {loss} %", f.loss));
    }
    if rate > 0.0 && !(rate * 0.75..=rate).contains(&f.throughput) {
        wrong.push(format!("{name}: {} Mbit/s, configured {rate}", f.throughput));
    }
    wrong
}

/// One connection from this machine to the far host, whose shaper treats this machine as a site.
struct Line<'a> {
    rt: &'a tokio::runtime::Runtime,
    pair: &'a Pair,
    conn: TcpStream,
}

impl Line<'_> {
    fn set(&self, cut: bool, resets: u64) -> Result<(), Failed> {
        let rule = Rule {
            site: "here".into(),
            from: vec![Cidr::new(self.pair.gateway(), 32)],
            hops: vec![hop(5.0, 0.0, 0.0)],
            cut,
            resets,
            ..Rule::default()
        };
        let config = ShapeConfig {
            seed: 1,
            rules: vec![rule],
        };
        self.rt.block_on(self.pair.set(Host::Far, &config))?;
        Ok(())
    }

    /// Whether what is sent comes back within `bound`.
    fn echoes(&mut self, bound: Duration) -> std::io::Result<bool> {
        let mut b = [1; 64];
        self.conn.set_read_timeout(Some(bound))?;
        self.conn.write_all(&b)?;
        self.answered(&mut b)
    }

    fn answered(&mut self, b: &mut [u8]) -> std::io::Result<bool> {
        match self.conn.read_exact(b) {
            Ok(()) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

fn cut_and_reset(rt: &tokio::runtime::Runtime, engine: &Engine) -> Result<(), Failed> {
    let pair = rt.block_on(Pair::up(engine.clone(), means()))?;
    let result = on_a_line(rt, &pair);
    rt.block_on(pair.down());
    result
}

fn on_a_line(rt: &tokio::runtime::Runtime, pair: &Pair) -> Result<(), Failed> {
    let far = SocketAddr::from((pair.address_of(Host::Far), PORT));
    let connect = |bound| TcpStream::connect_timeout(&far, bound);
    let mut conn = connect(Duration::from_secs(5))?;
    conn.set_nodelay(true)?;
    conn.write_all(b"e")?;
    let mut line = Line { rt, pair, conn };
    let second = Duration::from_secs(1);
    line.set(false, 0)?;
    let check = |what: &str, holds: bool| {
        if holds {
            Ok(())
        } else {
            Err(Failed::from(what.to_owned()))
        }
    };
    check("an echo over a link that is whole", line.echoes(5 * second)?)?;

    line.set(true, 0)?;
    check("nothing over a link that is cut", !line.echoes(second)?)?;
    check("no new connection either", connect(second).is_err())?;

    line.set(false, 0)?;
    line.conn.set_read_timeout(Some(20 * second))?;
    let mut b = [0; 64];
    check(
        "what was sent meanwhile arrives after the heal, as TCP sends it again",
        line.answered(&mut b)?,
    )?;
    check("and what is sent then", line.echoes(5 * second)?)?;

    line.set(false, 1)?;
    let ended = line.echoes(5 * second);
    check(
        &format!("a connection that is reset says so: {ended:?}"),
        ended.is_err_and(|e| matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
    )?;
    let mut again = connect(5 * second)?;
    again.write_all(b"e")?;
    Ok(())
}

type Body = fn(&tokio::runtime::Runtime, &Engine) -> Result<(), Failed>;

fn main() {
    let args = Arguments::from_args();
    let tests: [(&str, Body); 2] = [
        ("a_link_does_what_it_is_told", measured),
        ("cuts_hold_connections_and_resets_end_them", cut_and_reset),
    ];
    let rt = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map(Arc::new);
    let trials = match rt {
        Err(e) => vec![Trial::test("a runtime", move || Err(e.to_string().into()))],
        Ok(rt) => match needs(&rt) {
            Ok(engine) => tests
                .into_iter()
                .map(|(name, f)| {
                    let (rt, engine) = (rt.clone(), engine.clone());
                    Trial::test(name, move || f(&rt, &engine))
                })
                .collect(),
            Err(why) => tests.into_iter().map(|(name, _)| common::ignored(name, &why)).collect(),
        },
    };
    // One after the other: they measure time, and each makes a network of the same name.
    let args = Arguments {
        test_threads: Some(1),
        ..args
    };
    libtest_mimic::run(&args, trials).exit();
}
