//! What an API server serves, from aggregated discovery: two requests, no cache
//! (k8s.io/client-go/discovery/{discovery_client,aggregated_discovery,helper}.go@v0.37.2).
//!
//! Non-goal: remembering. Who needs to know of new kinds asks again when a CRD or an APIService changes.

use std::collections::HashSet;

use kube::Client;
use kube::core::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery, APIVersionDiscovery};

use crate::error::Result;

/// One served resource, at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) api: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Served {
    pub(crate) fn supports(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|has| has == verb))
    }

    /// As Go prints a GroupVersionResource.
    pub(crate) fn gvr(&self) -> String {
        format!("{}/{}, Resource={}", self.api.group, self.api.version, self.api.plural)
    }
}

/// Everything served, and the group versions whose servers did not answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Discovered {
    /// All resources at all versions, groups and versions in the server's order.
    pub(crate) all: Vec<Served>,
    /// `group/version` of what the aggregator calls stale.
    pub(crate) stale: Vec<String>,
}

impl Discovered {
    /// Each resource once, at its group's preferred version where that has it.
    pub(crate) fn preferred(&self) -> Vec<&Served> {
        let mut seen = HashSet::new();
        self.all.iter().filter(|served| seen.insert((&served.api.group, &served.api.plural))).collect()
    }

    /// The resource of a kind at exactly this version.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Served> {
        self.all.iter().find(|served| served.api.kind == kind && served.api.api_version == api_version)
    }

    /// The error upstream reports for stale groups.
    pub(crate) fn failure(&self) -> Option<String> {
        let each = |gv: &String| format!("{gv}: stale GroupVersion discovery: {gv}");
        let texts: Vec<String> = self.stale.iter().map(each).collect();
        (!texts.is_empty())
            .then(|| format!("unable to retrieve the complete list of server APIs: {}", texts.join(", ")))
    }
}

/// Asks the API server what it serves.
pub(crate) async fn discover(client: &Client) -> Result<Discovered> {
    let core = client.list_core_api_versions_aggregated().await?;
    let groups = client.list_api_groups_aggregated().await?;
    Ok(collect(core.items.iter().chain(&groups.items)))
}

fn collect<'a>(groups: impl Iterator<Item = &'a APIGroupDiscovery>) -> Discovered {
    let mut found = Discovered::default();
    for group in groups {
        let name = group.metadata.as_ref().and_then(|meta| meta.name.as_deref()).unwrap_or("");
        for version in &group.versions {
            add_version(&mut found, name, version);
        }
    }
    found.stale.sort();
    found
}

fn add_version(found: &mut Discovered, group: &str, version: &APIVersionDiscovery) {
    let name = version.version.as_deref().unwrap_or("");
    let api_version = if group.is_empty() { name.to_owned() } else { format!("{group}/{name}") };
    if version.freshness.as_deref() == Some("Stale") {
        found.stale.push(api_version);
        return;
    }
    found.all.extend(version.resources.iter().filter_map(|resource| served(group, name, &api_version, resource)));
}

fn served(group: &str, version: &str, api_version: &str, resource: &APIResourceDiscovery) -> Option<Served> {
    let kind = resource.response_kind.as_ref()?.kind.clone()?;
    let api = ApiResource {
        group: group.into(),
        version: version.into(),
        api_version: api_version.into(),
        kind,
        plural: resource.resource.clone()?,
    };
    let namespaced = resource.scope.as_deref() == Some("Namespaced");
    Some(Served { api, namespaced, verbs: resource.verbs.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferred_versions_come_first_and_stale_groups_are_named() {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_str(
            r#"[{"metadata":{"name":"g"},"versions":[
                {"version":"v1","resources":[{"resource":"as","scope":"Namespaced","responseKind":{"kind":"A"},"verbs":["list","delete"]}]},
                {"version":"v1beta1","resources":[
                  {"resource":"as","scope":"Namespaced","responseKind":{"kind":"A"},"verbs":["list"]},
                  {"resource":"bs","scope":"Cluster","responseKind":{"kind":"B"},"verbs":["list"]}]}]},
               {"metadata":{"name":"m"},"versions":[{"version":"v1","freshness":"Stale"}]}]"#,
        )
        .expect("discovery");
        let found = collect(groups.iter());
        let preferred: Vec<String> = found.preferred().iter().map(|served| served.gvr()).collect();
        assert_eq!(preferred, ["g/v1, Resource=as", "g/v1beta1, Resource=bs"]);
        assert!(found.by_kind("g/v1beta1", "A").is_some_and(|a| a.namespaced && !a.supports(&["delete"])));
        assert_eq!(
            found.failure().as_deref(),
            Some("unable to retrieve the complete list of server APIs: m/v1: stale GroupVersion discovery: m/v1")
        );
    }
}
