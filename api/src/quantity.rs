//! Kubernetes quantities, exactly: `apimachinery/pkg/api/resource/quantity.go`.

use std::fmt;
use std::str::FromStr;

/// A quantity in nano units (10^-9), with the notation it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount {
    nano: i128,
    format: Format,
}

/// Notation of a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Format {
    Decimal,
    Binary,
}

/// The text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a Kubernetes quantity, such as 250m, 2, 4Gi")]
pub struct QuantityError(pub String);

const NANO: i128 = 1_000_000_000;

impl Default for Amount {
    fn default() -> Self {
        Self {
            nano: 0,
            format: Format::Decimal,
        }
    }
}

impl Amount {
    /// So many whole units.
    #[must_use]
    pub fn whole(n: i64) -> Self {
        Self {
            nano: i128::from(n) * NANO,
            format: Format::Decimal,
        }
    }

    /// Whole units, rounded up (Go's `Value()`).
    #[must_use]
    pub fn value(self) -> i64 {
        clamp(self.nano.div_euclid(NANO) + i128::from(self.nano.rem_euclid(NANO) != 0))
    }

    /// Thousandths, rounded up (Go's `MilliValue()`).
    #[must_use]
    pub fn milli(self) -> i64 {
        const MICRO: i128 = 1_000_000;
        clamp(self.nano.div_euclid(MICRO) + i128::from(self.nano.rem_euclid(MICRO) != 0))
    }

    /// As a floating-point number of units.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "for ratios")]
    pub fn as_f64(self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    /// Adds; an empty sum takes the other's notation.
    pub fn add(&mut self, other: Self) {
        if self.nano == 0 {
            self.format = other.format;
        }
        self.nano = self.nano.saturating_add(other.nano);
    }

    /// Subtracts, not below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            nano: self.nano.saturating_sub(other.nano).max(0),
            format: self.format,
        }
    }

    /// Rounded down to a multiple of the n-th part of `whole`.
    #[must_use]
    pub fn rounded_down(self, whole: Self, n: i64) -> Self {
        let part = whole.nano / i128::from(n.max(1));
        let nano = if part > 0 {
            self.nano.div_euclid(part) * part
        } else {
            self.nano
        };
        Self { nano, ..self }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nano == 0
    }
}

fn clamp(n: i128) -> i64 {
    i64::try_from(n).unwrap_or(if n < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Amount {
    type Err = QuantityError;

    fn from_str(s: &str) -> Result<Self, QuantityError> {
        let bad = || QuantityError(s.to_owned());
        let split = s
            .find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-'))
            .unwrap_or(s.len());
        let (number, suffix) = s.split_at(split);
        let (sign, digits) = match number.as_bytes().first() {
            Some(b'-') => (-1, &number[1..]),
            Some(b'+') => (1, &number[1..]),
            _ => (1, number),
        };
        let (int, frac) = digits.split_once('.').unwrap_or((digits, ""));
        if (int.is_empty() && frac.is_empty()) || !(int.to_owned() + frac).bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let (scale, format) = scale(suffix).ok_or_else(bad)?;
        let mantissa: i128 = (int.to_owned() + frac).parse().map_err(|_| bad())?;
        let tenths = u32::try_from(frac.len()).map_err(|_| bad())?;
        let num = match scale {
            Scale::Binary(shift) => mantissa.checked_mul(NANO).and_then(|m| m.checked_mul(1 << shift)),
            Scale::Ten(e) if e >= -9 => 10_i128
                .checked_pow(u32::try_from(e + 9).map_err(|_| bad())?)
                .and_then(|p| mantissa.checked_mul(p)),
            Scale::Ten(_) => Some(i128::from(mantissa != 0)),
        };
        let num = num.ok_or_else(bad)?;
        let den = 10_i128.checked_pow(tenths).ok_or_else(bad)?;
        // Finer than nano is rounded up, as upstream does.
        let nano = num / den + i128::from(num % den != 0);
        Ok(Self {
            nano: sign * nano,
            format,
        })
    }
}

enum Scale {
    Binary(u32),
    Ten(i32),
}

fn scale(suffix: &str) -> Option<(Scale, Format)> {
    Some(match suffix {
        "" => (Scale::Ten(0), Format::Decimal),
        "n" => (Scale::Ten(-9), Format::Decimal),
        "u" => (Scale::Ten(-6), Format::Decimal),
        "m" => (Scale::Ten(-3), Format::Decimal),
        "k" => (Scale::Ten(3), Format::Decimal),
        "M" => (Scale::Ten(6), Format::Decimal),
        "G" => (Scale::Ten(9), Format::Decimal),
        "T" => (Scale::Ten(12), Format::Decimal),
        "P" => (Scale::Ten(15), Format::Decimal),
        "E" => (Scale::Ten(18), Format::Decimal),
        "Ki" => (Scale::Binary(10), Format::Binary),
        "Mi" => (Scale::Binary(20), Format::Binary),
        "Gi" => (Scale::Binary(30), Format::Binary),
        "Ti" => (Scale::Binary(40), Format::Binary),
        "Pi" => (Scale::Binary(50), Format::Binary),
        "Ei" => (Scale::Binary(60), Format::Binary),
        e => {
            let exp = e.strip_prefix(['e', 'E'])?;
            (
                Scale::Ten(exp.parse().ok().filter(|e| (-18..=18).contains(e))?),
                Format::Decimal,
            )
        }
    })
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format == Format::Binary && self.nano % NANO == 0 && self.nano.abs() >= 1024 * NANO {
            let mut n = self.nano / NANO;
            let mut unit = 0;
            while unit < 6 && n % 1024 == 0 {
                n /= 1024;
                unit += 1;
            }
            return write!(f, "{n}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][unit]);
        }
        let mut n = self.nano;
        let mut unit = 0;
        while n != 0 && unit < 9 && n % 1000 == 0 {
            n /= 1000;
            unit += 1;
        }
        if n == 0 {
            return f.write_str("0");
        }
        write!(f, "{n}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][unit])
    }
}

#[cfg(test)]
mod tests {
    use super::Amount;

    #[test]
    fn prints_canonically() {
        for (text, canonical) in [
            ("250m", "250m"),
            ("0.25", "250m"),
            ("2", "2"),
            ("1000m", "1"),
            ("4Gi", "4Gi"),
            ("4096Mi", "4Gi"),
            ("1536Mi", "1536Mi"),
            ("4G", "4G"),
            ("1e3", "1k"),
            ("0", "0"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
        ] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), canonical, "{text}");
        }
        for bad in ["", "x", "1x", "1.2.3", "--1", "Gi"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rounds_up() {
        assert_eq!("1m".parse::<Amount>().unwrap().value(), 1);
        assert_eq!("100m".parse::<Amount>().unwrap().milli(), 100);
        assert_eq!("2Ki".parse::<Amount>().unwrap().value(), 2048);
    }
}
