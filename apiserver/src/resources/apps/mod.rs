//! The apps group's strategies, one file a kind.

pub(crate) mod controller_revision;
pub(crate) mod daemon_set;
pub(crate) mod deployment;
pub(crate) mod replica_set;
pub(crate) mod stateful_set;
#[cfg(test)]
mod tests;
