//! Whether a scenario makes sense on its topology and timers: every name known, every expression right, every
//! manifest there. All that is wrong is told at once, before anything runs.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::expr::{Expr, Value};
use super::fault::{Fault, FaultKind};
use super::step::{Apply, Check, Drive, Load, Query, Step, Verb};
use super::{Base, ScenarioFile, component, matching};
use crate::input::{At, Problem, Source, parse_documents};
use crate::timers::{Timers, names as timer_names};
use crate::topology::Topology;
use crate::topology::check::Checker;

struct Ctx<'a> {
    c: Checker<'a>,
    base: &'a Base,
    clusters: Vec<&'a str>,
    members: Vec<&'a str>,
    sites: Vec<&'a str>,
    nodes: Vec<String>,
    components: Vec<String>,
    road: bool,
    known_topology: bool,
    timers: Option<&'a Timers>,
    /// Names of steps and series that earlier steps made.
    steps: Vec<&'a At<String>>,
    faults: BTreeSet<&'a str>,
    series: BTreeSet<String>,
}

/// All that is wrong with a scenario, given its topology and timers (where they could be read).
pub fn check(
    source: &Source,
    file: &ScenarioFile,
    base: &Base,
    topology: Option<&Topology>,
    timers: Option<&Timers>,
) -> Vec<Problem> {
    let all = topology.iter().flat_map(|t| t.spec.clusters.iter());
    let nodes: Vec<String> = topology.iter().flat_map(|t| t.nodes().map(|(_, _, n)| n)).collect();
    let components = topology.map(component::all).unwrap_or_default();
    let mut x = Ctx {
        c: Checker {
            source,
            problems: Vec::new(),
        },
        base,
        clusters: all.map(|c| c.name.as_str()).collect(),
        members: topology
            .iter()
            .flat_map(|t| t.members().map(|m| m.name.as_str()))
            .collect(),
        sites: topology
            .iter()
            .flat_map(|t| t.spec.sites.iter().map(|s| s.name.as_str()))
            .collect(),
        nodes,
        components,
        road: topology.is_some_and(|t| t.spec.road.is_some()),
        known_topology: topology.is_some(),
        timers,
        steps: Vec::new(),
        faults: BTreeSet::new(),
        series: BTreeSet::new(),
    };
    x.c.heads(&file.api_version, &file.kind, "Scenario", &file.metadata.name);
    for col in &file.spec.collect {
        x.query(&col.query, &col.name);
        if let Some(e) = &col.every {
            x.duration(e);
        }
        x.define(&col.name);
    }
    if file.spec.steps.is_empty() {
        x.c.say(
            file.spec.id.location,
            "a scenario without steps".into(),
            "at least one step",
        );
    }
    let mut ids = BTreeSet::new();
    for step in &file.spec.steps {
        x.step(step);
        if let Some(a) = &step.assert {
            let id = a.id.as_ref().map_or_else(|| slug(&step.name), |i| i.value.clone());
            if !ids.insert(id.clone()) {
                let at = a.id.as_ref().map_or(step.name.location, |i| i.location);
                x.c.say(
                    at,
                    format!("duplicate assertion `{id}`"),
                    "an id that no other assertion of the scenario has",
                );
            }
        }
    }
    if ids.is_empty() && !file.spec.steps.is_empty() {
        x.c.say(
            file.spec.id.location,
            "a scenario that asserts nothing".into(),
            "at least one `assert` step",
        );
    }
    x.c.problems
}

/// A step's name as an id: `all on the survivor` is `all-on-the-survivor`.
#[must_use]
pub fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

