//! When a vehicle is warned: something ahead on its way, or another vehicle on a colliding course. Pure.

use crate::context::Update;
use crate::topics::Hazard;

/// Hazards up to this far ahead, metres (at 50 km/h 21 s; the DENM relevance distance `lessThan500m` would be the next).
pub const RANGE: f64 = 300.0;
/// "Ahead" is within this angle of the heading, as a cosine (60 degrees).
const AHEAD: f64 = 0.5;
/// Collision: closest approach within this time and distance.
const COLLISION_SECONDS: f64 = 3.0;
const COLLISION_METRES: f64 = 4.0;
/// Positions older than this say nothing about a collision, microseconds.
pub const FRESH: i64 = 500_000;

/// Distance to a hazard that is ahead and near.
#[must_use]
pub fn hazard_ahead(at: &Update, h: &Hazard) -> Option<f64> {
    let (dx, dy) = (h.x - at.x, h.y - at.y);
    let d = dx.hypot(dy);
    let ahead = dx * at.heading.cos() + dy * at.heading.sin() >= AHEAD * d;
    (d <= RANGE && ahead).then_some(d)
}

/// Distance between two vehicles whose straight courses come within 4 m of each other within 3 s. Only crossing courses
/// (30 to 150 degrees): those along one road are each other's traffic, and the map has no lanes.
#[must_use]
pub fn collision(a: &Update, b: &Update) -> Option<f64> {
    let turn = (a.heading - b.heading).cos().abs();
    if turn > 0.866 || a.speed < 1.0 || b.speed < 1.0 {
        return None;
    }
    let (px, py) = (b.x - a.x, b.y - a.y);
    let d = px.hypot(py);
    if d > (a.speed + b.speed) * COLLISION_SECONDS + COLLISION_METRES {
        return None;
    }
    let (vx, vy) = (
        b.speed * b.heading.cos() - a.speed * a.heading.cos(),
        b.speed * b.heading.sin() - a.speed * a.heading.sin(),
    );
    let v2 = vx * vx + vy * vy;
    let t = -(px * vx + py * vy) / v2.max(1e-9);
    ((0.0..=COLLISION_SECONDS).contains(&t) && (px + vx * t).hypot(py + vy * t) <= COLLISION_METRES).then_some(d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64, y: f64, speed: f64, heading: f64) -> Update {
        Update {
            seq: 1,
            sent_at: 0,
            x,
            y,
            speed,
            heading,
            cell: 0,
        }
    }

    #[test]
    fn ahead_near_and_nowhere_else() {
        let h = |x, y| Hazard {
            id: "h".into(),
            kind: "ice".into(),
            x,
            y,
            seen_at: 0,
        };
        for (x, y, heading, want) in [
            (100.0, 0.0, 0.0, Some(100.0)),
            (-100.0, 0.0, 0.0, None),
            (301.0, 0.0, 0.0, None),
            (0.0, 50.0, std::f64::consts::FRAC_PI_2, Some(50.0)),
            (0.0, 50.0, 0.0, None),
        ] {
            assert_eq!(
                hazard_ahead(&at(0.0, 0.0, 10.0, heading), &h(x, y)),
                want,
                "{x} {y} {heading}"
            );
        }
    }

    #[test]
    fn crossing_courses_collide_and_others_do_not() {
        let north = std::f64::consts::FRAC_PI_2;
        assert!(collision(&at(0.0, 0.0, 10.0, 0.0), &at(20.0, -20.0, 10.0, north)).is_some());
        // the other is far behind the crossing
        assert!(collision(&at(0.0, 0.0, 10.0, 0.0), &at(20.0, -60.0, 10.0, north)).is_none());
        // one behind the other
        assert!(collision(&at(0.0, 0.0, 10.0, 0.0), &at(10.0, 0.0, 5.0, 0.0)).is_none());
        // past each other
        assert!(collision(&at(0.0, 0.0, 10.0, 0.0), &at(-5.0, 20.0, 10.0, north)).is_none());
    }
}
