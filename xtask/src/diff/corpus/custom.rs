//! Custom resources to be looked at: definitions with printer columns and an object of each, written by hand in
//! conformance/diff/custom/*.yaml.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Exhibit, Plan};
use crate::diff::catalog::Kind;
use crate::diff::sequence::{Role, Step};

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    /// A CustomResourceDefinition.
    definition: Value,
    /// Objects at their storage version, all in the namespace `default`; the first is the one that is looked at.
    objects: Vec<Value>,
}

const NAMESPACE: &str = "default";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// One exhibit for each version that is served.
pub(super) fn exhibits(dir: &Path) -> Result<Vec<Exhibit>> {
    let mut files: Vec<_> = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let customs: Vec<Custom> = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
        for custom in customs {
            let kinds = custom.kinds().into_iter().enumerate();
            all.extend(kinds.map(|(at, kind)| custom.exhibit(at == 0, kind)));
        }
    }
    Ok(all)
}

impl Custom {
    /// The kind at each of its versions.
    fn kinds(&self) -> Vec<Kind> {
        let spec = &self.definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().into_iter().flatten();
        let kind = |version: &Value| Kind {
            group: text(&spec["group"]),
            version: text(&version["name"]),
            kind: text(&spec["names"]["kind"]),
            resource: text(&spec["names"]["plural"]),
            namespaced: spec["scope"] == "Namespaced",
            verbs: vec!["list".into()],
            subresources: Vec::new(),
        };
        versions.filter(|version| version["served"] == true).map(kind).collect()
    }

    /// The definition is made with its first version and stays: upstream takes its time to remove one.
    fn exhibit(&self, first: bool, kind: Kind) -> Exhibit {
        let name = self.objects[0]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Exhibit {
            namespace: NAMESPACE.into(),
            name,
            request: json!(self.objects).to_string(),
            made: Plan::ready(kind.name(), "made", if first { self.steps() } else { Vec::new() }),
            gone: Plan::ready(kind.name(), "gone", Vec::new()),
            kind,
        }
    }

    fn steps(&self) -> Vec<Step> {
        let definition = self.definition["metadata"]["name"].as_str().unwrap_or_default();
        let post =
            |target: String, body: &Value| Step::new("POST", target, "create").json(body).role(Role::Setup).remember();
        let one = format!("{DEFINITIONS}?watch=true&timeoutSeconds=5&fieldSelector=metadata.name%3D{definition}");
        let mut steps =
            vec![post(DEFINITIONS.into(), &self.definition), Step::new("GET", one, "Established").role(Role::Await)];
        for object in &self.objects {
            let of = |kind: &Kind| object["apiVersion"] == kind.api_version();
            let collection = self.kinds().into_iter().find(of).map(|kind| kind.collection(NAMESPACE));
            steps.push(post(collection.unwrap_or_default(), object));
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_definitions_give_exhibits() {
        let all = exhibits(&crate::paths::conformance().join("diff/custom")).unwrap();
        let steps: Vec<_> = all.iter().flat_map(|exhibit| exhibit.made.sequence().steps).collect();
        assert!(all.iter().all(|exhibit| !exhibit.name.is_empty()));
        assert!(steps.len() > all.len() && steps.iter().all(|step| step.target.starts_with("/apis/")));
    }
}
