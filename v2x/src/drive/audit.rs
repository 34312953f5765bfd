//! From what vehicles saw and what edges tell to the evidence. Pure.

use std::collections::BTreeMap;

use cfn_net::Seed;

use super::DriveOptions;
use super::evidence::{Audit, CrossingEvidence, DriveEvidence, Percentiles};
use crate::context::chain;
use crate::relocation::{MobilityState, Relocation, Trigger};
use crate::roadside::stats::{ContextStats, Run, Stats};
use crate::units::{Micros, duration_micros, millis_between, round3};
use crate::vehicle::{Switch, VehicleLog};

/// Puts the evidence together. `start`: of the run; `from`: of what is measured.
pub(super) fn evidence(
    o: &DriveOptions,
    seed: Seed,
    start: Micros,
    from: Micros,
    logs: &BTreeMap<String, VehicleLog>,
    stats: &BTreeMap<String, Stats>,
    sensor_reports: u64,
) -> DriveEvidence {
    let mut e = DriveEvidence {
        policy: o.policy.clone(),
        seed: seed.0,
        vehicles: logs.len(),
        sensor_reports,
        ..DriveEvidence::default()
    };
    let relocations: Vec<&Relocation> = stats.values().flat_map(|s| &s.relocations).collect();
    let mut crossings: Vec<(Micros, CrossingEvidence)> = Vec::new();
    for log in logs.values() {
        e.messages += log.sent.len() as u64;
        e.acknowledged += log.samples.len() as u64;
        e.resent += log.resent;
        e.broken_connections += log.broken;
        let measured = log.samples.values().filter(|s| s.sent_at >= from);
        e.round_trips
            .extend(measured.map(|s| millis_between(s.sent_at, s.acked_at)));
        for w in log.warnings.iter().filter(|w| w.warning.issued_at >= from) {
            e.warnings.push(millis_between(w.warning.issued_at, w.received_at));
            if w.warning.kind.starts_with("hazard:") {
                e.warnings_from_sensor
                    .push(millis_between(w.warning.origin_at, w.received_at));
            }
        }
        for s in log.switches.iter().filter(|s| s.at >= from) {
            // the run ended before the new edge could answer
            if s.served_at.is_none() && !s.failed {
                continue;
            }
            let interruption = if s.failed { None } else { interruption(o, log, s) };
            crossings.push((s.at, crossing(log, s, start, interruption, stats)));
        }
        one_vehicle(log, stats, &relocations, &mut e.audit, &mut e.affinity_violations);
    }
    crossings.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.vehicle.cmp(&b.1.vehicle)));
    e.crossings = crossings.into_iter().map(|c| c.1).collect();
    e.round_trip = Percentiles::of(&e.round_trips);
    e.warning = Percentiles::of(&e.warnings);
    let gaps: Vec<f64> = e.crossings.iter().filter_map(|c| c.interruption_ms).collect();
    e.interruption = Percentiles::of(&gaps);
    for r in relocations {
        match r.state {
            MobilityState::InterhostMoveoutCompleted => e.completed_relocations += 1,
            MobilityState::InterhostMoveoutFailed if r.withdrawn() => e.withdrawn_relocations += 1,
            MobilityState::InterhostMoveoutFailed => {
                e.failed_relocations += 1;
                *e.failures.entry(r.reason.clone().unwrap_or_default()).or_default() += 1;
            }
            MobilityState::InterhostMoveoutTriggered => {}
        }
    }
    e.edges = stats.iter().map(|(site, s)| (site.clone(), s.totals)).collect();
    e
}

/// Longest gap between messages served around a switch, minus the nominal interval.
fn interruption(o: &DriveOptions, log: &VehicleLog, s: &Switch) -> Option<f64> {
    let interval = duration_micros(std::time::Duration::from_secs_f64(1.0 / o.rate_hz));
    let until = s.served_at? + 2 * interval;
    let mut served: Vec<Micros> = log.samples.values().map(|s| s.applied_at).collect();
    served.sort_unstable();
    let gap = served
        .windows(2)
        .filter(|w| w[1] >= s.at && w[0] <= until)
        .map(|w| w[1] - w[0])
        .max()?;
    Some(round3((gap - interval).max(0) as f64 / 1000.0))
}

