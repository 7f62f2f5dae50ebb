//! configMap (pkg/volume/configmap/configmap.go@v1.37.2).

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath};

use super::atomic::{Content, Payload};
use super::{Context, Ready};
use crate::objects::Missing;
use crate::pod::shape;

const PLUGIN: &str = "kubernetes.io~configmap";
pub(super) const DEFAULT_MODE: i32 = 0o644;

pub(super) async fn prepare(context: &Context<'_>, source: &ConfigMapVolumeSource) -> Result<Ready, String> {
    let optional = source.optional == Some(true);
    let items = source.items.as_deref().unwrap_or(&[]);
    let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
    let payload = read(context, &source.name, items, optional, mode).await?;
    context.publish(PLUGIN, &payload, false)
}

/// The files of a ConfigMap; none for an absent one that is optional.
pub(super) async fn read(
    context: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Payload, String> {
    let found = context.kubelet.objects.config_maps.get(shape::namespace(context.pod), name).await;
    let map = match found {
        Err(Missing::NotFound(_)) if optional => Arc::new(ConfigMap::default()),
        other => other.map_err(Missing::text)?,
    };
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    choose(text.chain(binary), items, optional, mode, "configmap references non-existent config key")
}

/// All values, or those that `items` names at the paths it gives.
pub(super) fn choose<'a>(
    values: impl Iterator<Item = (&'a str, &'a [u8])>,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
    complaint: &str,
) -> Result<Payload, String> {
    let content = |data: &[u8], mode: i32| Content { data: data.to_vec(), mode: mode.unsigned_abs(), user: None };
    let values: std::collections::BTreeMap<&str, &[u8]> = values.collect();
    if items.is_empty() {
        return Ok(values.into_iter().map(|(key, data)| (key.to_owned(), content(data, mode))).collect());
    }
    let mut payload = Payload::new();
    for item in items {
        match values.get(item.key.as_str()) {
            Some(data) => drop(payload.insert(item.path.clone(), content(data, item.mode.unwrap_or(mode)))),
            None if optional => {}
            None => return Err(format!("{complaint}: {}", item.key)),
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    #[test]
    fn keys_become_files() {
        let values = [("a", b"1".as_slice()), ("b", b"2".as_slice())];
        let check = |items: &str, optional: bool, expect: Result<&str, &str>| {
            let items: Vec<KeyToPath> = yaml(items);
            let found = choose(values.into_iter(), &items, optional, 0o644, "no key").map(|payload| {
                let one = |(path, content): (&String, &Content)| {
                    format!("{path}={}:{:o}", String::from_utf8_lossy(&content.data), content.mode)
                };
                payload.iter().map(one).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref().map_err(String::as_str), expect);
        };
        check("[]", false, Ok("a=1:644 b=2:644"));
        check("[{key: a, path: x/y, mode: 256}]", false, Ok("x/y=1:400"));
        check("[{key: c, path: x}]", false, Err("no key: c"));
        check("[{key: c, path: x}]", true, Ok(""));
    }
}
