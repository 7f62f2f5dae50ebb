//! Which webhooks are asked again, because the object changed after they saw it
//! (k8s.io/apiserver/pkg/admission/{reinvocation.go,plugin/webhook/mutating/reinvocationcontext.go}@v0.37.2).
//!
//! Invariant: nothing is asked for the first time in the second round, and there is no third.

use std::collections::BTreeSet;

use api::value::Map;

/// What the plugin remembers of one request between the two rounds of admission.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The object as it was after the webhooks of the first round.
    last: Option<Map>,
    /// Webhooks that want to see later changes.
    asked: BTreeSet<String>,
    /// Webhooks that are to be asked again.
    again: BTreeSet<String>,
}

impl Memory {
    /// A round of webhooks begins with this object.
    pub(super) fn begin(&mut self, is_second: bool, object: Option<&Map>) {
        if is_second && !self.asked.is_empty() && self.last.as_ref() != object {
            self.changed();
        }
    }

    /// The round is over.
    pub(super) fn end(&mut self, object: Option<&Map>) {
        if !self.asked.is_empty() {
            self.last = object.cloned();
        }
    }

    /// The object is another than the webhooks that were asked have seen.
    fn changed(&mut self) {
        self.again.append(&mut self.asked);
    }

    /// A webhook was asked; `changed` tells whether it changed the object, `again` whether it wants to see changes.
    pub(super) fn asked(&mut self, uid: &str, changed: bool, again: bool) {
        if changed {
            self.changed();
        }
        if again {
            self.asked.insert(uid.into());
        }
    }

    pub(super) fn is_due(&self, is_second: bool, uid: &str) -> bool {
        !is_second || self.again.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use api::map;

    use super::*;

    #[test]
    fn later_changes_are_shown_to_those_who_want_them() {
        let mut state = Memory::default();
        let (one, two) = (map! { "a" => 1i64 }, map! { "a" => 2i64 });
        state.begin(false, Some(&one));
        state.asked("first", false, true);
        state.asked("never", false, false);
        state.asked("second", true, true);
        state.end(Some(&two));
        state.begin(true, Some(&two));
        let due = ["first", "never", "second"].map(|uid| state.is_due(true, uid));
        assert_eq!(due, [true, false, false]);
    }

    #[test]
    fn changes_of_other_plugins_are_shown_to_all_who_want_them() {
        let mut state = Memory::default();
        let (one, two) = (map! { "a" => 1i64 }, map! { "a" => 2i64 });
        state.begin(false, Some(&one));
        state.asked("only", true, true);
        state.end(Some(&one));
        state.begin(true, Some(&two));
        assert!(state.is_due(true, "only"));
    }
}
