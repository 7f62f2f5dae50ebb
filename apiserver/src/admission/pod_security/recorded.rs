//! What upstream's checks said of pods (`testdata/recorded.jsonl`), and what these say: at each level, of each version.

use std::ops::RangeInclusive;

use api::facts::{self, Struct};
use api::json::{self, Strictness};
use api::value::Map;
use serde_json::Value as Json;

use super::checks::evaluate;
use super::policy::{Level, LevelVersion, Version};
use super::{detail, reason};

/// The minor versions that were asked for; the last stands for `latest`, too.
const MINORS: RangeInclusive<u32> = 0..=40;

/// The reason and detail of what upstream refused; both empty where it did not.
type Told<'a> = (&'a str, &'a str);

fn told<'a>(row: &'a Json, level: &str, minor: u32) -> Told<'a> {
    let number = |outcome: &Json, key: &str| outcome[key].as_u64().unwrap();
    let holds = |outcome: &&Json| {
        let (first, last) = (number(outcome, "first"), number(outcome, "last"));
        outcome["level"] == level && (first..=last).contains(&u64::from(minor))
    };
    let found = row["outcomes"].as_array().unwrap().iter().find(holds);
    found.map_or(("", ""), |outcome| (outcome["reason"].as_str().unwrap(), outcome["detail"].as_str().unwrap()))
}

fn check(pod: &Map, at: LevelVersion, expect: Told<'_>) -> Result<(), String> {
    let findings = evaluate(at, pod);
    let (reason, detail) = (reason(&findings), detail(&findings));
    if (reason.as_str(), detail.as_str()) == expect {
        return Ok(());
    }
    Err(format!("{at}\n  want {expect:?}\n   got {:?}", (reason, detail)))
}

fn check_row(row: &Json, pod: &'static Struct, wrong: &mut Vec<String>) {
    let text = row["pod"].to_string();
    let decoded = json::decode(text.as_bytes(), pod, Strictness::Strict).unwrap();
    assert!(decoded.strict.is_empty(), "{:?}", decoded.strict);
    for (level, name) in [(Level::Baseline, "baseline"), (Level::Restricted, "restricted")] {
        let minors = MINORS.map(|minor| (Version::Minor(minor), minor));
        for (version, minor) in minors.chain([(Version::Latest, *MINORS.end())]) {
            let outcome = check(&decoded.value, LevelVersion { level, version }, told(row, name, minor));
            wrong.extend(outcome.err().map(|error| format!("{}: {error}", row["from"])));
        }
    }
}

#[test]
fn every_pod_comes_out_as_upstream_has_it() {
    let pod = facts::kind("", "v1", "Pod").unwrap();
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for line in include_str!("testdata/recorded.jsonl").lines() {
        let row: Json = serde_json::from_str(line).unwrap();
        check_row(&row, pod, &mut wrong);
        rows += 1;
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 300, "only {rows} pods were tried");
}
