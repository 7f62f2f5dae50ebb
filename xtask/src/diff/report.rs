//! What a run found: counts a kind, groups of differences, and the files that say so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::compare::{Difference, differences, names};
use super::play::Played;
use super::reasons::Reasons;
use super::sequence::Role;
use super::wire::Answer;

/// A group's first answers are written whole; of later ones only that they differ.
const WHOLE: u64 = 5;
/// After so many requests one line says how it goes.
const PROGRESS: u64 = 10_000;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: u64,
    identical: u64,
    /// Different, and every difference has a reason.
    known: u64,
}

#[derive(Debug)]
struct Group {
    count: u64,
    /// The first request with it.
    example: String,
    note: String,
    reason: Option<String>,
}

/// Kind, field, cause.
type Key = (String, String, String);

pub(super) struct Report {
    reasons: Reasons,
    kinds: BTreeMap<String, Count>,
    groups: BTreeMap<Key, Group>,
    /// Setups that upstream itself refuses: faults of a template.
    refused: BTreeMap<(String, String), u64>,
    lines: BufWriter<File>,
    requests: u64,
}

impl Report {
    /// A report whose lines go to `differences.jsonl` in `dir`.
    pub(super) fn new(dir: &Path, reasons: Reasons) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let path = dir.join("differences.jsonl");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let (kinds, groups, refused) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Report { reasons, kinds, groups, refused, lines: BufWriter::new(file), requests: 0 })
    }

    /// Takes a pair of answers in.
    pub(super) fn hear(&mut self, played: &Played<'_>) -> Result<()> {
        let setup = played.step.role == Role::Setup;
        let accepted = played.answers.upstream.ok() && played.answers.keelson.ok();
        if setup && !played.answers.upstream.ok() {
            self.refuse(played);
        }
        if !(setup && accepted) {
            self.count(played)?;
        }
        Ok(())
    }

    fn refuse(&mut self, played: &Played<'_>) {
        let message = played.answers.upstream.body["message"].as_str().unwrap_or_default();
        let message: String = names(message).chars().take(400).collect();
        let kind = played.sequence.kind.clone();
        let seen = self.refused.keys().filter(|(of, _)| *of == kind).count();
        let key = (kind, message);
        // Each sequence has other names; a few of them are enough.
        if seen < 3 || self.refused.contains_key(&key) {
            *self.refused.entry(key).or_default() += 1;
        }
    }

    fn count(&mut self, played: &Played<'_>) -> Result<()> {
        let found = differences(played.step, &played.answers);
        let kind = &played.sequence.kind;
        let of = match &played.step.subresource {
            Some(subresource) => format!("{kind}/{subresource}"),
            None => kind.clone(),
        };
        let known = found.iter().all(|difference| self.reasons.of(&of, difference).is_some());
        self.requests += 1;
        if self.requests.is_multiple_of(PROGRESS) {
            eprintln!("{}", self.line_of_totals());
        }
        let count = self.kinds.entry(kind.clone()).or_default();
        count.requests += 1;
        if found.is_empty() {
            count.identical += 1;
            return Ok(());
        }
        count.known += u64::from(known);
        let mut whole = false;
        for difference in &found {
            whole |= self.group(&of, difference, played);
        }
        self.line(played, &found, whole)
    }

    /// Counts a difference; true while its group is new.
    fn group(&mut self, kind: &str, difference: &Difference, played: &Played<'_>) -> bool {
        let key = (kind.to_owned(), difference.field.clone(), difference.cause.clone());
        let reason = self.reasons.of(kind, difference).map(str::to_owned);
        let new = || Group { count: 0, example: played.id(), note: shortened(&played.step.note), reason };
        let group = self.groups.entry(key).or_insert_with(new);
        group.count += 1;
        group.count <= WHOLE
    }

    fn line(&mut self, played: &Played<'_>, found: &[Difference], whole: bool) -> Result<()> {
        let found: Vec<Value> = found.iter().map(|one| json!({"field": one.field, "cause": one.cause})).collect();
        let mut line = json!({"id": played.id(), "note": played.step.note, "differences": found});
        if whole {
            line["request"] =
                json!({"method": played.step.method, "target": played.step.target, "body": played.step.body});
            line["upstream"] = told(&played.answers.upstream);
            line["keelson"] = told(&played.answers.keelson);
        }
        Ok(writeln!(self.lines, "{line}")?)
    }

    /// Writes `summary.txt` and returns the line that sums it up, and whether every difference has a reason.
    pub(super) fn finish(mut self, dir: &Path, seed: u64, without_template: &[String]) -> Result<(String, bool)> {
        self.lines.flush()?;
        let line = self.line_of_totals();
        std::fs::write(dir.join("summary.txt"), self.summary(&line, seed, without_template))?;
        let explained = self.groups.values().all(|group| group.reason.is_some());
        Ok((line, explained))
    }

    fn line_of_totals(&self) -> String {
        let add = |a: Count, b: &Count| Count {
            requests: a.requests + b.requests,
            identical: a.identical + b.identical,
            known: a.known + b.known,
        };
        let all = self.kinds.values().fold(Count::default(), add);
        let lowest = self.kinds.iter().min_by(|a, b| a.1.share().total_cmp(&b.1.share()));
        let (kind, share) = lowest.map_or(("none", 100.0), |(kind, count)| (kind.as_str(), count.share()));
        let known = if all.known > 0 { format!(", {} known", all.known) } else { String::new() };
        format!(
            "{} requests, {} identical ({:.2} %){known}, lowest kind {kind} {share:.2} %",
            all.requests,
            all.identical,
            all.share(),
        )
    }

    fn summary(&self, line: &str, seed: u64, without_template: &[String]) -> String {
        let mut text = format!("seed {seed}: {line}\n");
        let mut add = |line: String| {
            // Writing to a String cannot fail.
            writeln!(text, "{line}").ok();
        };
        for kind in without_template {
            add(format!("without template: {kind}"));
        }
        for ((kind, message), count) in &self.refused {
            add(format!("refused by upstream, {count} times: {kind}: {message}"));
        }
        add("\nkinds, lowest first: identical of requests, known".into());
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by(|a, b| a.1.share().total_cmp(&b.1.share()));
        for (kind, count) in kinds {
            add(format!(
                "{:6.2} % {:6} of {:6} {:6} {kind}",
                count.share(),
                count.identical,
                count.requests,
                count.known
            ));
        }
        add("\ngroups, largest first: count, kind | field | cause, example".into());
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.count));
        for ((kind, field, cause), group) in groups {
            add(format!("{:6} {kind} | {field} | {cause}", group.count));
            add(format!("       e.g. --replay '{}' ({})", group.example, group.note));
            if let Some(reason) = &group.reason {
                add(format!("       known: {reason}"));
            }
        }
        text
    }
}

