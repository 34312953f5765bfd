//! Moments, with the zone that they were written in, which is that of their text (`time.Time` of Go).

use std::cmp::Ordering;
use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::strconv::atoi;

/// A moment of the years 1 to 9999 in UTC, and how far its zone is ahead.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// In UTC: [`Timestamp`] ends a day before these years do.
    at: DateTime,
    offset: Offset,
}

/// A text that is no moment, or one out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It does not have the form.
    #[error("no timestamp")]
    Form,
    /// It is of none of the years 1 to 9999 in UTC.
    #[error("timestamp overflow")]
    Overflow,
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Moment {}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.cmp(&other.at)
    }
}

/// So many digits, and what follows.
fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<(i16, &str)> {
    let found = text.bytes().take(*count.end()).take_while(u8::is_ascii_digit).count();
    let (own, rest) = text.split_at(found);
    count.contains(&found).then_some((own.parse().ok()?, rest))
}

/// `2006-01-02`, and what follows.
fn date(text: &str) -> Option<(Date, &str)> {
    let (year, rest) = digits(text, 4..=4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2..=2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2..=2)?;
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some((date.ok()?, rest))
}

/// `15:04:05`, with a fraction or without, and what follows. Go takes hours of one digit.
fn time(text: &str) -> Option<(Time, &str)> {
    let (hour, rest) = digits(text, 1..=2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2..=2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2..=2)?;
    let fraction = rest.strip_prefix(['.', ',']).unwrap_or_default();
    let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
    let (nanos, rest) = match &fraction[..end] {
        "" => (0, rest),
        own => (format!("{own:0<9}")[..9].parse().ok()?, &fraction[end..]),
    };
    let small = |n: i16| i8::try_from(n).ok();
    let time = Time::new(small(hour)?, small(minute)?, small(second).filter(|s| *s < 60)?, nanos);
    Some((time.ok()?, rest))
}

/// `Z` or `+07:00`.
fn zone(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = match text.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, text.strip_prefix('-')?),
    };
    let (hours, rest) = digits(rest, 2..=2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2..=2)?;
    let fits = rest.is_empty() && hours <= 24 && minutes < 60;
    let seconds = sign * (i32::from(hours) * 60 + i32::from(minutes)) * 60;
    Offset::from_seconds(seconds).ok().filter(|_| fits)
}

/// Whether it is of a year that has a moment (`minUnixTime`, `maxUnixTime`).
fn within(at: &DateTime) -> bool {
    (1..=9999).contains(&at.year())
}

/// What a clock shows that is ahead of UTC. None shows what is behind the last year, or before the first that there is.
fn ahead(at: DateTime, by: Offset) -> DateTime {
    at.saturating_add(SignedDuration::from_secs(i64::from(by.seconds())))
}

impl Moment {
    fn new(date: Date, time: Time, offset: Offset) -> Result<Self, MomentError> {
        let ahead = SignedDuration::from_secs(i64::from(offset.seconds()));
        let at = DateTime::from_parts(date, time).checked_sub(ahead).ok();
        let at = at.filter(within).ok_or(MomentError::Overflow)?;
        Ok(Self { at, offset })
    }

    /// As `time.RFC3339` has it.
    ///
    /// # Errors
    /// [`MomentError`].
    pub fn parse(text: &str) -> Result<Self, MomentError> {
        let read = || {
            let (date, rest) = date(text)?;
            let (time, rest) = time(rest.strip_prefix('T')?)?;
            Some((date, time, zone(rest)?))
        };
        let (date, time, zone) = read().ok_or(MomentError::Form)?;
        Self::new(date, time, zone)
    }

    /// A text with the format `date`.
    #[must_use]
    pub fn of_date(text: &str) -> Option<Self> {
        let (date, rest) = date(text)?;
        rest.is_empty()
            .then(|| Self::new(date, Time::midnight(), Offset::UTC).ok())?
    }

    /// A text with the format `date-time` (`strfmt.ParseDateTime`): also without a zone, and nothing at all.
    #[must_use]
    pub fn of_date_time(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Self::of_seconds(0);
        }
        let local = || {
            let (date, rest) = date(text)?;
            let (time, rest) = time(rest.strip_prefix('T')?)?;
            rest.is_empty().then(|| Self::new(date, time, Offset::UTC).ok())?
        };
        Self::parse(text).ok().or_else(local)
    }

    /// So many seconds after the epoch.
    #[must_use]
    pub fn of_seconds(seconds: i64) -> Option<Self> {
        let at = EPOCH.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        let offset = Offset::UTC;
        within(&at).then_some(Self { at, offset })
    }

    /// The seconds since the epoch, of which a part counts downwards.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        let since = self.at.duration_since(EPOCH);
        since.as_secs() - i64::from(since.subsec_nanos() < 0)
    }

    /// Later by a span, in the same zone.
    pub(super) fn later(&self, by: SignedDuration) -> Option<Self> {
        let at = self.at.checked_add(by).ok().filter(within)?;
        Some(Self { at, ..*self })
    }

    /// By how much it is later than another.
    pub(super) fn since(&self, other: &Self) -> SignedDuration {
        self.at.duration_since(other.at)
    }

    /// What it says about itself in a zone, or in UTC without one (`cel-go/common/types/timestamp.go`).
    pub(super) fn part(&self, name: &str, zone: Option<&str>) -> Result<Option<i64>, String> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => zone_named(name)?,
        };
        let at = Offset::UTC.to_timestamp(self.at).unwrap_or(Timestamp::MAX);
        let z = ahead(self.at, zone.to_offset(at));
        Ok(Some(match name {
            "getFullYear" => i64::from(z.year()),
            "getMonth" => i64::from(z.month()) - 1,
            "getDayOfYear" => i64::from(z.day_of_year()) - 1,
            "getDayOfMonth" => i64::from(z.day()) - 1,
            "getDate" => i64::from(z.day()),
            "getDayOfWeek" => i64::from(z.weekday().to_sunday_zero_offset()),
            "getHours" => i64::from(z.hour()),
            "getMinutes" => i64::from(z.minute()),
            "getSeconds" => i64::from(z.second()),
            "getMilliseconds" => i64::from(z.millisecond()),
            _ => return Ok(None),
        }))
    }
}

