//! A made-up run, for tests of the report only: every kind of verdict, event, plot and map occurs in it.

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_net::Seed;
use rand::RngExt as _;

use crate::evidence::{
    Bound, Cluster, ClusterDecision, Decision, Event, EventKind, Level, Link, Map, RunResult, Sample, ScenarioResult,
    Site, Source, Status, StepOutcome, StepResult, Verdict,
};

fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn step(verb: &str, title: &str, began: u64, ended: u64) -> StepResult {
    let outcome = StepOutcome::Done;
    StepResult {
        verb: verb.into(),
        title: title.into(),
        began: ms(began),
        ended: ms(ended),
        outcome,
    }
}

fn verdict(id: &str, source: Source, clause: &str, expected: &str, seen: &str, status: Status) -> Verdict {
    let (expected, seen) = (expected.into(), seen.into());
    Verdict {
        id: id.into(),
        source,
        clause: clause.into(),
        expected,
        seen,
        bound: None,
        samples: None,
        status,
    }
}

fn scenario(id: &str, title: &str, profile: &str, level: Level, topology: &str) -> ScenarioResult {
    ScenarioResult {
        id: id.into(),
        title: title.into(),
        profile: profile.into(),
        level,
        source: Source::Blueprint,
        reference: "R7 test document".into(),
        topology: topology.into(),
        timer_profile: "fast".into(),
        timers: BTreeMap::from([
            ("clusterFailureThreshold".into(), "1 s".into()),
            ("failoverEvictionTimeout".into(), "2 s".into()),
        ]),
        lane: "sim".into(),
        seed: 7,
        ..ScenarioResult::default()
    }
}

