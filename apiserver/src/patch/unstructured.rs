//! A tree as a value of a Go type, by reflection instead of JSON: what strategic merge patch ends with
//! (k8s.io/apimachinery/pkg/runtime/converter.go@v0.37.2: fromUnstructured).
//!
//! Non-goal: the value. What fits is decoded from JSON afterwards; here is what does not fit, and numbers that lose
//! bits.

use api::facts::{Field, Struct, Type};
use api::json;
use api::value::{Map, Value, go_int};

/// Makes a tree fit the type; numbers are cut to their type's size without a word.
///
/// # Errors
/// The converter's text.
pub(crate) fn fit(tree: &mut Map, ty: &'static Struct) -> Result<(), String> {
    for name in ["kind", "apiVersion"] {
        if let Some(value) = tree.get_mut(name).filter(|_| ty.kinded) {
            fit_value(value, &Type::String, "string")?;
        }
    }
    for field in ty.json_fields() {
        if let Some(value) = tree.get_mut(field.name) {
            fit_value(value, &field.ty, &go_type(field))?;
        }
    }
    Ok(())
}

fn go_type(field: &'static Field) -> String {
    if field.go_type.is_empty() { json::go_type(&field.ty) } else { field.go_type.to_owned() }
}

/// The type of what is in a list or map, whose own name may say nothing of it.
fn inner_type(go: &str, inner: &'static Type) -> String {
    let member = go.strip_prefix("[]").or_else(|| Some(go.strip_prefix("map[")?.split_once(']')?.1));
    member.map_or_else(|| json::go_type(inner), str::to_owned)
}

/// What Go's reflection calls the kind of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::String(_) => "string",
        Value::List(_) => "slice",
        Value::Map(_) => "map",
    }
}

fn fit_value(value: &mut Value, ty: &'static Type, go: &str) -> Result<(), String> {
    match (ty, &mut *value) {
        (_, Value::Null) => Ok(()),
        (Type::Bool, Value::Bool(_)) | (Type::String, Value::String(_)) => Ok(()),
        (Type::Float64, Value::Int(_) | Value::Float(_)) => Ok(()),
        (Type::Bool, _) => Err("unrecognized type: bool".into()),
        (Type::String, Value::Int(_)) => Err(format!("cannot convert int64 to {go}")),
        (Type::String, _) => Err("unrecognized type: string".into()),
        (Type::Float64, _) => Err("unrecognized type: float64".into()),
        (Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64, _) => fit_number(value, ty, go),
        (Type::Bytes, Value::String(_)) => {
            check_as_json(value, ty).map_err(|why| format!("error decoding from json: {why}"))
        }
        (Type::Bytes, Value::List(_)) => Ok(()),
        (Type::Struct(inner), Value::Map(map)) => fit(map, inner),
        (Type::Struct(_), other) => Err(format!("cannot restore struct from: {}", kind(other))),
        (Type::List(inner) | Type::Wrapped(inner), Value::List(items)) => {
            let go = inner_type(go, inner);
            items.iter_mut().try_for_each(|item| fit_value(item, inner, &go))
        }
        (Type::List(_) | Type::Wrapped(_) | Type::Bytes, other) => {
            Err(format!("cannot restore slice from {}", kind(other)))
        }
        (Type::Map(inner), Value::Map(map)) => {
            let go = inner_type(go, inner);
            map.iter_mut().try_for_each(|(_, member)| fit_value(member, inner, &go))
        }
        (Type::Map(_), other) => Err(format!("cannot restore map from {}", kind(other))),
        // They read JSON for themselves.
        _ => check_as_json(value, ty),
    }
}

fn fit_number(value: &mut Value, ty: &'static Type, go: &str) -> Result<(), String> {
    let number = match value {
        Value::Int(number) => *number,
        Value::Float(number) if number.fract() == 0.0 => go_int(*number),
        Value::Float(_) => return Err(format!("cannot convert float64 to {go}")),
        _ => return Err(format!("unrecognized type: {}", json::go_type(ty))),
    };
    *value = Value::Int(match ty {
        Type::Int32 => i64::from(number as i32),
        Type::Uint32 => i64::from(number as u32),
        _ => number,
    });
    Ok(())
}

fn check_as_json(value: &Value, ty: &'static Type) -> Result<(), String> {
    let mut text = Vec::new();
    json::encode_value(&mut text, value);
    json::decode_type(&text, ty).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::json::{Strictness, decode_any};

    fn check(spec: &str, want: &str) {
        let text = format!("{{\"spec\":{spec}}}");
        let (Value::Map(mut tree), _) = decode_any(text.as_bytes(), Strictness::Lenient).expect("JSON") else { return };
        let ty = api::facts::kind("", "v1", "Pod").expect("a kind");
        let got = fit(&mut tree, ty).err().unwrap_or_else(|| {
            let mut out = Vec::new();
            json::encode_value(&mut out, tree.get("spec").expect("a spec"));
            String::from_utf8(out).expect("text")
        });
        assert_eq!(got, want, "{spec}");
    }

    /// What upstream's converter says.
    #[test]
    fn what_does_not_fit() {
        check("\"x\"", "cannot restore struct from: string");
        check(r#"{"priority":2147483648}"#, r#"{"priority":-2147483648}"#);
        check(r#"{"priority":2.0}"#, r#"{"priority":2}"#);
        check(r#"{"priority":9223372036854775808}"#, r#"{"priority":0}"#);
        check(r#"{"activeDeadlineSeconds":9223372036854775808}"#, r#"{"activeDeadlineSeconds":-9223372036854775808}"#);
        check(r#"{"priority":1.5}"#, "cannot convert float64 to int32");
        check(r#"{"priority":"7"}"#, "unrecognized type: int32");
        check(r#"{"hostname":7}"#, "cannot convert int64 to string");
        check(r#"{"restartPolicy":7}"#, "cannot convert int64 to v1.RestartPolicy");
        check(r#"{"hostname":[]}"#, "unrecognized type: string");
        check(r#"{"hostNetwork":"true"}"#, "unrecognized type: bool");
        check(r#"{"tolerations":{}}"#, "cannot restore slice from map");
        check(r#"{"nodeSelector":"x"}"#, "cannot restore map from string");
        check(
            r#"{"overhead":{"cpu":"x"}}"#,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        );
    }
}
