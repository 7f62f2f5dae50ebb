//! When a schedule is due next (pkg/util/parsers@v1.37.2 over github.com/robfig/cron/v3, standard parser).
//!
//! Invariant: hours that a clock change skips are not due, hours that it repeats are due twice.
//! Non-goal: telling users what is wrong with a schedule; the API server has done that.

use std::ops::RangeInclusive;

use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp, ToSpan, Unit, Zoned};

/// How far ahead a date is looked for, in years.
const YEARS_AHEAD: i16 = 5;
const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Times that recur.
#[derive(Clone, Debug)]
pub(super) enum Schedule {
    At(Box<Fields>),
    Every(SignedDuration),
}

#[derive(Clone, Debug)]
pub(super) struct Fields {
    zone: TimeZone,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

/// The values of one field, as bits; `any` when it was written as a star.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    any: bool,
}

impl Field {
    fn has(self, value: i8) -> bool {
        self.bits & (1 << value) != 0
    }
}

impl Schedule {
    /// Parses a schedule for a time zone; one that the schedule itself names (`TZ=Name ...`) goes first.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let named = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ="));
        let (text, zone) = match named {
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').ok_or("a time zone and no schedule")?;
                (rest.trim(), location(name)?)
            }
            None => (text.trim(), zone),
        };
        if let Some(duration) = text.strip_prefix("@every ") {
            let nanoseconds = api::duration::parse(duration).map_err(|why| why.to_string())?;
            return Ok(Schedule::Every(SignedDuration::from_secs((nanoseconds / 1_000_000_000).max(1))));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            let found = fields.len();
            return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
        };
        Ok(Schedule::At(Box::new(Fields {
            zone,
            minutes: field(minutes, 0..=59, &[])?,
            hours: field(hours, 0..=23, &[])?,
            days: field(days, 1..=31, &[])?,
            months: field(months, 1..=12, MONTHS)?,
            weekdays: field(weekdays, 0..=6, DAYS)?,
        })))
    }

    /// The first due time after `time`; `None` for a date that never comes, as 31 February.
    pub(super) fn next(&self, time: Timestamp) -> Option<Timestamp> {
        let whole = Timestamp::from_second(time.as_second()).ok()?;
        match self {
            Schedule::Every(interval) => whole.checked_add(*interval).ok(),
            Schedule::At(fields) => fields.next(whole.checked_add(1.second()).ok()?),
        }
    }
}

/// A time zone by name, as Go's time.LoadLocation.
pub(super) fn location(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

impl Fields {
    /// Steps to the start of the next month, day, hour or minute, whichever is the largest that does not match.
    fn next(&self, from: Timestamp) -> Option<Timestamp> {
        let mut time = from.to_zoned(self.zone.clone());
        let limit = time.year() + YEARS_AHEAD;
        while time.year() <= limit {
            time = if !self.months.has(time.month()) {
                time.first_of_month().ok()?.checked_add(1.month()).ok()?.start_of_day().ok()?
            } else if !self.is_day(&time) {
                time.start_of_day().ok()?.checked_add(1.day()).ok()?.start_of_day().ok()?
            } else if !self.hours.has(time.hour()) {
                let left = 60 - i64::from(time.minute());
                floor(&time)?.checked_add(left.minutes()).ok()?
            } else if !self.minutes.has(time.minute()) || time.second() != 0 {
                floor(&time)?.checked_add(1.minute()).ok()?
            } else {
                return Some(time.timestamp());
            };
        }
        None
    }

    /// Days of the month and of the week both bind when one of them is a star, else either does.
    fn is_day(&self, time: &Zoned) -> bool {
        let day = self.days.has(time.day());
        let weekday = self.weekdays.has(time.weekday().to_sunday_zero_offset());
        if self.days.any || self.weekdays.any { day && weekday } else { day || weekday }
    }
}

fn floor(time: &Zoned) -> Option<Zoned> {
    let mode = k8s_openapi::jiff::RoundMode::Trunc;
    time.round(k8s_openapi::jiff::ZonedRound::new().smallest(Unit::Minute).mode(mode)).ok()
}

/// Comma-separated ranges.
fn field(text: &str, bounds: RangeInclusive<u64>, names: &[&str]) -> Result<Field, String> {
    let mut all = Field { bits: 0, any: false };
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let one = range(part, &bounds, names).ok_or_else(|| format!("not a range: {part}"))?;
        all = Field { bits: all.bits | one.bits, any: all.any || one.any };
    }
    Ok(all)
}

