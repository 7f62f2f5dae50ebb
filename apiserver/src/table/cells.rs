//! What cells are made of: texts, counts, ages.

use api::object::Meta;
use api::selector::labels::Selector;
use api::value::{Map, Value};
use api::{time, view};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

const NANOS: i64 = 1_000_000_000;
pub(super) const NONE: &str = "<none>";
pub(super) const UNKNOWN: &str = "<unknown>";
pub(super) const UNSET: &str = "<unset>";

/// Now, in nanoseconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Now(i64);

impl Now {
    pub(super) fn of(text: &str) -> Self {
        Now(nanos(text).unwrap_or(0))
    }

    /// How long ago a time was; `<unknown>` for none.
    pub(super) fn since(self, time: &str) -> String {
        nanos(time).map_or(UNKNOWN.into(), |then| human(self.0 - then))
    }

    pub(super) fn until(self, time: &str) -> String {
        nanos(time).map_or(UNKNOWN.into(), |then| human(then - self.0))
    }

    pub(super) fn is_before(self, time: &str) -> bool {
        nanos(time).is_some_and(|then| then > self.0)
    }

    pub(super) fn age(self, object: &Map) -> Value {
        self.since(object.meta().str("creationTimestamp")).into()
    }
}

fn nanos(time: &str) -> Option<i64> {
    let (seconds, nanos) = time::to_unix(time)?;
    Some(seconds * NANOS + i64::from(nanos))
}

/// The time from one to another.
pub(super) fn between(start: &str, end: &str) -> String {
    nanos(start).zip(nanos(end)).map_or(String::new(), |(start, end)| human(end - start))
}

pub(super) fn human_seconds(seconds: i64) -> String {
    human(seconds.saturating_mul(NANOS))
}

/// k8s.io/apimachinery/pkg/util/duration/duration.go@v0.37.2: HumanDuration.
fn human(nanos: i64) -> String {
    let seconds = nanos / NANOS;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |big: i64, unit: &str, small: i64, smaller: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{smaller}"),
    };
    match () {
        _ if seconds < -1 => "<invalid>".into(),
        _ if nanos < 0 => "0s".into(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if years < 2 => format!("{days}d"),
        _ if years < 8 => pair(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// The text at a path; "" when there is none.
pub(super) fn text<'m>(object: &'m Map, path: &[&str]) -> &'m str {
    object.value_at(path).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn text_or<'m>(object: &'m Map, path: &[&str], otherwise: &'m str) -> &'m str {
    or(text(object, path), otherwise)
}

pub(super) fn or<'t>(text: &'t str, otherwise: &'t str) -> &'t str {
    if text.is_empty() { otherwise } else { text }
}

/// The number at a path; 0 when there is none.
pub(super) fn number(object: &Map, path: &[&str]) -> i64 {
    object.value_at(path).and_then(Value::as_i64).unwrap_or(0)
}

pub(super) fn flag(object: &Map, path: &[&str]) -> bool {
    object.value_at(path).and_then(Value::as_bool).unwrap_or(false)
}

pub(super) fn list<'m>(object: &'m Map, path: &[&str]) -> &'m [Value] {
    object.value_at(path).and_then(Value::as_list).unwrap_or(&[])
}

pub(super) fn maps<'m>(object: &'m Map, path: &[&str]) -> impl DoubleEndedIterator<Item = &'m Map> {
    list(object, path).iter().filter_map(Value::as_map)
}

pub(super) fn count(object: &Map, path: &[&str]) -> Value {
    (list(object, path).len() as i64).into()
}

pub(super) fn joined(object: &Map, path: &[&str], separator: &str) -> String {
    list(object, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(separator)
}

pub(super) fn name(object: &Map) -> Value {
    object.name().into()
}

/// An int-or-string as text.
pub(super) fn plain(value: Option<&Value>, otherwise: &str) -> String {
    match value {
        Some(Value::String(text)) => text.to_string(),
        Some(Value::Int(number)) => number.to_string(),
        _ => otherwise.to_string(),
    }
}

/// The status of a condition; "" when there is none of the type.
pub(super) fn condition<'m>(object: &'m Map, ty: &str) -> Option<&'m Map> {
    maps(object, &["status", "conditions"]).find(|condition| condition.str("type") == ty)
}

pub(super) fn is_true(object: &Map, ty: &str) -> bool {
    condition(object, ty).is_some_and(|condition| condition.str("status") == "True")
}

/// `a=b,c=d` in order, or `<none>`.
pub(super) fn labels(labels: Option<&Map>) -> String {
    let mut pairs: Vec<String> =
        labels.into_iter().flat_map(Map::iter).map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    pairs.sort_unstable();
    or(&pairs.join(","), NONE).to_string()
}

/// A label selector as text; "" when it selects nothing or everything, nothing when it is wrong.
pub(super) fn selector(selector: Option<&Map>) -> Option<String> {
    let Some(selector) = selector else { return Some(String::new()) };
    let typed: LabelSelector = view::of(selector).ok()?;
    Selector::from_label_selector(Some(&typed)).ok().map(|selector| selector.to_string())
}

/// metav1.FormatLabelSelector
pub(super) fn selector_or_none(of: Option<&Map>) -> Value {
    match selector(of) {
        Some(text) => or(&text, NONE).into(),
        None => "<error>".into(),
    }
}

/// Names and images of the containers of a pod template.
pub(super) fn containers(template: Option<&Map>) -> [Value; 2] {
    let each = |what: &str| {
        let containers = template.into_iter().flat_map(|template| maps(template, &["spec", "containers"]));
        Value::from(containers.map(|container| container.str(what)).collect::<Vec<_>>().join(","))
    };
    [each("name"), each("image")]
}

/// At most `max` of a list, and how many more there are.
pub(super) fn some_of(all: &[String], max: usize) -> String {
    let shown = all[..all.len().min(max)].join(",");
    match all.len() {
        more if more > max => format!("{shown} + {} more...", more - max),
        _ => or(&shown, UNSET).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{human_seconds, some_of};

    #[test]
    fn durations_are_for_people() {
        let check = |seconds: i64, expect: &str| assert_eq!(human_seconds(seconds), expect, "{seconds}");
        check(-2, "<invalid>");
        check(-1, "0s");
        check(119, "119s");
        check(120, "2m");
        check(125, "2m5s");
        check(600, "10m");
        check(3 * 3600 - 1, "179m");
        check(3 * 3600, "3h");
        check(7 * 3600 + 60, "7h1m");
        check(47 * 3600, "47h");
        check(49 * 3600, "2d1h");
        check(8 * 86400, "8d");
        check(730 * 86400, "2y");
        check(731 * 86400, "2y1d");
        check(3000 * 86400, "8y");
    }

    #[test]
    fn long_lists_are_cut() {
        let all: Vec<String> = ["a", "b", "c"].map(String::from).into();
        assert_eq!(some_of(&all, 3), "a,b,c");
        assert_eq!(some_of(&all, 1), "a + 2 more...");
        assert_eq!(some_of(&[], 1), "<unset>");
    }
}
