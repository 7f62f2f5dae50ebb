//! A definition in upstream's internal form, which its errors speak of: what all versions have alike stands in the spec
//! (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go@v0.37.2).
//!
//! Invariant: nothing is copied; a definition with one version has all of it in the spec.

use api::value::{Map, Value};

use crate::props::Props;

pub(super) struct Internal<'a> {
    pub(super) spec: &'a Map,
    pub(super) validation: Option<&'a Map>,
    pub(super) subresources: Option<&'a Map>,
    pub(super) columns: &'a [Value],
    pub(super) selectable: &'a [Value],
    pub(super) versions: Vec<Version<'a>>,
}

pub(super) struct Version<'a> {
    pub(super) map: &'a Map,
    pub(super) validation: Option<&'a Map>,
    pub(super) subresources: Option<&'a Map>,
    pub(super) columns: &'a [Value],
    pub(super) selectable: &'a [Value],
}

impl<'a> Version<'a> {
    pub(super) fn name(&self) -> &'a str {
        self.map.str("name")
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.map.bool(name).unwrap_or(false)
    }

    pub(super) fn schema(&self) -> Option<Props<'a>> {
        self.validation?.map("openAPIV3Schema").map(Props)
    }
}

impl<'a> Internal<'a> {
    /// Of a CustomResourceDefinition of v1.
    pub(super) fn of(definition: &'a Map) -> Internal<'a> {
        let spec = definition.map("spec").unwrap_or(Map::EMPTY);
        let versions: Vec<&Map> = spec.maps("versions").collect();
        let alike = |name: &str| {
            let first = versions.first().and_then(|version| version.get(name));
            versions.iter().all(|version| version.get(name) == first)
        };
        let [schema, subresources, columns, selectable] =
            ["schema", "subresources", "additionalPrinterColumns", "selectableFields"].map(alike);
        let own = |map: &'a Map| Version {
            map,
            validation: map.map("schema").filter(|_| !schema),
            subresources: map.map("subresources").filter(|_| !subresources),
            columns: if columns { &[] } else { map.list("additionalPrinterColumns") },
            selectable: if selectable { &[] } else { map.list("selectableFields") },
        };
        let first = versions.first().copied().unwrap_or(Map::EMPTY);
        Internal {
            spec,
            validation: first.map("schema").filter(|_| schema),
            subresources: first.map("subresources").filter(|_| subresources),
            columns: if columns { first.list("additionalPrinterColumns") } else { &[] },
            selectable: if selectable { first.list("selectableFields") } else { &[] },
            versions: versions.iter().map(|map| own(map)).collect(),
        }
    }

    pub(super) fn schema(&self) -> Option<Props<'a>> {
        self.validation?.map("openAPIV3Schema").map(Props)
    }

    /// All schemas: the spec's and the versions'.
    pub(super) fn schemas(&self) -> impl Iterator<Item = Props<'a>> {
        self.schema().into_iter().chain(self.versions.iter().filter_map(Version::schema))
    }

    pub(super) fn any_schema(&self, mut found: impl FnMut(Props<'a>) -> bool) -> bool {
        self.schemas().any(|schema| schema.any(&mut found))
    }

    /// `spec.preserveUnknownFields`: false unless a definition of old says otherwise.
    pub(super) fn preserves_unknown_fields(&self) -> bool {
        self.spec.bool("preserveUnknownFields").unwrap_or(false)
    }

    pub(super) fn status_of(&self, version: &Version<'a>) -> bool {
        let own = self.versions.iter().any(|version| version.subresources.is_some());
        let subresources = if own { version.subresources } else { self.subresources };
        has_status(subresources)
    }

    pub(super) fn any_status(&self) -> bool {
        has_status(self.subresources) || self.versions.iter().any(|version| has_status(version.subresources))
    }
}

fn has_status(subresources: Option<&Map>) -> bool {
    subresources.is_some_and(|map| map.map("status").is_some())
}