impl<'a> Ctx<'a> {
    fn step(&mut self, step: &'a Step) {
        if let Some(first) = self.steps.iter().find(|n| n.value == step.name.value) {
            let message = format!(
                "duplicate step `{}` (the first is in line {})",
                step.name,
                first.location.line()
            );
            self.c.say(step.name.location, message, "a name that no other step has");
        }
        let verbs = step.verbs();
        let [verb] = verbs.as_slice() else {
            let said = verbs.iter().map(Verb::name).collect::<Vec<_>>().join(" and ");
            let message = if verbs.is_empty() {
                format!("step `{}` does nothing", step.name)
            } else {
                format!("step `{}` does several things: {said}", step.name)
            };
            self.c.say(step.name.location, message, "exactly one of apply, delete, patch, scale, drain, accept, leave, join, wait, assert, fault, heal, drive, load, measure, pause, snapshot");
            return;
        };
        match verb {
            Verb::Apply(a) => self.apply(a, &step.name),
            Verb::Delete(d) => self.cluster(&d.cluster),
            Verb::Patch(p) => self.cluster(&p.cluster),
            Verb::Scale(s) => self.cluster(&s.cluster),
            Verb::Snapshot(s) => self.cluster(&s.cluster),
            Verb::Drain(d) => self.node(&d.node),
            Verb::Accept(a) => a.clusters.iter().for_each(|c| self.member(c)),
            Verb::Leave(m) | Verb::Join(m) => self.member(&m.cluster),
            Verb::Wait(c) => {
                self.condition(c, &step.name);
                if c.within.is_none() {
                    self.c.say(
                        step.name.location,
                        "a wait without a bound".into(),
                        "`within`, an expression over timers",
                    );
                }
            }
            Verb::Assert(c) => self.condition(c, &step.name),
            Verb::Fault(f) => {
                self.fault(f);
                self.faults.insert(&step.name);
            }
            Verb::Heal(h) => {
                if !self.faults.contains(h.fault.as_str()) {
                    let names = self.faults.iter().copied();
                    let p = Problem::new(
                        self.c.source,
                        h.fault.location,
                        format!("no fault step `{}` before this", h.fault),
                    );
                    let p = p.one_of(&h.fault, names);
                    self.c.problems.push(p);
                }
            }
            Verb::Drive(d) => self.drive(d),
            Verb::Load(l) => self.load(l),
            Verb::Measure(m) => {
                match (&m.from, &m.to, &m.query) {
                    (from, Some(to), None) => {
                        for s in from.iter().chain([to]) {
                            if !self.steps.iter().any(|n| n.value == s.value) {
                                let names: Vec<&str> = self.steps.iter().map(|n| n.as_str()).collect();
                                let p = Problem::new(self.c.source, s.location, format!("no step `{s}` before this"));
                                self.c.problems.push(p.one_of(s.as_str(), names));
                            }
                        }
                    }
                    (None, None, Some(q)) => self.query(q, &m.series),
                    _ => self.c.say(
                        m.series.location,
                        "nothing to measure".into(),
                        "`to` (and `from`), or `query`",
                    ),
                }
                self.define(&m.series);
            }
            Verb::Pause(p) => self.duration(p),
        }
        self.steps.push(&step.name);
    }

    fn define(&mut self, name: &At<String>) {
        if timer_names().any(|t| t == name.as_str()) {
            self.c.say(
                name.location,
                format!("`{name}` is the name of a timer"),
                "another name",
            );
        }
        self.series.insert(name.value.clone());
    }

    fn cluster(&mut self, n: &At<String>) {
        if self.known_topology {
            self.c.known("cluster", n, &self.clusters);
        }
    }

    fn member(&mut self, n: &At<String>) {
        if self.known_topology {
            self.c.known("member cluster", n, &self.members);
        }
    }

    fn site(&mut self, n: &At<String>) {
        if self.known_topology {
            self.c.known("site", n, &self.sites);
        }
    }

    fn node(&mut self, n: &At<String>) {
        if self.known_topology {
            let nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
            self.c.known("node", n, &nodes);
        }
    }

    fn apply(&mut self, a: &Apply, name: &At<String>) {
        self.cluster(&a.cluster);
        if a.files.is_empty() && a.inline.is_none() {
            self.c
                .say(name.location, "nothing to apply".into(), "`files` or `inline`");
        }
        for f in &a.files {
            match self.base.read(f) {
                Err(p) => {
                    let mut q = Problem::new(self.c.source, f.location, format!("`{f}`: {}", p.message));
                    q.expected = p.expected;
                    q.nearest = p.nearest;
                    self.c.problems.push(q);
                }
                Ok(source) => match parse_documents(&source) {
                    Err(p) => self.c.problems.extend(p.0),
                    Ok(docs) => {
                        if let Some(what) = docs.iter().find_map(not_a_manifest) {
                            self.c
                                .problems
                                .push(Problem::of_file(&source.name, what).expected("Kubernetes manifests"));
                        }
                    }
                },
            }
        }
        if let Some(i) = &a.inline
            && let Some(what) = objects(i).iter().find_map(|o| not_a_manifest(o))
        {
            self.c.say(i.location, what, "a Kubernetes manifest, or a list of them");
        }
    }