/// `*`, `3`, `3-5`, each with a step after a slash; `None` when it is none of these.
fn range(text: &str, bounds: &RangeInclusive<u64>, names: &[&str]) -> Option<Field> {
    let value = |text: &str| {
        let named = (*bounds.start()..).zip(names).find(|(_, name)| text.eq_ignore_ascii_case(name));
        named.map(|(value, _)| value).or_else(|| text.parse().ok())
    };
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step.parse::<u64>().ok().filter(|step| *step > 0)?)),
        None => (text, None),
    };
    let star = matches!(range, "*" | "?");
    let (first, last) = match range.split_once('-') {
        _ if star => (*bounds.start(), *bounds.end()),
        Some((first, last)) => (value(first)?, value(last)?),
        // From there on.
        None if step.is_some() => (value(range)?, *bounds.end()),
        None => (value(range)?, value(range)?),
    };
    if first > last || !bounds.contains(&first) || !bounds.contains(&last) {
        return None;
    }
    let step = step.unwrap_or(1);
    let bits = (first..=last).step_by(usize::try_from(step).ok()?).fold(0, |bits, value| bits | 1 << value);
    Some(Field { bits, any: star && step == 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: &str, zone: &str, from: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule, location(zone).expect("zone")).expect("schedule");
        let mut time: Timestamp = from.parse().expect("time");
        let mut found = Vec::new();
        for _ in expected {
            time = schedule.next(time).expect("due");
            found.push(time.to_string());
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn due_times() {
        check(
            "*/20 * * * *",
            "",
            "2026-01-01T00:19:59.5Z",
            &["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z", "2026-01-01T01:00:00Z"],
        );
        check("5 4 * * *", "", "2026-01-01T04:05:00Z", &["2026-01-02T04:05:00Z"]);
        check("30 6-16/4 * * 1-5", "", "2026-01-02T11:00:00Z", &["2026-01-02T14:30:00Z", "2026-01-05T06:30:00Z"]);
        check(
            "0 0 13 * fri",
            "",
            "2026-03-01T00:00:00Z",
            &["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z"],
        );
        check("0 0 13 * *", "", "2026-03-14T00:00:00Z", &["2026-04-13T00:00:00Z"]);
        check("0 0 29 feb ?", "", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("@monthly", "", "2026-01-31T10:00:00Z", &["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]);
        check("@weekly", "", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]);
        check("@every 1h30m", "", "2026-01-01T00:00:00.7Z", &["2026-01-01T01:30:00Z", "2026-01-01T03:00:00Z"]);
    }

    #[test]
    fn time_zones() {
        check("0 9 * * *", "Asia/Tokyo", "2026-01-01T00:00:00Z", &["2026-01-02T00:00:00Z"]);
        check("TZ=Asia/Kolkata 30 5 * * *", "", "2026-01-01T01:00:00Z", &["2026-01-02T00:00:00Z"]);
        // 02:30 does not exist on 8 March, and 01:30 comes twice on 1 November.
        check("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", &["2026-03-09T06:30:00Z"]);
        check(
            "30 1 * * *",
            "America/New_York",
            "2026-11-01T04:00:00Z",
            &["2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"],
        );
    }

    #[test]
    fn what_never_comes() {
        let schedule = Schedule::parse("59 23 31 2 *", TimeZone::UTC).expect("schedule");
        assert_eq!(schedule.next(Timestamp::UNIX_EPOCH), None);
        for text in ["", "* * * *", "60 * * * *", "5-1 * * * *", "*/0 * * * *", "TZ=Nowhere * * * * *", "x * * * *"] {
            assert!(Schedule::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
    }
}
