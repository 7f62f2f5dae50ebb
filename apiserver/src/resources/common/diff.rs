//! Differences of two texts as upstream's errors show them: a unified diff with three lines of context
//! (k8s.io/apimachinery/pkg/util/diff/diff.go@v0.37.2, github.com/pmezard/go-difflib/difflib@v1.0.1-0.20181226105442:
//! the way of Ratcliff and Obershelp, which shows the longest blocks of equal lines as kept, not the fewest changes).

use std::collections::HashMap;
use std::ops::Range;

/// Lines shown around a change.
const CONTEXT: usize = 3;
/// Longer texts are shown as wholly replaced: the time that finding blocks takes grows with the product of both.
const LINES_MAX: usize = 10_000;
/// From so many lines on, those that stand in the text often do not begin a block.
const POPULAR_FROM: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Drop,
    Add,
}

/// Equal lines: where they are in both texts, and how many.
type Block = (usize, usize, usize);

/// The unified diff of `old` and `new`, without file names; empty when they are the same.
pub(crate) fn unified(old: &str, new: &str) -> String {
    let a: Vec<&str> = old.split('\n').collect();
    let b: Vec<&str> = new.split('\n').collect();
    let edits = edits(&a, &b);
    let mut out = String::new();
    for range in hunks(&edits) {
        hunk(&edits, range, &a, &b, &mut out);
    }
    out
}

fn edits(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let mut blocks = if a.len().max(b.len()) > LINES_MAX { Vec::new() } else { blocks(a, b) };
    blocks.push((a.len(), b.len(), 0));
    let mut edits = Vec::new();
    let (mut i, mut j) = (0, 0);
    for (x, y, length) in blocks {
        edits.extend(std::iter::repeat_n(Edit::Drop, x - i));
        edits.extend(std::iter::repeat_n(Edit::Add, y - j));
        edits.extend(std::iter::repeat_n(Edit::Keep, length));
        (i, j) = (x + length, y + length);
    }
    edits
}

/// The longest block, then the longest before and after it, and so on; in order.
fn blocks(a: &[&str], b: &[&str]) -> Vec<Block> {
    let places = places(b);
    let mut found = Vec::new();
    let mut open = vec![(0..a.len(), 0..b.len())];
    while let Some((x, y)) = open.pop() {
        let (i, j, length) = longest(a, b, &places, x.clone(), y.clone());
        if length > 0 {
            open.push((x.start..i, y.start..j));
            open.push((i + length..x.end, j + length..y.end));
            found.push((i, j, length));
        }
    }
    found.sort_unstable();
    found
}

/// Where each line is, without lines that are in a long text too often.
fn places<'a>(text: &[&'a str]) -> HashMap<&'a str, Vec<usize>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in text.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    if text.len() >= POPULAR_FROM {
        let most = text.len() / 100 + 1;
        places.retain(|_, at| at.len() <= most);
    }
    places
}

/// The first of the longest blocks in a part of both, with the lines around it that are equal as well.
fn longest(a: &[&str], b: &[&str], places: &HashMap<&str, Vec<usize>>, x: Range<usize>, y: Range<usize>) -> Block {
    let (mut i, mut j, mut length) = (x.start, y.start, 0);
    // How long the block is that ends with the line before, by its end in `b`.
    let mut before: HashMap<usize, usize> = HashMap::new();
    for at in x.clone() {
        let mut ending = HashMap::new();
        let here = places.get(a[at]).into_iter().flatten().copied();
        for end in here.skip_while(|end| *end < y.start).take_while(|end| *end < y.end) {
            let long = end.checked_sub(1).and_then(|end| before.get(&end)).copied().unwrap_or(0) + 1;
            ending.insert(end, long);
            if long > length {
                (i, j, length) = (at + 1 - long, end + 1 - long, long);
            }
        }
        before = ending;
    }
    while i > x.start && j > y.start && a[i - 1] == b[j - 1] {
        (i, j, length) = (i - 1, j - 1, length + 1);
    }
    while i + length < x.end && j + length < y.end && a[i + length] == b[j + length] {
        length += 1;
    }
    (i, j, length)
}

/// Ranges of edits that belong together: changes with their context.
fn hunks(edits: &[Edit]) -> Vec<(usize, usize)> {
    let mut all: Vec<(usize, usize)> = Vec::new();
    for (at, _) in edits.iter().enumerate().filter(|(_, edit)| **edit != Edit::Keep) {
        let (from, to) = (at.saturating_sub(CONTEXT), (at + 1 + CONTEXT).min(edits.len()));
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => all.push((from, to)),
        }
    }
    all
}

fn hunk(edits: &[Edit], (from, to): (usize, usize), a: &[&str], b: &[&str], out: &mut String) {
    let count = |range: &[Edit], without| range.iter().filter(|edit| **edit != without).count();
    let (mut i, mut j) = (count(&edits[..from], Edit::Add), count(&edits[..from], Edit::Drop));
    let (old, new) = (count(&edits[from..to], Edit::Add), count(&edits[from..to], Edit::Drop));
    out.push_str(&format!("@@ -{} +{} @@\n", place(i, old), place(j, new)));
    for edit in &edits[from..to] {
        match edit {
            Edit::Keep => {
                out.push_str(&format!(" {}\n", a[i]));
                (i, j) = (i + 1, j + 1);
            }
            Edit::Drop => {
                out.push_str(&format!("-{}\n", a[i]));
                i += 1;
            }
            Edit::Add => {
                out.push_str(&format!("+{}\n", b[j]));
                j += 1;
            }
        }
    }
}

fn place(start: usize, length: usize) -> String {
    match length {
        0 => format!("{start},0"),
        1 => (start + 1).to_string(),
        _ => format!("{},{length}", start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_their_context() {
        assert_eq!(unified("a\nb", "a\nb"), "");
        assert_eq!(
            unified("1\n2\n3\n4\n5\n6\n7\n8", "1\n2\n3\n4\n5x\n6\n7\n8"),
            "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+5x\n 6\n 7\n 8\n"
        );
        assert_eq!(unified("a", "b"), "@@ -1 +1 @@\n-a\n+b\n");
    }

    fn letters(text: &str) -> Vec<&str> {
        (0..text.len()).map(|at| &text[at..=at]).collect()
    }

    /// The edits, a letter each.
    fn check(old: &str, new: &str, want: &str) {
        let shown: String = edits(&letters(old), &letters(new))
            .into_iter()
            .map(|edit| match edit {
                Edit::Keep => '=',
                Edit::Drop => '-',
                Edit::Add => '+',
            })
            .collect();
        assert_eq!(shown, want, "{old:?} to {new:?}");
    }

    #[test]
    fn the_longest_blocks_are_kept() {
        check("ab", "acab", "++==");
        check("abxcd", "cdab", "++==---");
        check("qabxcd", "abycdf", "-==-+==+");
        check("", "a", "+");
        // In a text of 200 lines, one that stands there four times begins no block.
        let rest = "n".repeat(196);
        check("pa", &format!("papp{rest}"), &format!("=={}", "+".repeat(198)));
        check("p", &format!("qppp{rest}p"), &format!("-{}", "+".repeat(201)));
    }
}
