//! Indexes of a job as text: `1,3-5,7` (pkg/apis/batch/validation/validation.go@v1.37.2: validateIndexesFormat,
//! validateFailedIndexesNotOverlapCompleted).

use api::field::go_quote;

/// How many indexes the text names, or what is wrong with it.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last): (i64, Option<i64>) = (0, None);
    for part in text.split(',') {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = text.split('-').collect();
    if limits.len() > 2 {
        let quoted = go_quote(text);
        return Err(format!(
            "the fragment {quoted} violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |text: &str| {
        let wrong = || format!("cannot convert string to integer for index: {}", go_quote(text));
        let number: i64 = text.parse().map_err(|_| wrong())?;
        if number >= completions { Err(format!("too large index: {}", go_quote(text))) } else { Ok(number) }
    };
    let from = number(limits[0])?;
    let Some(to) = limits.get(1) else { return Ok((from, from)) };
    let to = number(to)?;
    if from >= to {
        return Err(format!("non-increasing order, previous: {from}, current: {to}"));
    }
    Ok((from, to))
}

/// The first index that both name, ignoring what is no interval.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let parse = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (parse(completed), parse(failed));
    let (mut c, mut f) = (completed.iter().peekable(), failed.iter().peekable());
    while let (Some((from, to)), Some((failed_from, failed_to))) = (c.peek(), f.peek()) {
        if from <= failed_to && failed_from <= to {
            return Some(*from.max(failed_from));
        }
        let _ = if from <= failed_from { c.next() } else { f.next() };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let cases: [(&str, Result<i64, &str>); 8] = [
            ("", Ok(0)),
            ("1,3-5,7", Ok(5)),
            ("8", Err("too large index: \"8\"")),
            ("a", Err("cannot convert string to integer for index: \"a\"")),
            ("3,2", Err("non-increasing order, previous: 3, current: 2")),
            ("3-2", Err("non-increasing order, previous: 3, current: 2")),
            (
                "1-2-3",
                Err(
                    "the fragment \"1-2-3\" violates the requirement that an index interval can have at most two parts separated by '-'",
                ),
            ),
            ("1,", Err("cannot convert string to integer for index: \"\"")),
        ];
        for (text, expect) in cases {
            assert_eq!(count(text, 8), expect.map_err(str::to_string), "{text}");
        }
        assert_eq!(overlap("1-3,6", "4,6-7", 10), Some(6));
        assert_eq!(overlap("1-3", "4-5", 10), None);
    }
}
