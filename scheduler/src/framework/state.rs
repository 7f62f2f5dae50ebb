//! What plugins remember about one pod between the points of one cycle.
//!
//! Invariant: keyed by type, so that a plugin can only find what it put there itself; a copy is
//! independent of the original (k8s.io/kube-scheduler/framework/cycle_state.go@v0.37.2).

use std::any::{Any, TypeId};

trait Entry: Send + Sync {
    fn any(&self) -> &dyn Any;
    fn any_mut(&mut self) -> &mut dyn Any;
    fn copy(&self) -> Box<dyn Entry>;
}

impl<T: Any + Clone + Send + Sync> Entry for T {
    fn any(&self) -> &dyn Any {
        self
    }

    fn any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn copy(&self) -> Box<dyn Entry> {
        Box::new(self.clone())
    }
}

/// The state of one cycle.
#[derive(Default)]
pub(crate) struct CycleState {
    /// Few entries, so a scan is faster than a map.
    entries: Vec<(TypeId, Box<dyn Entry>)>,
    /// Plugins (by their place in the profile) left out at Filter and at Score.
    pub(crate) skip_filter: u64,
    pub(crate) skip_score: u64,
}

impl Clone for CycleState {
    fn clone(&self) -> Self {
        let entries = self.entries.iter().map(|(id, entry)| (*id, (**entry).copy())).collect();
        CycleState { entries, skip_filter: self.skip_filter, skip_score: self.skip_score }
    }
}

impl CycleState {
    pub(crate) fn put<T: Any + Clone + Send + Sync>(&mut self, value: T) {
        let id = TypeId::of::<T>();
        match self.entries.iter_mut().find(|(known, _)| *known == id) {
            Some((_, entry)) => *entry = Box::new(value),
            None => self.entries.push((id, Box::new(value))),
        }
    }

    pub(crate) fn get<T: Any>(&self) -> Option<&T> {
        let id = TypeId::of::<T>();
        let (_, entry) = self.entries.iter().find(|(known, _)| *known == id)?;
        (**entry).any().downcast_ref()
    }

    pub(crate) fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let id = TypeId::of::<T>();
        let (_, entry) = self.entries.iter_mut().find(|(known, _)| *known == id)?;
        (**entry).any_mut().downcast_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Count(u32);

    #[test]
    fn a_copy_is_independent() {
        let mut state = CycleState::default();
        assert_eq!(state.get::<Count>(), None);
        state.put(Count(1));
        let mut copy = state.clone();
        copy.get_mut::<Count>().unwrap().0 = 5;
        assert_eq!((state.get::<Count>(), copy.get::<Count>()), (Some(&Count(1)), Some(&Count(5))));
    }
}
