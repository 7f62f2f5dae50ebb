//! Versions that are deprecated, as the audit log is told of their use
//! (k8s.io/apiserver/pkg/endpoints/metrics/metrics.go, k8s.io/api/*/zz_generated.prerelease-lifecycle.go@v0.37.2).

use api::facts::Resource;

use super::record::Record;

const DEPRECATED_KEY: &str = "k8s.io/deprecated";
const REMOVED_KEY: &str = "k8s.io/removed-release";

/// Group, version, resources, and the release that does not have them any more.
type Row = (&'static str, &'static str, &'static [&'static str], &'static str);

/// What is deprecated in this version.
const DEPRECATED: &[Row] = &[
    ("admissionregistration.k8s.io", "v1alpha1", MUTATING, "1.38"),
    ("admissionregistration.k8s.io", "v1beta1", MUTATING, "1.40"),
    ("certificates.k8s.io", "v1beta1", &["clustertrustbundles", "podcertificaterequests"], "1.40"),
    ("coordination.k8s.io", "v1alpha2", &["leasecandidates"], "1.38"),
    ("coordination.k8s.io", "v1beta1", &["leasecandidates"], "1.39"),
    ("resource.k8s.io", "v1alpha3", &["devicetaintrules"], "1.39"),
    ("resource.k8s.io", "v1beta1", DEVICES, "1.38"),
    ("resource.k8s.io", "v1beta2", DEVICES, "1.39"),
    ("storagemigration.k8s.io", "v1beta1", &["storageversionmigrations"], "1.40"),
];
const MUTATING: &[&str] = &["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"];
const DEVICES: &[&str] = &["deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"];

fn removed_release(facts: &Resource) -> Option<&'static str> {
    let is = |row: &&Row| (row.0, row.1) == (facts.group, facts.version) && row.2.contains(&facts.plural);
    DEPRECATED.iter().find(is).map(|row| row.3)
}

impl Record {
    /// Notes that what is asked of is deprecated, when it is.
    pub(crate) fn about(&self, facts: &Resource) {
        if let Some(release) = removed_release(facts) {
            self.annotate(DEPRECATED_KEY, "true");
            self.annotate(REMOVED_KEY, release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn check(group: &str, version: &str, plural: &str, expect: Option<&str>) {
        let entry = Registry::new(|_| true).get(group, version, plural).expect("an entry");
        assert_eq!(removed_release(entry.facts), expect, "{group} {version} {plural}");
    }

    #[test]
    fn versions_that_will_go() {
        check("resource.k8s.io", "v1beta1", "resourceclaims", Some("1.38"));
        check("resource.k8s.io", "v1beta2", "devicetaintrules", None);
        check("resource.k8s.io", "v1", "resourceclaims", None);
        check("admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicies", Some("1.40"));
        check("", "v1", "pods", None);
    }

    #[test]
    fn every_row_is_served() {
        let registry = Registry::new(|_| true);
        for (group, version, plurals, _) in DEPRECATED {
            for plural in *plurals {
                assert!(registry.get(group, version, plural).is_some(), "{group}/{version} {plural}");
            }
        }
    }
}
