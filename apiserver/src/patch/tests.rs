//! Patches as text: object, patch, result.

use api::json::{Strictness, decode_any};
use api::value::Map;

use super::{json, merge, strategic};

fn parse(text: &str) -> Map {
    decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON").0.as_map().expect("object").clone()
}

fn check_strategic(object: &str, patch: &str, expect: &str) {
    let pod = api::facts::kind("", "v1", "Pod").expect("Pod");
    let got = strategic::apply(&parse(object), &parse(patch), pod).expect("patch");
    assert_eq!(got, parse(expect), "{patch}");
}

#[test]
fn strategic_lists_merge_by_key() {
    let pod = r#"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}"#;
    check_strategic(
        pod,
        r#"{"spec":{"containers":[{"name":"b","image":"3"},{"name":"c","image":"4"}]}}"#,
        r#"{"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"3"},{"name":"c","image":"4"}]}}"#,
    );
    check_strategic(
        pod,
        r#"{"spec":{"containers":[{"name":"a","$patch":"delete"}]}}"#,
        r#"{"spec":{"containers":[{"name":"b","image":"2"}]}}"#,
    );
    check_strategic(
        pod,
        r#"{"spec":{"$setElementOrder/containers":[{"name":"b"},{"name":"a"}],"containers":[{"name":"a","image":"9"}]}}"#,
        r#"{"spec":{"containers":[{"name":"b","image":"2"},{"name":"a","image":"9"}]}}"#,
    );
    check_strategic(
        pod,
        r#"{"spec":{"containers":[{"$patch":"replace"},{"name":"z","image":"0"}]}}"#,
        r#"{"spec":{"containers":[{"name":"z","image":"0"}]}}"#,
    );
}

#[test]
fn strategic_maps_and_primitive_lists() {
    check_strategic(
        r#"{"metadata":{"finalizers":["a","b"],"labels":{"x":"1","y":"2"}}}"#,
        r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"finalizers":["c"],"labels":{"x":null}}}"#,
        r#"{"metadata":{"finalizers":["b","c"],"labels":{"y":"2"}}}"#,
    );
    check_strategic(
        r#"{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}]}}"#,
        r#"{"spec":{"volumes":[{"name":"v","hostPath":{"path":"/"}}]}}"#,
    );
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
