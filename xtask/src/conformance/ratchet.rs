//! The list of tests that must pass, and what a run means for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::report::Ran;

pub(super) struct Ratchet {
    path: PathBuf,
    names: BTreeSet<String>,
}

/// What a run showed, by names of tests.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) passed: Vec<String>,
    /// With the reason.
    pub(crate) failed: Vec<(String, String)>,
    /// Chosen tests that did not run though the suite should have them.
    pub(crate) missing: Vec<String>,
    /// Known-green tests among the failed and the missing.
    pub(crate) regressed: Vec<String>,
    newly_green: Vec<String>,
}

impl Ratchet {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let names = parse(&text).with_context(|| path.display().to_string())?;
        Ok(Ratchet { path: path.to_path_buf(), names })
    }

    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    pub(super) fn compare(&self, chosen: &[String], ran: &[Ran]) -> Outcome {
        let ran: BTreeMap<&str, &Ran> = ran.iter().map(|ran| (ran.name.as_str(), ran)).collect();
        let mut outcome = Outcome::default();
        for name in chosen {
            let green = self.names.contains(name);
            match ran.get(name.as_str()).map(|ran| &ran.failure) {
                Some(None) => {
                    outcome.passed.push(name.clone());
                    if !green {
                        outcome.newly_green.push(name.clone());
                    }
                    continue;
                }
                Some(Some(reason)) => outcome.failed.push((name.clone(), reason.clone())),
                None => outcome.missing.push(name.clone()),
            }
            if green {
                outcome.regressed.push(name.clone());
            }
        }
        outcome
    }

    /// Writes the list with the tests that newly pass.
    pub(super) fn add(&mut self, outcome: &Outcome) -> Result<()> {
        self.names.extend(outcome.newly_green.iter().cloned());
        let text: String = self.names.iter().map(|name| format!("{name}\n")).collect();
        std::fs::write(&self.path, text).with_context(|| self.path.display().to_string())
    }
}

/// One name a line, sorted, each once, so that changes of the list read well.
fn parse(text: &str) -> Result<BTreeSet<String>> {
    let lines: Vec<&str> = text.lines().collect();
    if let Some(pair) = lines.windows(2).find(|pair| pair[0] >= pair[1]) {
        bail!("not sorted, or twice: {}", pair[1]);
    }
    Ok(lines.into_iter().map(str::to_owned).collect())
}

impl Outcome {
    /// True when no test that must pass did not, and something passed.
    pub(crate) fn ok(&self) -> bool {
        let ran = self.passed.len() + self.failed.len() + self.missing.len();
        self.regressed.is_empty() && (ran == 0 || !self.passed.is_empty())
    }

    pub(super) fn print(&self, output: &Path, time: Duration) {
        for (name, reason) in &self.failed {
            println!("failed: {name}\n        {reason}");
        }
        for name in &self.missing {
            println!("did not run: {name}");
        }
        for name in &self.newly_green {
            println!("newly green: {name}");
        }
        for name in &self.regressed {
            println!("ERROR: known green, but did not pass: {name}");
        }
        println!("conformance: {:.0} s, logs in {}", time.as_secs_f64(), output.display());
        println!(
            "{} passed, {} failed ({} known green regressed, {} newly green)",
            self.passed.len(),
            self.failed.len() + self.missing.len(),
            self.regressed.len(),
            self.newly_green.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratchet(names: &[&str]) -> Ratchet {
        Ratchet { path: PathBuf::new(), names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    fn ran(name: &str, failure: Option<&str>) -> Ran {
        Ran { name: name.into(), seconds: 1.0, failure: failure.map(str::to_owned) }
    }

    fn compare(green: &[&str], chosen: &[&str], results: &[Ran]) -> Outcome {
        let chosen: Vec<String> = chosen.iter().map(|name| (*name).to_owned()).collect();
        ratchet(green).compare(&chosen, results)
    }

    #[test]
    fn a_known_green_test_must_pass() {
        let outcome = compare(&["a", "b"], &["a", "b", "c"], &[ran("a", None), ran("b", Some("no")), ran("c", None)]);
        assert_eq!(outcome.regressed, ["b"]);
        assert_eq!(outcome.newly_green, ["c"]);
        assert!(!outcome.ok());
    }

    #[test]
    fn a_known_green_test_that_does_not_run_is_a_regression() {
        let outcome = compare(&["a"], &["a", "c"], &[ran("c", None)]);
        assert_eq!((outcome.missing.clone(), outcome.regressed.clone()), (vec!["a".into()], vec!["a".into()]));
        assert!(!outcome.ok());
    }

    #[test]
    fn other_failures_do_not_break_the_ratchet_but_a_run_without_any_pass_is_no_success() {
        assert!(compare(&[], &["a", "b"], &[ran("a", None), ran("b", Some("no"))]).ok());
        assert!(!compare(&[], &["b"], &[ran("b", Some("no"))]).ok());
        assert!(compare(&[], &[], &[]).ok());
    }

    #[test]
    fn tests_that_were_not_chosen_do_not_count() {
        assert_eq!(compare(&["z"], &["a"], &[ran("a", None), ran("z", Some("no"))]).regressed, Vec::<String>::new());
    }

    #[test]
    fn the_list_is_sorted_and_without_doubles() {
        assert_eq!(parse("a\nb\n").unwrap().len(), 2);
        assert!(parse("b\na\n").is_err());
        assert!(parse("a\na\n").is_err());
    }

    #[test]
    fn update_adds_and_never_removes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("green");
        std::fs::write(&path, "a\nc\n").unwrap();
        let mut ratchet = Ratchet::read(&path).unwrap();
        let outcome = ratchet.compare(&["b".into(), "c".into()], &[ran("b", None), ran("c", Some("no"))]);
        ratchet.add(&outcome).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }
}
