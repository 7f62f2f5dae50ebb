//! The policy group's strategies, one file a kind.

pub(crate) mod pod_disruption_budget;
#[cfg(test)]
mod tests;
