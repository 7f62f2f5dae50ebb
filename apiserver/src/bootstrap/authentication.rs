//! kube-system/extension-apiserver-authentication: how others verify clients and front proxies
//! (pkg/controlplane/controller/clusterauthenticationtrust@v1.37.2).

use api::map;
use api::status::Status;
use api::value::{Map, Value};

use super::named;
use crate::Config;
use crate::chain::Core;
use crate::system;

pub(crate) async fn publish(core: &Core, config: &Config) -> Result<(), Status> {
    let identity = named("v1", "ConfigMap", "kube-system", "extension-apiserver-authentication");
    let data = data(config);
    let mut make = |existing: Option<&Map>| {
        let mut object = existing.cloned().unwrap_or_else(|| identity.clone());
        let merged = object.map_mut("data");
        for (name, value) in data.iter() {
            merged.set(name.clone(), value.clone());
        }
        Some(object)
    };
    system::apply(core, &identity, &mut make).await
}

fn data(config: &Config) -> Map {
    let mut data = Map::new();
    if let Some(ca) = &config.client_ca {
        data.set("client-ca-file", String::from_utf8_lossy(ca).into_owned());
    }
    if let Some(headers) = &config.request_header {
        data.set("requestheader-client-ca-file", String::from_utf8_lossy(&headers.client_ca).into_owned());
        for (name, list) in [
            ("requestheader-allowed-names", &headers.allowed_names),
            ("requestheader-username-headers", &headers.username_headers),
            ("requestheader-uid-headers", &headers.uid_headers),
            ("requestheader-group-headers", &headers.group_headers),
            ("requestheader-extra-headers-prefix", &headers.extra_header_prefixes),
        ] {
            let list = map! { "l" => list.iter().map(|item| Value::from(item.as_str())).collect::<Vec<_>>() };
            let mut text = Vec::new();
            api::json::encode_value(&mut text, list.get("l").unwrap_or(&Value::Null));
            data.set(name, String::from_utf8_lossy(&text).into_owned());
        }
    }
    data
}
