//! The same load on upstream's kube-apiserver with etcd and on Keelson's API server with its embedded
//! store, one after the other in one run: same certificates, same flags, same requests, both durable
//! (both fsync before they answer). What is compared is processor time and memory of the servers, read
//! from /proc, so that the two cores and the load generator do not decide the result.
//!
//! Non-goal: latency under load; it would measure the machine.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::plane::{self, Side};
use crate::process::{self, Server};
use crate::{cluster, paths, upstream};

/// How long a server rests before its idle memory is read.
const IDLE: Duration = Duration::from_secs(10);
const READY_LIMIT: &str = "60s";
/// Each side is started this often; the median ready time counts.
const STARTS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measure one side only
    #[arg(long)]
    only: Option<Side>,
    /// Factor on every count of the load
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Speak HTTP/1.1 instead of HTTP/2
    #[arg(long)]
    http1: bool,
    /// Only these steps of the load, separated by commas
    #[arg(long)]
    steps: Option<String>,
    /// Also write the measurements as JSON here
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One line of the table; `more_is_better` says which way the ratio goes.
struct Metric {
    name: &'static str,
    more_is_better: bool,
}

const fn metric(name: &'static str, more_is_better: bool) -> Metric {
    Metric { name, more_is_better }
}

const READY: &str = "ready, s";
const READY_FULL: &str = "ready with all objects, s";
const IDLE_MEMORY: &str = "idle memory, MiB";
const PEAK_MEMORY: &str = "peak memory, MiB";
const LISTS_MEMORY: &str = "64 lists, MiB over before";
const DELIVERY: &str = "watch delivery p99, ms";

/// The step that only makes the objects of [`READY_FULL`]; its memory is not that of the load.
const FILL: &str = "fill";
const LISTS_AT_ONCE: &str = "64 lists at once";
const WATCH_DELIVERY: &str = "watch delivery";

const METRICS: &[Metric] = &[
    metric(READY, false),
    metric(IDLE_MEMORY, false),
    metric("configmap create", true),
    metric("configmap update", true),
    metric("configmap patch", true),
    metric("configmap apply", true),
    metric("pod create", true),
    metric("10 KB pod dry run", true),
    metric("get", true),
    metric("list json", true),
    metric("list protobuf", true),
    metric("list by label json", true),
    metric(LISTS_AT_ONCE, true),
    metric(LISTS_MEMORY, false),
    metric("watch fan-out", true),
    metric(DELIVERY, false),
    metric(PEAK_MEMORY, false),
    metric(READY_FULL, false),
];

/// What one side measured, by the names of [`METRICS`]; steps of the load are operations per
/// server-CPU-second.
type Measured = BTreeMap<String, f64>;

/// A line that the load generator prints.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    step: String,
    operations: u64,
    bytes: u64,
    seconds: f64,
    #[serde(rename = "serverCPU")]
    server_cpu: f64,
    #[serde(rename = "clientCPU")]
    client_cpu: f64,
    /// KiB
    memory_before: u64,
    /// KiB
    memory_peak: u64,
    /// Milliseconds
    delivery: f64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let sides: &[Side] = match options.only {
        None => &[Side::Upstream, Side::Keelson],
        Some(Side::Upstream) => &[Side::Upstream],
        Some(Side::Keelson) => &[Side::Keelson],
    };
    let needed: &[&str] = if sides.contains(&Side::Upstream) { &["load", "etcd", "kube-apiserver"] } else { &["load"] };
    upstream::build(needed)?;
    if sides.contains(&Side::Keelson) {
        cluster::build_keelson()?;
    }
    let mut all = Vec::new();
    for &side in sides {
        all.push((side.name(), measure(side, options)?));
    }
    println!("\n{}", table(&all));
    if let Some(path) = &options.json {
        let by_side: BTreeMap<_, _> = all.into_iter().collect();
        std::fs::write(path, serde_json::to_string_pretty(&by_side)?)?;
    }
    Ok(())
}

fn measure(side: Side, options: &Options) -> Result<Measured> {
    let mut ready = Vec::new();
    for _ in 1..STARTS {
        ready.push(ControlPlane::start(side, options)?.ready);
    }
    let mut plane = ControlPlane::start(side, options)?;
    ready.push(plane.ready);
    ready.sort_by(f64::total_cmp);
    eprintln!(
        "{}: ready after {} s",
        side.name(),
        ready.iter().map(|s| format!("{s:.3}")).collect::<Vec<_>>().join(", ")
    );
    let mut measured = Measured::from([(READY.into(), ready[STARTS / 2])]);
    process::sleep(IDLE);
    measured.insert(IDLE_MEMORY.into(), plane.memory_mib("VmRSS")?);
    for step in plane.load(options)? {
        eprintln!(
            "{}: {}: {} operations, {:.1} MB in {:.2} s, CPU of servers {:.2} s, of the generator {:.2} s",
            side.name(),
            step.step,
            step.operations,
            step.bytes as f64 / 1e6,
            step.seconds,
            step.server_cpu,
            step.client_cpu,
        );
        take(&mut measured, &step);
    }
    plane.restart(side, options)?;
    measured.insert(READY_FULL.into(), plane.ready);
    Ok(measured)
}

