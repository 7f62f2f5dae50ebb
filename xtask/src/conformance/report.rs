//! Ginkgo's JSON report, as far as it says which tests ran and how they ended.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A test that ran.
#[derive(Debug, PartialEq)]
pub(super) struct Ran {
    pub(super) name: String,
    pub(super) seconds: f64,
    /// The first line of why it failed; none when it passed.
    pub(super) failure: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Suite {
    spec_reports: Option<Vec<Spec>>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    leaf_node_text: String,
    state: String,
    /// Nanoseconds.
    #[serde(default)]
    run_time: u64,
    failure: Option<Failure>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    message: String,
}

pub(super) fn read(path: &Path) -> Result<Vec<Ran>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("no report {}", path.display()))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<Ran>> {
    let suites: Vec<Suite> = serde_json::from_str(text).context("the report is not ginkgo's JSON")?;
    let mut ran = Vec::new();
    for suite in suites {
        for spec in suite.spec_reports.into_iter().flatten() {
            if spec.leaf_node_type == "It" {
                ran.extend(spec.ran());
            } else if spec.state != "passed" && spec.failure.is_some() {
                bail!("{} {}: {}", spec.leaf_node_type, spec.state, spec.reason());
            }
        }
        // Such as a process of the suite that died.
        let reasons = suite.special_suite_failure_reasons.unwrap_or_default();
        if ran.is_empty() && !reasons.is_empty() {
            bail!("no test ran: {}", reasons.join("; "));
        }
    }
    Ok(ran)
}

impl Spec {
    fn ran(&self) -> Option<Ran> {
        if matches!(self.state.as_str(), "skipped" | "pending") {
            return None;
        }
        let texts = self.container_hierarchy_texts.iter().flatten().chain([&self.leaf_node_text]);
        Some(Ran {
            name: texts.map(String::as_str).collect::<Vec<_>>().join(" "),
            seconds: self.run_time as f64 / 1e9,
            failure: (self.state != "passed").then(|| self.reason()),
        })
    }

    fn reason(&self) -> String {
        let message = self.failure.as_ref().map_or("", |failure| &failure.message);
        format!("{}: {}", self.state, message.lines().next().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_ran_are_reported() {
        let text = r#"[{"SpecReports": [
            {"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"},
            {"ContainerHierarchyTexts": ["[x] A", "b"], "LeafNodeType": "It", "LeafNodeText": "c", "State": "passed", "RunTime": 1500000000},
            {"ContainerHierarchyTexts": null, "LeafNodeType": "It", "LeafNodeText": "d", "State": "timedout",
             "Failure": {"Message": "first\nsecond"}},
            {"LeafNodeType": "It", "LeafNodeText": "e", "State": "skipped"}]}]"#;
        let passed = Ran { name: "[x] A b c".into(), seconds: 1.5, failure: None };
        let failed = Ran { name: "d".into(), seconds: 0.0, failure: Some("timedout: first".into()) };
        assert_eq!(parse(text).unwrap(), [passed, failed]);
    }

    #[test]
    fn a_failed_start_of_the_suite_is_an_error() {
        let text = r#"[{"SpecReports": [{"LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "failed",
            "Failure": {"Message": "no API server"}}]}]"#;
        assert_eq!(parse(text).unwrap_err().to_string(), "SynchronizedBeforeSuite failed: failed: no API server");
        let text = r#"[{"SpecReports": null, "SpecialSuiteFailureReasons": ["a process died"]}]"#;
        assert_eq!(parse(text).unwrap_err().to_string(), "no test ran: a process died");
        assert_eq!(parse(r#"[{"SpecReports": null, "SpecialSuiteFailureReasons": []}]"#).unwrap(), []);
    }
}
