//! What admission's expressions may use, and their evaluation: policies, and the matchConditions of policies and
//! webhooks (k8s.io/apiserver/pkg/admission/plugin/{cel,webhook/matchconditions}@v0.37.2).
//!
//! An [`compile::Compiler`] makes a [`compile::Compiled`] of a text, once; a [`evaluate::Session`] is one request's
//! variables ([`evaluate::Inputs`]), over which any number of compiled expressions run within a budget. What a request
//! looks like as `request` is [`subject::Subject`]. [`conditions::MatchConditions`] is all that webhooks need.
//!
//! Invariant: variables, types, costs and error texts are upstream's. Must not know: policies, webhooks, the store.

pub(crate) mod authorizer;
pub(crate) mod compile;
pub(crate) mod conditions;
mod declare;
pub(crate) mod evaluate;
pub(crate) mod mutation;
pub(crate) mod subject;
