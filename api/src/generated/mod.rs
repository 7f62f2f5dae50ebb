//! Tables written by `cargo xtask gen`; see `facts`.
#![allow(clippy::all, missing_docs)]

#[rustfmt::skip]
pub(crate) mod resources;
#[rustfmt::skip]
pub mod types;
