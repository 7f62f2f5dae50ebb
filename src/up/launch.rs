//! The process that waits: starts the background one, shows its events and ends with its result.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::place::Place;
use super::steps::{self, Event, Reporter};
use crate::failure::Failure;

/// How much of the log's end tells why it ended.
const LOG_LINES: usize = 3;

/// A log longer than this is put aside, in place of the one that was.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Returns when the cluster is ready.
pub(crate) fn run(place: &Place, report: &Reporter) -> Result<()> {
    let path = place.logs().join("keelson.log");
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(&path, path.with_extension("log.1")).context("log")?;
    }
    let log = File::options().append(true).create(true).mode(0o600).open(&path).context("log")?;
    let mut command = Command::new(std::env::current_exe().context("our own path")?);
    command.args(["up", "--detached", "--name", &place.name, "--data-dir"]).arg(&place.dir);
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    let mut child = command.spawn().context("the background process")?;
    let events = BufReader::new(child.stdout.take().expect("it is piped"));
    for line in events.lines() {
        let Ok(event) = serde_json::from_str::<Event>(&line?) else { continue };
        match event {
            Event::Ready { .. } => {
                report.show(&event);
                return Ok(());
            }
            // Its own process tells it, as any failure.
            Event::Failed { code, why, fix, .. } => return Err(steps::failure(code, &why, &fix).into()),
            Event::Step { step, text, .. } => report.step(&step, text),
            Event::Note { text } => report.note(text),
        }
    }
    let status = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
    Err(Failure::new(110, format!("{status}\n  {end}")).fix(format!("tail {}", path.display())).into())
}
