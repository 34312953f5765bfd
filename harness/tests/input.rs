//! What a person who writes a wrong file is told: file, line, column, what was expected, the nearest valid name.

use cfn::bundled;
use cfn::input::{Problems, Source};
use cfn::scenario::{Base, Overrides, Scenario};
use cfn::timers::Timers;
use cfn::topology::Topology;

const TOPOLOGY: &str = "\
apiVersion: cfn.akraino.org/v1alpha1
kind: Topology
metadata:
  name: small
spec:
  sites:
    - {name: center, role: center}
    - {name: edge, role: edge}
  links:
    - {between: [center, edge], latency: 5ms, packetLoss: 0.1%}
  clusters:
    - name: hub
      site: center
      role: hub
    - name: member1
      site: edge
      role: member
      nodes:
        - {name: node-1, cpu: \"4\", memory: 8Gi}
";

const SCENARIO: &str = "\
apiVersion: cfn.akraino.org/v1alpha1
kind: Scenario
metadata:
  name: small
spec:
  id: X-01
  title: a test
  profile: phase1
  level: core
  reference: none
  topology: r7-lab
  steps:
    - name: members are there
      assert:
        cluster: control
        object: {apiVersion: cluster.karmada.io/v1alpha1, kind: Cluster}
        match: {status: {conditions: {$any: {type: Ready}}}}
        within: 2 * clusterMonitorPeriod
";

fn told(p: Result<(), Problems>) -> String {
    p.map_or_else(|p| p.to_string(), |()| "nothing wrong".to_owned())
}

fn topology(text: &str) -> String {
    told(Topology::read(&Source::new("t.yaml", text)).map(|_| ()))
}

fn scenario(text: &str) -> String {
    let base = Base::Dir("/nowhere".into());
    told(Scenario::read(Source::new("s.yaml", text), base, &Overrides::default()).map(|_| ()))
}

fn check(cases: &[(&str, &str, &str)], text: &str, read: fn(&str) -> String) {
    assert_eq!(read(text), "nothing wrong");
    for (from, to, want) in cases {
        assert!(text.contains(from), "{from}");
        let said = read(&text.replacen(from, to, 1));
        assert!(
            said.contains(want),
            "{from} -> {to}\n  wanted: {want}\n  said:   {said}"
        );
    }
}

#[test]
fn topologies() {
    check(
        &[
            (
                "latency: 5ms",
                "latancy: 5ms",
                "t.yaml:10:33: unknown field `latancy` (expected one of",
            ),
            ("latency: 5ms", "latancy: 5ms", "did you mean `latency`?"),
            ("latency: 5ms", "latency: 5", "t.yaml:10:42: `5` has no unit"),
            ("latency: 5ms", "latency: -5ms", "t.yaml:10:42: `-5ms` is negative"),
            ("packetLoss: 0.1%", "packetLoss: 0.1", "`0.1` has no unit"),
            ("packetLoss: 0.1%", "packetLoss: 101%", "more than everything"),
            ("memory: 8Gi", "memory: 8", "t.yaml:19:44: `8` has no unit"),
            ("cpu: \"4\"", "cpu: \"-4\"", "`-4` is negative"),
            (
                "between: [center, edge]",
                "between: [center, egde]",
                "t.yaml:10:26: unknown site `egde` (expected one of `center`, `edge`; did you mean `edge`?)",
            ),
            (
                "name: member1",
                "name: hub",
                "t.yaml:15:13: duplicate cluster `hub` (the first is in line 12)",
            ),
            ("role: hub", "role: hubb", "unknown value `hubb`"),
            ("role: hub", "role: member", "no cluster is the hub"),
            ("role: member", "role: hub", "a second hub `member1`"),
            ("site: edge", "site: egde", "t.yaml:16:13: unknown site `egde`"),
            ("name: node-1", "name: Node_1", "`Node_1` is not a name"),
            (
                "kind: Topology",
                "kind: Toplogy",
                "t.yaml:2:7: kind `Toplogy` (expected one of `Topology`; did you mean `Topology`?)",
            ),
            (
                "    - {between: [center, edge], latency: 5ms, packetLoss: 0.1%}\n",
                "    []\n",
                "no way leads from site `center` to site `edge`",
            ),
            ("sites:\n", "sites: [\n", "broken YAML"),
        ],
        TOPOLOGY,
        topology,
    );
}

#[test]
fn all_of_a_topology_at_once() {
    let wrong = TOPOLOGY
        .replace("site: edge", "site: egde")
        .replace("[center, edge]", "[centre, edge]");
    assert!(topology(&wrong).lines().count() >= 2, "{}", topology(&wrong));
}

#[test]
fn scenarios() {
    check(
        &[
            (
                "cluster: control",
                "cluster: contrl",
                "s.yaml:15:18: unknown cluster `contrl` (expected one of `control`, `member1`, `member2`; did you mean `control`?)",
            ),
            (
                "topology: r7-lab",
                "topology: r7-lap",
                "s.yaml:11:13: unknown topology `r7-lap`",
            ),
            (
                "  topology: r7-lab\n",
                "  topology: r7-lab\n  timers: fats\n",
                "s.yaml:12:11: unknown timer profile `fats` (expected one of",
            ),
            (
                "clusterMonitorPeriod",
                "clusterMonitorPeroid",
                "unknown timer or measurement `clusterMonitorPeroid`",
            ),
            (
                "clusterMonitorPeriod",
                "clusterMonitorPeroid",
                "did you mean `clusterMonitorPeriod`?",
            ),
            ("2 * clusterMonitorPeriod", "2 *", "it ends too early"),
            ("2 * clusterMonitorPeriod", "\"20\"", "is 20, not a time"),
            (
                "$any",
                "$some",
                "`$some` at `status.conditions.$some` is not an operator",
            ),
            ("      assert:\n", "      asert:\n", "unknown field `asert`"),
            (
                "      assert:\n",
                "      pause: 1s\n      assert:\n",
                "does several things: assert and pause",
            ),
            (
                "cluster: control\n",
                "cluster: control\n        that: 1 == 1\n",
                "both `object` and `that`",
            ),
            (
                "  steps:\n",
                "  steps:\n    - name: manifests\n      apply: {cluster: control, files: [nothing.yaml]}\n",
                "`nothing.yaml`: there is no such file",
            ),
            (
                "  steps:\n",
                "  steps:\n    - name: manifests\n      apply: {cluster: control, inline: {kind: Pod}}\n",
                "a manifest without `apiVersion`",
            ),
            (
                "  steps:\n",
                "  steps:\n    - name: mend\n      heal: {fault: nothing}\n",
                "no fault step `nothing` before this",
            ),
            (
                "  steps:\n",
                "  steps:\n    - name: break\n      fault: {kind: crash, site: rack-1}\n",
                "this kind of fault has other targets (expected either `node` or `cluster`)",
            ),
        ],
        SCENARIO,
        scenario,
    );
}

#[test]
fn what_is_bundled_is_right() {
    for (name, text) in bundled::TOPOLOGIES {
        Topology::read(&Source::new(*name, *text)).unwrap_or_else(|p| panic!("{p}"));
    }
    for name in Timers::bundled_names() {
        Timers::find(name).unwrap_or_else(|p| panic!("{p}"));
    }
    for (path, text) in bundled::SCENARIOS
        .iter()
        .filter(|(_, t)| t.lines().any(|l| l == "kind: Scenario"))
    {
        let dir = path.rsplit_once('/').map_or("", |(d, _)| d).to_owned();
        let source = Source::new(*path, *text);
        Scenario::read(source, Base::Bundled(dir), &Overrides::default()).unwrap_or_else(|p| panic!("{p}"));
    }
}

/// `CFN_BLESS=1` writes them.
#[test]
fn schemas_are_published() {
    for (name, text) in [
        ("topology", cfn::cli::schema::topology()),
        ("scenario", cfn::cli::schema::scenario()),
        ("flavour", cfn::cli::schema::flavour()),
    ] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.json"));
        if std::env::var_os("CFN_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            published == text,
            "{} is not what `cfn schema {name}` prints: CFN_BLESS=1 writes it",
            path.display()
        );
    }
}

#[test]
fn a_run_that_is_refused_leaves_nothing() -> std::io::Result<()> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("a/b");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_cfn"))
        .args(["run", "--lane", "docker", "P1-01", "--out"])
        .arg(&out)
        .env("DOCKER_HOST", format!("unix://{}/none.sock", dir.path().display()))
        .output()?;
    assert_eq!(run.status.code(), Some(3), "{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(std::fs::read_dir(dir.path())?.count(), 0);
    Ok(())
}
