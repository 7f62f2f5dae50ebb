//! Custom resources: what a CustomResourceDefinition makes of the server
//! (k8s.io/apiextensions-apiserver/pkg/apiserver@v0.37.2).
//!
//! Invariant: what is served of a definition follows from its stored state alone. A custom resource goes down
//! the same verbs as a built-in kind; only its row of facts and its strategy are made at run time.

pub(crate) mod controller;
mod conversion;
mod owners;
mod resource;
mod served;

pub(crate) use controller::FINALIZER;
pub(crate) use conversion::Converter;
pub(crate) use owners::Owners;
pub(crate) use resource::ScalePaths;
