//! What this tool and the tests across components both need: where things are, certificates and flags of a control
//! plane of either side, and processes that end with their handle.
//!
//! Must not know: how any crate of the workspace works.

pub mod paths;
mod pki;
pub mod plane;
pub mod process;
