//! The schemas that scripts define.

use std::collections::BTreeMap;

use apply::table::Table;

use crate::script::object;

/// The schemas of the `define NAME SCHEMA` lines.
pub(crate) fn tables(script: &str) -> BTreeMap<&str, Table> {
    let mut tables = BTreeMap::new();
    for line in script.lines().filter(|line| line.starts_with("define ")) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        tables.insert(words[1], Table::read(&object(words[2])).unwrap());
    }
    tables
}
