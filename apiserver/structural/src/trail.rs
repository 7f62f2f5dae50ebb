//! The path of a walk, grown and cut back in one buffer: `spec.containers[0].name`.

use std::fmt::Write as _;

use api::field::Path;

#[derive(Debug, Default)]
pub(crate) struct Trail(String);

/// How long the path was before a step.
#[derive(Clone, Copy)]
pub(crate) struct Mark(usize);

impl Trail {
    pub(crate) fn new(root: &str) -> Trail {
        Trail(root.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// A name after a dot, unless it is the first.
    pub(crate) fn name(&mut self, name: &str) -> Mark {
        let mark = Mark(self.0.len());
        if !self.0.is_empty() {
            self.0.push('.');
        }
        self.0.push_str(name);
        mark
    }

    /// A name after a dot, the first too: how kube-openapi writes names it finds in objects.
    pub(crate) fn dotted(&mut self, name: &str) -> Mark {
        let mark = Mark(self.0.len());
        self.0.push('.');
        self.0.push_str(name);
        mark
    }

    pub(crate) fn index(&mut self, at: usize) -> Mark {
        let mark = Mark(self.0.len());
        // Writing to a String cannot fail.
        let _ = write!(self.0, "[{at}]");
        mark
    }

    /// A key of a map: `labels[app]`.
    pub(crate) fn key(&mut self, key: &str) -> Mark {
        let mark = Mark(self.0.len());
        self.0.push('[');
        self.0.push_str(key);
        self.0.push(']');
        mark
    }

    pub(crate) fn back(&mut self, mark: Mark) {
        self.0.truncate(mark.0);
    }

    /// The path of a name below.
    pub(crate) fn with(&self, name: &str) -> String {
        if self.0.is_empty() { name.into() } else { format!("{}.{name}", self.0) }
    }

    pub(crate) fn path(&self) -> Path {
        Path::new(&self.0)
    }
}
