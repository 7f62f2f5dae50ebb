//! Where built-in group versions stand among others
//! (pkg/controlplane/apiserver/aggregator.go: DefaultGenericAPIServicePriorities, cmd/kube-apiserver/app/aggregator.go:
//! apiVersionPriorities@v1.37.2).
//!
//! Invariant: a group version that is not in the table is never registered by itself.

/// Group, its priority, and the priorities of its versions within it.
type Row = (&'static str, i64, &'static [(&'static str, i64)]);

/// What a custom resource's group version has (pkg/controlplane/controller/crdregistration@v1.37.2).
pub(crate) const CUSTOM: (i64, i64) = (1000, 100);
/// Of group versions that nobody gave a priority (apiserver/pkg/endpoints/discovery/aggregated/handler.go@v0.37.2).
const UNKNOWN: (i64, i64) = (1000, 15);
/// Above all others: the group that says which groups there are (kube-aggregator/pkg/apiserver/handler_discovery.go).
const OWN: (&str, (i64, i64)) = (super::GROUP, (20_001, 0));

const TABLE: &[Row] = &[
    ("", 18000, &[("v1", 1)]),
    ("apps", 17800, &[("v1", 15)]),
    ("events.k8s.io", 17750, &[("v1", 15), ("v1beta1", 5)]),
    ("authentication.k8s.io", 17700, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("authorization.k8s.io", 17600, &[("v1", 15)]),
    ("autoscaling", 17500, &[("v1", 15), ("v2", 30), ("v2beta1", 9), ("v2beta2", 1)]),
    ("batch", 17400, &[("v1", 15), ("v1beta1", 9), ("v2alpha1", 9)]),
    ("certificates.k8s.io", 17300, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("networking.k8s.io", 17200, &[("v1", 15), ("v1beta1", 9)]),
    ("policy", 17100, &[("v1", 15), ("v1beta1", 9)]),
    ("rbac.authorization.k8s.io", 17000, &[("v1", 15)]),
    ("storage.k8s.io", 16800, &[("v1", 15), ("v1beta1", 9), ("v1alpha1", 1)]),
    ("apiextensions.k8s.io", 16700, &[("v1", 15)]),
    ("admissionregistration.k8s.io", 16700, &[("v1", 15), ("v1beta1", 12), ("v1alpha1", 9)]),
    ("scheduling.k8s.io", 16600, &[("v1", 15), ("v1beta1", 9), ("v1alpha3", 3)]),
    ("coordination.k8s.io", 16500, &[("v1", 15), ("v1beta1", 13), ("v1alpha2", 12)]),
    ("node.k8s.io", 16300, &[("v1", 15), ("v1alpha1", 1), ("v1beta1", 9)]),
    ("discovery.k8s.io", 16200, &[("v1", 15), ("v1beta1", 12)]),
    ("resource.k8s.io", 16200, &[("v1", 21), ("v1beta2", 15), ("v1beta1", 9), ("v1alpha3", 1)]),
    (
        "flowcontrol.apiserver.k8s.io",
        16100,
        &[("v1", 21), ("v1beta3", 18), ("v1beta2", 15), ("v1beta1", 12), ("v1alpha1", 9)],
    ),
    ("internal.apiserver.k8s.io", 16000, &[("v1alpha1", 9)]),
    ("storagemigration.k8s.io", 15800, &[("v1", 15), ("v1beta1", 9)]),
    ("lifecycle.k8s.io", 15700, &[("v1alpha1", 1)]),
];

/// Group and version priority of a group version, if upstream has one for it.
pub(crate) fn registered(group: &str, version: &str) -> Option<(i64, i64)> {
    let row = TABLE.iter().find(|row| row.0 == group)?;
    row.2.iter().find(|known| known.0 == version).map(|known| (row.1, known.1))
}

/// As aggregated discovery orders a group version that this server has.
pub(crate) fn built_in(group: &str, version: &str) -> (i64, i64) {
    if group == OWN.0 { OWN.1 } else { registered(group, version).unwrap_or(UNKNOWN) }
}
