//! Finding by regular expression.
//!
//! Invariant: overloads of `k8s.io/apiserver/pkg/cel/library/regex.go@v0.37.2`.

use crate::functions::{Compute, Library};
use crate::plan::{RegexFunction, regex_function};

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
find string_find_string string.(string) -> string
findAll string_find_all_string string.(string) -> list(string)
findAll string_find_all_string_int string.(string, int) -> list(string)
";

fn compute(overload: &str) -> Option<Compute> {
    match overload {
        "string_find_string" => Some(regex_function(RegexFunction::Find)),
        "string_find_all_string" | "string_find_all_string_int" => Some(regex_function(RegexFunction::FindAll)),
        _ => None,
    }
}
