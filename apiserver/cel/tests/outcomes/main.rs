//! Recorded outcomes of expressions, read from `testdata`.

#[cfg(test)]
mod common;
#[cfg(test)]
mod depth;
#[cfg(test)]
mod proto;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod spec;
