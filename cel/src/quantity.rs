//! Kubernetes' quantities (`500m`, `1Gi`, `1e3`), exactly: `k8s.io/apimachinery/pkg/api/resource`.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub};
use std::str::FromStr;

/// Nano units in one.
const NANO: i128 = 1_000_000_000;

/// How a quantity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `m`, `k`, `M`, ...
    DecimalSi,
    /// `e3`, `E6`, ...
    DecimalExponent,
}

/// A number as Kubernetes' API writes amounts of resources; exact to a nano unit, as upstream (which rounds finer
/// ones up). Equality and order are those of the number, however it is written.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// Why a text is not a quantity; the texts are Kubernetes'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of a quantity's form.
    #[error(r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A suffix that does not exist.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity {
        nano: 0,
        format: Format::DecimalSi,
    };

    /// Parses a quantity.
    ///
    /// # Errors
    /// If the text is none. Amounts beyond what 128 bits of nano units hold are capped, as upstream caps.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::Format);
        }
        if !suffix.chars().all(|c| "eEinumkKMGTP+-0123456789".contains(c)) {
            return Err(QuantityError::Format);
        }
        let (factor, exponent, format) = parse_suffix(suffix)?;
        // value = digits * 10^(exponent + 9 - fraction digits) * factor, in nano units.
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let mut shift = exponent + 9 - fraction.len() as i32;
        let mut nano: i128 = 0;
        let mut capped = false;
        for digit in digits.bytes() {
            match nano
                .checked_mul(10)
                .and_then(|n| n.checked_add(i128::from(digit - b'0')))
            {
                Some(next) if !capped => nano = next,
                // More digits than fit: the rest only moves the point.
                _ => {
                    capped = true;
                    shift += 1;
                }
            }
        }
        nano = if nano == 0 { 0 } else { nano.saturating_mul(factor) };
        while shift > 0 && nano != 0 {
            nano = nano.saturating_mul(10);
            shift -= 1;
        }
        let mut rest = false;
        while shift < 0 && nano != 0 {
            rest |= nano % 10 != 0;
            nano /= 10;
            shift += 1;
        }
        // Finer than a nano unit: rounded up, away from zero.
        nano = nano.saturating_add(i128::from(rest));
        Ok(Quantity {
            nano: if negative { -nano } else { nano },
            format,
        })
    }

    /// From a JSON value: a string or a number.
    ///
    /// # Errors
    /// If it is neither, or not a quantity.
    pub fn from_value(value: &serde_json::Value) -> Result<Quantity, QuantityError> {
        match value {
            serde_json::Value::String(text) => Quantity::parse(text),
            serde_json::Value::Number(number) => Quantity::parse(&number.to_string()),
            _ => Err(QuantityError::Format),
        }
    }

    /// From a whole number.
    pub const fn from_units(units: i64) -> Quantity {
        Quantity {
            nano: units as i128 * NANO,
            format: Format::DecimalSi,
        }
    }

    /// From thousandths (millicores).
    pub const fn from_milli(milli: i64) -> Quantity {
        Quantity {
            nano: milli as i128 * (NANO / 1000),
            format: Format::DecimalSi,
        }
    }

    /// From bytes, to be written with binary suffixes.
    pub const fn from_bytes(bytes: i64) -> Quantity {
        Quantity {
            nano: bytes as i128 * NANO,
            format: Format::BinarySi,
        }
    }

    /// Billionths.
    pub fn nano(&self) -> i128 {
        self.nano
    }

    /// Thousandths, rounded up (away from zero) and capped to 64 bits, as upstream's MilliValue.
    pub fn milli_value(&self) -> i64 {
        capped(divide_up(self.nano, NANO / 1000))
    }

    /// Whole units, rounded up (away from zero) and capped to 64 bits, as upstream's Value.
    pub fn value(&self) -> i64 {
        capped(divide_up(self.nano, NANO))
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// Whether it is less than zero.
    pub fn is_negative(&self) -> bool {
        self.nano < 0
    }

    /// As a floating-point number of units.
    pub fn as_f64(&self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    /// Less another one, not below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Quantity {
            nano: self.nano.saturating_sub(other.nano).max(0),
            ..self
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
        Quantity { nano, ..self }
    }

    /// Whether it has no fraction.
    pub fn is_whole(&self) -> bool {
        self.nano % NANO == 0
    }
}

