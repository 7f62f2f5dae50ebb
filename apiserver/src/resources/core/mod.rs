//! The core group's strategies, one file a kind.

pub(crate) mod data;
pub(crate) mod event;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod pod;
pub(crate) mod service;
pub(crate) mod service_account;
