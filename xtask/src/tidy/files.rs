//! The text files of the clone that are or could be committed.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};

use super::source::Source;

/// Directories that hold no committed file (see .gitignore), by path from the root.
const LEFT_OUT: &[&str] = &[".git", "target", "conformance/bin", "fuzz/target"];

pub(super) struct Files {
    /// Rust sources, by path.
    pub(super) sources: Vec<Source>,
    /// Every other text file: path from the root, text.
    pub(super) texts: Vec<(String, String)>,
}

impl Files {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut files = Files { sources: Vec::new(), texts: Vec::new() };
        files.walk(root, "")?;
        files.mark_tests();
        Ok(files)
    }

    /// A file whose `mod` declaration is for tests only is a test itself.
    fn mark_tests(&mut self) {
        let mut tests = BTreeSet::new();
        for source in &self.sources {
            let dir = source.module_dir();
            tests.extend(source.modules().iter().filter(|module| module.test).flat_map(|module| module.paths(&dir)));
        }
        let marked = self.sources.iter_mut().filter(|source| tests.contains(Path::new(&source.path)));
        marked.for_each(Source::mark_test);
    }

    /// Files of a test, by path and text.
    #[cfg(test)]
    pub(super) fn of(list: &[(&str, &str)]) -> Self {
        let mut files = Files { sources: Vec::new(), texts: Vec::new() };
        for (path, text) in list {
            files.add((*path).to_owned(), (*text).to_owned());
        }
        files.mark_tests();
        files
    }

    fn walk(&mut self, dir: &Path, path: &str) -> Result<()> {
        let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            if LEFT_OUT.contains(&path.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), &path)?;
            } else if let Some(text) = read_text(&entry.path())? {
                self.add(path, text);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: String, text: String) {
        if path.ends_with(".rs") {
            self.sources.push(Source::new(path, text));
        } else {
            self.texts.push((path, text));
        }
    }
}

/// The text of a file; none when it is binary, or gone since it was listed (an editor's temporary file).
fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
