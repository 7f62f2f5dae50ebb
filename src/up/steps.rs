//! What `up` tells while it works: one event a step, with its measured time.
//!
//! Invariant: steps go to stderr for people, results to stdout; as JSON all go to stdout, one a line. The
//! background process speaks JSON into a pipe, and the waiting one shows it as it was asked to.

use std::io::Write;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, find};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub(crate) enum Event {
    Step {
        step: String,
        text: String,
        /// Since the start of the process.
        seconds: f64,
    },
    Note {
        text: String,
    },
    Ready {
        seconds: f64,
        memory_bytes: u64,
        server: String,
        context: String,
        kubeconfig: String,
    },
    Failed {
        code: u16,
        what: String,
        why: String,
        fix: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// Shows events.
pub(crate) struct Reporter {
    form: Form,
    started: Instant,
    output: Mutex<()>,
}

impl Reporter {
    pub(crate) fn new(form: Form, started: Instant) -> Self {
        Reporter { form, started, output: Mutex::new(()) }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.form == Form::Json
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(crate) fn step(&self, step: &str, text: impl Into<String>) {
        self.show(&Event::Step { step: step.into(), text: text.into(), seconds: self.seconds() });
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.show(&Event::Note { text: text.into() });
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.show(&failed(failure));
    }

    /// Nobody to read is no failure: the one who asked may have gone.
    pub(crate) fn show(&self, event: &Event) {
        let _guard = self.output.lock();
        let _ = match self.form {
            Form::Json => {
                let line = serde_json::to_string(event).expect("events are plain data");
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}").and_then(|()| out.flush())
            }
            Form::Text => writeln!(std::io::stderr(), "{}", text(event)),
        };
    }
}

pub(crate) fn failed(failure: &Failure) -> Event {
    Event::Failed {
        code: failure.entry.number,
        what: failure.entry.what.into(),
        why: failure.why.clone(),
        fix: failure.fix_text().into(),
    }
}

/// The failure that another process told.
pub(crate) fn failure(code: u16, why: &str, fix: &str) -> Failure {
    match find(code) {
        Some(entry) => Failure { entry, why: why.into(), fix: Some(fix.into()) },
        None => Failure::new(100, why),
    }
}

/// An event for people; columns stay in line.
fn text(event: &Event) -> String {
    match event {
        Event::Step { step, text, seconds } => format!("  {step:<9} {text:<58} {seconds:>6.2} s"),
        Event::Note { text } => format!("  note      {text}"),
        Event::Ready { seconds, memory_bytes, context, kubeconfig, .. } => {
            let memory = memory_bytes >> 20;
            let first = format!("Ready in {seconds:.2} s, {memory} MB. Context \"{context}\" is in {kubeconfig}.");
            format!("{first}\n  kubectl get pods -A        keelson status        keelson down")
        }
        Event::Failed { code, what, why, fix } => format!("error: {what}   KEEL-{code}\n  {why}\nhelp: {fix}"),
    }
}

/// Resident memory of a process, in bytes.
pub(crate) fn memory_of(pid: u32) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_pass_through_the_pipe() {
        let events = [
            Event::Step { step: "api".into(), text: "https://127.0.0.1:6443".into(), seconds: 0.25 },
            failed(&Failure::new(104, "port 6443 is in use").fix("keelson up --api-port 7")),
        ];
        for event in events {
            let line = serde_json::to_string(&event).expect("json");
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Event>(&line).expect("event"), event);
        }
    }

    #[test]
    fn a_step_is_one_line() {
        let step = Event::Step { step: "dns".into(), text: "10.96.0.10 answers".into(), seconds: 3.1 };
        assert_eq!(text(&step), format!("  dns       {:<58}   3.10 s", "10.96.0.10 answers"));
    }
}
