//! What the kinds show, in a file: each kind that is not shown alike, with every difference.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::Found;
use crate::diff::reasons::Reasons;

pub(super) struct Report {
    reasons: Reasons,
    alike: usize,
    explained: usize,
    other: usize,
    text: String,
}

impl Report {
    pub(super) fn new(reasons: Reasons) -> Self {
        Report { reasons, alike: 0, explained: 0, other: 0, text: String::new() }
    }

    pub(super) fn hear(&mut self, kind: &str, found: Vec<Found>) {
        let why = |found: &Found| self.reasons.of(kind, &found.difference).map(str::to_owned);
        let found: Vec<_> = found.into_iter().map(|found| (why(&found), found)).collect();
        let count = match () {
            () if found.is_empty() => &mut self.alike,
            () if found.iter().all(|(why, _)| why.is_some()) => &mut self.explained,
            () => &mut self.other,
        };
        *count += 1;
        for (why, Found { difference, view }) in found {
            let line = format!("{kind} | {} | {}", difference.field, difference.cause);
            let _ = match why {
                Some(why) => writeln!(self.text, "\n{line} | {why}"),
                None => writeln!(self.text, "\n{line}\n{view}"),
            };
        }
    }

    /// Writes the file and prints the counts; true when every difference has a reason.
    pub(super) fn finish(self, path: &Path) -> Result<bool> {
        let Report { alike, explained, other, text, .. } = self;
        let mut line = format!("{} kinds shown alike, {other} not", alike + explained);
        if explained > 0 {
            let _ = write!(line, " ({explained} of the first differ for a reason)");
        }
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(path, format!("{line}\n{text}"))?;
        println!("{line}\nreport: {}", path.display());
        Ok(other == 0)
    }
}
