//! Paths of JSON patches.
//!
//! Invariant: the overload of `k8s.io/apiserver/pkg/cel/library/jsonpatch.go@v0.37.2`. The patches themselves are objects whose
//! types the caller provides.

use super::strings::text;
use crate::functions::{Compute, Library};
use crate::value::Value;

pub(crate) const LIBRARY: Library =
    Library { declarations: "jsonpatch.escapeKey string_jsonpatch_escapeKey_string (string) -> string", compute };

fn compute(overload: &str) -> Option<Compute> {
    match overload {
        "string_jsonpatch_escapeKey_string" => {
            Some(|args| Ok(Value::from(text(args, 0)?.replace('~', "~0").replace('/', "~1"))))
        }
        _ => None,
    }
}
