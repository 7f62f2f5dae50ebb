//! Differences of two texts as upstream's errors show them: a unified diff with three lines of context
//! (k8s.io/apimachinery/pkg/util/diff/diff.go@v0.37.2).

/// Lines shown around a change.
const CONTEXT: usize = 3;
/// Longer texts are shown as wholly replaced: the table of common lines grows with the product of both.
const LINES_MAX: usize = 3000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edit {
    Keep,
    Drop,
    Add,
}

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

/// The shortest way from `a` to `b`, line by line: longest common subsequence between equal ends.
fn edits(a: &[&str], b: &[&str]) -> Vec<Edit> {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (x, y) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut edits = vec![Edit::Keep; head];
    if x.len() > LINES_MAX || y.len() > LINES_MAX {
        edits.extend(std::iter::repeat_n(Edit::Drop, x.len()));
        edits.extend(std::iter::repeat_n(Edit::Add, y.len()));
    } else {
        middle(x, y, &mut edits);
    }
    edits.extend(std::iter::repeat_n(Edit::Keep, tail));
    edits
}

fn middle(x: &[&str], y: &[&str], edits: &mut Vec<Edit>) {
    let width = y.len() + 1;
    let mut common = vec![0u32; (x.len() + 1) * width];
    for i in (0..x.len()).rev() {
        for j in (0..y.len()).rev() {
            common[i * width + j] = if x[i] == y[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < x.len() || j < y.len() {
        if i < x.len() && j < y.len() && x[i] == y[j] {
            edits.push(Edit::Keep);
            (i, j) = (i + 1, j + 1);
        } else if i < x.len() && (j == y.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            edits.push(Edit::Drop);
            i += 1;
        } else {
            edits.push(Edit::Add);
            j += 1;
        }
    }
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
}
