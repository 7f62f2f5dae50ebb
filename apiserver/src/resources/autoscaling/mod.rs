//! The autoscaling group's strategies, one file a kind.

pub(crate) mod convert;
pub(crate) mod horizontal_pod_autoscaler;
mod metric_forms;
mod metrics;
#[cfg(test)]
mod tests;
