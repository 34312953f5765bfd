//! Measured values, their percentiles, and how strong a claim they carry.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One measured value on its way into a [`Series`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The series: `<measure>`, or `<variant>.<measure>` where a measure is taken more than once. The report draws the
    /// variants of one measure side by side (`predictive.interruption` next to `reactive.interruption`).
    pub series: String,
    /// The value, in `unit`.
    pub value: f64,
    /// Its unit: `ms`, `s`, `%`.
    pub unit: String,
    /// Offset from the scenario's start; in files: milliseconds.
    #[serde(with = "super::millis")]
    pub at: Duration,
}

/// All values of one series, in the order they were measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Unit of every value.
    pub unit: String,
    /// Line to draw: values above it miss the budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// (offset from the scenario's start in milliseconds, value).
    pub points: Vec<(f64, f64)>,
}

/// A quantile as an exact number of 100,000ths: 99.99 % is 99,990. No rounding can move a sample-count rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantile(u32);

impl Quantile {
    /// 50 %.
    pub const P50: Quantile = Quantile(50_000);
    /// 90 %.
    pub const P90: Quantile = Quantile(90_000);
    /// 99 %.
    pub const P99: Quantile = Quantile(99_000);
    /// 99.9 %.
    pub const P99_9: Quantile = Quantile(99_900);
    /// 99.99 %.
    pub const P99_99: Quantile = Quantile(99_990);
    /// 99.999 %.
    pub const P99_999: Quantile = Quantile(99_999);
    /// The ones every report gives.
    pub const REPORTED: [Quantile; 5] = [
        Quantile::P50,
        Quantile::P90,
        Quantile::P99,
        Quantile::P99_9,
        Quantile::P99_99,
    ];

    /// From a percentage with up to three decimals (99.99), or none when it isn't between 0 and 100 (both excluded).
    pub fn percent(percent: f64) -> Option<Quantile> {
        let parts = (percent * 1000.0).round();
        (1.0..=99_999.0).contains(&parts).then_some(Quantile(parts as u32))
    }

    /// `p50`, `p99.9`.
    pub fn label(self) -> String {
        format!("p{}", self.as_percent())
    }

    /// `50`, `99.9`.
    pub fn as_percent(self) -> String {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The samples (none of them failing) that a claim at this quantile needs with 95 % confidence: the rule of three,
    /// n >= 3 / (1 - q). 300 for 99 %, 3,000 for 99.9 %, 30,000 for 99.99 %.
    pub fn needs(self) -> u64 {
        300_000_u64.div_ceil(u64::from(100_000 - self.0))
    }

    /// Rank (from 1) of this quantile among `n` sorted values, by the nearest-rank definition.
    fn rank(self, n: usize) -> usize {
        (n as u64 * u64::from(self.0)).div_ceil(100_000).max(1) as usize
    }
}

/// One percentile, or the refusal to state it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentile {
    /// `p99`.
    pub name: String,
    /// The value; none when the samples are too few to claim it.
    pub value: Option<f64>,
    /// Samples that the claim needs.
    pub needs: u64,
}

/// What a series comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The series it sums up.
    pub series: String,
    /// Unit of every value here.
    pub unit: String,
    /// How many samples.
    pub count: u64,
    /// Smallest value; none when there are no samples.
    pub min: Option<f64>,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// p50, p90, p99, p99.9 and p99.99, each stated only when the samples carry it.
    pub percentiles: Vec<Percentile>,
}

impl Series {
    /// An empty series.
    pub fn new(unit: impl Into<String>) -> Series {
        Series {
            unit: unit.into(),
            ..Series::default()
        }
    }

    /// Adds a value measured at an offset from the scenario's start. What is no finite number was not measured: JSON
    /// could not hold it, and it has no place in an order.
    pub fn push(&mut self, at: Duration, value: f64) {
        if value.is_finite() {
            self.points.push((super::millis::of(at), value));
        }
    }

