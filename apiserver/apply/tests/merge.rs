//! Scripts of operations by managers: after each the object and the owners are compared with what
//! structured-merge-diff printed (testdata/merge.txt).

mod script;
#[path = "script/tables.rs"]
mod tables;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::value::{Map, Value};
use apply::fields;
use apply::managed::Identity;
use apply::schema::Ref;
use apply::set::{Filter, Set};
use apply::table::Table;
use apply::typed::Typed;
use apply::typed::validate::Duplicates;
use apply::updater::{Error, Managers, Updater, Versions};
use script::{object, raw, text};
use tables::tables;

/// Every version has the same objects; the type is one for all, or that of the version's name.
struct Same<'t> {
    table: &'t Table,
    ty: String,
}

impl Versions for Same<'_> {
    fn schema(&self, version: &str) -> Option<Ref<'_>> {
        self.table.named(if self.ty == "*" { version } else { &self.ty })
    }

    fn convert<'o>(&self, object: &'o Map, _from: &str, _to: &str) -> Option<Cow<'o, Map>> {
        Some(Cow::Borrowed(object))
    }
}

/// Appliers and updaters of one name are one manager in these scripts.
fn identity(name: &str) -> Identity {
    Identity { manager: name.into(), ..Identity::default() }
}

#[derive(Default)]
struct State {
    live: Map,
    managers: Managers,
}

impl State {
    fn show(&self) -> String {
        let mut out = format!("= {}\n", text(&self.live));
        for (who, owned) in &self.managers {
            let set = raw(&Value::Map(fields::encode(&owned.set)));
            let how = if owned.applied { "apply" } else { "update" };
            let _ = writeln!(out, "@ {} {} {how} {set}", who.manager, owned.version);
        }
        out
    }

    /// Runs one operation and prints what came of it.
    fn run(&mut self, op: &str, manager: &str, version: &str, input: &str, updater: &Updater<'_>) -> String {
        let input = object(input);
        let ty = updater.versions.schema(version).expect("a known version");
        let typed = Typed { value: &input, ty };
        if op == "check" {
            return match typed.validate(Duplicates::Refuse) {
                Ok(()) => String::from("valid\n"),
                Err(problems) => format!("error {}\n", problems.to_string().replace('\n', "\\n")),
            };
        }
        typed.validate(if op == "update" { Duplicates::Allow } else { Duplicates::Refuse }).expect("valid input");
        let (who, managers) = (identity(manager), self.managers.clone());
        let done = match op {
            "update" => {
                updater.update(&self.live, &input, managers, &who).map(|managers| (Some(input.clone()), managers))
            }
            _ => updater.apply(&self.live, &input, managers, &who, op == "force"),
        };
        match done {
            Ok((live, managers)) => {
                self.managers = managers;
                if let Some(live) = live {
                    self.live = live;
                }
                self.show()
            }
            Err(Error::Conflicts(conflicts)) => {
                let mut lines: Vec<_> =
                    conflicts.iter().map(|c| format!("conflict {} {}\n", c.manager.manager, c.path)).collect();
                lines.sort();
                lines.concat()
            }
            Err(Error::Failed(why)) => format!("error {}\n", why.replace('\n', "\\n")),
        }
    }
}

/// Objects are printed by Go with sorted names; owners' sets are in the order of their encoding.
fn normalize(line: &str) -> String {
    match line.strip_prefix("= ") {
        Some(object_text) => format!("= {}", text(&object(object_text))),
        None => line.to_string(),
    }
}

fn run_case(case: &str, tables: &BTreeMap<&str, Table>) -> Result<usize, String> {
    let mut state = State::default();
    let mut ignored: BTreeMap<&str, Filter> = BTreeMap::new();
    let (mut schema, mut name, mut operations) = (("", ""), "", 0);
    let mut lines = case.lines().peekable();
    while let Some(line) = lines.next() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["case", it] => name = it,
            ["schema", table, ty] => schema = (table, ty),
            ["ignore", version, set] => {
                let set: Set = fields::decode(&object(set)).unwrap();
                ignored.insert(version, Filter::Exclude(set));
            }
            [op, manager, version, input] => {
                let versions = Same { table: &tables[schema.0], ty: schema.1.into() };
                let updater = Updater { versions: &versions, version, ignored: ignored.get(version) };
                let got = state.run(op, manager, version, input, &updater);
                let mut want = String::new();
                while let Some(line) =
                    lines.next_if(|l| ["= ", "@ ", "conflict ", "error "].iter().any(|p| l.starts_with(p)))
                {
                    want.push_str(&normalize(line));
                    want.push('\n');
                }
                if got != want {
                    return Err(format!("{name}: after {line}\nwant\n{want}got\n{got}"));
                }
                operations += 1;
            }
            _ => return Err(format!("{name}: what is {line}?")),
        }
    }
    Ok(operations)
}

#[test]
fn operations_by_manager_give_objects_and_owners() {
    let script = include_str!("../testdata/merge.txt");
    let tables = tables(script);
    let cases: Vec<&str> = script.split("\n\n").filter(|case| case.starts_with("case ")).collect();
    let results: Vec<_> = cases.iter().map(|case| run_case(case, &tables)).collect();
    let failures: Vec<&str> = results.iter().filter_map(|r| r.as_ref().err().map(String::as_str)).collect();
    let operations: usize = results.iter().flatten().sum();
    println!("{} cases, {operations} operations", cases.len());
    assert!(failures.is_empty(), "{} of {} cases fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(cases.len() > 100 && operations > 200);
}
