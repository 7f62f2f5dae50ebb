//! What the script printed, read: which cases passed, and where the others failed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use regex::Regex;

/// How the script's list of cases names one.
const RECORD: &str = "record_command run_";
const BEGIN: &str = "+++ Running case: test-cmd.";
const END: &str = "+++ exit code: ";
/// What the assertions of hack/lib/test.sh print when they do not hold; lines about it follow.
const FAIL: &str = "FAIL!";
const FAIL_LINES: usize = 6;
/// What the script prints about a command that failed.
const STATUS: &str = "exited with status";
const FAILURE_LENGTH: usize = 400;

/// The names of the cases, in the order in which the script runs them.
pub(super) fn cases(script: &str) -> Vec<String> {
    let lines = script.lines().map(str::trim).filter(|line| line.starts_with(RECORD));
    lines.filter_map(|line| line.split_whitespace().nth(1)).map(Into::into).collect()
}

/// Where each case failed that came to its end; nothing where it passed.
pub(super) type Outcomes = BTreeMap<String, Option<String>>;

/// Reads what the script printed.
pub(super) fn read(log: &str) -> Outcomes {
    let colours = Regex::new(r"\x1b(\[[0-9;]*[A-Za-z]|\([A-Z0-9])").expect("a pattern");
    let mut outcomes = Outcomes::new();
    let mut running: Option<(&str, Vec<String>)> = None;
    for line in log.lines() {
        if let Some(name) = line.strip_prefix(BEGIN) {
            running = Some((name.trim(), Vec::new()));
        } else if let Some((before, code)) = line.split_once(END) {
            // What a case prints last may have no end of line.
            let Some((name, mut lines)) = running.take() else { continue };
            lines.push(before.to_owned());
            let failed = code.trim() != "0";
            outcomes.insert(name.into(), failed.then(|| failure(&lines)));
        } else if let Some((_, lines)) = &mut running {
            lines.push(colours.replace_all(line, "").trim().to_owned());
        }
    }
    outcomes
}

/// The place in the case and what did not hold there.
fn failure(lines: &[String]) -> String {
    let place = lines.iter().filter(|line| line.starts_with("!!!")).find_map(|line| line.split("/test/cmd/").nth(1));
    // Before the last one, failures may be expected.
    let asserted = lines.iter().rposition(|line| line.contains(FAIL));
    let what = match asserted {
        Some(at) => &lines[at..lines.len().min(at + FAIL_LINES)],
        None => lines.iter().position(|line| line.contains(STATUS)).map_or(&[][..], |at| &lines[at..=at]),
    };
    let words = place.into_iter().chain(what.iter().map(String::as_str).filter(|line| !line.is_empty()));
    words.collect::<Vec<_>>().join(" ").chars().take(FAILURE_LENGTH).collect()
}

/// Why cases fail that are known to.
#[derive(Debug, Default)]
pub(super) struct Reasons(BTreeMap<String, String>);

impl Reasons {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let (case, reason) = line.split_once(" | ").unwrap_or((line, ""));
            ensure!(!reason.trim().is_empty(), "not `case | reason`: {line}");
            reasons.insert(case.trim().to_owned(), reason.trim().to_owned());
        }
        Ok(Reasons(reasons))
    }
}

/// What to tell of the cases that were to run.
pub(super) struct Report {
    pub(super) passed: usize,
    pub(super) failed: usize,
    /// How many failed that no reason is known for.
    pub(super) unknown: usize,
    lines: Vec<String>,
}

impl Report {
    pub(super) fn new(wanted: &[String], outcomes: &Outcomes, reasons: &Reasons) -> Self {
        let mut report = Report { passed: 0, failed: 0, unknown: 0, lines: Vec::new() };
        for name in wanted {
            let failure = match outcomes.get(name) {
                Some(None) => None,
                Some(Some(failure)) => Some(failure.as_str()),
                None => Some("did not come to its end"),
            };
            report.add(name, failure, reasons.0.get(name).map(String::as_str));
        }
        report
    }

