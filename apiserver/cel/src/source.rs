//! The text of an expression, by code points and lines, and errors shown against it.
//!
//! Invariant: positions count code points, not bytes; what is shown equals cel-go's `common.Error.ToDisplayString`.
//! Non-goal: several sources in one compilation.

/// Longest line, in bytes, that is repeated below an error.
const MAX_SNIPPET_BYTES: usize = 16_384;
/// Most errors shown for one expression.
const MAX_ERRORS: usize = 100;
/// The name cel-go gives to texts that have none.
const DESCRIPTION: &str = "<input>";

/// Where something is: lines count from 1, columns from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub line: i32,
    pub column: i32,
}

impl Location {
    /// For errors that are nowhere in the text.
    pub const NONE: Location = Location { line: -1, column: -1 };
    /// What cel-go makes of the place before any text.
    pub(crate) const BEFORE: Location = Location { line: 1, column: -1 };
}

/// An expression's text.
#[derive(Debug, Clone)]
pub struct Source {
    chars: Vec<char>,
    /// Where each line begins, the first excepted; the last entry is one past the end.
    breaks: Vec<usize>,
}

impl Source {
    pub fn new(text: &str) -> Source {
        let chars: Vec<char> = text.chars().collect();
        let newlines = chars.iter().enumerate().filter(|(_, char)| **char == '\n').map(|(at, _)| at + 1);
        let end = if chars.is_empty() { 0 } else { chars.len() + 1 };
        let breaks = newlines.chain([end]).collect();
        Source { chars, breaks }
    }

    pub fn chars(&self) -> &[char] {
        &self.chars
    }

    pub fn slice(&self, start: usize, end: usize) -> String {
        self.chars[start.min(self.chars.len())..end.min(self.chars.len())].iter().collect()
    }

    pub fn location(&self, offset: usize) -> Location {
        if self.chars.is_empty() {
            return Location::BEFORE;
        }
        let line = self.breaks.iter().take_while(|start| **start <= offset).count();
        let start = if line == 0 { 0 } else { self.breaks[line - 1] };
        Location { line: line as i32 + 1, column: (offset - start) as i32 }
    }

    fn line_start(&self, line: i32) -> Option<usize> {
        match line {
            1 => Some(0),
            _ => usize::try_from(line - 2).ok().and_then(|index| self.breaks.get(index).copied()),
        }
    }

    fn snippet(&self, line: i32) -> Option<String> {
        let start = self.line_start(line).filter(|_| !self.chars.is_empty())?;
        Some(self.slice(start, self.line_start(line + 1).map_or(self.chars.len(), |next| next - 1)))
    }
}

/// One thing wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    pub location: Location,
    pub message: String,
}

impl Issue {
    fn display(&self, source: &Source) -> String {
        let Location { line, column } = self.location;
        let head = format!("ERROR: {DESCRIPTION}:{line}:{}: {}", column + 1, self.message);
        let Some(snippet) = source.snippet(line).filter(|snippet| snippet.len() <= MAX_SNIPPET_BYTES) else {
            return head;
        };
        let snippet = snippet.replace('\t', " ");
        let mut marks = String::new();
        let mut rest = snippet.chars();
        for char in rest.by_ref().take(column.max(0) as usize) {
            marks.push(if char.is_ascii() { '.' } else { '．' });
        }
        marks.push(if rest.next().is_none_or(|char| char.is_ascii()) { '^' } else { '＾' });
        format!("{head}\n | {snippet}\n | {marks}")
    }
}

/// Everything wrong with an expression; shown as cel-go shows it.
#[derive(Debug, Clone)]
pub struct Issues {
    source: Source,
    issues: Vec<Issue>,
    /// How many there were, those past the limit included.
    count: usize,
}

impl Issues {
    pub(crate) fn new(source: &Source) -> Issues {
        Issues { source: source.clone(), issues: Vec::new(), count: 0 }
    }

    pub(crate) fn report(&mut self, location: Location, message: impl Into<String>) {
        self.count += 1;
        if self.count <= MAX_ERRORS {
            self.issues.push(Issue { location, message: message.into() });
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In the order of their places.
    pub fn issues(&self) -> Vec<&Issue> {
        let mut sorted: Vec<&Issue> = self.issues.iter().collect();
        sorted.sort_by_key(|issue| issue.location);
        sorted
    }
}

impl std::fmt::Display for Issues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut lines: Vec<String> = self.issues().iter().map(|issue| issue.display(&self.source)).collect();
        if self.count > MAX_ERRORS {
            lines.push(format!("{} more errors were truncated", self.count - MAX_ERRORS));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Issues {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, offset: usize) -> String {
        let source = Source::new(text);
        let mut issues = Issues::new(&source);
        issues.report(source.location(offset), "wrong");
        issues.to_string()
    }

    #[test]
    fn errors_point_into_their_line() {
        assert_eq!(shown("a + b", 4), "ERROR: <input>:1:5: wrong\n | a + b\n | ....^");
        assert_eq!(shown("a\n\tbé + ü", 4), "ERROR: <input>:2:3: wrong\n |  bé + ü\n | ..＾");
        assert_eq!(shown("é + a", 4), "ERROR: <input>:1:5: wrong\n | é + a\n | ．...^");
        assert_eq!(shown("a", 1), "ERROR: <input>:1:2: wrong\n | a\n | .^");
    }

    #[test]
    fn too_many_errors_are_counted() {
        let source = Source::new("a");
        let mut issues = Issues::new(&source);
        (0..103).for_each(|number| issues.report(Location::NONE, format!("{number}")));
        let text = issues.to_string();
        assert!(text.starts_with("ERROR: <input>:-1:0: 0\n") && text.ends_with("\n3 more errors were truncated"));
    }
}
