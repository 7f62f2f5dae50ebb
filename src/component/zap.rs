//! Log lines as etcd writes them with zap (`client/pkg/logutil/zap.go@v3.7.3`):
//! `{"level":"info","ts":"2026-11-24T06:39:49.486776Z","caller":"embed/etcd.go:135","msg":"message","key":"value"}`, or with tabs
//! between the parts for `--log-format=console`.

use std::fmt::{self, Write};
use std::io;

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::klog::Fields;
use crate::flags::Values;

struct Zap {
    console: bool,
}

/// Starts logging as `--log-level`, `--log-format` and `--log-outputs` say; $RUST_LOG goes before the level.
///
/// # Errors
/// A value that etcd would refuse, or a file as the output.
pub(super) fn start(values: &Values) -> Result<()> {
    let level = match values.text("log-level", "info").as_str() {
        level @ ("debug" | "info" | "warn" | "error") => level.to_owned(),
        "panic" | "fatal" => "error".into(),
        other => bail!("unrecognized level: {other:?}"),
    };
    let console = match values.text("log-format", "json").as_str() {
        "json" => false,
        "console" => true,
        other => bail!("unknown log format: {other}"),
    };
    let stdout = match values.list("log-outputs").iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["default" | "stderr"] => false,
        ["stdout"] => true,
        ref others => bail!("--log-outputs {}: only default, stderr and stdout are supported", others.join(",")),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).event_format(Zap { console });
    match stdout {
        true => lines.with_writer(io::stdout).init(),
        false => lines.with_writer(io::stderr).init(),
    }
    Ok(())
}

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let mut path = meta.file().unwrap_or("unknown").rsplit('/');
        let file = path.next().unwrap_or_default();
        let folder = path.find(|part| *part != "src").map_or(String::new(), |folder| format!("{folder}/"));
        let caller = format!("{folder}{file}:{}", meta.line().unwrap_or(0));
        let line = line(self.console, Timestamp::now(), *meta.level(), &caller, &fields);
        writeln!(writer, "{line}")
    }
}

fn line(console: bool, now: Timestamp, level: Level, caller: &str, fields: &Fields) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        _ => "debug",
    };
    let ts = now.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
    let others = fields.others.iter().map(|(name, value)| {
        let name = if *name == "err" { "error" } else { *name };
        (name.to_owned(), Value::from(value.clone()))
    });
    if console {
        let mut line = format!("{ts}\t{level}\t{caller}\t{}", fields.message);
        let others: Map<_, _> = others.collect();
        if !others.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, "\t{}", Value::Object(others));
        }
        return line;
    }
    // In zap's order, which a map of serde_json would not keep.
    let head = [("level", level), ("ts", ts.as_str()), ("caller", caller), ("msg", fields.message.as_str())];
    let head = head.map(|(name, value)| (name.to_owned(), Value::from(value)));
    let parts: Vec<_> =
        head.into_iter().chain(others).map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", parts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_look_like_zaps() {
        let now = Timestamp::from_microsecond(1_795_502_389_486_776).expect("in range");
        let fields = Fields { message: "ready".into(), others: vec![("err", "no \"x\"".into())] };
        let shown = |console| line(console, now, Level::WARN, "etcd/lib.rs:7", &fields);
        assert_eq!(
            shown(false),
            r#"{"level":"warn","ts":"2026-11-24T06:39:49.486776Z","caller":"etcd/lib.rs:7","msg":"ready","error":"no \"x\""}"#
        );
        let console = "2026-11-24T06:39:49.486776Z\twarn\tetcd/lib.rs:7\tready\t{\"error\":\"no \\\"x\\\"\"}";
        assert_eq!(shown(true), console);
    }
}