    fn add(&mut self, name: &str, failure: Option<&str>, reason: Option<&str>) {
        let line = match (failure, reason) {
            (None, None) => format!("passed {name}"),
            (None, Some(_)) => format!("passed {name}, which has a reason to fail"),
            (Some(failure), None) => format!("FAILED {name}: {failure}"),
            (Some(failure), Some(reason)) => format!("failed {name}, because {reason}: {failure}"),
        };
        self.lines.push(line);
        self.passed += usize::from(failure.is_none());
        self.failed += usize::from(failure.is_some());
        self.unknown += usize::from(failure.is_some() && reason.is_none());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(to, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        +++ Running case: test-cmd.run_a_tests \n\
        \u{1b}[32mcore.sh:1: Successful get pods\u{1b}(B\u{1b}[m+++ exit code: 0\n\
        +++ Running case: test-cmd.run_b_tests \n\
        \u{1b}[1m\u{1b}[31mFAIL!\u{1b}(B\u{1b}[m\n\
        message:expected\n\
        core.sh:2: FAIL!\nGet pods\n  Expected: x\n  Got:      y\n\n73 /r/hack/lib/test.sh\n\n\
        !!! [1201 10:00:00] Call tree:\n\
        !!! [1201 10:00:00]  1: /r/hack/lib/test.sh:5 kube::test::object_assert(...)\n\
        !!! [1201 10:00:00]  2: /r/test/cmd/core.sh:2 run_b_tests(...)\n\
        +++ exit code: 1\n\
        +++ Running case: test-cmd.run_c_tests \n\
        !!! Error in /r/test/cmd/c.sh:7\n\
        Error in /r/test/cmd/c.sh:7. 'kubectl x' exited with status 1\n\
        +++ exit code: 1\n\
        +++ Running case: test-cmd.run_d_tests \n";

    #[test]
    fn failures_tell_the_place_and_what_did_not_hold() {
        let outcomes = read(LOG);
        assert_eq!(outcomes["run_a_tests"], None);
        let failure =
            "core.sh:2 run_b_tests(...) core.sh:2: FAIL! Get pods Expected: x Got:      y 73 /r/hack/lib/test.sh";
        assert_eq!(outcomes["run_b_tests"].as_deref(), Some(failure));
        let failure = "c.sh:7 Error in /r/test/cmd/c.sh:7. 'kubectl x' exited with status 1";
        assert_eq!(outcomes["run_c_tests"].as_deref(), Some(failure));
        assert!(!outcomes.contains_key("run_d_tests"), "it did not come to its end");
    }

    #[test]
    fn the_report_counts_what_has_no_reason() {
        let names = ["run_a_tests", "run_b_tests", "run_c_tests", "run_d_tests"].map(String::from);
        let reasons = Reasons::parse("# words\n\nrun_a_tests | none\nrun_c_tests | no such thing here\n").unwrap();
        let report = Report::new(&names, &read(LOG), &reasons);
        assert_eq!((report.passed, report.failed, report.unknown), (1, 3, 2));
        let text = report.to_string();
        for line in [
            "passed run_a_tests, which has a reason to fail\n",
            "FAILED run_b_tests: core.sh:2 run_b_tests(...) ",
            "failed run_c_tests, because no such thing here: c.sh:7 ",
            "FAILED run_d_tests: did not come to its end\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_case_without_a_reason_is_refused() {
        assert!(Reasons::parse("run_a_tests | \n").is_err());
        assert!(Reasons::parse("run_a_tests\n").is_err());
    }

    #[test]
    fn the_script_lists_its_cases() {
        let script =
            "# record_command run_kubectl_tests\n  record_command run_a_tests\nrecord_command \"run_${pkg}\"\n";
        assert_eq!(cases(script), ["run_a_tests"]);
    }

    #[test]
    fn the_committed_file_can_be_read() {
        Reasons::read(&crate::paths::conformance().join(super::super::REASONS)).unwrap();
    }
}
