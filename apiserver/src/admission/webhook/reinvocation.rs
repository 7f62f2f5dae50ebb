//! Which webhooks are asked again, because the object changed after they saw it
//! (k8s.io/apiserver/pkg/admission/{reinvocation.go,plugin/webhook/mutating/reinvocationcontext.go}@v0.37.2).
//!
//! Invariant: nothing is asked for the first time in the second round, and there is no third.

use std::collections::BTreeSet;

use api::value::Map;

/// What the plugins of one request remember between the two rounds of admission.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    /// Something changed that others may want to see.
    pub(crate) is_wanted: bool,
    /// The second round.
    pub(crate) is_second: bool,
    /// The object as it was after the webhooks of the first round.
    last: Option<Map>,
    /// Webhooks that want to see later changes.
    asked: BTreeSet<String>,
    /// Webhooks that are to be asked again.
    again: BTreeSet<String>,
}

impl Reinvocation {
    /// A round of webhooks begins with this object.
    pub(super) fn begin(&mut self, object: Option<&Map>) {
        if self.is_second && !self.asked.is_empty() && self.last.as_ref() != object {
            self.changed();
        }
    }

    /// The round is over.
    pub(super) fn end(&mut self, object: Option<&Map>) {
        if !self.is_second && self.is_wanted && !self.asked.is_empty() {
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
            self.is_wanted = true;
        }
        if again {
            self.asked.insert(uid.into());
        }
    }

    pub(super) fn is_due(&self, uid: &str) -> bool {
        !self.is_second || self.again.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use api::map;

    use super::*;

    #[test]
    fn later_changes_are_shown_to_those_who_want_them() {
        let mut state = Reinvocation::default();
        let (one, two) = (map! { "a" => 1i64 }, map! { "a" => 2i64 });
        state.begin(Some(&one));
        state.asked("first", false, true);
        state.asked("never", false, false);
        state.asked("second", true, true);
        state.end(Some(&two));
        assert!(state.is_wanted);
        state.is_second = true;
        state.begin(Some(&two));
        let due = ["first", "never", "second"].map(|uid| state.is_due(uid));
        assert_eq!(due, [true, false, false]);
    }

    #[test]
    fn changes_of_other_plugins_are_shown_to_all_who_want_them() {
        let mut state = Reinvocation::default();
        let (one, two) = (map! { "a" => 1i64 }, map! { "a" => 2i64 });
        state.begin(Some(&one));
        state.asked("only", true, true);
        state.end(Some(&one));
        state.is_second = true;
        state.begin(Some(&two));
        assert!(state.is_due("only"));
    }
}
