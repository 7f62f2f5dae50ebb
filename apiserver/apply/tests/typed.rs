//! Validation, field sets, comparison, merge, removal and extraction, against what structured-merge-diff
//! printed for the same inputs (testdata/typed.txt).

mod script;
#[path = "script/tables.rs"]
mod tables;

use api::value::{Map, Value};
use apply::fields;
use apply::schema::Ref;
use apply::set::Set;
use apply::typed::validate::Duplicates;
use apply::typed::{Problems, Typed};
use script::{object, raw, text};
use tables::tables;

fn set_text(set: &Set) -> String {
    raw(&Value::Map(fields::encode(set)))
}

fn outputs(op: &str, inputs: &[Map], ty: Ref<'_>) -> Result<Vec<String>, Problems> {
    let typed = |value| Typed { value, ty };
    let subject = typed(&inputs[0]);
    let set = || fields::decode(&inputs[1]).unwrap();
    let one = |map: Map| Ok(vec![text(&map)]);
    match op {
        "validate" => subject.validate(Duplicates::Refuse).map(|()| Vec::new()),
        "validate-duplicates" => subject.validate(Duplicates::Allow).map(|()| Vec::new()),
        "fields" => subject.to_field_set().map(|set| vec![set_text(&set)]),
        "merge" => subject.merge(typed(&inputs[1])).and_then(one),
        "compare" => {
            let comparison = subject.compare(typed(&inputs[1]))?;
            Ok([&comparison.removed, &comparison.modified, &comparison.added].map(set_text).to_vec())
        }
        "remove" => one(subject.remove_items(&set())),
        "extract" => one(subject.extract_items(&set())),
        "extract-keys" => one(subject.extract_items_with_keys(&set())),
        "reconcile" => Ok(vec![set_text(&subject.reconcile(&set()).unwrap())]),
        other => panic!("unknown operation {other}"),
    }
}

fn sorted(result: Vec<String>) -> Vec<String> {
    result.iter().map(|line| if line == "null" { "{}".into() } else { text(&object(line)) }).collect()
}

#[test]
fn operations_on_typed_values() {
    let script = include_str!("../testdata/typed.txt");
    let tables = tables(script);
    let (mut count, mut failures) = (0, Vec::new());
    for case in script.split("\n\n").skip(1) {
        let mut lines = case.lines();
        let head: Vec<&str> = lines.next().unwrap_or_default().splitn(3, ' ').collect();
        let lines: Vec<&str> = lines.collect();
        let all = |prefix: &str| {
            lines.iter().filter_map(|line| line.strip_prefix(prefix)).map(String::from).collect::<Vec<_>>()
        };
        let inputs: Vec<Map> = all("< ").iter().map(|line| object(line)).collect();
        let want: Result<Vec<String>, String> = match all("error ").pop() {
            Some(error) => Err(error),
            None => Ok(all("= ")),
        };
        let got = outputs(head[0], &inputs, tables[head[1]].named(head[2]).unwrap());
        let got = got.map_err(|problems: Problems| problems.to_string().replace('\n', "\\n"));
        count += 1;
        // Sets are compared in their own order, objects are not ordered.
        let same = match head[0] {
            "fields" | "compare" | "reconcile" => got == want,
            _ => got.clone().map(sorted) == want.clone().map(sorted),
        };
        if !same {
            failures.push(format!("{case}\ngot {got:?}"));
        }
    }
    println!("{count} operations");
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n\n"));
    assert!(count > 150);
}
