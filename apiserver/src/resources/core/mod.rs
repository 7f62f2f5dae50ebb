//! The core group's strategies, one file a kind.

pub(crate) mod data;
pub(crate) mod event;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod service_account;
pub(crate) mod service;
pub(crate) mod pod;
