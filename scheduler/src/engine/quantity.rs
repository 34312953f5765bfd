//! Kubernetes quantities (`apimachinery/pkg/api/resource`) as bare integers of 10^-9: a fleet holds many of them, and
//! how each was written is not needed.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// The largest amount.
const MOST: i128 = i64::MAX as i128 * NANO;

/// An exact amount, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Amount(i128);

impl Amount {
    /// Reads a quantity (`2`, `500m`, `1.5Gi`, `12e3`); what does not parse is nothing. What is larger than an int64
    /// counts as the largest, as in apimachinery.
    #[must_use]
    pub fn parse(q: &Quantity) -> Option<Self> {
        Self::parse_str(&q.0)
    }

    fn parse_str(s: &str) -> Option<Self> {
        let exact = cfn_cel::quantity::Quantity::parse(s.trim()).ok()?;
        Some(Self(exact.nano().clamp(-MOST, MOST)))
    }

    /// A whole number.
    #[must_use]
    pub fn whole(n: i64) -> Self {
        Self(i128::from(n) * NANO)
    }

    /// Rounded up to whole units (`Quantity.Value`).
    #[must_use]
    pub fn value(self) -> i64 {
        self.ceil(NANO)
    }

    /// Rounded up to thousandths (`Quantity.MilliValue`).
    #[must_use]
    pub fn milli(self) -> i64 {
        self.ceil(NANO / 1000)
    }

    /// As a floating number.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "for shares and pictures")]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / NANO as f64
    }

    /// This many times.
    #[must_use]
    pub fn times(self, n: i64) -> Self {
        Self(self.0.saturating_mul(i128::from(n)))
    }

    /// Whether it is as large, or as small, as sums can get.
    #[must_use]
    pub fn is_saturated(self) -> bool {
        matches!(self.0, i128::MIN | i128::MAX)
    }

    fn ceil(self, unit: i128) -> i64 {
        let v = self.0.div_euclid(unit) + i128::from(self.0.rem_euclid(unit) != 0);
        i64::try_from(v).unwrap_or(if v > 0 { i64::MAX } else { i64::MIN })
    }
}

impl std::ops::Add for Amount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl std::ops::Sub for Amount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// The canonical text of an amount: the largest suffix that leaves a whole number.
#[must_use]
pub fn format(amount: Amount, binary: bool) -> Quantity {
    let (mut n, mut i) = (amount.0, 0);
    if n % NANO == 0 && binary {
        const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        n /= NANO;
        while n != 0 && n % 1024 == 0 && i + 1 < SUFFIXES.len() {
            n /= 1024;
            i += 1;
        }
        return Quantity(format!("{n}{}", SUFFIXES[i]));
    }
    const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if n == 0 {
        return Quantity("0".into());
    }
    while n % 1000 == 0 && i + 1 < SUFFIXES.len() {
        n /= 1000;
        i += 1;
    }
    Quantity(format!("{n}{}", SUFFIXES[i]))
}

/// The quantity as a floating number, digits times a power, rounded where apimachinery's `AsApproximateFloat64` rounds.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "the point of it")]
pub fn approximate(q: &Quantity) -> Option<f64> {
    let exact = Amount::parse(q)?;
    let text = q.0.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let exponent = match suffix {
        "" => 0,
        "n" => -9,
        "u" => -6,
        "m" => -3,
        "k" => 3,
        "M" => 6,
        "G" => 9,
        "T" => 12,
        "P" => 15,
        "E" => 18,
        _ if suffix.ends_with('i') => return Some(exact.to_f64()),
        _ => suffix[1..].parse().ok()?,
    };
    let (int, frac) = number.split_once('.').unwrap_or((number, ""));
    let digits: i64 = format!("{int}{frac}").parse().ok()?;
    let scale = exponent - i32::try_from(frac.len()).ok()?;
    Some(if scale == 0 {
        digits as f64
    } else {
        digits as f64 * 10_f64.powi(scale)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approximations_are_digits_times_a_power() {
        for (text, want) in [
            ("1.5k", 1500.0),
            ("0.25", 0.25),
            ("1500m", 1.5),
            ("2.5e3", 2500.0),
            ("2Ki", 2048.0),
            ("12", 12.0),
            ("1.25G", 1.25e9),
        ] {
            assert_eq!(approximate(&Quantity(text.into())), Some(want), "{text}");
        }
        assert_eq!(approximate(&Quantity("1x".into())), None);
    }

    #[test]
    fn values_and_thousandths_round_up() {
        for (text, value, milli) in [
            ("0", 0, 0),
            ("1", 1, 1000),
            ("100m", 1, 100),
            ("1500m", 2, 1500),
            ("0.5", 1, 500),
            ("3.9", 4, 3900),
            ("1536Mi", 1536 << 20, (1536 << 20) * 1000),
            ("4G", 4_000_000_000, 4_000_000_000_000),
            ("1e3", 1000, 1_000_000),
            ("1E3", 1000, 1_000_000),
            ("10k", 10_000, 10_000_000),
            ("1u", 1, 1),
            ("-1500m", -1, -1500),
            ("0.0000000000000000000001", 1, 1),
            ("99999999999999999999E", i64::MAX, i64::MAX),
            ("99999999999999999999999999999999999999999999", i64::MAX, i64::MAX),
        ] {
            let a = Amount::parse_str(text).unwrap();
            assert_eq!((a.value(), a.milli()), (value, milli), "{text}");
        }
        for (text, binary, canonical) in [
            ("100m", false, "100m"),
            ("10000", false, "10k"),
            ("0.5", false, "500m"),
            ("1024Mi", true, "1Gi"),
            ("1000", true, "1000"),
            ("0", false, "0"),
        ] {
            assert_eq!(format(Amount::parse_str(text).unwrap(), binary).0, canonical, "{text}");
        }
        for bad in ["", "x", "1Zi", "1e", ".", "1-2", "--1", "1.2.3"] {
            assert_eq!(Amount::parse_str(bad), None, "{bad}");
        }
    }
}
