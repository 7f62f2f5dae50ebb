//! What kubectl prints without what may differ: how long ago, uids, times, allocated addresses and ports, revisions.
//!
//! Invariant: the bytes of everything else stay, also the spaces between columns, but for those that such a text or a
//! header is followed by, for they depend on how long that is.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::diff::normal;

const CAUSE_LETTERS: usize = 200;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn constant(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant")
}

/// Less than two hours: a run does not last longer.
static AGE: LazyLock<Regex> = LazyLock::new(|| constant(r"\b(?:1?\d?\d[sm]|\d{1,2}m\d{1,2}s)\b"));
/// `Tue, 01 Dec 2026 17:08:57 +0000`
static DATE: LazyLock<Regex> =
    LazyLock::new(|| constant(r"\b[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) \+0000"));
/// The only place of ages in descriptions, which have quantities that look like them.
static DESCRIBED: LazyLock<Regex> = LazyLock::new(|| constant(r"(\bAge:\s+)\w+"));
static REVISION: LazyLock<Regex> = LazyLock::new(|| constant(r"(Resource Version:\s+)\d+"));
static PORT: LazyLock<Regex> = LazyLock::new(|| constant(r"(:|NodePort:.*\s)(3[0-2]\d{3})\b"));
static PADDING: LazyLock<Regex> = LazyLock::new(|| constant(r"(<(?:age|address|port|uid|time)>\S*) +"));
/// A line of names of columns.
static HEADER: LazyLock<Regex> = LazyLock::new(|| constant(r"(?m)^[A-Z][A-Z0-9()%-]*(?: +[A-Z][A-Z0-9()%-]*)+ *$"));
static SPACES: LazyLock<Regex> = LazyLock::new(|| constant(" +"));

/// What `kubectl get` prints.
pub(super) fn rows(request: &str, text: &str) -> String {
    let marked = normal(request, text);
    let headed = HEADER.replace_all(&marked, |found: &Captures<'_>| SPACES.replace_all(&found[0], " ").into_owned());
    PADDING.replace_all(&ages(&headed), "${1} ").into_owned()
}

/// What `kubectl describe` prints.
pub(super) fn described(request: &str, text: &str) -> String {
    let marked = normal(request, text);
    PADDING.replace_all(&DESCRIBED.replace_all(&marked, "${1}<age>"), "${1} ").into_owned()
}

/// The text with marks; what stands in the request stays.
fn normal(request: &str, text: &str) -> String {
    let dated = DATE.replace_all(text, |found: &Captures<'_>| {
        let month = MONTHS.iter().position(|month| *month == &found[2]).map_or(0, |at| at + 1);
        let sent = format!("{}-{month:02}-{}T{}Z", &found[3], &found[1], &found[4]);
        if request.contains(&sent) { found[0].to_owned() } else { "<time>".into() }
    });
    let marked = normal::text(request, &dated);
    let marked = REVISION.replace_all(&marked, "${1}<revision>");
    let marked = PORT.replace_all(&marked, |found: &Captures<'_>| {
        if request.contains(&found[2]) { found[0].to_owned() } else { format!("{}<port>", &found[1]) }
    });
    marked.into_owned()
}

/// The text with marks for how long ago.
fn ages(text: &str) -> String {
    AGE.replace_all(text, "<age>").into_owned()
}

/// Whether both have the same lines: kubectl describes some maps, such as a LimitRange's, in the order of a Go map,
/// which is another one each time.
pub(super) fn same_lines(theirs: &str, ours: &str) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    sorted(theirs) == sorted(ours)
}

/// The first lines that differ, in one.
pub(super) fn cause(view: &str) -> String {
    let line = |sign: char| view.lines().find_map(|line| line.strip_prefix(sign)).unwrap_or_default().trim();
    let cause = format!("{} instead of {}", line('+'), line('-'));
    SPACES.replace_all(&cause, " ").replace('|', "/").chars().take(CAUSE_LETTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Normal = fn(&str, &str) -> String;

    #[test]
    fn what_servers_choose_is_marked_with_its_padding() {
        let table = "NAME   AGE     X\na      12s     y\nb      100s    y\n";
        let sent = "Start Time:  Thu, 02 Jan 2020 03:04:05 +0000";
        let cases: &[(Normal, &str, &str, &str)] = &[
            (rows, "", table, "NAME AGE X\na      <age> y\nb      <age> y\n"),
            (rows, "", "x   3 (2m ago)   6y333d   30d", "x   3 (<age> ago)   6y333d   30d"),
            (rows, "", "10.0.3.4   80:31234/TCP   a", "<address> 80:<port>/TCP a"),
            (described, "", "IP:  10.0.3.4  x", "IP:  <address> x"),
            (described, "", "Age:  10s\ncpu:  100m", "Age:  <age>\ncpu:  100m"),
            (described, "", "NodePort:  http  31234/TCP", "NodePort:  http  <port>/TCP"),
            (described, "31234", "NodePort:  http  31234/TCP", "NodePort:  http  31234/TCP"),
            (described, "", "  Resource Version:  12", "  Resource Version:  <revision>"),
            (described, "2020-01-02T03:04:05Z", sent, sent),
            (described, "", sent, "Start Time:  <time>"),
        ];
        for (normal, request, text, expect) in cases {
            assert_eq!(normal(request, text), *expect, "{text}");
        }
    }

    #[test]
    fn lines_have_no_order() {
        assert!(same_lines("a\nb\nb", "b\na\nb"));
        assert!(!same_lines("a\nb", "a\nb\nb"));
    }

    #[test]
    fn a_cause_is_one_line() {
        assert_eq!(cause("@@ line 2 @@\n a\n-b   c\n+x|y\n"), "x/y instead of b c");
    }
}
