//! Server-side apply: structured merge and the bookkeeping of who owns which field, as pure functions.
//!
//! Invariant: what comes out equals what sigs.k8s.io/structured-merge-diff v6.4.2 and
//! k8s.io/apimachinery/pkg/util/managedfields@v0.37.2 make of the same input.
//! Must not know: requests, the store, kinds. Schemas come in as [`schema::Ref`].

mod facts;
pub mod fields;
pub mod last_applied;
pub mod managed;
pub mod manager;
pub mod path;
pub mod scale;
pub mod schema;
pub mod set;
pub mod table;
pub mod typed;
pub mod updater;
mod values;
