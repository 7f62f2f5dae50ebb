//! Every row of `testdata/recorded.jsonl`, which `testdata/record` made with cel-go and Kubernetes' environment, comes out
//! the same here: issues, type, value, error, cost and estimate.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::common::{Row, from_json};
use cel::authz::{self, Authorizer, Check, Decision, Resource, Subject, Target};
use cel::declaration::{Declaration, DeclaredTypes};
use cel::types::Type;
use cel::value::{Timestamp, Value};
use cel::{Env, NoSizes, SizeEstimator};
use serde_json::json;

type Values = BTreeMap<String, Value>;

/// Variables of simple types.
fn vars() -> (Env, Values) {
    let time = Timestamp::new(1_689_330_645, 123_000_000).unwrap();
    let optional = |inner: Option<&str>| Value::optional(inner.map(Value::from));
    let texts = Type::map(Type::String, Type::String);
    let variables = [
        (
            "d",
            Type::Dyn,
            from_json(&json!({
                "a": 1, "f": 1.5, "s": "text", "l": [1, "x", null], "m": {"k": "v"}, "n": null, "t": true,
            })),
        ),
        ("i", Type::Int, Value::Int(5)),
        ("u", Type::Uint, Value::Uint(7)),
        ("x", Type::Double, Value::Double(2.5)),
        ("s", Type::String, Value::from("hello")),
        ("b", Type::Bool, Value::Bool(true)),
        ("by", Type::Bytes, Value::Bytes(b"abc".as_slice().into())),
        ("l", Type::list(Type::Int), from_json(&json!([3, 1, 2]))),
        ("ls", Type::list(Type::String), from_json(&json!(["a", "b", "c"]))),
        ("m", texts, from_json(&json!({"a": "1", "b": "2"}))),
        ("mi", Type::map(Type::String, Type::Int), from_json(&json!({"one": 1}))),
        ("t", Type::Timestamp, Value::Timestamp(time)),
        ("dur", Type::Duration, Value::Duration(3_723_500_000_000)),
        ("o", Type::optional(Type::String), optional(Some("x"))),
        ("none", Type::optional(Type::String), optional(None)),
        ("a.b", Type::Int, Value::Int(9)),
    ];
    let mut env = Env::kubernetes(37).variable("absent", Type::Int);
    let mut values = Values::new();
    for (name, of, value) in variables {
        env = env.variable(name, of);
        values.insert(name.to_owned(), value);
    }
    (env, values)
}

fn text(most: u64) -> Declaration {
    Declaration::simple(Type::String, most, 2)
}

fn simple(of: Type, most: u64) -> Declaration {
    Declaration::simple(of, most, 1)
}

fn object(fields: Vec<(&str, Declaration)>) -> Declaration {
    Declaration::object(fields.into_iter().map(|(name, of)| (Arc::from(name), of)), 2)
}

/// One variable, an object with bounds on its sizes.
fn declaration() -> Declaration {
    let item = object(vec![("key", text(16)), ("value", simple(Type::Int, 0))]);
    object(vec![
        ("name", text(10)),
        ("replicas", simple(Type::Int, 0)),
        ("ratio", simple(Type::Double, 0)),
        ("on", simple(Type::Bool, 0)),
        ("tags", Declaration::list(text(20), 5)),
        ("labels", Declaration::map(text(0), text(30), 100)),
        ("items", Declaration::list(item.clone(), 50)),
        ("spec", object(vec![("deep", item), ("port", simple(Type::Dyn, 40))])),
        ("grid", Declaration::list(Declaration::list(simple(Type::Int, 0), 4), 3)),
        ("when", simple(Type::Timestamp, 0)),
    ])
    .named("Thing")
}

fn thing(name: &str) -> Value {
    let Value::Map(map) = from_json(&json!({
        "name": name, "replicas": 3, "ratio": 0.5, "on": true, "tags": ["red", "green"],
        "labels": {"app": "web", "tier": "front"},
        "items": [{"key": "a", "value": 1}, {"key": "b", "value": 2}, {"key": "c"}],
        "spec": {"deep": {"key": "k", "value": 7}, "port": "80%"},
        "grid": [[1, 2], [3]],
    })) else {
        panic!("an object is a map")
    };
    let mut entries = BTreeMap::new();
    for key in map.keys() {
        let Value::String(name) = &key else { panic!("{key:?}") };
        entries.insert(cel::value::Key::String(name.clone()), map.find(&key).unwrap().unwrap());
    }
    let day = Timestamp::new(1_709_164_800, 0).unwrap();
    entries.insert(cel::value::Key::String("when".into()), Value::Timestamp(day));
    Value::Map(cel::value::Map::new(entries))
}

fn self_env() -> (Env, Values, Declaration) {
    let declaration = declaration();
    let of = declaration.cel_type();
    let types = Arc::new(DeclaredTypes::new([&declaration]));
    let env = Env::kubernetes(37).variable("self", of.clone()).variable("oldSelf", of).types(types);
    let values = [("self", "new"), ("oldSelf", "old")].map(|(variable, name)| (variable.to_owned(), thing(name)));
    (env, Values::from(values), declaration)
}

/// Allows get, fails at fail, and gives what it was asked as its reason.
#[derive(Debug)]
struct Fake;

impl Authorizer for Fake {
    fn authorize(&self, check: &Check) -> Decision {
        let user = match &check.subject {
            Subject::Requester => "requester".to_owned(),
            Subject::ServiceAccount { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
        };
        let target = match &check.target {
            Target::Path(path) => format!("{path} ////"),
            Target::Resource(Resource { group, resource, subresource, namespace, name, .. }) => {
                format!(" {group}/{resource}/{subresource}/{namespace}/{name}")
            }
        };
        Decision {
            allowed: check.verb.as_ref() == "get",
            reason: format!("{user} {} {target}", check.verb),
            error: (check.verb.as_ref() == "fail").then(|| "it failed".to_owned()),
        }
    }
}

fn authz() -> (Env, Values) {
    let resource = Resource {
        group: "apps".into(),
        resource: "deployments".into(),
        subresource: "scale".into(),
        namespace: "default".into(),
        name: "web".into(),
        ..Resource::default()
    };
    let env = Env::kubernetes(37)
        .json_patch()
        .variable("authorizer", Type::object(authz::AUTHORIZER_TYPE))
        .variable("authorizer.requestResource", Type::object(authz::RESOURCE_CHECK_TYPE));
    let values = [
        ("authorizer".to_owned(), authz::authorizer(Arc::new(Fake))),
        ("authorizer.requestResource".to_owned(), authz::resource_authorizer(Arc::new(Fake), resource)),
    ];
    (env, Values::from(values))
}

#[test]
fn every_recorded_row_comes_out_the_same() {
    let (vars, var_values) = vars();
    let (authz, authz_values) = authz();
    let (own, own_values, declaration) = self_env();
    let mut wrong = Vec::new();
    for row in crate::common::rows(include_str!("../../testdata/recorded.jsonl")) {
        let want = Row::read(&row);
        let (env, values, sizes): (_, _, &dyn SizeEstimator) = match want.env.as_str() {
            "vars" => (&vars, &var_values, &NoSizes),
            "authz" => (&authz, &authz_values, &NoSizes),
            _ => (&own, &own_values, &declaration),
        };
        let mut found = crate::common::run(env, values, sizes, &want.expr);
        (found.env, found.varies) = (want.env.clone(), want.varies);
        if want.varies {
            (found.value, found.error, found.cost) = (want.value.clone(), want.error.clone(), want.cost);
        }
        if found != want {
            wrong.push(format!("want {want:?}\n got {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
}
