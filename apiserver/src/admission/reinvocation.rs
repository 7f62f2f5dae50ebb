//! Whether plugins that change objects are asked again, and what they remember until then
//! (k8s.io/apiserver/pkg/admission/{attributes,reinvocation}.go@v0.37.2).
//!
//! Invariant: the chain runs twice at most.

use std::any::Any;
use std::collections::HashMap;

/// Of one request.
#[derive(Default)]
pub(crate) struct Reinvocation {
    is_reinvoke: bool,
    wanted: bool,
    kept: HashMap<&'static str, Box<dyn Any + Send>>,
}

impl Reinvocation {
    /// True in the second run.
    pub(crate) fn is_reinvoke(&self) -> bool {
        self.is_reinvoke
    }

    /// Asks for a second run.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// What a plugin remembers, by its name.
    pub(crate) fn kept<T: Any + Send + Default>(&mut self, plugin: &'static str) -> &mut T {
        let slot = self.kept.entry(plugin).or_insert_with(|| Box::<T>::default());
        slot.downcast_mut().expect("a plugin keeps one type under its name")
    }

    /// Begins the second run, if one was asked for.
    pub(crate) fn begin_again(&mut self) -> bool {
        self.is_reinvoke = self.wanted;
        self.wanted
    }
}
