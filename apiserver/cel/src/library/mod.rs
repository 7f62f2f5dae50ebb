//! Libraries of functions, and which of them Kubernetes has at which version.
//!
//! Invariant: the order and versions of `k8s.io/apiserver/pkg/cel/environment/base.go@v0.37.2`.

pub mod authz;
mod comprehensions;
pub(crate) mod format;
mod ip;
mod jsonpatch;
mod lists;
pub(crate) mod named_format;

mod optional;
pub mod quantity;
mod regex;
mod semver;
mod sets;
pub(crate) mod standard;
mod strings;
mod url;

use crate::functions::{Functions, Library};

/// A version of Kubernetes, by its minor number.
pub type Minor = u32;

/// A library with the first version that has it.
const KUBERNETES: [(Minor, &Library); 16] = [
    (0, &url::LIBRARY),
    (0, &regex::LIBRARY),
    (27, &authz::LIBRARY),
    (28, &optional::LIBRARY),
    (28, &quantity::LIBRARY),
    (29, &strings::LIBRARY),
    (29, &sets::LIBRARY),
    (30, &ip::IP),
    (30, &ip::CIDR),
    (31, &named_format::LIBRARY),
    (31, &authz::SELECTORS),
    (32, &comprehensions::LIBRARY),
    (33, &semver::LIBRARY),
    (34, &lists::EXTENSION),
    (0, &lists::KUBERNETES),
    (37, &lists::INCLUDES),
];

/// Everything a version knows.
pub(crate) fn functions(minor: Minor) -> Functions {
    let mut functions = Functions::default();
    functions.add(&standard::LIBRARY);
    functions.add_declarations(&standard::order(), standard::compute);
    let known = KUBERNETES.iter().filter(|(since, _)| *since <= minor);
    known.for_each(|(_, library)| functions.add(library));
    functions
}

/// What mutating policies know besides.
pub(crate) fn add_json_patch(functions: &mut Functions) {
    functions.add(&jsonpatch::LIBRARY);
}
