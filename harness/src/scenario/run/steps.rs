//! What each kind of step does.

use std::time::Duration;

use tokio::time::Instant;

use super::super::check::objects as manifests;
use super::super::expr::{Expr, Value};
use super::super::fault::Fault;
use super::super::step::{Apply, Check, Measure, Snapshot, Step, Verb};
use super::condition::{Seen, clusters};
use super::{Bench, Options, Progress, verdict_id};
use crate::evidence::{Bound, Event, EventKind, Sample, Status, Verdict};
use crate::input::{parse_documents, show_duration};

/// Longest wait between two looks at what no watch tells about.
const POLL_LIMIT: Duration = Duration::from_millis(500);

/// What an assertion expects, in words.
pub fn expectation(step: &Step, c: &Check) -> String {
    if let Some(e) = &c.expected {
        return e.clone();
    }
    match (&c.that, &c.object) {
        (Some(t), _) => t.value.clone(),
        (None, Some(o)) if c.absent => format!(
            "no {} in {}",
            o.value,
            clusters(c.cluster.as_ref(), &c.clusters).join(", ")
        ),
        (None, Some(o)) => {
            let count = c
                .count
                .as_ref()
                .map(|n| format!(", count {}", n.value))
                .unwrap_or_default();
            let like = c
                .matches
                .as_ref()
                .map(|m| format!(" like {}", m.value))
                .unwrap_or_default();
            format!(
                "{}{like}{count} in {}",
                o.value,
                clusters(c.cluster.as_ref(), &c.clusters).join(", ")
            )
        }
        (None, None) => step.name.value.clone(),
    }
}

