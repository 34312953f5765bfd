//! Wall time as a number, and the rounding of what is reported.

use cfn_net::SharedClock;

/// Microseconds since the Unix epoch.
pub type Micros = i64;

/// Now, in microseconds since the epoch.
#[must_use]
pub fn micros(clock: &SharedClock) -> Micros {
    clock.now().as_microsecond()
}

/// Milliseconds between two instants (negative when `to` is earlier), rounded as [`round3`] does.
#[must_use]
pub fn millis_between(from: Micros, to: Micros) -> f64 {
    round3((to - from) as f64 / 1000.0)
}

/// Rounds to three decimals: what evidence carries, so that it reads the same wherever it is printed.
#[must_use]
pub fn round3(v: f64) -> f64 {
    let r = (v * 1000.0).round() / 1000.0;
    // No negative zero in reports.
    if r == 0.0 { 0.0 } else { r }
}

/// A duration in microseconds.
#[must_use]
pub fn duration_micros(d: std::time::Duration) -> Micros {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}
