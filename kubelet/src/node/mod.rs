//! The node itself: what the machine has, its Node object, its lease.

pub(crate) mod facts;
pub(crate) mod lease;
pub(crate) mod register;
pub(crate) mod state;
pub(crate) mod status;
