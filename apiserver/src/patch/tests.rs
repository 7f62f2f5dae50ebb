//! Patches as text: object, patch, result.

use api::json::{Strictness, decode_any};
use api::value::Map;

use super::{json, merge, strategic};

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

#[test]
fn merge_patch() {
    let got = merge::apply(&parse(r#"{"a":{"b":1,"c":2},"l":[1]}"#), &parse(r#"{"a":{"b":null,"d":{"e":3}},"l":[2]}"#));
    assert_eq!(got, parse(r#"{"a":{"c":2,"d":{"e":3}},"l":[2]}"#));
}

#[test]
fn json_patch() {
    let object = parse(r#"{"a":{"b":[1,2]},"c/d":"x"}"#);
    let patch = br#"[{"op":"add","path":"/a/b/1","value":9},{"op":"remove","path":"/c~1d"},{"op":"copy","from":"/a/b/0","path":"/e"},{"op":"test","path":"/e","value":1}]"#;
    assert_eq!(json::apply(&object, patch).expect("patch"), parse(r#"{"a":{"b":[1,9,2]},"e":1}"#));
    for wrong in [&br#"[{"op":"remove","path":"/z"}]"#[..], br#"[{"op":"test","path":"/e","value":1}]"#] {
        assert_eq!(json::apply(&object, wrong).err().map(|status| status.code), Some(422));
    }
    assert_eq!(json::apply(&object, b"{}").err().map(|status| status.code), Some(400));
}