/// Factor, decimal exponent and way of writing that a suffix stands for.
fn parse_suffix(suffix: &str) -> Result<(i128, i32, Format), QuantityError> {
    let decimal = |exponent| Ok((1, exponent, Format::DecimalSi));
    let binary = |power: u32| Ok((1i128 << power, 0, Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((1, exponent.clamp(-100, 100), Format::DecimalExponent))
        }
    }
}

fn divide_up(nano: i128, unit: i128) -> i128 {
    nano / unit + if nano % unit == 0 { 0 } else { nano.signum() }
}

fn capped(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that leaves none, binary suffixes only from 1024 on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let format = match self.format {
            // Binary suffixes need whole units, at least 1024 of them.
            Format::BinarySi if self.nano.abs() < 1024 * NANO || self.nano % NANO != 0 => Format::DecimalSi,
            other => other,
        };
        if format == Format::BinarySi {
            const SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
            let mut units = self.nano / NANO;
            let mut power = 0;
            while power + 1 < SUFFIXES.len() && units % 1024 == 0 {
                units /= 1024;
                power += 1;
            }
            return write!(f, "{units}{}", SUFFIXES[power]);
        }
        let mut digits = self.nano;
        let mut exponent = -9;
        while exponent < 18 && digits % 1000 == 0 {
            digits /= 1000;
            exponent += 3;
        }
        if format == Format::DecimalExponent {
            return match exponent {
                0 => write!(f, "{digits}"),
                _ => write!(f, "{digits}e{exponent}"),
            };
        }
        const SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
        write!(f, "{digits}{}", SUFFIXES[((exponent + 9) / 3) as usize])
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Quantity) {
        *self = *self + other;
    }
}

impl Add for Quantity {
    type Output = Quantity;
    /// Keeps the way the left side is written, unless it is zero.
    fn add(self, other: Quantity) -> Quantity {
        let format = if self.nano == 0 { other.format } else { self.format };
        Quantity {
            nano: self.nano.saturating_add(other.nano),
            format,
        }
    }
}

impl Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Quantity) -> Quantity {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Quantity {
        Quantity {
            nano: -self.nano,
            format: self.format,
        }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(iter: I) -> Quantity {
        iter.fold(Quantity::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms_are_kubernetes() {
        // From k8s.io/apimachinery/pkg/api/resource/quantity_test.go's tables.
        let cases = [
            ("0", "0"),
            ("0n", "0"),
            ("0Ki", "0"),
            ("1", "1"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("0.5", "500m"),
            ("1Ki", "1Ki"),
            ("1024Ki", "1Mi"),
            ("1024", "1024"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("0.001Ki", "1024m"),
            ("1e3", "1e3"),
            ("1E6", "1e6"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("1000k", "1M"),
            ("12.3", "12300m"),
            ("-5", "-5"),
            ("+1", "1"),
            (".5", "500m"),
            ("5.", "5"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("100Mi", "100Mi"),
            ("4Gi", "4Gi"),
            ("1100m", "1100m"),
            ("1E", "1E"),
            ("1Ei", "1Ei"),
            ("0.0001", "100u"),
            ("10e-3", "10e-3"),
            ("9223372036854775807", "9223372036854775807"),
        ];
        for (text, canonical) in cases {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn bad_texts_are_refused() {
        for text in [
            "", "abc", "1.1.1", "1i", "1Kii", "1 ", "--1", "1mm", "e3", "1ki", "1K", ".",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_round_up() {
        assert_eq!(Quantity::parse("1500m").unwrap().value(), 2);
        assert_eq!(Quantity::parse("0.1m").unwrap().milli_value(), 1);
        assert_eq!(Quantity::parse("1Gi").unwrap().value(), 1 << 30);
        assert_eq!(Quantity::parse("1Gi").unwrap(), Quantity::parse("1073741824").unwrap());
        assert!(Quantity::parse("999m").unwrap() < Quantity::from_units(1));
    }

    proptest::proptest! {
        #[test]
        fn printing_keeps_the_value(number in -1_000_000_000i64..1_000_000_000, suffix in 0usize..14) {
            let suffix = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3", "T", "Ti"][suffix];
            let quantity = Quantity::parse(&format!("{number}{suffix}")).unwrap();
            let printed = quantity.to_string();
            proptest::prop_assert_eq!(Quantity::parse(&printed).unwrap(), quantity);
            proptest::prop_assert_eq!(Quantity::parse(&printed).unwrap().to_string(), printed);
        }
    }
}
