//! Tables written by `cargo xtask gen`; see `facts`.
#![allow(clippy::all, missing_docs)]

#[rustfmt::skip]
pub(crate) mod resources;
#[rustfmt::skip]
pub(crate) mod rules;
#[rustfmt::skip]
pub mod types;
#[rustfmt::skip]
pub(crate) mod words;
