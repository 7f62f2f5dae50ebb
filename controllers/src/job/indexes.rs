//! Sets of completion indexes as ordered intervals, and their text `0,2-4` in a Job's status
//! (pkg/controller/job/indexed_job_utils.go@v1.37.2).
//!
//! Invariant: intervals are ordered and neither overlap nor touch.

use std::fmt;

/// First and last index, both included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Parses the text, up to the index before `completions`; what is no number is passed over.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut all = Indexes::default();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else { continue };
            if first >= completions {
                break;
            }
            all.push((first, last.min(completions - 1)));
        }
        all
    }

    pub(super) fn of(indexes: impl IntoIterator<Item = i32>) -> Self {
        let mut sorted: Vec<i32> = indexes.into_iter().collect();
        sorted.sort_unstable();
        let mut all = Indexes::default();
        sorted.into_iter().for_each(|index| all.push((index, index)));
        all
    }

    /// Appends an interval that starts no earlier than the last one.
    fn push(&mut self, (first, last): (i32, i32)) {
        match self.0.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => self.0.push((first, last)),
        }
    }

    pub(super) fn union(&self, other: &Indexes) -> Self {
        let mut sorted: Vec<(i32, i32)> = self.0.iter().chain(&other.0).copied().collect();
        sorted.sort_unstable();
        let mut all = Indexes::default();
        sorted.into_iter().for_each(|interval| all.push(interval));
        all
    }

    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many of `wanted` are in here.
    pub(super) fn common(&self, wanted: &Indexes) -> i32 {
        let (mut count, mut a, mut b) = (0, self.0.iter().peekable(), wanted.0.iter().peekable());
        while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
            count += (one.1.min(other.1) - one.0.max(other.0) + 1).max(0);
            if one.1 < other.1 {
                a.next()
            } else {
                b.next()
            };
        }
        count
    }

    /// The first `count` indexes below `completions` that are not in here.
    pub(super) fn first_missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let (mut missing, mut next) = (Vec::new(), 0);
        for (first, last) in &self.0 {
            missing.extend((next..(*first).min(completions)).take(count - missing.len()));
            next = next.max(last + 1);
        }
        missing.extend((next..completions).take(count - missing.len()));
        missing
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, completions, expected) in [
            ("", 5, ""),
            ("0", 5, "0"),
            ("0,1,2", 5, "0-2"),
            ("0,1,3-4,7", 8, "0,1,3,4,7"),
            ("1-9", 5, "1-4"),
            ("2,7-9", 5, "2"),
            ("x,1-y,3", 5, "3"),
        ] {
            assert_eq!(Indexes::parse(text, completions).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn sets() {
        let one = Indexes::parse("1-3,7,9", 20);
        assert_eq!(one.union(&Indexes::of([4, 0, 8])).to_string(), "0-4,7-9");
        assert_eq!((one.total(), one.has(2), one.has(4), one.has(9), one.has(10)), (5, true, false, true, false));
        for (wanted, expected) in [("1-3", 3), ("0-20", 5), ("4-6", 0), ("3,7-8", 2), ("", 0)] {
            assert_eq!(one.common(&Indexes::parse(wanted, 30)), expected, "{wanted}");
        }
        assert_eq!(one.first_missing(4, 20), [0, 4, 5, 6]);
        assert_eq!(one.first_missing(9, 9), [0, 4, 5, 6, 8]);
        assert_eq!(one.first_missing(2, 0), [] as [i32; 0]);
    }
}
