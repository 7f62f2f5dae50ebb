//! Log lines as klog writes them (k8s.io/klog/v2@v2.140.0, internal/severity and internal/buffer):
//! `I1124 06:39:49.486776   28889 options.go:261] "message" key="value"`, or JSON with
//! `--logging-format=json` (k8s.io/component-base/logs/json@v0.37.2: ts, caller, msg, v, err).

use std::fmt::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::flags::Values;

struct Klog {
    json: bool,
    zone: TimeZone,
}

/// Starts logging to stderr, as `--v` and `--logging-format` say; $RUST_LOG goes before `--v`.
pub(crate) fn start(values: &Values) {
    let level = match values.get("v").and_then(|level| level.parse::<i32>().ok()).unwrap_or(0) {
        ..=2 => "info",
        3..=5 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let format = Klog { json: values.get("logging-format") == Some("json"), zone: TimeZone::system() };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).event_format(format).init();
}

/// The fields of an event: the message, and the others in order.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) others: Vec<(&'static str, String)>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.others.push((if name == "error" { "err" } else { name }, value)),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Klog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let file = meta.file().and_then(|path| path.rsplit('/').next()).unwrap_or("unknown");
        let place = format!("{file}:{}", meta.line().unwrap_or(0));
        let now = Timestamp::now();
        match self.json {
            true => writeln!(writer, "{}", json_line(now, *meta.level(), &place, &fields)),
            false => writeln!(writer, "{}", text_line(now, &self.zone, *meta.level(), &place, &fields)),
        }
    }
}

fn text_line(now: Timestamp, zone: &TimeZone, level: Level, place: &str, fields: &Fields) -> String {
    let severity = match level {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let time = now.to_zoned(zone.clone());
    let micros = time.subsec_nanosecond() / 1000;
    let head = format!("{severity}{}.{micros:06} {:>7} {place}]", time.strftime("%m%d %H:%M:%S"), std::process::id());
    let mut line = format!("{head} {:?}", fields.message);
    for (name, value) in &fields.others {
        // Writing to a String cannot fail.
        let _ = write!(line, " {name}={value:?}");
    }
    line
}

fn json_line(now: Timestamp, level: Level, place: &str, fields: &Fields) -> Value {
    const MILLIS: f64 = 1000.0;
    let mut line = Map::new();
    line.insert("ts".into(), json!(now.as_microsecond() as f64 / MILLIS));
    line.insert("caller".into(), place.into());
    line.insert("msg".into(), fields.message.clone().into());
    if level != Level::ERROR {
        line.insert("v".into(), 0.into());
    }
    line.extend(fields.others.iter().map(|(name, value)| ((*name).to_string(), value.clone().into())));
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_klogs() {
        let now = Timestamp::from_microsecond(1_795_502_389_486_776).expect("in range");
        let fields = Fields { message: "command failed".into(), others: vec![("err", "no \"x\"".into())] };
        let line = text_line(now, &TimeZone::UTC, Level::ERROR, "run.go:72", &fields);
        let expect = format!(
            "E1124 06:39:49.486776 {:>7} run.go:72] \"command failed\" err=\"no \\\"x\\\"\"",
            std::process::id()
        );
        assert_eq!(line, expect);
        let line = json_line(now, Level::INFO, "a.go:1", &fields);
        assert_eq!(
            line,
            json!({"ts": 1_795_502_389_486.776, "caller": "a.go:1", "msg": "command failed", "v": 0, "err": "no \"x\""})
        );
    }
}
