//! Schedules of cron jobs as `robfig/cron` v3 reads them (`cron.ParseStandard`): its rules, its words, its times.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::schema::{atoi, parse_duration};

/// The bit that says that a field had a star: anything goes.
const STAR: u64 = 1 << 63;

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field's least and most, and the names of its values.
struct Bounds {
    least: u64,
    most: u64,
    names: &'static [&'static str],
}

/// Of minutes, hours, days, months and days of the week.
const BOUNDS: [Bounds; 5] = [
    Bounds {
        least: 0,
        most: 59,
        names: &[],
    },
    Bounds {
        least: 0,
        most: 23,
        names: &[],
    },
    Bounds {
        least: 1,
        most: 31,
        names: &[],
    },
    Bounds {
        least: 1,
        most: 12,
        names: MONTHS,
    },
    Bounds {
        least: 0,
        most: 6,
        names: DAYS,
    },
];

/// A schedule, and the zone that it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    when: When,
    zone: Option<TimeZone>,
}

#[derive(Debug, Clone, PartialEq)]
enum When {
    /// Sets of bits: minutes, hours, days, months and days of the week.
    Fields([u64; 5]),
    /// Seconds from one time to the next.
    Every(i64),
}

impl Schedule {
    /// `*/5 * * * *`, `@hourly`, `@every 1h30m`, each after `TZ=Europe/Berlin ` or `CRON_TZ=Europe/Berlin `.
    ///
    /// # Errors
    /// What upstream says of a text that is no schedule.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let zoned = ["TZ=", "CRON_TZ="].iter().find_map(|prefix| text.strip_prefix(prefix));
        let Some(zoned) = zoned else {
            return Ok(Self {
                when: When::parse(text)?,
                zone: None,
            });
        };
        // There it panics, and `ParseCronScheduleWithPanicRecovery` tells of that.
        let Some((name, rest)) = zoned.split_once(' ') else {
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".to_owned());
        };
        let zone = location(name).map_err(|why| format!("provided bad location {name}: {why}"))?;
        Ok(Self {
            when: When::parse(rest.trim())?,
            zone,
        })
    }

    /// The first time after `t`, within five years; in `zone` where the schedule names none. As time goes in the zone: what
    /// a clock skips in spring is skipped, and what it shows twice in autumn comes twice.
    #[must_use]
    pub fn next_after(&self, t: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match &self.when {
            When::Every(seconds) => Timestamp::from_second(t.as_second() + seconds).ok(),
            When::Fields(fields) => next(fields, &t.to_zoned(self.zone.as_ref().unwrap_or(zone).clone())),
        }
    }
}

impl When {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('@') {
            return Self::described(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let Ok(fields) = <[&str; 5]>::try_from(fields.as_slice()) else {
            let (count, fields) = (fields.len(), fields.join(" "));
            return Err(format!("expected exactly 5 fields, found {count}: [{fields}]"));
        };
        let mut sets = [0; 5];
        for ((set, field), bounds) in sets.iter_mut().zip(fields).zip(&BOUNDS) {
            *set = bits(field, bounds)?;
        }
        Ok(Self::Fields(sets))
    }

    fn described(text: &str) -> Result<Self, String> {
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ => {
                let every = text.strip_prefix("@every ");
                let every = every.ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
                let refused = |why: String| format!("failed to parse duration {text}: time: {why}");
                let nanoseconds = parse_duration(every).map_err(refused)?;
                return Ok(Self::Every((nanoseconds / 1_000_000_000).max(1)));
            }
        };
        Self::parse(fields)
    }
}

/// A zone by its name, as `time.LoadLocation` finds it; `None` is the machine's.
fn location(name: &str) -> Result<Option<TimeZone>, String> {
    match name {
        "" => Ok(Some(TimeZone::UTC)),
        "Local" => Ok(None),
        name if name.contains("..") || name.starts_with(['/', '\\']) => Err("time: invalid location name".to_owned()),
        // Names are as files are named: capitals count.
        name => TimeZone::get(name)
            .ok()
            .filter(|zone| zone.iana_name() == Some(name))
            .map(Some)
            .ok_or_else(|| format!("unknown time zone {name}")),
    }
}