/// What a step says to the metrics.
fn take(measured: &mut Measured, step: &Step) {
    if step.step == FILL {
        return;
    }
    let peak = measured.entry(PEAK_MEMORY.into()).or_default();
    *peak = peak.max(mib(step.memory_peak));
    match step.step.as_str() {
        LISTS_AT_ONCE => {
            measured.insert(LISTS_MEMORY.into(), mib(step.memory_peak.saturating_sub(step.memory_before)));
        }
        WATCH_DELIVERY => {
            measured.insert(DELIVERY.into(), step.delivery);
        }
        _ => {}
    }
    measured.insert(step.step.clone(), step.operations as f64 / step.server_cpu.max(0.01));
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// A running API server with its store, in a directory that goes with it.
struct ControlPlane {
    // Dropped in this order: the API server ends before its store.
    servers: Vec<Server>,
    dir: tempfile::TempDir,
    url: String,
    /// Seconds from starting the first process to /readyz.
    ready: f64,
}

impl ControlPlane {
    fn start(side: Side, options: &Options) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keelson-bench-").tempdir()?;
        plane::certificates(dir.path())?;
        let mut plane = ControlPlane { servers: Vec::new(), dir, url: String::new(), ready: 0.0 };
        plane.restart(side, options)?;
        Ok(plane)
    }

    /// Ends what runs, starts again with the same store and waits until it is ready.
    fn restart(&mut self, side: Side, options: &Options) -> Result<()> {
        self.servers.clear();
        let ports = process::free_ports()?;
        self.url = format!("https://127.0.0.1:{}", ports[0]);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        self.servers = plane::apiserver(side, self.dir.path(), ports)?;
        let printed = process::output(self.load_command(options).args([
            "-wait-ready",
            READY_LIMIT,
            "-since",
            &since.as_nanos().to_string(),
        ]));
        for server in &mut self.servers {
            server.check()?;
        }
        self.ready = printed?.trim().parse().context("the load generator printed no time")?;
        Ok(())
    }

    fn load_command(&self, options: &Options) -> Command {
        let mut command = Command::new(paths::upstream("load"));
        command.args(["-server", &self.url]);
        for (flag, file) in [("-ca", "ca.crt"), ("-cert", "admin.crt"), ("-key", "admin.key")] {
            command.arg(flag).arg(self.dir.path().join(file));
        }
        if options.http1 {
            command.arg("-http1");
        }
        command
    }

    fn load(&self, options: &Options) -> Result<Vec<Step>> {
        let pids = self.servers.iter().map(|server| server.pid().to_string()).collect::<Vec<_>>().join(",");
        let mut command = self.load_command(options);
        command.args(["-pids", &pids, "-scale", &options.scale.to_string()]);
        command.args(options.steps.iter().flat_map(|steps| ["-steps", steps]));
        let lines = process::output(&mut command)?;
        lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// The sum over the servers of a line of /proc/PID/status.
    fn memory_mib(&self, line: &str) -> Result<f64> {
        let each = self.servers.iter().map(|server| process::memory_kib(server.pid(), line));
        Ok(each.sum::<Result<u64>>()? as f64 / 1024.0)
    }
}

/// Both sides and how many times better the second is.
fn table(sides: &[(&str, Measured)]) -> String {
    let mut lines = vec![row("", sides.iter().map(|(name, _)| (*name).to_owned()), "better by")];
    for metric in METRICS {
        let values: Vec<f64> =
            sides.iter().map(|(_, measured)| measured.get(metric.name).copied().unwrap_or(f64::NAN)).collect();
        let label = if metric.more_is_better { format!("{}, per CPU-s", metric.name) } else { metric.name.to_owned() };
        let ratio = match values[..] {
            [theirs, ours] if metric.more_is_better => format!("{:.1}x", ours / theirs),
            [theirs, ours] => format!("{:.1}x", theirs / ours),
            _ => String::new(),
        };
        lines.push(row(&label, values.iter().map(|value| shown(*value)), &ratio));
    }
    lines.join("\n")
}

fn row(label: &str, values: impl Iterator<Item = String>, ratio: &str) -> String {
    let cells: String = values.map(|value| format!("{value:>12}")).collect();
    format!("{label:<28}{cells}{ratio:>12}").trim_end().to_owned()
}

fn shown(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_above_one_when_the_second_side_is_better() {
        let upstream = Measured::from([(READY.into(), 3.0), ("get".into(), 1000.0)]);
        let keelson = Measured::from([(READY.into(), 0.5), ("get".into(), 5000.0)]);
        let text = table(&[("upstream", upstream), ("keelson", keelson)]);
        let line = |label: &str| text.lines().find(|line| line.starts_with(label)).unwrap().to_owned();
        assert!(line("ready, s").ends_with("6.0x"), "{text}");
        assert!(line("get, per CPU-s").ends_with("5.0x"), "{text}");
    }

    #[test]
    fn one_side_alone_has_no_ratio() {
        let text = table(&[("upstream", Measured::from([(READY.into(), 3.0)]))]);
        assert!(text.lines().nth(1).unwrap().ends_with("3.00"), "{text}");
    }

    #[test]
    fn a_line_of_the_load_generator_becomes_metrics() {
        let line = r#"{"step":"64 lists at once","operations":2,"bytes":3,"seconds":0.5,"serverCPU":0.1,
            "clientCPU":0.2,"memoryBefore":1024,"memoryPeak":3072,"delivery":0}"#;
        let mut measured = Measured::new();
        take(&mut measured, &serde_json::from_str(line).unwrap());
        assert_eq!(
            measured,
            Measured::from([(LISTS_AT_ONCE.into(), 20.0), (LISTS_MEMORY.into(), 2.0), (PEAK_MEMORY.into(), 3.0),])
        );
    }
}
