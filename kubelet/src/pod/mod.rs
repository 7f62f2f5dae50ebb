//! One pod: what is wanted (shape), what is there (observed), what to do (plan), doing it (run,
//! kill, start), and what to report (phase, conditions, status).

pub(crate) mod admit;
pub(crate) mod backoff;
pub(crate) mod conditions;
pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod guard;
pub(crate) mod hooks;
pub(crate) mod kill;
pub(crate) mod observe;
pub(crate) mod observed;
pub(crate) mod phase;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod shape;
pub(crate) mod status;
pub(crate) mod termination;
pub(crate) mod worker;
pub(crate) mod workers;