/// A zone by its name, or by how far it is from UTC.
fn zone_named(name: &str) -> Result<TimeZone, String> {
    let Some((hours, minutes)) = name.split_once(':') else {
        if matches!(name, "" | "UTC" | "Local") {
            return Ok(TimeZone::UTC);
        }
        // Go's names are told apart by their capitals.
        let known = TimeZone::get(name).ok().filter(|tz| tz.iana_name() == Some(name));
        return known.ok_or_else(|| format!("unknown time zone {name}"));
    };
    let (h, m) = (atoi(hours)?, atoi(minutes)?);
    let minutes = if name.starts_with('-') {
        h.saturating_mul(60).saturating_sub(m)
    } else {
        h.saturating_mul(60).saturating_add(m)
    };
    // Go has zones that are further away than any that is known here.
    let seconds = i32::try_from(minutes.saturating_mul(60)).unwrap_or(i32::MAX);
    let offset = Offset::from_seconds(seconds.clamp(-93_599, 93_599)).unwrap_or(Offset::UTC);
    Ok(TimeZone::fixed(offset))
}

impl fmt::Display for Moment {
    /// As `time.RFC3339Nano` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = ahead(self.at, self.offset);
        let (year, month, day) = (own.year(), own.month(), own.day());
        let (hour, minute, second) = (own.hour(), own.minute(), own.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if own.subsec_nanosecond() != 0 {
            let fraction = format!("{:09}", own.subsec_nanosecond());
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        match self.offset.seconds() / 60 {
            0 => write!(f, "Z"),
            minutes => {
                let sign = if minutes < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Moment, MomentError};

    #[test]
    fn moments_keep_their_zones() {
        for (text, wanted) in [
            ("2024-01-02T03:04:05Z", Some("2024-01-02T03:04:05Z")),
            ("1969-12-31T00:00:00+01:00", Some("1969-12-31T00:00:00+01:00")),
            ("2024-01-02T3:04:05.500-00:30", Some("2024-01-02T03:04:05.5-00:30")),
            ("2024-01-02T03:04:05+00:00", Some("2024-01-02T03:04:05Z")),
            ("2024-01-02t03:04:05Z", None),
            ("2024-01-02T03:04:60Z", None),
            ("2023-02-29T00:00:00Z", None),
            ("2024-01-02T03:04:05", None),
            ("2024-01-02", None),
        ] {
            let found = Moment::parse(text).ok().map(|m| m.to_string());
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
        let at = |text| Moment::parse(text).map(|m| m.seconds());
        assert_eq!(at("2024-01-02T03:00:00+01:00"), at("2024-01-02T02:00:00Z"));
        assert!(Moment::of_date("2024-02-29").is_some() && Moment::of_date("2024-02-29T").is_none());
        assert!(Moment::of_date_time("2024-02-29T01:02:03").is_some());
    }

    #[test]
    fn moments_are_of_the_years_1_to_9999() {
        let seconds = |text| Moment::parse(text).map(|m| m.seconds());
        assert_eq!(seconds("0001-01-01T00:00:00Z"), Ok(-62_135_596_800));
        assert_eq!(seconds("9999-12-31T23:59:59Z"), Ok(253_402_300_799));
        assert_eq!(seconds("1969-12-31T23:59:58.5Z"), Ok(-2));
        for text in [
            "0000-12-31T23:59:59Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
        ] {
            assert_eq!(seconds(text), Err(MomentError::Overflow), "{text}");
        }
        let last = Moment::of_seconds(253_402_300_799).unwrap();
        assert_eq!(last.to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(last.part("getHours", Some("-01:00")), Ok(Some(22)));
        assert_eq!(last.part("getHours", None), Ok(Some(23)));
        assert!(last.later(jiff::SignedDuration::from_secs(1)).is_none());
        assert!(Moment::of_seconds(-62_135_596_801).is_none() && Moment::of_seconds(i64::MAX).is_none());
    }

    #[test]
    fn zones_are_named_or_counted() {
        let moment = Moment::parse("2024-01-02T03:04:05Z").unwrap();
        for (zone, wanted) in [
            (None, Ok(Some(3))),
            (Some("UTC"), Ok(Some(3))),
            (Some("-02:30"), Ok(Some(0))),
            (Some("europe/berlin"), Err("unknown time zone europe/berlin".to_owned())),
            (
                Some("x:1"),
                Err("strconv.Atoi: parsing \"x\": invalid syntax".to_owned()),
            ),
        ] {
            assert_eq!(moment.part("getHours", zone), wanted, "{zone:?}");
        }
    }
}
