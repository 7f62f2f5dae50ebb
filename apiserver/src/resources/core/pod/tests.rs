//! Pods as upstream's API server answers about them.

use crate::resources::common::rows;

#[test]
fn pods_as_upstream_answers() {
    rows::check(include_str!("testdata.json"));
}
