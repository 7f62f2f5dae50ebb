//! Common Expression Language as kube-apiserver uses it: parser, type checker, evaluator, costs, and Kubernetes' libraries.
//!
//! An [`Env`] says what expressions may use: [`Env::kubernetes`] has the functions and macros of a version, to which variables
//! and the object types of a [`types::TypeProvider`] are added ([`declaration::DeclaredTypes`] is one, made from declared
//! sizes and fields such as those of a schema; it estimates sizes, too). [`Env::compile`] makes a [`Program`], which knows its
//! type, what it can cost ([`Program::estimate`]) and runs over an [`Activation`] within a budget ([`Program::eval`]).
//! Objects are read through [`value::MapObject`] and [`value::ListObject`] without being copied; values CEL itself knows
//! nothing of are [`value::Object`]s. `authorizer` variables are made by [`authz::authorizer`].
//!
//! ```
//! use cel::{Env, NoSizes};
//! use cel::types::Type;
//! use cel::value::Value;
//!
//! let env = Env::kubernetes(37).variable("self", Type::list(Type::String));
//! let program = env.compile("self.all(name, name.startsWith('x'))").expect("it is an expression");
//! assert_eq!(program.output_type(), &Type::Bool);
//! assert_eq!(program.estimate(&NoSizes).min, 2);
//! let values = std::collections::HashMap::from([("self".to_owned(), Value::list(vec![Value::from("x1")]))]);
//! let (value, cost) = program.eval(&values, 1_000_000).expect("it has a value");
//! assert_eq!((value.as_bool(), cost), (Some(true), 7));
//!
//! let issues = env.compile("self.size() + 'x'").expect_err("no such sum");
//! assert!(issues.to_string().starts_with("ERROR: <input>:1:13: found no matching overload for '_+_' applied to '(int, string)'"));
//! ```
//!
//! Invariant: types, values, errors and their texts, and costs are those of cel-go v0.29.2 with the environment of
//! k8s.io/apiserver/pkg/cel/environment/base.go@v0.37.2.
//! Must not know: requests, kinds, schemas, the store. Non-goal: messages of protobuf but those that CEL has values for
//! (`messages.rs`), enums, containers, partial evaluation.

pub mod ast;
mod check;
mod cost;
pub mod declaration;
mod env;
pub mod escape;
mod eval;
mod functions;
mod library;
mod messages;
mod parse;
mod plan;
pub mod source;
pub mod types;
mod validate;
pub mod value;

pub use cost::Range;
pub use cost::estimate::{NoSizes, SizeEstimator};
pub use env::{CompileError, Env, EvalError, Program};
pub use eval::{Activation, Nothing};
pub use library::{Minor, authz, quantity};
