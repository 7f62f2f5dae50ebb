//! Writes through a field manager over the facts of built-in kinds, against what kube-apiserver answered
//! (testdata/managed.txt).

mod script;

use std::borrow::Cow;

use api::json::{self, Strictness};
use api::value::{Map, Value};
use apply::manager::FieldManager;
use apply::schema::Ref;
use apply::updater::Versions;
use script::{object, raw, text};

struct Kind {
    version: String,
    kind: String,
    ty: &'static api::facts::Struct,
}

impl Versions for Kind {
    fn schema(&self, version: &str) -> Option<Ref<'_>> {
        (version == self.version).then_some(Ref::Struct(self.ty))
    }

    fn convert<'o>(&self, object: &'o Map, from: &str, to: &str) -> Option<Cow<'o, Map>> {
        (from == to).then_some(Cow::Borrowed(object))
    }
}

impl Kind {
    fn canonical(&self, text: &[u8]) -> Map {
        let mut object = json::decode(text, self.ty, Strictness::Lenient).unwrap().value;
        api::object::set_kind(&mut object, &self.version, &self.kind);
        object
    }
}

fn without_status(mut object: Map) -> Map {
    object.remove("status");
    object.map_mut("metadata").remove("managedFields");
    object
}

fn run(operation: &str, kind: &Kind, manager: &str, live: Option<&str>, sent: &str) -> String {
    let fields = FieldManager {
        versions: kind,
        version: &kind.version,
        kind: &kind.kind,
        subresource: "",
        ignored: None,
        now: "2026-01-01T00:00:00Z",
    };
    let live = kind.canonical(live.unwrap_or("{}").as_bytes());
    if operation == "update" {
        let mut new = kind.canonical(sent.as_bytes());
        fields.update(&live, &mut new, manager);
        let managed = Value::List(new.map("metadata").unwrap().list("managedFields").to_vec());
        return format!("= {}", raw(&managed));
    }
    match fields.apply(&live, &object(sent), manager, operation == "force") {
        Err(status) => format!("! {} {}", status.code, raw(&Value::from(status.message))),
        Ok(applied) => {
            let object = applied.object.unwrap_or(live);
            let object = without_status(kind.canonical(&json::encode(&object)));
            format!("= {}\n> {}", raw(&Value::List(applied.managed)), text(&object))
        }
    }
}

/// Objects are not ordered; managedFields are compared as they are, byte for byte.
fn normalize(line: &str) -> String {
    match line.strip_prefix("> ") {
        Some(rest) => format!("> {}", text(&without_status(object(rest)))),
        None => line.into(),
    }
}

fn normalized(text: &str) -> String {
    text.lines().map(normalize).collect::<Vec<_>>().join("\n")
}

#[test]
fn writes_give_the_managed_fields_of_upstream() {
    let (mut count, mut failures) = (0, Vec::new());
    for case in include_str!("../testdata/managed.txt").split("\n\n").skip(1) {
        let (head, rest) = case.split_once('\n').unwrap();
        let words: Vec<&str> = head.split(' ').collect();
        let (group, version) = api::facts::split_api_version(words[1]);
        let ty = api::facts::kind(group, version, words[2]).unwrap();
        let kind = Kind { version: words[1].into(), kind: words[2].into(), ty };
        let line = |prefix: &str| rest.lines().find_map(|line| line.strip_prefix(prefix));
        let live = line("< ").filter(|live| *live != "-");
        let got = run(words[0], &kind, words[3], live, line("+ ").unwrap());
        let want: Vec<&str> = rest.lines().filter(|l| ["= ", "> ", "! "].iter().any(|p| l.starts_with(p))).collect();
        count += 1;
        let (got, want) = (normalized(&got), normalized(&want.join("\n")));
        if got != want {
            failures.push(format!("{head}\nwant\n{want}\ngot\n{got}"));
        }
    }
    println!("{count} writes");
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n\n"));
    assert!(count > 150);
}
