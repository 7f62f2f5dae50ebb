//! A Rust file as the checks see it: its text, its code with comments and literals blanked, and which
//! lines are tests. A scanner, not a parser: it knows tokens and braces, which is all the rules need.

use std::path::{Path, PathBuf};

/// A Rust file.
pub(super) struct Source {
    /// Path from the root of the clone.
    pub(super) path: String,
    pub(super) text: String,
    /// The text with comments and the insides of literals as spaces; same lines.
    pub(super) code: String,
    /// For each line whether it belongs to a test.
    test_lines: Vec<bool>,
}

/// A function and where it is.
#[derive(Debug, PartialEq)]
pub(super) struct Function {
    pub(super) name: String,
    /// First line, counted from 1.
    pub(super) line: usize,
    pub(super) lines: usize,
}

/// A `mod name;` declaration.
pub(super) struct Module {
    name: String,
    /// Declared for tests only.
    pub(super) test: bool,
}

impl Module {
    /// Where its file can be when its parent's modules are in `dir`.
    pub(super) fn paths(&self, dir: &Path) -> [PathBuf; 2] {
        [dir.join(format!("{}.rs", self.name)), dir.join(&self.name).join("mod.rs")]
    }
}

impl Source {
    pub(super) fn new(path: String, text: String) -> Self {
        let code = blank(&text);
        let test_lines = test_lines(&path, &code);
        Source { path, text, code, test_lines }
    }

    /// True for a file whose first line says that a tool wrote it.
    pub(super) fn generated(&self) -> bool {
        self.text.lines().next().is_some_and(|line| line.starts_with("// @generated"))
    }

    /// Lines of code with their numbers from 1 and whether they are of a test.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.code.lines().zip(&self.test_lines).enumerate().map(|(index, (line, test))| (index + 1, line, *test))
    }

    /// Every function with a body.
    pub(super) fn functions(&self) -> Vec<Function> {
        let code = &self.code;
        let starts = words(code, "fn").filter_map(|at| {
            let rest = code[at + 2..].trim_start();
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            // Without a name it is a function pointer type.
            (!name.is_empty()).then_some((at, name))
        });
        let measured = starts.filter_map(|(at, name)| {
            let end = body_end(code, at)?;
            let lines = code[at..end].matches('\n').count() + 1;
            Some(Function { name, line: code[..at].matches('\n').count() + 1, lines })
        });
        measured.collect()
    }

    /// Its `mod x;` declarations.
    pub(super) fn modules(&self) -> Vec<Module> {
        let declared = words(&self.code, "mod").filter_map(|at| {
            let rest = self.code[at + 3..].trim_start();
            let rest = rest.strip_prefix("r#").unwrap_or(rest);
            let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
            let ends = rest[name.len()..].trim_start().starts_with(';');
            let line = self.code[..at].matches('\n').count();
            (ends && !name.is_empty()).then(|| Module { name, test: self.test_lines[line] })
        });
        declared.collect()
    }

    /// The directory of its modules; for the root of a crate that is not called so, not true.
    pub(super) fn module_dir(&self) -> PathBuf {
        let path = Path::new(&self.path);
        let parent = path.parent().unwrap_or(Path::new(""));
        let own = path.file_stem().filter(|stem| !["mod", "lib", "main"].contains(&stem.to_str().unwrap_or("")));
        own.map_or_else(|| parent.to_path_buf(), |stem| parent.join(stem))
    }

    /// Makes every line one of a test: the file is declared for tests only.
    pub(super) fn mark_test(&mut self) {
        self.test_lines.fill(true);
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `word` stands as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

/// Where the item that starts at `at` ends: behind the brace that closes its first block. None for an
/// item that ends with a semicolon before any block.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let mut braces = 0_usize;
    // Parentheses and brackets before the body: an array type holds a semicolon.
    let mut nested = 0_usize;
    for (index, c) in code[at..].char_indices() {
        match c {
            '(' | '[' if braces == 0 => nested += 1,
            ')' | ']' if braces == 0 => nested = nested.saturating_sub(1),
            ';' if braces == 0 && nested == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && nested == 0 {
                    return Some(at + index + 1);
                }
            }
            _ => {}
        }
    }
    None
}