impl Bench {
    /// Does one step; says what was done.
    pub(super) async fn step(&self, step: &Step, verb: &Verb<'_>, options: &Options) -> Result<String, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        match verb {
            Verb::Apply(a) => self.apply(a).await,
            Verb::Delete(d) => {
                let n = self.objects.delete(&d.cluster, &d.object).await.map_err(|e| text(&e))?;
                Ok(format!("{n} deleted"))
            }
            Verb::Patch(p) => {
                let done = self
                    .objects
                    .patch(&p.cluster, &p.object, p.kind, &p.patch, p.subresource.as_deref())
                    .await;
                done.map_err(|e| text(&e))?;
                Ok(format!("{} patched", p.object.value))
            }
            Verb::Scale(s) => {
                let patch = serde_json::json!({"spec": {"replicas": s.replicas}});
                let kind = super::super::PatchKind::Merge;
                self.objects
                    .patch(&s.cluster, &s.object, kind, &patch, Some("scale"))
                    .await
                    .map_err(|e| text(&e))?;
                Ok(format!("{} scaled to {}", s.object.value, s.replicas))
            }
            Verb::Drain(d) => {
                let node = d.node.as_str();
                let cluster = self
                    .testbed
                    .topology
                    .nodes()
                    .find(|(_, _, n)| n == node)
                    .map(|(c, _, _)| c.name.value.clone());
                let n = self
                    .objects
                    .drain(&cluster.unwrap_or_default(), node)
                    .await
                    .map_err(|e| text(&e))?;
                Ok(format!("{node} cordoned, {n} pods evicted"))
            }
            Verb::Accept(a) => {
                for c in &a.clusters {
                    self.testbed.controls.accept(c).await.map_err(|e| text(&e))?;
                }
                Ok("accepted".into())
            }
            Verb::Leave(m) => self
                .testbed
                .controls
                .leave(&m.cluster)
                .await
                .map(|()| "left".into())
                .map_err(|e| text(&e)),
            Verb::Join(m) => self
                .testbed
                .controls
                .join(&m.cluster)
                .await
                .map(|()| "joining".into())
                .map_err(|e| text(&e)),
            Verb::Wait(c) => {
                let (seen, _) = self.until(c).await?;
                if seen.good {
                    Ok(seen.text)
                } else {
                    Err(self.too_late(c, &seen))
                }
            }
            Verb::Assert(c) => self.assert(step, c, options).await,
            Verb::Fault(f) => {
                self.break_it(&step.name, f).await?;
                Ok(describe(f))
            }
            Verb::Heal(h) => {
                let all = &self.scenario.file.spec.steps;
                let fault = all
                    .iter()
                    .find(|s| s.name.value == h.fault.value)
                    .and_then(|s| s.fault.as_ref());
                let Some(f) = fault else {
                    return Err(format!("no fault `{}`", h.fault));
                };
                self.mend(&h.fault, f).await?;
                Ok(format!("{} mended", describe(f)))
            }
            Verb::Drive(d) => self.drive(d).await,
            Verb::Load(l) => self.load(l).await,
            Verb::Measure(m) => self.measure(m).await,
            Verb::Pause(e) => {
                let d = self.duration(e)?;
                tokio::time::sleep(d).await;
                Ok(show_duration(d))
            }
            Verb::Snapshot(s) => self.snapshot(s).await,
        }
    }

    /// Everything the topology promises is there: every node Ready, and, where registrations are accepted, every
    /// member Ready on the hub with all of its nodes counted.
    pub(super) async fn until_ready(&self, options: &Options) -> Result<(), String> {
        use crate::input::At;
        let t = &self.testbed.topology;
        let within = At::nowhere(
            "clusterStartupGracePeriod + clusterStatusUpdateFrequency + clusterSuccessThreshold + 10s".to_owned(),
        );
        let object = |api_version: &str, kind: &str| super::super::ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            namespace: None,
            name: None,
            label_selector: None,
        };
        let ready = serde_json::json!({"status": {"conditions": {"$any": {"type": "Ready", "status": "True"}}}});
        let mut checks = Vec::new();
        for c in &t.spec.clusters {
            let nodes = c.node_count() as u64;
            if nodes > 0 {
                checks.push((c.name.value.clone(), object("v1", "Node"), nodes, ready.clone()));
            }
        }
        if t.spec.auto_accept {
            let members = t.members().count() as u64;
            checks.push((
                t.hub().name.value.clone(),
                object("cluster.karmada.io/v1alpha1", "Cluster"),
                members,
                ready,
            ));
            // A member can be Ready before its agent has seen its nodes: the hub would take it for full.
            for m in t.members().filter(|m| m.node_count() > 0) {
                let mut cluster = object("cluster.karmada.io/v1alpha1", "Cluster");
                cluster.name = Some(m.name.value.clone());
                let counted = serde_json::json!({"status": {"nodeSummary": {"readyNum": m.node_count()}}});
                checks.push((t.hub().name.value.clone(), cluster, 1, counted));
            }
        }
        let began = self.at();
        for (cluster, object, count, matches) in checks {
            let check = Check {
                cluster: Some(At::nowhere(cluster)),
                object: Some(At::nowhere(object)),
                matches: Some(At::nowhere(matches)),
                count: Some(At::nowhere(count.into())),
                within: Some(within.clone()),
                ..empty_check()
            };
            let looked = tokio::select! {
                biased;
                () = options.cancel.cancelled() => return Err("interrupted".into()),
                looked = self.until(&check) => looked?,
            };
            if !looked.0.good {
                return Err(format!(
                    "the testbed did not become ready: {}",
                    self.too_late(&check, &looked.0)
                ));
            }
        }
        let mut e = Event::new(began, EventKind::Note, "testbed", "every node and member is Ready");
        e.until = Some(self.at());
        self.event(e);
        Ok(())
    }

    fn too_late(&self, c: &Check, seen: &Seen) -> String {
        match c.within.as_ref().map(|w| (w, self.duration(w))) {
            Some((w, Ok(d))) => format!("not within {} ({w}); last seen: {}", show_duration(d), seen.text),
            _ => format!("last seen: {}", seen.text),
        }
    }

    async fn apply(&self, a: &Apply) -> Result<String, String> {
        let mut applied = Vec::new();
        for f in &a.files {
            let source = self.scenario.base.read(f).map_err(|e| e.to_string())?;
            for doc in parse_documents(&source).map_err(|e| e.to_string())? {
                applied.push(self.objects.apply(&a.cluster, &doc).await.map_err(|e| e.to_string())?);
            }
        }
        if let Some(i) = &a.inline {
            for doc in manifests(i) {
                applied.push(self.objects.apply(&a.cluster, doc).await.map_err(|e| e.to_string())?);
            }
        }
        Ok(applied.join(", "))
    }

    /// Looks until a check is good and stays so, or its bound passes. Says what was seen last, and when (after the
    /// begin) it became good.
    pub(super) async fn until(&self, c: &Check) -> Result<(Seen, Option<Duration>), String> {
        let began = Instant::now();
        let within = c.within.as_ref().map(|w| self.duration(w)).transpose()?;
        let holds = c.holds.as_ref().map(|h| self.duration(h)).transpose()?;
        let mut changes = self.wakeups.subscribe();
        let poll = self.watch_for(c).await;
        let deadline = began + within.unwrap_or_default();
        let mut seen = self.look_until(c, &mut changes, poll, deadline, true).await;
        let good_at = seen.good.then(|| began.elapsed());
        if let (true, Some(holds)) = (seen.good, holds) {
            let end = Instant::now() + holds;
            let last = self.look_until(c, &mut changes, poll, end, false).await;
            if !last.good {
                let text = format!(
                    "{}, {} after it was: {}",
                    "no longer so",
                    show_duration(began.elapsed() - good_at.unwrap_or_default()),
                    last.text
                );
                seen = Seen { good: false, text };
            }
        }
        Ok((seen, good_at))
    }

    /// Looks at every change until the check is `wanted`, or until `deadline`; what was seen last.
    async fn look_until(
        &self,
        c: &Check,
        changes: &mut tokio::sync::watch::Receiver<u64>,
        poll: bool,
        deadline: Instant,
        wanted: bool,
    ) -> Seen {
        let step =
            (deadline.saturating_duration_since(Instant::now()) / 200).clamp(Duration::from_millis(10), POLL_LIMIT);
        loop {
            changes.borrow_and_update();
            let seen = self.look(c).await;
            if seen.good == wanted || Instant::now() >= deadline {
                return seen;
            }
            // Without a watch on everything that the check is about, a look now and then.
            let next = if poll {
                (Instant::now() + step).min(deadline)
            } else {
                deadline
            };
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() { return seen },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn assert(&self, step: &Step, c: &Check, options: &Options) -> Result<String, String> {
        let (seen, good_at) = self.until(c).await?;
        let spec = &self.scenario.file.spec;
        let (bound, samples) = self.bound(c);
        let mut text = seen.text.clone();
        if let (Some(t), Some(w)) = (good_at, &c.within)
            && seen.good
        {
            text = format!(
                "{text} (after {}, allowed {})",
                show_duration(t),
                self.duration(w).map(show_duration).unwrap_or_default()
            );
        } else if !seen.good && c.within.is_some() {
            text = self.too_late(c, &seen);
        }
        let verdict = Verdict {
            id: verdict_id(step, c),
            source: c.source.unwrap_or(spec.source),
            clause: c.clause.clone().unwrap_or_else(|| spec.reference.clone()),
            expected: expectation(step, c),
            seen: text.clone(),
            bound,
            samples,
            status: if seen.good { Status::Passed } else { Status::Failed },
        };
        (options.progress)(Progress::Verdict {
            id: self.scenario.id().to_owned(),
            verdict: Box::new(verdict.clone()),
        });
        let detail = format!("{}: {}", verdict.status.name(), verdict.seen);
        self.event(Event::new(self.at(), EventKind::Verdict, verdict.id.clone(), detail));
        self.result().verdicts.push(verdict);
        Ok(text)
    }

    /// The bound that a report shows beside a verdict, and the samples behind it.
    fn bound(&self, c: &Check) -> (Option<Bound>, Option<crate::evidence::Summary>) {
        let of = |expression: &str, v: &Value| match v {
            Value::Time(s) => Some(Bound {
                expression: expression.to_owned(),
                value: s * 1e3,
                unit: "ms".into(),
            }),
            Value::Number(n) => Some(Bound {
                expression: expression.to_owned(),
                value: *n,
                unit: String::new(),
            }),
            _ => None,
        };
        let mut bound = None;
        let mut samples = None;
        if let Some(Ok(e)) = c.that.as_ref().map(|t| Expr::parse(t)) {
            bound = e.bound(&|n| self.value(n)).and_then(|v| of(e.text(), &v));
            for n in e.names() {
                if let Some(Value::Series(_, s)) = self.value(n)
                    && s.points.len() > 1
                {
                    samples = Some(s.summary(n));
                    break;
                }
            }
        }
        if let Some(w) = &c.within
            && let Ok(d) = self.duration(w)
        {
            bound = of(w, &Value::Time(d.as_secs_f64()));
        }
        (bound, samples)
    }

    pub(super) async fn break_it(&self, name: &str, f: &Fault) -> Result<(), String> {
        let at = self.at();
        self.testbed.controls.fault(f).await.map_err(|e| e.to_string())?;
        self.event(Event::new(at, EventKind::Fault, name, describe(f)).at_place(place(f)));
        Ok(())
    }

    pub(super) async fn mend(&self, name: &str, f: &Fault) -> Result<(), String> {
        let at = self.at();
        self.testbed.controls.heal(f).await.map_err(|e| e.to_string())?;
        let mut result = self.result();
        if let Some(e) = result
            .events
            .iter_mut()
            .rev()
            .find(|e| e.kind == EventKind::Fault && e.subject == name)
        {
            e.until = Some(at);
        }
        result
            .events
            .push(Event::new(at, EventKind::Heal, name, describe(f)).at_place(place(f)));
        Ok(())
    }

    async fn measure(&self, m: &Measure) -> Result<String, String> {
        let (value, unit) = match (&m.from, &m.to, &m.query) {
            (from, Some(to), _) => {
                let marks = self.marks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let end = |s: &str| {
                    marks
                        .get(s)
                        .map(|(_, e)| *e)
                        .ok_or_else(|| format!("step `{s}` was not done"))
                };
                let (a, b) = (from.as_ref().map_or(Ok(Duration::ZERO), |f| end(f))?, end(to)?);
                (b.saturating_sub(a).as_secs_f64() * 1e3, "ms")
            }
            (_, _, Some(q)) => match self.ask(q).await? {
                Value::Time(s) => (s * 1e3, "ms"),
                Value::Number(n) => (n, ""),
                v => return Err(format!("{v} is no number")),
            },
            _ => return Err("nothing to measure".into()),
        };
        let series = m.series.value.clone();
        self.scalars().insert(series.clone());
        let sample = Sample {
            series: series.clone(),
            value,
            unit: unit.into(),
            at: self.at(),
        };
        let mut result = self.result();
        result.series.remove(&series);
        result.record(sample);
        Ok(format!("{series} = {} {unit}", (value * 1000.0).round() / 1000.0))
    }

    async fn snapshot(&self, s: &Snapshot) -> Result<String, String> {
        let found = self
            .objects
            .select(&s.cluster, &s.object)
            .await
            .map_err(|e| e.to_string())?;
        for mut v in found.clone() {
            if let Some(m) = v.get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
                m.remove("managedFields");
            }
            let subject = format!("{} {}", s.object.kind, super::objects::name_of(&v));
            let e = Event::new(self.at(), EventKind::Object, subject, v.to_string()).at_place(s.cluster.value.clone());
            self.event(e);
        }
        Ok(format!("{} objects kept", found.len()))
    }
}

fn empty_check() -> Check {
    Check {
        id: None,
        source: None,
        clause: None,
        expected: None,
        cluster: None,
        clusters: Vec::new(),
        object: None,
        matches: None,
        count: None,
        absent: false,
        values: std::collections::BTreeMap::new(),
        that: None,
        within: None,
        holds: None,
    }
}

/// A fault in words.
pub fn describe(f: &Fault) -> String {
    let kind = format!("{:?}", f.kind.value).to_lowercase();
    let target = [
        f.node.as_ref().map(|n| format!("node {n}")),
        f.cluster.as_ref().map(|c| format!("cluster {c}")),
        f.site.as_ref().map(|s| format!("site {s}")),
        f.between.as_ref().map(|[a, b]| {
            if f.one_way {
                format!("{a} to {b}")
            } else {
                format!("{a} - {b}")
            }
        }),
        f.component.as_ref().map(ToString::to_string),
    ];
    format!("{kind} {}", target.into_iter().flatten().collect::<Vec<_>>().join(" "))
}

fn place(f: &Fault) -> String {
    [&f.cluster, &f.site, &f.node]
        .into_iter()
        .flatten()
        .next()
        .map(|p| p.value.clone())
        .unwrap_or_default()
}