    /// The values, sorted.
    pub fn sorted(&self) -> Vec<f64> {
        let mut values: Vec<f64> = self.points.iter().map(|point| point.1).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The value at a quantile by nearest rank, whatever the sample count; none when empty. For plots; a verdict
    /// takes [`Series::claim`].
    pub fn quantile(&self, quantile: Quantile) -> Option<f64> {
        let values = self.sorted();
        values.get(quantile.rank(values.len()).checked_sub(1)?).copied()
    }

    /// The value at a quantile, or the sample count that would be needed to state it.
    ///
    /// # Errors
    /// The number of samples needed, when there are fewer.
    pub fn claim(&self, quantile: Quantile) -> Result<f64, u64> {
        let needs = quantile.needs();
        if (self.points.len() as u64) < needs {
            return Err(needs);
        }
        self.quantile(quantile).ok_or(needs)
    }

    /// How many values are at most `limit`, of how many.
    pub fn within(&self, limit: f64) -> (u64, u64) {
        let within = self.points.iter().filter(|point| point.1 <= limit).count();
        (within as u64, self.points.len() as u64)
    }

    /// Count, extremes, mean and percentiles.
    pub fn summary(&self, name: &str) -> Summary {
        let values = self.sorted();
        let count = values.len();
        let mean = (count > 0).then(|| round(values.iter().sum::<f64>() / count as f64));
        let percentiles = Quantile::REPORTED.iter().map(|quantile| Percentile {
            name: quantile.label(),
            value: (count as u64 >= quantile.needs())
                .then(|| values.get(quantile.rank(count) - 1).copied().map(round))
                .flatten(),
            needs: quantile.needs(),
        });
        Summary {
            series: name.to_owned(),
            unit: self.unit.clone(),
            count: count as u64,
            min: values.first().copied().map(round),
            mean,
            max: values.last().copied().map(round),
            percentiles: percentiles.collect(),
        }
    }
}

/// The strongest of the usual claims (90 %, 99 %, ... 99.999 %) that `count` samples without a failure carry, at 95 %
/// confidence; none below 30 samples.
pub fn strongest_claim(count: u64) -> Option<Quantile> {
    [
        Quantile::P99_999,
        Quantile::P99_99,
        Quantile::P99_9,
        Quantile::P99,
        Quantile::P90,
    ]
    .into_iter()
    .find(|quantile| count >= quantile.needs())
}

/// Upper bound (95 % confidence) of a failure rate, seen `failures` of `count` times: the Poisson bound, which for no
/// failures is the rule of three (2.996 / n). 1 when there are no samples.
pub fn failure_rate_bound(failures: u64, count: u64) -> f64 {
    if count == 0 {
        return 1.0;
    }
    // The mean for which seeing at most `failures` has a probability of 5 %; between its ends by halving.
    let at_most = |mean: f64| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for i in 1..=failures {
            term *= mean / i as f64;
            sum += term;
        }
        sum
    };
    let (mut low, mut high) = (failures as f64, failures as f64 + 4.0 * (failures as f64).sqrt() + 4.0);
    if high > 600.0 {
        // exp() would vanish; this far out the normal approximation is exact to three digits.
        return ((failures as f64 + 1.645 * (failures as f64).sqrt() + 1.0) / count as f64).min(1.0);
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(middle) > 0.05 {
            low = middle
        } else {
            high = middle
        }
    }
    (high / count as f64).min(1.0)
}

/// Whether samples support "at least `quantile` of all are good" at 95 % confidence: with no failures the rule of
/// three, with failures the Poisson bound on their rate.
pub fn supports(quantile: Quantile, failures: u64, count: u64) -> bool {
    if failures == 0 {
        return count >= quantile.needs();
    }
    failure_rate_bound(failures, count) <= f64::from(100_000 - quantile.0) / 100_000.0
}

/// Three decimals: a microsecond where the unit is a millisecond.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n: u32) -> Series {
        let mut series = Series::new("ms");
        for i in (1..=n).rev() {
            series.push(Duration::from_millis(u64::from(i)), f64::from(i));
        }
        series
    }

    #[test]
    fn a_claim_needs_its_samples() {
        let cases = [
            (Quantile::P50, 6),
            (Quantile::P90, 30),
            (Quantile::P99, 300),
            (Quantile::P99_9, 3_000),
            (Quantile::P99_99, 30_000),
            (Quantile::P99_999, 300_000),
        ];
        for (quantile, needs) in cases {
            assert_eq!(quantile.needs(), needs, "{}", quantile.label());
        }
        assert_eq!(of(299).claim(Quantile::P99), Err(300));
        assert_eq!(of(300).claim(Quantile::P99), Ok(297.0));
        assert_eq!(strongest_claim(29), None);
        assert_eq!(strongest_claim(2_999).map(Quantile::label).as_deref(), Some("p99"));
        assert_eq!(strongest_claim(30_000).map(Quantile::label).as_deref(), Some("p99.99"));
    }

    #[test]
    fn nearest_rank() {
        let series = of(10);
        assert_eq!(series.quantile(Quantile::P50), Some(5.0));
        assert_eq!(series.quantile(Quantile::P90), Some(9.0));
        assert_eq!(series.quantile(Quantile::P99), Some(10.0));
        assert_eq!(Series::new("ms").quantile(Quantile::P50), None);
        assert_eq!(series.within(3.0), (3, 10));
    }

    #[test]
    fn failures_weaken_a_claim() {
        assert!((failure_rate_bound(0, 300) - 0.01).abs() < 1e-4);
        // 95 % Poisson upper bounds of 1, 2 and 10 events: 4.744, 6.296, 16.962.
        for (failures, mean) in [(1, 4.744), (2, 6.296), (10, 16.962)] {
            let bound = failure_rate_bound(failures, 1000) * 1000.0;
            assert!((bound - mean).abs() < 0.001, "{failures}: {bound}");
        }
        assert!(supports(Quantile::P99, 0, 300));
        assert!(!supports(Quantile::P99, 1, 300));
        assert!(supports(Quantile::P99, 1, 500));
        assert!(failure_rate_bound(5, 0) >= 1.0);
        assert!(failure_rate_bound(100_000, 200_000) > 0.5);
    }

    #[test]
    fn labels() {
        let labels: Vec<String> = Quantile::REPORTED.iter().map(|q| q.label()).collect();
        assert_eq!(labels, ["p50", "p90", "p99", "p99.9", "p99.99"]);
        assert_eq!(Quantile::percent(99.99), Some(Quantile::P99_99));
        assert_eq!(Quantile::percent(100.0), None);
        assert_eq!(Quantile::percent(0.0), None);
    }

    #[test]
    fn an_empty_series_states_nothing() {
        let summary = Series::new("ms").summary("x");
        assert_eq!(summary.count, 0);
        assert!(summary.percentiles.iter().all(|p| p.value.is_none()));
    }
}
