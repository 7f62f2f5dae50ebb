//! The schedule of a cron job (pkg/util/parsers/parsers.go@v1.37.2 over github.com/robfig/cron/v3, standard parser).
//!
//! Non-goal: when the schedule is due; that is the controller's.

use api::field::go_quote;

/// What one of the five fields may be.
struct Bounds {
    min: u64,
    max: u64,
    /// Names of the numbers from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds {
        min: 1,
        max: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const DESCRIPTORS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const EVERY: &str = "@every ";

/// Whether the machine knows a time zone by this name (Go's time.LoadLocation), or its error.
pub(super) fn location(name: &str) -> Result<(), String> {
    if matches!(name, "" | "UTC" | "Local") {
        return Ok(());
    }
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return Err("time: invalid location name".into());
    }
    // Names are files for Go, so their case counts.
    match jiff::tz::TimeZone::get(name) {
        Ok(zone) if zone.iana_name() == Some(name) => Ok(()),
        _ => Err(format!("unknown time zone {name}")),
    }
}

/// What is wrong with a schedule, in upstream's words.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    if schedule.is_empty() {
        return Err("empty spec string".into());
    }
    let mut spec = schedule;
    if let Some(rest) = spec.strip_prefix("TZ=").or_else(|| spec.strip_prefix("CRON_TZ=")) {
        // Upstream's parser panics here, and says so.
        let Some((zone, rest)) = rest.split_once(' ') else {
            return Err("invalid schedule format: runtime error: slice bounds out of range [:-1]".into());
        };
        location(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
        spec = rest.trim();
    }
    if spec.starts_with('@') {
        return descriptor(spec);
    }
    let fields: Vec<&str> = spec.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!(
            "expected exactly {} fields, found {}: [{}]",
            FIELDS.len(),
            fields.len(),
            fields.join(" ")
        ));
    }
    let ranges = |field: &&'static Bounds, text: &str| -> Result<(), String> {
        text.split(',').filter(|part| !part.is_empty()).try_for_each(|part| range(part, field))
    };
    FIELDS.iter().zip(fields).try_for_each(|(bounds, text)| ranges(&bounds, text))
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix(EVERY) {
        Some(duration) => match api::duration::parse(duration) {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("failed to parse duration {text}: {why}")),
        },
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// Go's Atoi, without sign.
fn number(text: &str) -> Result<u64, String> {
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(number.unsigned_abs()),
        Err(error) => {
            let range =
                matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
            let why = if range { "value out of range" } else { "invalid syntax" };
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", go_quote(text)))
        }
    }
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match (bounds.min..).zip(bounds.names).find(|(_, name)| **name == lower) {
        Some((number, _)) => Ok(number),
        None => number(text),
    }
}

/// `*`, `3`, `3-5`, each with a step after a slash.
fn range(text: &str, bounds: &Bounds) -> Result<(), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (bounds.min, bounds.max),
        [only] => {
            let start = number_or_name(only, bounds)?;
            (start, start)
        }
        [start, end] => (number_or_name(start, bounds)?, number_or_name(end, bounds)?),
        [start, ..] => {
            number_or_name(start, bounds)?;
            return Err(format!("too many hyphens: {text}"));
        }
        [] => return Ok(()),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.max;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let cases: [(&str, Result<(), &str>); 20] = [
            ("* * * * *", Ok(())),
            ("*/5 1-3,5 1 jan-DEC mon", Ok(())),
            ("0 0 ? * ?", Ok(())),
            ("@hourly", Ok(())),
            ("@every 1h30m", Ok(())),
            ("TZ=UTC 0 * * * *", Ok(())),
            ("CRON_TZ=America/New_York 0 * * * *", Ok(())),
            ("error", Err("expected exactly 5 fields, found 1: [error]")),
            ("* * * * * *", Err("expected exactly 5 fields, found 6: [* * * * * *]")),
            ("60 * * * *", Err("end of range (60) above maximum (59): 60")),
            ("* * 0 * *", Err("beginning of range (0) below minimum (1): 0")),
            ("5-1 * * * *", Err("beginning of range (5) beyond end of range (1): 5-1")),
            ("*/0 * * * *", Err("step of range should be a positive number: */0")),
            ("1-2-3 * * * *", Err("too many hyphens: 1-2-3")),
            ("1/2/3 * * * *", Err("too many slashes: 1/2/3")),
            ("x * * * *", Err("failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax")),
            ("@never", Err("unrecognized descriptor: @never")),
            ("TZ=0", Err("invalid schedule format: runtime error: slice bounds out of range [:-1]")),
            ("TZ=Mars/Base * * * * *", Err("provided bad location Mars/Base: unknown time zone Mars/Base")),
            ("@every 1x", Err("failed to parse duration @every 1x: time: unknown unit \"x\" in duration \"1x\"")),
        ];
        for (schedule, expect) in cases {
            assert_eq!(check(schedule), expect.map_err(str::to_string), "{schedule}");
        }
    }

    #[test]
    fn zones_are_known_by_their_exact_names() {
        for (name, known) in [("UTC", true), ("America/New_York", true), ("america/new_york", false), ("../etc", false)]
        {
            assert_eq!(location(name).is_ok(), known, "{name}");
        }
    }
}