impl Count {
    /// Per cent identical.
    fn share(&self) -> f64 {
        if self.requests == 0 { 100.0 } else { 100.0 * self.identical as f64 / self.requests as f64 }
    }
}

fn told(answer: &Answer) -> Value {
    json!({"status": answer.status, "warnings": answer.warnings, "contentType": answer.content_type, "body": answer.body})
}

fn shortened(note: &str) -> String {
    note.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::sequence::{Sequence, Step};
    use crate::diff::servers::Both;

    fn answer(status: u16, size: u32) -> Answer {
        let body = json!({"spec": {"size": size}});
        Answer { status, content_type: String::new(), warnings: Vec::new(), body }
    }

    #[test]
    fn counts_groups_and_known_differences() {
        let dir = tempfile::tempdir().unwrap();
        let mut report = Report::new(dir.path(), Reasons::default()).unwrap();
        let sequence = Sequence { id: "v1.X/create/0".into(), kind: "v1.X".into(), steps: Vec::new() };
        let step = Step::new("POST", "/x", "size: 1");
        let mut hear = |theirs, ours| {
            let answers = Both { upstream: answer(201, theirs), keelson: answer(201, ours) };
            report.hear(&Played { sequence: &sequence, at: 2, step: &step, answers }).unwrap()
        };
        for (theirs, ours) in [(1, 1), (1, 2), (1, 1)] {
            hear(theirs, ours);
        }
        let (line, explained) = report.finish(dir.path(), 7, &["v1.Y".into()]).unwrap();
        assert_eq!(line, "3 requests, 2 identical (66.67 %), lowest kind v1.X 66.67 %");
        assert!(!explained);
        let summary = std::fs::read_to_string(dir.path().join("summary.txt")).unwrap();
        for part in ["without template: v1.Y", "1 v1.X | spec.size | # instead of #", "--replay 'v1.X/create/0#2'"] {
            assert!(summary.contains(part), "{part} in {summary}");
        }
        let lines = std::fs::read_to_string(dir.path().join("differences.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 1);
    }
}
