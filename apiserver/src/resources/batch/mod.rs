//! The batch group's strategies, one file a kind.

pub(crate) mod cron;
pub(crate) mod cron_job;
mod indexes;
pub(crate) mod job;
mod job_spec;
mod job_status;
#[cfg(test)]
mod tests;
