//! Who is warned of what.

use super::{Action, Core};
use crate::context::Update;
use crate::mqtt::QoS;
use crate::roadside::warn;
use crate::topics::{self, Hazard, Warning, to_json};
use crate::units::Micros;

/// A vehicle is warned of the same event at most this often, microseconds.
const WARN_AGAIN: Micros = 900_000;
/// An event not seen for so long is a new one, microseconds.
const HAZARD_OVER: Micros = 60_000_000;

impl Core {
    pub(super) fn hazard(&mut self, now: Micros, h: &Hazard, out: &mut Vec<Action>) {
        let known = self
            .hazards
            .insert(h.id.clone(), now)
            .is_some_and(|last| now - last < HAZARD_OVER);
        if !known {
            out.push(Action::Publish(
                topics::denm(&self.site, &h.id),
                to_json(h),
                QoS::AtMostOnce,
            ));
        }
        let ahead: Vec<(String, f64)> = self
            .served
            .iter()
            .filter_map(|(v, s)| Some((v.clone(), warn::hazard_ahead(s.context.position()?, h)?)))
            .collect();
        for (vehicle, distance) in ahead {
            self.warn(
                now,
                &vehicle,
                &h.id,
                &format!("hazard:{}", h.kind),
                distance,
                h.seen_at,
                out,
            );
        }
    }

    pub(super) fn collisions(&mut self, now: Micros, at: &Update, vehicle: &str, out: &mut Vec<Action>) {
        let mut found = Vec::new();
        for (other, s) in &self.served {
            if other != vehicle
                && let Some(p) = s.context.position()
                && now - p.sent_at <= warn::FRESH
                && let Some(d) = warn::collision(at, p)
            {
                found.push((other.clone(), d, p.sent_at));
            }
        }
        for (other, d, seen) in found {
            self.warn(now, vehicle, &format!("collision:{other}"), "collision", d, seen, out);
            self.warn(
                now,
                &other,
                &format!("collision:{vehicle}"),
                "collision",
                d,
                at.sent_at,
                out,
            );
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one warning")]
    fn warn(
        &mut self,
        now: Micros,
        vehicle: &str,
        id: &str,
        kind: &str,
        distance: f64,
        origin_at: Micros,
        out: &mut Vec<Action>,
    ) {
        let Some(s) = self.served.get_mut(vehicle) else { return };
        if s.context.warnings.get(id).is_some_and(|t| now - *t < WARN_AGAIN) {
            return;
        }
        s.context.warnings.insert(id.to_owned(), now);
        s.context.warnings.retain(|_, t| now - *t < HAZARD_OVER);
        self.totals.warnings += 1;
        let w = Warning {
            id: id.to_owned(),
            kind: kind.to_owned(),
            distance: crate::units::round3(distance),
            origin_at,
            issued_at: now,
            edge: self.site.clone(),
        };
        out.push(Action::Publish(topics::warn(vehicle), to_json(&w), QoS::AtLeastOnce));
    }
}
