//! Patches as pure functions: JSON patch, merge patch, strategic merge patch.
//!
//! Must not know: requests, storage, kinds beyond the facts' merge keys.

mod document;
pub(crate) mod json;
pub(crate) mod merge;
pub(crate) mod strategic;
pub(crate) mod unstructured;

#[cfg(test)]
mod tests;
