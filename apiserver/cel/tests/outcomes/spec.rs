//! The conformance suite of CEL's specification (`testdata/spec.jsonl`, from module cel.dev/expr v0.25.1, Apache License 2.0):
//! the outcome of every test in Kubernetes' environment is cel-go's there, and it is the specification's but for the tests that
//! `testdata/left_out.txt` lists with reasons. A listed test that passes is an error, too.

use std::collections::BTreeMap;

use crate::common::{self, Row};
use crate::proto::{parse_type, parse_value};
use cel::Env;
use cel::value::Value;
use serde_json::Value as Json;

/// A test and what it is called.
struct Test {
    name: String,
    row: Json,
}

/// Every test; of those with the same name the later ones have a number.
fn tests() -> Vec<Test> {
    let mut known = BTreeMap::new();
    let name = |row: &Json| ["file", "section", "name"].map(|part| row[part].as_str().unwrap().to_owned()).join("/");
    let mut test = |row: Json| {
        let name = name(&row);
        let count = known.entry(name.clone()).and_modify(|count| *count += 1).or_insert(1);
        Test { name: if *count == 1 { name } else { format!("{name} ({count})") }, row }
    };
    common::rows(include_str!("../../testdata/spec.jsonl")).into_iter().map(&mut test).collect()
}

/// Names of tests by the reason, the line before them, for which they are left out.
fn left_out(text: &'static str) -> BTreeMap<&'static str, &'static str> {
    let mut reason = "";
    let mut names = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("# ") {
            Some(text) => reason = text,
            None => assert!(names.insert(line, reason).is_none(), "{line} is listed twice"),
        }
    }
    names
}

impl Test {
    /// The environment and values of the test; None where Kubernetes has not their types.
    fn environment(&self) -> Option<(Env, BTreeMap<String, Value>)> {
        let mut env = Env::kubernetes(37);
        for (name, of) in self.row["vars"].as_object().into_iter().flatten() {
            env = env.variable(name, parse_type(of.as_str()?)?);
        }
        let bindings = self.row["bindings"].as_object().into_iter().flatten();
        let values = bindings.map(|(name, value)| Some((name.clone(), parse_value(value)?)));
        Some((env, values.collect::<Option<_>>()?))
    }

    fn expr(&self) -> &str {
        self.row["expr"].as_str().unwrap()
    }

    fn run(&self) -> Option<Row> {
        let (env, values) = self.environment()?;
        Some(common::run(&env, &values, &cel::NoSizes, self.expr()))
    }

    /// Whether an outcome is the one that the specification wants.
    fn wants(&self, found: &Row) -> bool {
        if !self.row["error"].is_null() {
            // What is to fail although nobody checked it, the checker may refuse; but not for a name in a container.
            let refused = !found.issues.is_empty() && self.row["unchecked"] == true && self.row["container"].is_null();
            return refused || !found.error.is_empty() || !found.program.is_empty();
        }
        let typed = self.row["type"].as_str().is_none_or(|of| found.of == of);
        let value = || parse_value(&self.row["value"]).is_some_and(|value| found.value == common::format(&value));
        found.issues.is_empty() && typed && (self.row["checkOnly"] == true || value())
    }
}

/// Tests that come out otherwise than in Kubernetes, and why.
const OTHERWISE: &str = include_str!("../../testdata/otherwise.txt");

#[test]
fn everything_comes_out_as_in_kubernetes() {
    let (mut wrong, mut same) = (Vec::new(), 0);
    let mut listed = left_out(OTHERWISE);
    for test in tests().iter().filter(|test| !test.row["kubernetes"].is_null()) {
        let known = listed.remove(test.name.as_str());
        let mut want = Row { expr: test.expr().to_owned(), ..Row::read(&test.row["kubernetes"]) };
        let found = test.run().map(|found| Row { estimate: None, varies: want.varies, ..found });
        if let Some(found) = found.as_ref().filter(|_| want.varies) {
            (want.value, want.error, want.cost) = (found.value.clone(), found.error.clone(), found.cost);
        }
        match (found.as_ref() == Some(&want), known) {
            (true, None) => same += 1,
            (false, Some(_)) => {}
            (true, Some(_)) => wrong.push(format!("{} is listed and comes out the same", test.name)),
            (false, None) => wrong.push(format!("{}\n  want {want:?}\n   got {found:?}", test.name)),
        }
    }
    wrong.extend(listed.keys().map(|name| format!("{name} is listed and no test")));
    assert!(wrong.is_empty(), "{} rows differ, {same} do not:\n{}", wrong.len(), wrong.join("\n"));
    assert!(same > 2250, "only {same} rows were tried");
}

#[test]
fn what_kubernetes_has_is_as_specified() {
    let (mut wrong, mut right) = (Vec::new(), 0);
    let mut listed = left_out(include_str!("../../testdata/left_out.txt"));
    for test in tests() {
        let known = listed.remove(test.name.as_str());
        let found = test.run();
        match (found.as_ref().is_some_and(|found| test.wants(found)), known) {
            (true, None) => right += 1,
            (false, Some(_)) => {}
            (true, Some(_)) => wrong.push(format!("{} is listed and passes", test.name)),
            (false, None) => wrong.push(format!(
                "{}: {}\n  want {} {} {}\n  got {found:?}",
                test.name,
                test.expr(),
                test.row["value"],
                test.row["error"],
                test.row["type"]
            )),
        }
    }
    wrong.extend(listed.keys().map(|name| format!("{name} is listed and no test")));
    assert!(wrong.is_empty(), "{} tests, {right} others are right:\n{}", wrong.len(), wrong.join("\n"));
    assert!(right > 1390, "only {right} tests were tried");
}