fn crossing(
    log: &VehicleLog,
    s: &Switch,
    start: Micros,
    interruption_ms: Option<f64>,
    stats: &BTreeMap<String, Stats>,
) -> CrossingEvidence {
    let arrival = stats.get(&s.to).and_then(|t| {
        t.arrivals
            .iter()
            .find(|a| a.vehicle == log.name && a.from == s.from && a.epoch == s.epoch)
    });
    let relocation = stats.get(&s.from).and_then(|t| match arrival {
        Some(a) => t.relocations.iter().find(|r| r.id == a.id),
        // it failed: the last one that was open when the vehicle crossed
        None => t.relocations.iter().rev().find(|r| {
            r.vehicle == log.name && r.target == s.to && !r.withdrawn() && r.stamps.detected.is_some_and(|d| d <= s.at)
        }),
    });
    CrossingEvidence {
        vehicle: log.name.clone(),
        from: s.from.clone(),
        to: s.to.clone(),
        at: round3((s.at - start) as f64 / 1e6),
        context_at_target_before: arrival
            .and_then(|a| a.held_since)
            .filter(|h| *h <= s.at)
            .map(|h| millis_between(h, s.at)),
        interruption_ms,
        predicted: relocation
            .is_some_and(|r| r.trigger == Trigger::Predicted && r.stamps.detected.is_some_and(|d| d <= s.at)),
        prepared: s.prepared,
        failed: s.failed,
    }
}

fn one_vehicle(
    log: &VehicleLog,
    stats: &BTreeMap<String, Stats>,
    relocations: &[&Relocation],
    audit: &mut Audit,
    violations: &mut u64,
) {
    let sent = log.sent.len() as u64;
    let mut runs: Vec<(&str, Run)> = stats
        .iter()
        .flat_map(|(edge, s)| {
            s.journal
                .get(&log.name)
                .into_iter()
                .flatten()
                .map(move |r| (edge.as_str(), *r))
        })
        .collect();
    // at one instant the edge that ended comes before the one that began
    runs.sort_by_key(|(_, r)| (r.at, r.from));
    let mut times = vec![0_u64; sent as usize + 1];
    let mut highest = 0;
    for (_, r) in &runs {
        for seq in r.from..=r.to.min(sent) {
            let t = &mut times[seq as usize];
            if *t == 0 && seq < highest {
                audit.reordered += 1;
            }
            *t += 1;
            highest = highest.max(seq);
        }
        audit.applied += r.to + 1 - r.from;
    }
    audit.duplicated += times.iter().map(|t| t.saturating_sub(1)).sum::<u64>();
    for w in runs.windows(2) {
        let ((a, left), (b, entered)) = (w[0], w[1]);
        let recorded = relocations.iter().any(|r| {
            r.vehicle == log.name
                && r.source == a
                && r.target == b
                && r.state == MobilityState::InterhostMoveoutCompleted
                && r.stamps.switched.is_some_and(|s| s <= entered.at && s >= left.until)
        });
        if a != b && !recorded {
            *violations += 1;
        }
    }
    let serving: Vec<&ContextStats> = stats
        .values()
        .flat_map(|s| &s.contexts)
        .filter(|c| c.vehicle == log.name && c.serving)
        .collect();
    if serving.len() != 1 {
        audit.unserved += 1;
    }
    // two edges claim the vehicle: one of them serves without a right to
    *violations += serving.len().saturating_sub(1) as u64;
    let last = serving.iter().max_by_key(|c| c.epoch);
    let (base, to) = last.map_or((sent, 0), |c| (c.base, c.last));
    audit.lost += (1..=sent)
        .filter(|s| times[*s as usize] == 0 || *s <= base || *s > to)
        .count() as u64;
    let expected = log.sent.iter().zip(1..).fold(0, |d, (at, seq)| chain(d, seq, *at));
    if last.is_none_or(|c| c.digest != format!("{expected:016x}")) {
        audit.digest_mismatches += 1;
    }
}