/// The small run: what the snapshots show.
pub fn small() -> RunResult {
    let mut weights = scenario(
        "CFN-R7-C1",
        "Scheduling by cluster weight",
        "phase1",
        Level::Core,
        "two-sites",
    );
    weights.duration = ms(1234);
    weights.steps = vec![
        step("apply", "sentiment.yaml", 0, 80),
        step("wait", "Deployment sentiment is Ready", 80, 1234),
    ];
    weights.events = vec![
        Event::new(
            ms(60),
            EventKind::Decision,
            "default/sentiment",
            "member1: 1, member2: 1",
        ),
        Event::new(
            ms(900),
            EventKind::Object,
            "Pod default/sentiment-1",
            "Ready <again> & \"again\"",
        )
        .at_place("member1"),
    ];
    weights.decisions = vec![Decision {
        at: ms(60),
        subject: "ResourceBinding default/sentiment-deployment".into(),
        outcome: "member1: 1, member2: 1".into(),
        clusters: vec![
            ClusterDecision {
                cluster: "member1".into(),
                feasible: true,
                scores: BTreeMap::from([("weight".into(), "1".into())]),
                replicas: Some(1),
                ..ClusterDecision::default()
            },
            ClusterDecision {
                cluster: "gpu".into(),
                feasible: false,
                reasons: vec!["ClusterAffinity: not among the names".into()],
                ..ClusterDecision::default()
            },
        ],
    }];
    weights.verdicts = vec![verdict(
        "one-each",
        Source::Blueprint,
        "R7 test document, case 1",
        "1 replica on member1, 1 on member2, Ready",
        "1 on member1, 1 on member2, Ready",
        Status::Passed,
    )];

    let mut failover = scenario("P1-05", "A member is lost", "phase1", Level::Core, "two-sites");
    failover.duration = ms(9000);
    let mut late = verdict(
        "in-time",
        Source::Karmada,
        "sum of the active timers + 10 %",
        "all on member2 within the bound",
        "all on member2 after 4.1 s",
        Status::Failed,
    );
    late.bound = Some(Bound {
        expression: "(1 s + 2 s) * 1.1".into(),
        value: 3300.0,
        unit: "ms".into(),
    });
    failover.verdicts = vec![late];
    let mut fault = Event::new(ms(2000), EventKind::Fault, "isolate member1", "partition").at_place("member1");
    fault.until = Some(ms(7000));
    failover.events = vec![
        fault,
        Event::new(ms(7000), EventKind::Heal, "isolate member1", "").at_place("member1"),
    ];

    let mut registry = scenario(
        "P1-06",
        "The registry is lost too",
        "phase1",
        Level::Extended,
        "two-sites",
    );
    registry.source = Source::Own;
    let reason = "the lane has no registry".to_owned();
    registry.verdicts = vec![verdict(
        "pulls",
        Source::Own,
        "P1-06",
        "named",
        "",
        Status::Skipped { reason },
    )];

    let site = |name: &str, level: &str, clusters: Vec<Cluster>| Site {
        name: name.into(),
        level: level.into(),
        clusters,
    };
    let cluster = |name: &str, role: &str, nodes: &[&str]| Cluster {
        name: name.into(),
        role: role.into(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
    };
    let map = Map {
        name: "two-sites".into(),
        sites: vec![
            site("rack", "center", vec![cluster("hub", "hub", &["h1", "h2"])]),
            site("street", "edge", vec![cluster("member1", "member", &["e1"])]),
        ],
        links: vec![Link {
            from: "rack".into(),
            to: "street".into(),
            latency: "9.4 ms".into(),
            detail: "loss 0.1 %".into(),
        }],
    };
    RunResult {
        version: "0.1.0".into(),
        lane: "sim".into(),
        seed: 7,
        command: "cfn run --lane sim --seed 7".into(),
        started: "2026-01-02T03:04:05Z".into(),
        duration: ms(321),
        host: BTreeMap::from([("cpu".into(), "2 cores".into()), ("kernel".into(), "Linux 6.1".into())]),
        interrupted: false,
        scenarios: vec![weights, failover, registry],
        topologies: BTreeMap::from([("two-sites".into(), map)]),
    }
}

/// The small run with an application phase: plots, relocations, more sites.
pub fn large() -> RunResult {
    let mut run = small();
    let mut rng = Seed(7).rng("sample");
    let mut drive = scenario(
        "P3-06",
        "Interruption: predictive against reactive",
        "phase3",
        Level::Extended,
        "city",
    );
    drive.source = Source::Own;
    drive.reference = "longest gap between served messages minus the nominal interval".into();
    drive.duration = ms(62_000);
    drive.steps = vec![
        step("apply", "roadside.yaml", 0, 900),
        step("drive", "12 vehicles, predictive", 900, 30_000),
        step("drive", "12 vehicles, reactive", 30_000, 60_500),
        step("assert", "interruption", 60_500, 62_000),
    ];
    let mut fault = Event::new(ms(12_000), EventKind::Fault, "cut edge-a – edge-b", "both ways").at_place("edge-a");
    fault.until = Some(ms(15_000));
    drive.events.push(fault);
    for i in 0..40_u64 {
        let at = ms(1_500 + i * 1_450);
        drive.events.push(
            Event::new(
                at,
                EventKind::Vehicle,
                format!("vehicle-{}", i % 12),
                "crosses to edge-b",
            )
            .at_place("edge-a"),
        );
        drive.events.push(Event::new(
            at,
            EventKind::Relocation,
            format!("vehicle-{}", i % 12),
            "INTERHOST_MOVEOUT_COMPLETED",
        ));
    }
    for i in 0..4000_u64 {
        for (variant, base) in [("predictive", 14.0), ("reactive", 19.0)] {
            let tail = if rng.random_range(0..100) == 0 { 60.0 } else { 12.0 };
            let value = base + rng.random_range(0.0..tail) + rng.random_range(0.0..6.0);
            let series = format!("{variant}.roundTrip");
            drive.record(Sample {
                series,
                value,
                unit: "ms".into(),
                at: ms(900 + i * 14),
            });
        }
    }
    for i in 0..24_u64 {
        for (variant, base, spread) in [("predictive", 18.0, 30.0), ("reactive", 160.0, 190.0)] {
            let value = base + rng.random_range(0.0..spread);
            let series = format!("{variant}.interruption");
            drive.record(Sample {
                series,
                value,
                unit: "ms".into(),
                at: ms(1_500 + i * 1_450),
            });
        }
    }
    for series in drive.series.values_mut() {
        series.budget = Some(100.0);
    }
    for (at, value) in [(0, 0.0), (900, 2.0), (12_100, 1.0), (16_000, 2.0)] {
        drive.record(Sample {
            series: "replicas".into(),
            value,
            unit: String::new(),
            at: ms(at),
        });
    }
    for (variant, value) in [("predictive", 24.0), ("reactive", 24.0)] {
        drive.record(Sample {
            series: format!("{variant}.crossings"),
            value,
            unit: String::new(),
            at: ms(60_000),
        });
    }
    let mut half = verdict(
        "half",
        Source::Own,
        "P3-06",
        "median predictive interruption is at most half of the reactive one",
        "31.2 ms against 244.9 ms",
        Status::Passed,
    );
    half.bound = Some(Bound {
        expression: "244.9 ms / 2".into(),
        value: 122.45,
        unit: "ms".into(),
    });
    half.samples = drive
        .series
        .get("predictive.interruption")
        .map(|series| series.summary("predictive.interruption"));
    let mut round = verdict(
        "round-trip",
        Source::ThreeGpp,
        "TS 22.186 R.5.4-001",
        "<= 100 ms for >= 99 %",
        "4000 of 4000 messages within 100 ms",
        Status::Passed,
    );
    round.samples = drive
        .series
        .get("predictive.roundTrip")
        .map(|series| series.summary("predictive.roundTrip"));
    drive.verdicts = vec![half, round];
    run.scenarios.push(drive);

    let mut joint = scenario("P2-05", "Joint oracle", "phase2", Level::Extended, "joint-oracle");
    joint.source = Source::Cats;
    joint.duration = ms(4200);
    joint.verdicts = vec![verdict(
        "joint",
        Source::Cats,
        "joint metric example",
        "site3 at 19.4 ms",
        "site3 at 19.4 ms",
        Status::Passed,
    )];
    run.scenarios.push(joint);

    let site = |name: &str, level: &str, clusters: &[(&str, &str, usize)]| Site {
        name: name.into(),
        level: level.into(),
        clusters: clusters
            .iter()
            .map(|(cluster, role, nodes)| Cluster {
                name: (*cluster).into(),
                role: (*role).into(),
                nodes: (0..*nodes).map(|i| format!("{cluster}-node-{i}")).collect(),
            })
            .collect(),
    };
    let link = |from: &str, to: &str, latency: &str| Link {
        from: from.into(),
        to: to.into(),
        latency: latency.into(),
        detail: "1 Gbit/s, loss 0 %".into(),
    };
    run.topologies.insert(
        "city".into(),
        Map {
            name: "city".into(),
            sites: vec![
                site("cloud", "center", &[("hub", "hub", 2), ("public", "member", 6)]),
                site("edge-a", "edge", &[("edge-a", "member", 2)]),
                site("edge-b", "edge", &[("edge-b", "member", 2)]),
                site("edge-c", "edge", &[("edge-c", "member", 1)]),
                site("road-west", "terminal", &[]),
                site("road-east", "terminal", &[]),
            ],
            links: vec![
                link("cloud", "edge-a", "20 ms ± 2 ms"),
                link("cloud", "edge-b", "22 ms ± 2 ms"),
                link("cloud", "edge-c", "25 ms ± 2 ms"),
                link("edge-a", "edge-b", "4 ms"),
                link("edge-b", "edge-c", "4 ms"),
                link("edge-a", "edge-c", "7 ms"),
                link("road-west", "edge-a", "5 ms"),
                link("road-west", "edge-b", "9 ms"),
                link("road-east", "edge-b", "8 ms"),
                link("road-east", "edge-c", "5 ms"),
            ],
        },
    );
    let members: Vec<String> = (1..=3).map(|i| format!("site{i}")).collect();
    let mut sites = vec![site("client", "", &[]), site("center", "", &[("hub", "hub", 1)])];
    sites.extend(
        members
            .iter()
            .map(|name| site(name, "", &[(name.as_str(), "member", 1)])),
    );
    let mut links = vec![link("client", "center", "9.4 ms")];
    links.extend(members.iter().map(|name| link("client", name, "5 ms")));
    run.topologies.insert(
        "joint-oracle".into(),
        Map {
            name: "joint-oracle".into(),
            sites,
            links,
        },
    );
    run
}
