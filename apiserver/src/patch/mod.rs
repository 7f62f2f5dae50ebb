//! Patches as pure functions over values: JSON patch, merge patch, strategic merge patch.
//!
//! Must not know: requests, storage, kinds beyond the facts' merge keys.

pub(crate) mod json;
pub(crate) mod merge;
pub(crate) mod strategic;

#[cfg(test)]
mod tests;