fn test_lines(path: &str, code: &str) -> Vec<bool> {
    let lines = code.lines().count();
    if is_test_file(path) {
        return vec![true; lines];
    }
    let mut test = vec![false; lines];
    for (at, _) in code.match_indices("#[cfg(test)]").chain(code.match_indices("#[cfg(any(test")) {
        // Behind the attribute, whose brackets would count as nesting.
        let item = at + code[at..].find(']').map_or(0, |end| end + 1);
        let first = code[..at].matches('\n').count();
        let end = body_end(code, item).unwrap_or_else(|| code[item..].find(';').map_or(code.len(), |end| item + end));
        let last = code[..end].matches('\n').count();
        test[first..=last.min(lines - 1)].fill(true);
    }
    test
}

/// True for a file that is in no shipped program.
fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').rev().skip(1).any(|part| ["tests", "benches", "examples"].contains(&part))
        || name == "tests.rs"
        || name.ends_with("_tests.rs")
}

/// The code with every comment and the inside of every literal replaced by spaces.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        // Inside a word an `r` starts no raw string.
        let hidden = if is_word(c) && code.ends_with(is_word) { 0 } else { hidden_length(rest) };
        if hidden == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..hidden].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[hidden..];
        }
    }
    code
}

/// The length in bytes of the comment or literal that `rest` starts with; 0 when it starts with code.
fn hidden_length(rest: &str) -> usize {
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => 1 + quoted_length(&rest[1..], '"'),
        [b'\'', ..] => character_length(rest),
        _ => raw_string_length(rest).unwrap_or(0),
    }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length up to and with the closing quote; a backslash hides the next character.
fn quoted_length(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

/// A character literal; 0 for a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => 1 + quoted_length(&rest[1..], '\''),
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn raw_string_length(rest: &str) -> Option<usize> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].bytes().take_while(|byte| *byte == b'#').count();
    let start = prefix.len() + hashes;
    let inside = rest[start..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(inside.find(&close).map_or(rest.len(), |end| start + 1 + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("x/src/a.rs".into(), text.into())
    }

    #[test]
    fn comments_and_literals_are_blank() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x\"y", z)"#, "f(      , z)"),
            ("r#\"a\"b\"# c", "         c"),
            ("br\"a\" c", "      c"),
            ("b\"a\" c", "b    c"),
            ("b'{' c", "b    c"),
            ("'{' 'a: '\\'' x", "    'a:      x"),
            ("r#mod x", "r#mod x"),
            ("\"a\nb\"", "  \n  "),
        ];
        for (text, code) in cases {
            assert_eq!(blank(text), code, "{text}");
        }
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let found =
            source("fn a(x: [u8; 2]) -> u8 {\n    { 1 }\n}\ntrait T { fn b(); }\ntype F = fn(u8);\nfn c() {}\n");
        let function = |name: &str, line, lines| Function { name: name.into(), line, lines };
        assert_eq!(found.functions(), [function("a", 1, 3), function("c", 6, 1)]);
    }

    #[test]
    fn lines_of_tests_are_known() {
        let of = |path: &str| {
            let text = "a\n#[cfg(test)]\nmod tests {\n  b\n}\nc\n#[cfg(test)]\nuse x;\nd\n";
            Source::new(path.into(), text.into()).code_lines().map(|(_, _, test)| test).collect::<Vec<_>>()
        };
        assert_eq!(of("x/src/a.rs"), [false, true, true, true, true, false, true, true, false]);
        for path in ["x/src/a/tests.rs", "x/tests/a.rs", "tests/src/a.rs", "x/src/a_tests.rs"] {
            assert!(of(path).iter().all(|test| *test), "{path}");
        }
    }

    #[test]
    fn only_modules_in_other_files_count() {
        let text = "mod a; // mod z;\npub(crate) mod r#gen;\nmod b { }\nfn modx() {}\n#[cfg(test)]\nmod testing;\n";
        let found: Vec<_> = source(text).modules().into_iter().map(|module| (module.name, module.test)).collect();
        assert_eq!(found, [("a".into(), false), ("gen".into(), false), ("testing".into(), true)]);
    }
}
