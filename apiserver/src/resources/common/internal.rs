//! Values as upstream's errors show them when they are structs: the JSON of its internal types, which have no JSON
//! names of their own: every field, by its Go name (pkg/apis/core/types.go@v1.37.2).
//!
//! Invariant: types of apimachinery keep their JSON names and leave out what is empty, as they do in Go.

use std::fmt::Write;

use api::facts::{Field, Struct, Type};
use api::field::Shown;
use api::value::{Map, Value};

/// Words in names that Go writes in capitals.
const INITIALISMS: &[(&str, &str)] = &[
    ("dnsPolicy", "DNSPolicy"),
    ("dnsConfig", "DNSConfig"),
    ("setHostnameAsFQDN", "SetHostnameAsFQDN"),
    ("os", "OS"),
    ("tty", "TTY"),
    ("httpGet", "HTTPGet"),
    ("httpHeaders", "HTTPHeaders"),
    ("tcpSocket", "TCPSocket"),
    ("grpc", "GRPC"),
    ("apiVersion", "APIVersion"),
    ("apiGroup", "APIGroup"),
    ("fsGroup", "FSGroup"),
    ("fsGroupChangePolicy", "FSGroupChangePolicy"),
    ("fsType", "FSType"),
    ("seLinuxOptions", "SELinuxOptions"),
    ("seLinuxChangePolicy", "SELinuxChangePolicy"),
    ("gcePersistentDisk", "GCEPersistentDisk"),
    ("awsElasticBlockStore", "AWSElasticBlockStore"),
    ("nfs", "NFS"),
    ("iscsi", "ISCSI"),
    ("rbd", "RBD"),
    ("cephfs", "CephFS"),
    ("fc", "FC"),
    ("csi", "CSI"),
    ("storageos", "StorageOS"),
    ("scaleIO", "ScaleIO"),
    ("sslEnabled", "SSLEnabled"),
    ("iqn", "IQN"),
    ("iscsiInterface", "ISCSIInterface"),
    ("pdName", "PDName"),
    ("wwids", "WWIDs"),
    ("gmsaCredentialSpec", "GMSACredentialSpec"),
    ("gmsaCredentialSpecName", "GMSACredentialSpecName"),
    ("serviceAccount", "DeprecatedServiceAccount"),
    ("ttlSecondsAfterFinished", "TTLSecondsAfterFinished"),
    ("ip", "IP"),
    ("uid", "UID"),
    ("cel", "CEL"),
    ("pkixPublicKey", "PKIXPublicKey"),
];

/// A struct of an internal type, to show in an error.
pub(crate) struct Internal<'a>(pub(crate) &'a Map, pub(crate) &'static Struct);

impl Shown for Internal<'_> {
    fn shown(&self) -> String {
        let mut out = Writer { text: String::new(), indent: None };
        out.structure(self.0, self.1, 0);
        out.text
    }
}

/// The facts of a type by its OpenAPI name without `io.k8s.api.`; errors show the plain value when there are none.
pub(crate) fn shown(value: &Map, name: &str) -> String {
    match api::facts::structure(&format!("io.k8s.api.{name}")) {
        Some(ty) => Internal(value, ty).shown(),
        None => Value::Map(value.clone()).shown(),
    }
}

/// The same, one field a line, as diffs need it (k8s.io/apimachinery/pkg/util/diff).
pub(crate) fn pretty(value: &Map, name: &str) -> String {
    let Some(ty) = api::facts::structure(&format!("io.k8s.api.{name}")) else { return String::new() };
    let mut out = Writer { text: String::new(), indent: Some(()) };
    out.structure(value, ty, 0);
    out.text
}

/// Text that is shown as it is.
pub(crate) struct Plain(pub(crate) String);

impl Shown for Plain {
    fn shown(&self) -> String {
        self.0.clone()
    }
}

struct Writer {
    text: String,
    indent: Option<()>,
}

/// Names that only these types have for a field (how the type's name begins, the JSON name, the Go name).
const OWN_NAMES: &[(&str, &str, &str)] = &[
    ("RBD", "monitors", "CephMonitors"),
    ("RBD", "image", "RBDImage"),
    ("RBD", "pool", "RBDPool"),
    ("RBD", "user", "RadosUser"),
    ("ISCSI", "chapAuthDiscovery", "DiscoveryCHAPAuth"),
    ("ISCSI", "chapAuthSession", "SessionCHAPAuth"),
    ("AzureDisk", "diskURI", "DataDiskURI"),
    ("Glusterfs", "endpoints", "EndpointsName"),
];