/// What is said of a zone that is not known.
pub(crate) fn unknown_location(name: &str) -> Option<String> {
    location(name).err()
}

/// The set of a field: ranges between commas (`getField`).
fn bits(field: &str, bounds: &Bounds) -> Result<u64, String> {
    let ranges = field.split(',').filter(|range| !range.is_empty());
    ranges
        .map(|text| range(text, bounds))
        .try_fold(0, |set, range| Ok(set | range?))
}

/// `*`, `1`, `1-5`, each with `/2` (`getRange`).
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let (start, mut end, mut star) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.least, bounds.most, STAR),
        [first, others @ ..] => {
            let start = number_or_name(first, bounds)?;
            let end = match others {
                [] => start,
                [last] => number_or_name(last, bounds)?,
                _ => return Err(format!("too many hyphens: {text}")),
            };
            (start, end, 0)
        }
        [] => return Ok(0),
    };
    let step = match steps.as_slice() {
        [_] => 1,
        [_, step] => number(step)?,
        _ => return Err(format!("too many slashes: {text}")),
    };
    if steps.len() == 2 && ends.len() == 1 {
        end = bounds.most;
    }
    if step > 1 {
        star = 0;
    }
    let (least, most) = (bounds.least, bounds.most);
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > most {
        return Err(format!("end of range ({end}) above maximum ({most}): {text}"));
    }
    if start > end {
        return Err(format!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((start..=end).step_by(step).fold(star, |set, n| set | 1 << n))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let mut names = bounds.names.iter().zip(bounds.least..);
    let named = names.find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map_or_else(|| number(text), |(_, number)| Ok(number))
}

fn number(text: &str) -> Result<u64, String> {
    let number = atoi(text).map_err(|why| format!("failed to parse int from {text}: {why}"))?;
    u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
}

fn has(set: u64, n: i8) -> bool {
    set >> n & 1 == 1
}

fn day_fits([_, _, days, _, weekdays]: &[u64; 5], at: &Zoned) -> bool {
    let day = has(*days, at.day());
    let weekday = has(*weekdays, at.weekday().to_sunday_zero_offset());
    match (days | weekdays) & STAR {
        0 => day || weekday,
        _ => day && weekday,
    }
}

/// `SpecSchedule.Next`.
fn next(fields: &[u64; 5], start: &Zoned) -> Option<Timestamp> {
    let [minutes, hours, _, months, _] = fields;
    let minute = start.with().second(0).subsec_nanosecond(0).build().ok()?;
    let mut at = minute.checked_add(1.minute()).ok()?;
    while at.year() <= start.year() + 5 {
        if !has(*months, at.month()) {
            at = at
                .first_of_month()
                .ok()?
                .checked_add(1.month())
                .ok()?
                .start_of_day()
                .ok()?;
        } else if !day_fits(fields, &at) {
            at = at.tomorrow().ok()?.start_of_day().ok()?;
        } else if !has(*hours, at.hour()) {
            // To the next hour by what passes, not by what clocks show: some go back by half an hour.
            at = at.checked_add((60 - i64::from(at.minute())).minutes()).ok()?;
        } else if !has(*minutes, at.minute()) {
            at = at.checked_add(1.minute()).ok()?;
        } else {
            return Some(at.timestamp());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_and_their_next_times() {
        let from: Timestamp = "2024-02-28T23:59:30Z".parse().unwrap();
        for (text, next) in [
            ("* * * * *", "2024-02-29T00:00:00Z"),
            ("*/15 * * * *", "2024-02-29T00:00:00Z"),
            ("30 4 1,15 * *", "2024-03-01T04:30:00Z"),
            ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
            ("0 12 * * mon-FRI", "2024-02-29T12:00:00Z"),
            ("0 12 ? * 0", "2024-03-03T12:00:00Z"),
            // Either of the two: neither has a star, as one with steps has none.
            ("0 0 13 * fri", "2024-03-01T00:00:00Z"),
            ("0 0 */30 * tue", "2024-03-01T00:00:00Z"),
            ("0 0 1,,2 aug *", "2024-08-01T00:00:00Z"),
            ("@yearly", "2025-01-01T00:00:00Z"),
            ("@every 90s", "2024-02-29T00:01:00Z"),
            ("@every 1ms", "2024-02-28T23:59:31Z"),
            ("TZ=Asia/Kolkata  0 6 * * *", "2024-02-29T00:30:00Z"),
        ] {
            let s = Schedule::parse(text).unwrap();
            let t = s.next_after(from, &TimeZone::UTC).map(|t| t.to_string());
            assert_eq!(t.as_deref(), Some(next), "{text}");
        }
        // On that day clocks there go back from two to half past one.
        let turned = Schedule::parse("0 12 7 4 *").unwrap();
        let zone = TimeZone::get("Australia/Lord_Howe").unwrap();
        let t = turned.next_after("2024-04-05T00:00:00Z".parse().unwrap(), &zone);
        assert_eq!(t.map(|t| t.to_string()).as_deref(), Some("2024-04-07T01:30:00Z"));
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next_after(from, &TimeZone::UTC), None);
    }

    #[test]
    fn what_is_no_schedule_is_told_in_its_words() {
        for (text, why) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            (" @hourly", "expected exactly 5 fields, found 1: [@hourly]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("0 0 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("0 0 * * 7", "end of range (7) above maximum (6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("*/1/2 * * * *", "too many slashes: */1/2"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            (
                "*/jan * * * *",
                "failed to parse int from jan: strconv.Atoi: parsing \"jan\": invalid syntax",
            ),
            ("1/-2 * * * *", "negative number (-2) not allowed: -2"),
            (
                "-1 * * * *",
                "failed to parse int from : strconv.Atoi: parsing \"\": invalid syntax",
            ),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            ("@never", "unrecognized descriptor: @never"),
            (
                "@every x",
                "failed to parse duration @every x: time: invalid duration \"x\"",
            ),
            (
                "TZ=0",
                "invalid schedule format: runtime error: slice bounds out of range [:-1]",
            ),
            (
                "TZ=Nope * * * * *",
                "provided bad location Nope: unknown time zone Nope",
            ),
            (
                "CRON_TZ=../x * * * * *",
                "provided bad location ../x: time: invalid location name",
            ),
            ("TZ=UTC * *", "expected exactly 5 fields, found 2: [* *]"),
        ] {
            assert_eq!(Schedule::parse(text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn schedules_go_by_the_clock_of_their_zone() {
        let next = |text: &str, zone: &str, from: &str| {
            let zone = TimeZone::get(zone).unwrap();
            let t = Schedule::parse(text).unwrap().next_after(from.parse().unwrap(), &zone);
            t.unwrap().to_string()
        };
        let berlin = "Europe/Berlin";
        for (text, zone, from, wanted) in [
            ("0 9 * * *", berlin, "2024-01-15T00:00:00Z", "2024-01-15T08:00:00Z"),
            ("0 9 * * *", berlin, "2024-07-15T00:00:00Z", "2024-07-15T07:00:00Z"),
            (
                "0 0 * * *",
                "Asia/Kolkata",
                "2024-01-15T12:00:00Z",
                "2024-01-15T18:30:00Z",
            ),
            (
                "30 8 * * mon",
                "America/New_York",
                "2024-01-15T13:30:00Z",
                "2024-01-22T13:30:00Z",
            ),
            ("0 0 1 apr *", berlin, "2024-01-31T12:00:00Z", "2024-03-31T22:00:00Z"),
            // Half past two is not there when clocks go forward.
            ("30 2 * * *", berlin, "2024-03-30T23:00:00Z", "2024-04-01T00:30:00Z"),
            // And there twice when they go back.
            ("30 2 * * *", berlin, "2024-10-27T00:00:00Z", "2024-10-27T00:30:00Z"),
            ("30 2 * * *", berlin, "2024-10-27T00:30:00Z", "2024-10-27T01:30:00Z"),
        ] {
            assert_eq!(next(text, zone, from), wanted, "{text} in {zone} after {from}");
        }
    }
}
