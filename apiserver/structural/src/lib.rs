//! What CustomResourceDefinitions mean, as pure functions.
//!
//! - [`schema`]: a version's `openAPIV3Schema`, compiled once.
//! - [`resource`]: what happens to an object of it: coercion after decoding, validation on create, update, update of status.
//!   Its parts: [`prune`], [`meta`], [`default`], [`validate`], [`embedded`], [`lists`], [`rules`].
//!
//! Invariant: outcomes and texts are those of k8s.io/apiextensions-apiserver@v0.37.2 (testdata/ is what it answered).
//! Must not know: HTTP, the store, async, CEL ([`rules::Rules`] is the seam).

mod correlate;
pub mod default;
pub mod embedded;
mod fieldpath;
mod format;
mod go;
pub mod lists;
pub mod meta;
mod props;
pub mod prune;
pub mod resource;
pub mod rules;
pub mod schema;
mod trail;
pub mod validate;
