//! `x-kubernetes-validations` of a structural schema, evaluated by CEL.
//!
//! The two seams of crate `structural` are implemented here:
//! - [`evaluate::Compiled`] is one value for each version of a CustomResourceDefinition: [`evaluate::Compiled::of`] its schema, kept in an
//!   `Arc` beside it, is the [`structural::rules::Rules`] that writes of its objects are validated with;
//! - [`compile::Cel`] is the [`structural::definition::Compiler`] that writes of definitions are validated with. It has no
//!   state.
//!
//! [`open`] has values of objects whose schema is not asked, for admission's expressions.
//!
//! ```
//! use api::value::{Map, Value};
//! use rules::evaluate::Compiled;
//! use structural::rules::{REQUEST_COST_MAX, validate};
//! use structural::schema::Schema;
//!
//! let rule = api::map! { "rule" => "self.replicas <= self.max", "message" => "too many" };
//! let integer = || api::map! { "type" => "integer" };
//! let schema = Schema::parse(&api::map! {
//!     "type" => "object",
//!     "properties" => api::map! { "replicas" => integer(), "max" => integer() },
//!     "x-kubernetes-validations" => Value::List(vec![rule.into()]),
//! })
//! .expect("it is structural");
//! let rules = Compiled::of(&schema);
//! let object: Map = api::map! { "replicas" => 3i64, "max" => 2i64 };
//! let found = validate(&rules, &schema, &object.into(), None, REQUEST_COST_MAX);
//! assert_eq!(found.errors[0].to_string(), "<nil>: Invalid value: too many");
//! ```
//!
//! Invariant: types, estimates, values, errors and texts are those of k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel
//! and k8s.io/apiserver/pkg/cel/common @v0.37.2 (testdata/ is what they answered).
//! Must not know: definitions as objects, the store, HTTP. Non-goal: where rules are evaluated and what their errors say,
//! which is `structural::rules`; the language, which is `cel`.

pub mod compile;
mod declare;
pub mod evaluate;
mod format;
mod list;
pub mod open;
mod shape;
mod value;
