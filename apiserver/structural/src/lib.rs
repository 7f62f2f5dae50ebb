//! What CustomResourceDefinitions mean, as pure functions.
//!
//! - [`schema`]: a version's `openAPIV3Schema`, compiled once; keep it in an `Arc`, one for each version.
//! - [`resource`]: what happens to an object of it: [`resource::coerce`] after decoding (pruning, nulls, metadata),
//!   [`default::apply`] on writes and on reads from the store, validation on create, update and update of status.
//!   Its parts: [`prune`], [`meta`], [`default`], [`validate`], [`embedded`], [`lists`], [`rules`].
//! - [`definition`]: the definition itself: defaults, what writes keep, validation, warnings. [`conditions`]: which names
//!   it gets and which conditions it has.
//! - [`publish`]: its OpenAPI v2 and v3 definitions. [`columns`]: table columns and selectable fields, by [`jsonpath`].
//!
//! Two seams are for CEL: [`definition::Compiler`] judges rules when a definition is written, [`rules::Rules`] evaluates them
//! when an object is; [`declared`] is what they know of every resource.
//!
//! Invariant: outcomes and texts are those of k8s.io/apiextensions-apiserver@v0.37.2 (testdata/ is what it answered).
//! Must not know: HTTP, the store, async, CEL.

pub mod columns;
pub mod conditions;
mod correlate;
pub mod declared;
pub mod default;
pub mod definition;
pub mod embedded;
mod fieldpath;
mod format;
mod go;
pub mod jsonpath;
pub mod lists;
pub mod meta;
mod props;
pub mod prune;
pub mod publish;
pub mod resource;
pub mod rules;
pub mod schema;
mod trail;
pub mod validate;
