//! Hints of trafficDistribution: each ready endpoint serves its own zone, or node
//! (k8s.io/endpointslice/trafficdist@v0.37.2).
//!
//! Non-goal: the older topology mode `Auto`, which spreads endpoints over zones by their CPUs.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForNode, ForZone};

/// How a Service wants its traffic distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    Everywhere,
    SameZone,
    SameNode,
}

impl Distribution {
    pub(super) fn of(service: &Service) -> Self {
        let annotations = service.metadata.annotations.as_ref();
        let annotation = |key: &str| annotations.and_then(|all| all.get(key)).map(String::as_str);
        let mode = annotation("service.kubernetes.io/topology-aware-hints");
        let mode = mode.or_else(|| annotation("service.kubernetes.io/topology-mode"));
        if matches!(mode, Some("Auto" | "auto")) {
            return Distribution::Everywhere;
        }
        match service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref()) {
            Some("PreferClose" | "PreferSameZone") => Distribution::SameZone,
            Some("PreferSameNode") => Distribution::SameNode,
            _ => Distribution::Everywhere,
        }
    }

    fn hints(self, endpoint: &Endpoint) -> Option<EndpointHints> {
        let zone = |zone: String| vec![ForZone { name: zone }];
        let node = |node: String| vec![ForNode { name: node }];
        let hints = EndpointHints {
            for_zones: endpoint.zone.clone().filter(|_| self != Distribution::Everywhere).map(zone),
            for_nodes: endpoint.node_name.clone().filter(|_| self == Distribution::SameNode).map(node),
        };
        (hints != EndpointHints::default()).then_some(hints)
    }

    /// Sets the hints of a slice's endpoints; true when one changed.
    pub(super) fn apply(self, slice: &mut EndpointSlice) -> bool {
        let mut changed = false;
        for endpoint in slice.endpoints.iter_mut().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true);
            if !ready && self != Distribution::Everywhere {
                continue;
            }
            let hints = self.hints(endpoint);
            changed |= endpoint.hints != hints;
            endpoint.hints = hints;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_nodes() {
        let slice: EndpointSlice = serde_json::from_str(
            r#"{"addressType":"IPv4","endpoints":[{"addresses":["1"],"conditions":{"ready":true},"zone":"z","nodeName":"n"},
               {"addresses":["2"],"conditions":{"ready":false},"zone":"z","nodeName":"n"}]}"#,
        )
        .expect("slice");
        for (distribution, expected) in [
            (Distribution::SameZone, r#"{"forZones":[{"name":"z"}]}"#),
            (Distribution::SameNode, r#"{"forNodes":[{"name":"n"}],"forZones":[{"name":"z"}]}"#),
        ] {
            let mut hinted = slice.clone();
            assert!(distribution.apply(&mut hinted));
            assert!(!distribution.apply(&mut hinted), "stable");
            let endpoints = hinted.endpoints.clone().expect("endpoints");
            assert_eq!(serde_json::to_string(&endpoints[0].hints).expect("json"), expected);
            assert_eq!(endpoints[1].hints, None);
            assert!(Distribution::Everywhere.apply(&mut hinted));
            assert_eq!(hinted, slice);
        }
    }
}
