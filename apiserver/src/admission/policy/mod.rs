//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy (k8s.io/apiserver/pkg/admission/plugin/policy@v0.37.2).
//!
//! [`source::Policies`] has the policies and bindings of the store, each compiled at most once; [`request::Request`] is
//! what is asked of them; [`matching`] says which of them it concerns and [`params`] with which parameters they look at
//! it. [`validator`] and [`mutator`] are one policy each, compiled; [`validating`] and [`mutating`] are the plugins.
//!
//! Invariant: nothing is parsed or compiled for a request. Non-goals: policies in files, metrics.

pub(crate) mod guard;
mod matching;
pub(crate) mod mutating;
mod mutator;
mod params;
mod request;
pub(crate) mod source;
pub(crate) mod validating;
mod validator;
