//! How many testbeds a machine has room for at once when what happens in them takes real time. Too many, and what is measured in each
//! is how long it waits for the others.

use std::time::Duration;

/// At most: what a machine of two cores of usual speed runs without a verdict that it would not give alone.
const MOST: usize = 6;
/// What a testbed needs of the machine, told as JSON that is read in the same time (bytes a second): what API servers and their clients
/// do most.
const NEEDED: f64 = 12e6;
/// How long it is looked at.
const LOOK: Duration = Duration::from_millis(40);

/// How many there is room for on a machine that reads so many bytes of JSON a second, with all of its cores.
fn room(speed: f64) -> usize {
    // A float as `usize` is within its range; what is no number is 0.
    ((speed / NEEDED) as usize).clamp(1, MOST)
}

/// A list of objects as API servers answer with.
fn document() -> String {
    let pods = (0..100).map(|i| {
        serde_json::json!({"metadata": {"name": format!("pod-{i}"), "labels": {"app": "web"}},
            "status": {"phase": "Running", "ready": true, "restarts": i}})
    });
    serde_json::Value::from_iter(pods).to_string()
}

/// Bytes of JSON that all cores together read in a second.
#[allow(
    clippy::disallowed_methods,
    reason = "how fast this machine is, whatever time a run has"
)]
fn speed() -> f64 {
    let text = document();
    let begin = std::time::Instant::now();
    let read = || {
        let mut bytes = 0;
        while begin.elapsed() < LOOK {
            // Through the library's own function, which is as optimised as the library, whatever this crate is.
            bytes += text.parse::<serde_json::Value>().map_or(0, |_| text.len());
        }
        bytes
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let bytes: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..cores).map(|_| scope.spawn(read)).collect();
        all.into_iter().map(|t| t.join().unwrap_or(0)).sum()
    });
    bytes as f64 / begin.elapsed().as_secs_f64()
}

/// How many testbeds this machine has room for.
pub(super) fn at_once() -> usize {
    room(speed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_has_room_for_fewer() {
        for (speed, n) in [
            (0.0, 1),
            (f64::NAN, 1),
            (5e6, 1),
            (23e6, 1),
            (24e6, 2),
            (60e6, 5),
            (72e6, 6),
            (1e12, 6),
        ] {
            assert_eq!(room(speed), n, "{speed}");
        }
        assert!(speed() > 0.0);
    }
}
