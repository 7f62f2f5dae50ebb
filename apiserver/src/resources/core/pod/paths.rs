//! Files that volumes put over each other (pkg/api/pod/warnings.go@v1.37.2: warningsForOverlappingVirtualPaths).

use api::field::go_quote;
use api::value::Map;

/// A file in a volume and what it comes from.
#[derive(Clone, PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> File {
        File { path: path.trim_end_matches('/').to_string(), source: source.to_string() }
    }

    fn shown(&self) -> String {
        match self.source.as_str() {
            "" => go_quote(&self.path),
            source => format!("{} ({source})", go_quote(&self.path)),
        }
    }

    /// The same file, or one is a directory that the other is in.
    fn meets(&self, other: &File) -> bool {
        let below = |inner: &str, outer: &str| format!("{inner}/").starts_with(&format!("{outer}/"));
        !self.path.is_empty()
            && !other.path.is_empty()
            && (below(&self.path, &other.path) || below(&other.path, &self.path))
    }
}

fn items(source: &Map, name: &str) -> Vec<File> {
    source.maps("items").map(|item| File::new(item.str("path"), name)).collect()
}

/// Each file against those before it.
fn meetings(files: impl IntoIterator<Item = File>) -> Vec<String> {
    let (mut seen, mut all): (Vec<File>, Vec<String>) = (Vec::new(), Vec::new());
    for file in files {
        let met = seen.iter().filter(|other| file.meets(other));
        all.extend(met.map(|other| format!("{} with {}", file.shown(), other.shown())));
        seen.push(file);
    }
    all
}

pub(super) fn overlaps(spec: &Map) -> Vec<String> {
    let mut all = Vec::new();
    for volume in spec.maps("volumes") {
        let name = go_quote(volume.str("name"));
        let mut warn = |what: &str, files: Vec<File>| {
            all.extend(meetings(files).iter().map(|text| format!("volume {name} ({what}): overlapping paths: {text}")));
        };
        if let Some(source) = volume.map("configMap") {
            warn(&format!("ConfigMap {}", go_quote(source.str("name"))), items(source, ""));
        }
        if let Some(source) = volume.map("secret") {
            warn(&format!("Secret {}", go_quote(source.str("secretName"))), items(source, ""));
        }
        if let Some(source) = volume.map("downwardAPI") {
            warn("DownwardAPI", items(source, ""));
        }
        if let Some(projected) = volume.map("projected") {
            warn("Projected", projected.maps("sources").flat_map(sources).collect());
            let empty = projected.maps("sources").filter(|source| source.is_empty());
            all.extend(empty.map(|_| format!("volume {name} (Projected) has no sources provided")));
        }
    }
    all
}

fn sources(source: &Map) -> Vec<File> {
    if let Some(map) = source.map("configMap").filter(|map| map.contains("items")) {
        return items(map, &format!("ConfigMap {}", go_quote(map.str("name"))));
    }
    if let Some(secret) = source.map("secret").filter(|secret| secret.contains("items")) {
        return items(secret, &format!("Secret {}", go_quote(secret.str("name"))));
    }
    if let Some(fields) = source.map("downwardAPI").filter(|fields| fields.contains("items")) {
        return items(fields, "DownwardAPI");
    }
    if let Some(token) = source.map("serviceAccountToken") {
        return vec![File::new(token.str("path"), "ServiceAccountToken")];
    }
    if let Some(bundle) = source.map("clusterTrustBundle") {
        let name = if bundle.contains("name") { bundle.str("name") } else { bundle.str("signerName") };
        return vec![File::new(bundle.str("path"), &format!("ClusterTrustBundle {}", go_quote(name)))];
    }
    let Some(certificate) = source.map("podCertificate") else { return Vec::new() };
    let parts = [
        ("certificateChainPath", "PodCertificate chain"),
        ("keyPath", "PodCertificate key"),
        ("credentialBundlePath", "PodCertificate credential bundle"),
    ];
    let set = parts.iter().filter(|(field, _)| !certificate.str(field).is_empty());
    set.map(|(field, source)| File::new(certificate.str(field), source)).collect()
}
