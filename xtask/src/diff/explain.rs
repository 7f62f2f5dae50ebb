//! What `kubectl explain` says of every kind, and of some of its fields that the seed chooses, with both servers.

use std::fmt::Write;

use anyhow::Result;

use super::catalog::{Catalog, Kind};
use super::kubectl::{Kubectl, hunk};
use super::servers::Servers;
use super::{Options, choice};

/// How many fields of a kind are asked for.
const FIELDS: usize = 3;
/// How deep a field is at most.
const DEPTH: usize = 8;

/// Compares; the report, and whether all is the same.
pub(super) fn compare(options: &Options, servers: &Servers, catalog: &Catalog) -> Result<(String, bool)> {
    let kubectl = Kubectl::new(servers)?;
    let (mut same, mut other, mut report) = (0, 0, String::new());
    for kind in catalog.kinds.iter().filter(|kind| kind.name().contains(&options.kind)) {
        let version = format!("--api-version={}", kind.api_version());
        let whole = vec!["explain".to_owned(), version.clone(), "--recursive".into(), kind.resource.clone()];
        let fields = fields(catalog, kind, options.seed).into_iter();
        for asked in std::iter::once(whole).chain(fields.map(|path| vec!["explain".into(), version.clone(), path])) {
            let arguments: Vec<&str> = asked.iter().map(String::as_str).collect();
            let texts = kubectl.ask(&arguments)?;
            if texts.upstream == texts.keelson {
                same += 1;
                continue;
            }
            other += 1;
            let _ = writeln!(report, "\nkubectl {}\n{}", asked.join(" "), hunk(&texts.upstream, &texts.keelson));
        }
    }
    Ok((format!("{same} explanations alike, {other} not\n{report}"), other == 0))
}

/// Some fields as explain names them: `pods.spec.containers.name`.
fn fields(catalog: &Catalog, kind: &Kind, seed: u64) -> Vec<String> {
    let schemas = catalog.schemas(&kind.api_version());
    let root = schemas.and_then(|schemas| Some((schemas, schemas.kind(&kind.group, &kind.version, &kind.kind)?)));
    let Some((schemas, root)) = root else { return Vec::new() };
    let field = |number: usize| {
        let (mut path, mut schema) = (kind.resource.clone(), root);
        for depth in 0..DEPTH {
            let within = schemas.element(schema).unwrap_or(schema);
            let all: Vec<_> = schemas.fields(within).collect();
            // Every other way goes on to its end.
            let ends = depth > 0 && choice::below(seed, (&path, number, "ends"), 4) == 0;
            if all.is_empty() || ends {
                break;
            }
            let (name, next) = choice::pick(seed, (&path, number), &all);
            path = format!("{path}.{name}");
            schema = next;
        }
        path
    };
    let mut fields: Vec<String> = (0..FIELDS).map(field).collect();
    fields.sort();
    fields.dedup();
    fields
}

#[cfg(test)]
mod tests {
    use super::super::catalog::tests::small;
    use super::*;

    #[test]
    fn fields_are_those_of_the_schema() {
        let catalog = small();
        let kind = catalog.find("g.io/v1", "Thing").unwrap();
        let known = ["things.spec", "things.spec.size", "things.spec.word", "things.status", "things.status.seen"];
        for seed in 0..20 {
            let fields = fields(&catalog, kind, seed);
            assert!(!fields.is_empty() && fields.iter().all(|field| known.contains(&field.as_str())), "{fields:?}");
        }
    }
}
