//! Which tests a run is about: the table of classes, and the choice on the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use regex::Regex;

/// Tests of this class need nothing but an API server.
const NODELESS_CLASS: &str = "A";

/// The class of each conformance test.
pub(super) struct Table {
    class_of: BTreeMap<String, String>,
}

impl Table {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    /// Lines `CLASS tab NAME`; `#` starts a comment line.
    fn parse(text: &str) -> Result<Self> {
        let mut class_of = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (class, name) = line.split_once('\t').with_context(|| format!("no tab in {line:?}"))?;
            if class_of.insert(name.to_owned(), class.to_owned()).is_some() {
                bail!("{name} is there twice");
            }
        }
        Ok(Table { class_of })
    }

    /// True when none of the tests needs a node.
    pub(super) fn nodeless(&self, names: &[String]) -> bool {
        names.iter().all(|name| self.class_of.get(name).is_some_and(|class| class == NODELESS_CLASS))
    }
}

pub(super) enum Choice {
    All,
    Green,
    Classes(Vec<String>),
    Names(Regex),
}

impl Choice {
    /// `A,B1` is classes; anything that does not look like classes is a regular expression.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let class = Regex::new(r"^[A-Z][0-9]?$")?;
        let parts: Vec<&str> = text.split(',').collect();
        if parts.iter().all(|part| class.is_match(part)) {
            return Ok(Choice::Classes(parts.into_iter().map(str::to_owned).collect()));
        }
        Ok(Choice::Names(Regex::new(text)?))
    }

    /// The chosen tests, sorted. No match is an error, except of an empty known-green list.
    pub(super) fn names(&self, table: &Table, green: &BTreeSet<String>) -> Result<Vec<String>> {
        let all = table.class_of.iter();
        let names: Vec<String> = match self {
            Choice::All => all.map(|(name, _)| name.clone()).collect(),
            Choice::Green => {
                if let Some(name) = green.iter().find(|name| !table.class_of.contains_key(*name)) {
                    bail!("known green, but no conformance test: {name}");
                }
                green.iter().cloned().collect()
            }
            Choice::Classes(classes) => {
                if let Some(class) = classes.iter().find(|class| !table.class_of.values().any(|known| known == *class))
                {
                    bail!("no test is of class {class}");
                }
                all.filter(|(_, class)| classes.contains(class)).map(|(name, _)| name.clone()).collect()
            }
            Choice::Names(regex) => {
                all.filter(|(name, _)| regex.is_match(name)).map(|(name, _)| name.clone()).collect()
            }
        };
        match self {
            Choice::Names(regex) if names.is_empty() => bail!("no conformance test matches {regex}"),
            _ => Ok(names),
        }
    }
}

/// Ginkgo's --focus for exactly these tests: it matches the suite's description and the test's name,
/// so a name can be held at its end only.
pub(super) fn focus(names: &[&String]) -> String {
    names.iter().map(|name| format!("{}$", regex::escape(name))).collect::<Vec<_>>().join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# class, name\nA\t[x] one (a+b) [Conformance]\nB1\t[x] two [Conformance]\nB2\t[x] three\n";

    fn chosen(text: &str) -> Result<Vec<String>> {
        Choice::parse(text)?.names(&Table::parse(TABLE)?, &BTreeSet::new())
    }

    #[test]
    fn a_choice_is_classes_or_a_regular_expression() {
        assert_eq!(chosen("A").unwrap(), ["[x] one (a+b) [Conformance]"]);
        assert_eq!(chosen("B1,B2").unwrap(), ["[x] three", "[x] two [Conformance]"]);
        assert_eq!(chosen("t(wo|hree)").unwrap(), ["[x] three", "[x] two [Conformance]"]);
        assert_eq!(chosen("Z").unwrap_err().to_string(), "no test is of class Z");
        assert_eq!(chosen("nothing").unwrap_err().to_string(), "no conformance test matches nothing");
    }

    #[test]
    fn the_known_green_tests_are_in_the_table() {
        let table = Table::parse(TABLE).unwrap();
        let green = |name: &str| Choice::Green.names(&table, &BTreeSet::from([name.to_owned()]));
        assert_eq!(green("[x] three").unwrap(), ["[x] three"]);
        assert_eq!(green("gone").unwrap_err().to_string(), "known green, but no conformance test: gone");
    }

    #[test]
    fn the_focus_matches_the_name_and_nothing_longer() {
        let name = "[x] one (a+b)".to_owned();
        let focus = Regex::new(&focus(&[&name])).unwrap();
        assert!(focus.is_match("suite [x] one (a+b)"));
        assert!(!focus.is_match("suite [x] one (a+b) and more"));
    }

    #[test]
    fn only_class_a_needs_no_node() {
        let table = Table::parse(TABLE).unwrap();
        assert!(table.nodeless(&chosen("A").unwrap()));
        assert!(!table.nodeless(&chosen("A,B1").unwrap()));
    }

    #[test]
    fn a_test_has_one_class() {
        assert!(Table::parse("A\tx\nB1\tx\n").is_err());
        assert!(Table::parse("no tab\n").is_err());
    }

    #[test]
    fn the_committed_table_is_whole() {
        let table = Table::read(&crate::paths::conformance().join("classes.tsv")).unwrap();
        // As many as upstream's test/conformance/testdata/conformance.yaml@v1.37.2 has.
        assert_eq!(table.class_of.len(), 462);
        assert_eq!(table.class_of.values().filter(|class| *class == NODELESS_CLASS).count(), 120);
    }
}