    fn condition(&mut self, c: &Check, name: &At<String>) {
        match (&c.object, &c.that) {
            (Some(o), None) => {
                if c.cluster.is_none() && c.clusters.is_empty() {
                    self.c.say(o.location, "where?".into(), "`cluster` or `clusters`");
                }
                if c.absent && (c.count.is_some()) {
                    self.c
                        .say(o.location, "both `absent` and `count`".into(), "one of them");
                }
            }
            (None, Some(_)) => {}
            (Some(o), Some(_)) => self.c.say(o.location, "both `object` and `that`".into(), "one of them"),
            (None, None) => self
                .c
                .say(name.location, "nothing to check".into(), "`object` or `that`"),
        }
        for n in c.cluster.iter().chain(&c.clusters) {
            self.cluster(n);
        }
        for m in c.matches.iter().chain(&c.count) {
            self.operators(m);
        }
        for q in c.values.values() {
            self.query(q, name);
        }
        if let Some(that) = &c.that {
            let local: Vec<&str> = c.values.keys().map(String::as_str).collect();
            self.expression(that, &local);
        }
        for e in c.within.iter().chain(&c.holds) {
            self.duration(e);
        }
    }

    fn query(&mut self, q: &Query, name: &At<String>) {
        match (&q.object, &q.running) {
            (Some(o), None) => {
                if q.cluster.is_none() && q.clusters.is_empty() {
                    self.c.say(o.location, "where?".into(), "`cluster` or `clusters`");
                }
            }
            (None, Some(r)) => r.nodes.iter().for_each(|n| self.node(n)),
            _ => self
                .c
                .say(name.location, "what is asked?".into(), "either `object` or `running`"),
        }
        for n in q.cluster.iter().chain(&q.clusters) {
            self.cluster(n);
        }
        if let Some(m) = &q.matches {
            self.operators(m);
        }
        if q.path.is_none() && q.aggregate != super::Aggregate::Count && q.running.is_none() {
            self.c
                .say(name.location, "a sum of what?".into(), "`path` beside `aggregate`");
        }
    }

    fn operators(&mut self, m: &At<Json>) {
        for (path, op) in matching::wrong_operators(m) {
            let p = Problem::new(
                self.c.source,
                m.location,
                format!("`{op}` at `{path}` is not an operator alone in its map"),
            );
            self.c
                .problems
                .push(p.one_of(&op, matching::OPERATORS.iter().map(|(o, _)| *o)));
        }
    }

    /// An expression of which only timers are known now: it must be a time.
    fn duration(&mut self, e: &At<String>) {
        let Some(timers) = self.timers else { return };
        let get = |n: &str| match timers.get(n) {
            Some(d) => Some(Value::Time(d.as_secs_f64())),
            None => (n == super::LANE_TOLERANCE).then_some(Value::Time(0.0)),
        };
        if let Some(expr) = self.parsed(e)
            && self.names(&expr, e, &[])
            && let Err(err) = expr.duration(&get)
        {
            self.c.say(
                e.location,
                err.to_string(),
                "a time such as `2 * clusterMonitorPeriod + 1s`",
            );
        }
    }

    fn expression(&mut self, e: &At<String>, local: &[&str]) {
        if let Some(expr) = self.parsed(e) {
            self.names(&expr, e, local);
        }
    }

    fn parsed(&mut self, e: &At<String>) -> Option<Expr> {
        match Expr::parse(e) {
            Ok(x) => Some(x),
            Err(err) => {
                let said = err.to_string();
                let (what, expected) = said.split_once("; expected ").unwrap_or((&said, "an expression"));
                self.c.say(e.location, what.to_owned(), expected);
                None
            }
        }
    }

