//! ConversionReview: the objects that a webhook is to convert, and whether what came back are those objects
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go@v0.37.2).
//!
//! Invariant: pure; of metadata a webhook may change labels and annotations, nothing else.

use api::facts::split_api_version;
use api::field::go_quote;
use api::map;
use api::object::Meta;
use api::value::{Map, Value};

use super::Version;

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";

/// `group/version, Kind=kind`, as Go shows a kind.
pub(crate) fn shown(object: &Map) -> String {
    let version = object.str("apiVersion");
    let (group, version) = split_api_version(version);
    format!("{group}/{version}, Kind={}", object.str("kind"))
}

/// The review that is sent.
pub(crate) fn asked(version: Version, uid: &str, desired: &str, objects: &[&Map]) -> Map {
    let objects: Vec<Value> = objects.iter().map(|object| Value::Map((*object).clone())).collect();
    let request = map! { "uid" => uid, "desiredAPIVersion" => desired, "objects" => objects };
    map! { "kind" => KIND, "apiVersion" => version.of_group(GROUP), "request" => request }
}

/// The objects of an answer (getConvertedObjectsFromResponse).
fn converted(version: Version, uid: &str, review: Map) -> Result<Vec<Value>, String> {
    let (api_version, kind) = (review.str("apiVersion"), review.str("kind"));
    let wanted = version.of_group(GROUP);
    if version == Version::V1 && (api_version != wanted || kind != KIND) {
        let got = if api_version.is_empty() { "/" } else { api_version };
        return Err(format!("expected webhook response of {wanted}, Kind={KIND}, got {got}, Kind={kind}"));
    }
    let Some(response) = review.map("response") else { return Err("no response provided".into()) };
    if version == Version::V1 && response.str("uid") != uid {
        return Err(format!("expected response.uid={}, got {}", go_quote(uid), go_quote(response.str("uid"))));
    }
    let result = response.map("result").unwrap_or(Map::EMPTY);
    match (result.str("status"), result.str("message")) {
        ("Success", _) => {}
        (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
        (_, message) => return Err(message.into()),
    }
    Ok(response.list("convertedObjects").to_vec())
}

/// The objects in the version that was asked for, in the order in which they were given.
///
/// # Errors
/// What is wrong with the answer, in the words that upstream has for one object.
pub(crate) fn answered(
    version: Version,
    uid: &str,
    desired: &str,
    given: &[&Map],
    review: Map,
) -> Result<Vec<Map>, String> {
    let first = given.first().map(|first| shown(first)).unwrap_or_default();
    let objects =
        converted(version, uid, review).map_err(|why| format!("conversion webhook for {first} failed: {why}"))?;
    if objects.len() != given.len() {
        let (got, want) = (objects.len(), given.len());
        return Err(format!("conversion webhook for {first} returned {got} objects, expected {want}"));
    }
    let checked = objects.into_iter().zip(given).map(|(object, original)| {
        checked(object, original, desired)
            .map_err(|why| format!("conversion webhook for {} returned invalid {why}", shown(original)))
    });
    checked.collect()
}

fn checked(object: Value, original: &Map, desired: &str) -> Result<Map, String> {
    let Value::Map(mut object) = object else {
        return Err("object: Object 'Kind' is missing in 'null'".into());
    };
    if object.str("apiVersion") != desired {
        let got = object.str("apiVersion");
        return Err(format!("object at index 0: invalid groupVersion (expected {desired}, received {got})"));
    }
    let (kind, got) = (original.str("kind"), object.str("kind"));
    if kind != got {
        return Err(format!("object at index 0: invalid kind (expected {kind}, received {got})"));
    }
    for (what, is, was) in [
        ("name", object.name(), original.name()),
        ("namespace", object.namespace(), original.namespace()),
        ("UID", object.uid(), original.uid()),
    ] {
        if is != was {
            return Err(format!("object: must have the same {what}: {was} != {is}"));
        }
    }
    restore(&mut object, original).map_err(|why| format!("metadata: {why}"))?;
    Ok(object)
}

/// The original metadata with the labels and annotations that came back (restoreObjectMeta).
fn restore(object: &mut Map, original: &Map) -> Result<(), String> {
    let come_back = match object.get("metadata") {
        None => return Err("missing metadata in converted object".into()),
        Some(Value::Map(meta)) => meta.clone(),
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", other.go_type())),
    };
    let mut meta = original.map("metadata").cloned().unwrap_or_default();
    for name in ["labels", "annotations"] {
        match come_back.get(name) {
            None | Some(Value::Null) => drop(meta.remove(name)),
            Some(Value::Map(texts)) => {
                if let Some((key, value)) = texts.iter().find(|(_, value)| value.as_str().is_none()) {
                    let ty = value.go_type();
                    return Err(format!("metadata.{name}[{key}] must be a string, but is {ty} in converted object"));
                }
                match texts.is_empty() && !meta.contains(name) {
                    true => {}
                    false => meta.set(name, texts.clone()),
                }
            }
            Some(other) => {
                return Err(format!("invalid metadata.{name} of type {} in converted object", other.go_type()));
            }
        }
    }
    object.set("metadata", meta);
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::json::{Strictness, decode_any};

    use super::*;

    fn object(text: &str) -> Map {
        match decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON").0 {
            Value::Map(map) => map,
            _ => Map::new(),
        }
    }

    const ORIGINAL: &str = r#"{"kind":"Foo","apiVersion":"e.com/v1","metadata":{"name":"a","namespace":"n","uid":"1","labels":{"x":"y"},"finalizers":["f"]}}"#;

    fn check(response: &str, want: Result<&str, &str>) {
        let review =
            format!(r#"{{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{response}}}"#);
        let original = object(ORIGINAL);
        let got = answered(Version::V1, "u", "e.com/v2", &[&original], object(&review));
        let got = got.map(|all| all[0].clone());
        assert_eq!(got.as_ref().map_err(String::as_str), want.map(object).as_ref().map_err(|why| *why), "{response}");
    }

    fn with(converted: &str) -> String {
        format!(r#"{{"uid":"u","result":{{"status":"Success"}},"convertedObjects":[{converted}]}}"#)
    }

    #[test]
    fn what_comes_back_is_what_was_given() {
        let foo = |meta: &str| with(&format!(r#"{{"kind":"Foo","apiVersion":"e.com/v2","metadata":{meta}}}"#));
        let good = r#"{"kind":"Foo","apiVersion":"e.com/v2","metadata":{"name":"a","namespace":"n","uid":"1","labels":{"z":"1"},"finalizers":["f"]}}"#;
        check(&foo(r#"{"name":"a","namespace":"n","uid":"1","labels":{"z":"1"},"finalizers":["g"]}"#), Ok(good));
        let renamed =
            "conversion webhook for e.com/v1, Kind=Foo returned invalid object: must have the same name: a != b";
        check(&foo(r#"{"name":"b","namespace":"n","uid":"1"}"#), Err(renamed));
        let uid = "conversion webhook for e.com/v1, Kind=Foo returned invalid object: must have the same UID: 1 != 2";
        check(&foo(r#"{"name":"a","namespace":"n","uid":"2"}"#), Err(uid));
        let label = "conversion webhook for e.com/v1, Kind=Foo returned invalid metadata: metadata.labels[x] must be a string, but is int64 in converted object";
        check(&foo(r#"{"name":"a","namespace":"n","uid":"1","labels":{"x":1}}"#), Err(label));
        let version = "conversion webhook for e.com/v1, Kind=Foo returned invalid object at index 0: invalid groupVersion (expected e.com/v2, received e.com/v3)";
        check(&with(r#"{"kind":"Foo","apiVersion":"e.com/v3"}"#), Err(version));
    }

    #[test]
    fn answers() {
        let foo = "conversion webhook for e.com/v1, Kind=Foo";
        check(&with(""), Err(&format!("{foo} returned 0 objects, expected 1")));
        check("null", Err(&format!("{foo} failed: no response provided")));
        let other = format!("{foo} failed: expected response.uid=\"u\", got \"w\"");
        check(r#"{"uid":"w"}"#, Err(&other));
        let failed = r#"{"uid":"u","result":{"status":"Failed","message":"cannot"}}"#;
        check(failed, Err(&format!("{foo} failed: cannot")));
        let silent = format!("{foo} failed: response.result.status was '', not 'Success'");
        check(r#"{"uid":"u"}"#, Err(&silent));
    }
}
