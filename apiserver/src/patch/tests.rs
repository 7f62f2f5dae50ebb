//! Patches as text: object, patch, result.

use api::json::{Strictness, decode_any};
use api::value::Map;

use super::{merge, strategic};

fn parse(text: &str) -> Map {
    decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON").0.as_map().expect("object").clone()
}

/// Each line: a kind, an object, a patch and what upstream made of them (`testdata/record`).
#[test]
fn strategic_patches_are_upstream_s() {
    for line in include_str!("testdata/strategic.jsonl").lines() {
        let row = parse(line);
        let group = if row.str("kind") == "Deployment" { "apps" } else { "" };
        let ty = api::facts::kind(group, "v1", row.str("kind")).expect("a kind");
        let (object, patch) = (row.map("object").expect("an object"), row.map("patch").expect("a patch"));
        let got = strategic::apply(object, patch, ty).map_err(|status| status.message);
        let expect = match row.map("result") {
            Some(result) => Ok(result.clone()),
            None => Err(row.str("error").to_owned()),
        };
        assert_eq!(got, expect, "{line}");
    }
}

/// Texts of the library: objects that the patch reaches are sorted, nulls go from what is new.
#[test]
fn merge_patch() {
    let check = |patch: &str, want: Result<&str, &str>| {
        let got = merge::apply(r#"{"l":[1],"a":{"c":2.0,"b":1},"k":{"z":1,"y":2}}"#, patch);
        let got = got.map(|text| String::from_utf8(text).expect("text"));
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{patch}");
    };
    check("{}", Ok(r#"{"a":{"c":2.0,"b":1},"k":{"z":1,"y":2},"l":[1]}"#));
    let merged = r#"{"a":{"c":2.0,"d":{"e":3}},"k":{"z":1,"y":2},"l":[2,{}]}"#;
    check(r#"{"a":{"b":null,"d":{"e":3,"f":null}},"l":[2,{"x":null}],"n":null}"#, Ok(merged));
    check(r#"{"a":"text","l":{"m":1}}"#, Ok(r#"{"a":"text","k":{"z":1,"y":2},"l":{"m":1}}"#));
    check("[1, {\"a\":null}]", Ok("[1,{}]"));
    let deep = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    assert!(merge::apply("{}", &deep(100)).is_ok());
    check(&deep(10_000), Err("exceeded max depth"));
    check("null", Err("Invalid JSON Patch"));
    check("7", Err("Invalid JSON Patch"));
}