    fn names(&mut self, expr: &Expr, e: &At<String>, local: &[&str]) -> bool {
        let series: Vec<String> = self.series.iter().cloned().collect();
        let mut all_known = true;
        for n in expr.names() {
            let known = n == super::LANE_TOLERANCE
                || timer_names().any(|t| t == n)
                || local.contains(&n)
                || series.iter().any(|s| s == n);
            if !known {
                all_known = false;
                let p = Problem::new(self.c.source, e.location, format!("unknown timer or measurement `{n}`"));
                let mut valid: Vec<&str> = local.to_vec();
                valid.extend(series.iter().map(String::as_str));
                timer_names().for_each(|t| valid.push(t));
                self.c.problems.push(p.one_of(n, valid));
            }
        }
        all_known
    }

    fn fault(&mut self, f: &Fault) {
        use FaultKind::{
            Clock, Crash, FullDisk, Isolate, Kill, Memory, Partition, Pause, Reset, Shape, SlowDisk, Stop,
        };
        if let Some(n) = &f.node {
            self.node(n);
        }
        if let Some(c) = &f.cluster {
            self.cluster(c);
        }
        if let Some(s) = &f.site {
            self.site(s);
        }
        if let Some(b) = &f.between {
            b.iter().for_each(|s| self.site(s));
        }
        if let Some(c) = f.component.as_ref().filter(|_| self.known_topology) {
            let valid: Vec<String> = self.components.clone();
            self.c
                .known("component", c, &valid.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let targets = [
            f.node.is_some(),
            f.cluster.is_some(),
            f.site.is_some(),
            f.between.is_some(),
            f.component.is_some(),
        ];
        let (right, expected) = match f.kind.value {
            Kill => (targets == [false, false, false, false, true], "`component` alone"),
            Stop | Crash | Pause => (
                targets == [true, false, false, false, false] || targets == [false, true, false, false, false],
                "either `node` or `cluster`",
            ),
            Memory => (
                targets == [true, false, false, false, false] && f.mib.is_some(),
                "`node` and `mib`",
            ),
            FullDisk | SlowDisk | Clock => (targets == [true, false, false, false, false], "`node` alone"),
            Partition | Reset => (targets == [false, false, false, true, false], "`between` alone"),
            Isolate => (targets == [false, false, true, false, false], "`site` alone"),
            Shape => (
                targets == [false, false, false, true, false] && f.link.is_some(),
                "`between` and `link`",
            ),
        };
        if !right {
            self.c
                .say(f.kind.location, "this kind of fault has other targets".into(), expected);
        }
    }

    fn drive(&mut self, d: &Drive) {
        self.cluster(&d.records);
        self.c.known("policy", &d.policy, &["predictive", "reactive"]);
        if self.known_topology && !self.road {
            self.c.say(
                d.prefix.location,
                "the topology has no road".into(),
                "a topology with `road`, such as two-edges",
            );
        }
        if d.vehicles.value == 0 {
            self.c
                .say(d.vehicles.location, "nobody drives".into(), "at least 1 vehicle");
        }
        if let Some(f) = &d.fault {
            self.fault(&f.fault);
        }
        for s in super::run::drive::SERIES {
            self.series.insert(format!("{}.{s}", d.prefix));
        }
    }

    fn load(&mut self, l: &Load) {
        self.site(&l.from);
        l.clusters.iter().for_each(|c| self.cluster(c));
        if l.requests.value == 0 {
            self.c.say(l.requests.location, "no request".into(), "at least 1");
        }
        self.define(&l.series);
    }
}

/// One manifest, or a list of them.
#[must_use]
pub fn objects(v: &Json) -> Vec<&Json> {
    match v {
        Json::Array(a) => a.iter().collect(),
        v => vec![v],
    }
}

fn not_a_manifest(v: &Json) -> Option<String> {
    for field in ["apiVersion", "kind"] {
        if v.get(field).and_then(Json::as_str).is_none_or(str::is_empty) {
            return Some(format!("a manifest without `{field}`"));
        }
    }
    let m = v.get("metadata");
    let named = m
        .and_then(|m| m.get("name").or(m.get("generateName")))
        .and_then(Json::as_str);
    named.is_none().then(|| "a manifest without `metadata.name`".to_owned())
}