fn go_name(ty: &Struct, name: &str) -> String {
    let short = ty.name.rsplit('.').next().unwrap_or_default();
    if let Some((_, _, go)) = OWN_NAMES.iter().find(|row| row.1 == name && short.starts_with(row.0)) {
        return (*go).to_string();
    }
    if let Some((_, go)) = INITIALISMS.iter().find(|row| row.0 == name) {
        return (*go).to_string();
    }
    let mut chars = name.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

impl Writer {
    fn line(&mut self, depth: usize) {
        if self.indent.is_some() {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', depth));
        }
    }

    fn name(&mut self, name: &str) {
        let _ = write!(self.text, "\"{name}\":");
        if self.indent.is_some() {
            self.text.push(' ');
        }
    }

    fn structure(&mut self, map: &Map, ty: &'static Struct, depth: usize) {
        let machinery = !ty.name.starts_with("io.k8s.api.");
        self.text.push('{');
        let mut first = true;
        for field in ty.json_fields() {
            let value = map.get(field.name);
            let kind = ty.kinded && matches!(field.name, "kind" | "apiVersion");
            let inlined = field.name == "metadata";
            let empty = || value.and_then(Value::as_map).is_none_or(Map::is_empty);
            if (machinery || kind) && value.is_none() || inlined && empty() {
                continue;
            }
            if !first {
                self.text.push(',');
            }
            first = false;
            self.line(depth + 1);
            match value {
                Some(Value::Map(meta)) if inlined => self.metadata(meta, depth),
                value => {
                    self.name(&if machinery { field.name.to_string() } else { go_name(ty, field.name) });
                    self.field(value, field, depth + 1);
                }
            }
        }
        if !first {
            self.line(depth);
        }
        self.text.push('}');
    }

    /// ObjectMeta is embedded: its fields stand among the others.
    fn metadata(&mut self, meta: &Map, depth: usize) {
        for (at, (name, value)) in meta.iter().enumerate() {
            if at > 0 {
                self.text.push(',');
                self.line(depth + 1);
            }
            self.name(name);
            self.plain(value, depth + 1);
        }
    }

    fn field(&mut self, value: Option<&Value>, field: &'static Field, depth: usize) {
        match value {
            None => self.zero(field, depth),
            Some(value) => self.value(value, &field.ty, depth),
        }
    }

    fn zero(&mut self, field: &'static Field, depth: usize) {
        if field.nilable {
            return self.text.push_str("null");
        }
        match field.ty {
            Type::Bool => self.text.push_str("false"),
            Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64 | Type::IntOrString => self.text.push('0'),
            Type::Quantity => self.text.push_str("\"0\""),
            Type::Struct(ty) => self.structure(Map::EMPTY, ty, depth),
            Type::String => self.text.push_str("\"\""),
            _ => self.text.push_str("null"),
        }
    }

    fn value(&mut self, value: &Value, ty: &'static Type, depth: usize) {
        match (ty, value) {
            (Type::Struct(ty), Value::Map(map)) => self.structure(map, ty, depth),
            (Type::List(inner), Value::List(list)) => {
                self.text.push('[');
                for (at, element) in list.iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.line(depth + 1);
                    self.value(element, inner, depth + 1);
                }
                if !list.is_empty() {
                    self.line(depth);
                }
                self.text.push(']');
            }
            (_, value) => self.plain(value, depth),
        }
    }

    /// A value without a struct inside: as JSON has it.
    fn plain(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Map(map) => {
                self.text.push('{');
                let mut sorted = map.clone();
                sorted.sort();
                for (at, (name, value)) in sorted.iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.line(depth + 1);
                    self.name(name);
                    self.plain(value, depth + 1);
                }
                if !map.is_empty() {
                    self.line(depth);
                }
                self.text.push('}');
            }
            Value::List(list) => {
                self.text.push('[');
                for (at, element) in list.iter().enumerate() {
                    if at > 0 {
                        self.text.push(',');
                    }
                    self.line(depth + 1);
                    self.plain(element, depth + 1);
                }
                if !list.is_empty() {
                    self.line(depth);
                }
                self.text.push(']');
            }
            other => {
                let mut out = Vec::new();
                api::json::encode_value(&mut out, other);
                self.text.push_str(&String::from_utf8_lossy(&out));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    #[test]
    fn every_field_is_shown_by_its_go_name() {
        let strategy = map! { "type" => "x" };
        assert_eq!(shown(&strategy, "apps.v1.DeploymentStrategy"), r#"{"Type":"x","RollingUpdate":null}"#);
        let claim = map! { "name" => "a" };
        assert_eq!(
            shown(&claim, "core.v1.PodResourceClaim"),
            r#"{"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}"#
        );
        for ty in ["core.v1.RBDVolumeSource", "core.v1.RBDPersistentVolumeSource"] {
            let rbd = shown(&map! { "image" => "a", "user" => "b" }, ty);
            assert!(rbd.contains(r#""RBDImage":"a""#) && rbd.contains(r#""RadosUser":"b""#), "{rbd}");
        }
        assert_eq!(pretty(&claim, "core.v1.LocalObjectReference"), "{\n \"Name\": \"a\"\n}");
    }
}
