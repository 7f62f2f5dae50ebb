//! Where a webhook is: a URL, or a service that is looked up for every call
//! (k8s.io/apiserver/pkg/util/{webhook/client.go,proxy/proxy.go}@v0.37.2).
//!
//! Invariant: pure; a service is dialled at its cluster address and known by its name, `name.namespace.svc`.

use api::field;
use api::value::Map;
use base64::Engine;

use crate::admission::Reader;

/// The port of a service that names none.
const HTTPS_PORT: i64 = 443;

/// A webhook as its configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) at: At,
    /// PEM; empty for the roots of the machine.
    pub(crate) ca: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Url(String),
    Service { namespace: String, name: String, path: String, port: i64 },
}

/// What a call needs of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Host and port as the URL has them, without brackets around the host.
    pub(crate) authority: String,
    pub(crate) host: String,
    /// `host:port` that is dialled.
    pub(crate) dialled: String,
    /// Starts with a slash.
    pub(crate) path: String,
}

impl Place {
    /// Of a `clientConfig`. A CA of nothing but white space is none for a conversion webhook.
    pub(crate) fn of(config: &Map) -> Self {
        let at = match config.map("service") {
            Some(service) => At::Service {
                namespace: service.str("namespace").into(),
                name: service.str("name").into(),
                path: service.str("path").into(),
                port: service.i64("port").unwrap_or(HTTPS_PORT),
            },
            None => At::Url(config.str("url").into()),
        };
        let ca = base64::engine::general_purpose::STANDARD.decode(config.str("caBundle")).unwrap_or_default();
        Place { at, ca }
    }

    /// Looks the place up.
    ///
    /// # Errors
    /// A service that is not there or cannot be reached by a cluster address; a URL that is none.
    pub(crate) fn address(&self, objects: &dyn Reader) -> Result<Address, String> {
        match &self.at {
            At::Url(url) => of_url(url),
            At::Service { namespace, name, path, port } => {
                let host = format!("{name}.{namespace}.svc");
                let service = objects.cached("", "services", namespace, name);
                let service = service.ok_or_else(|| format!("service {} not found", field::go_quote(name)))?;
                let dialled = of_service(&service, name, *port)?;
                Ok(Address { authority: format!("{host}:{port}"), host, dialled, path: clean(path) })
            }
        }
    }

    /// The URL of a place as errors name it, without looking it up.
    pub(crate) fn url(&self) -> String {
        match &self.at {
            At::Url(url) => match of_url(url) {
                Ok(address) => format!("https://{}{}", address.authority, address.path),
                Err(_) => url.clone(),
            },
            At::Service { namespace, name, path, port } => {
                format!("https://{name}.{namespace}.svc:{port}{}", clean(path))
            }
        }
    }
}

fn of_url(url: &str) -> Result<Address, String> {
    if url.is_empty() {
        return Err("webhook configuration must have either service or URL".into());
    }
    let parsed: http::Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
    let authority = parsed.authority().ok_or("Unparsable URL: it has no host")?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().map_or(HTTPS_PORT, i64::from);
    Ok(Address { authority: authority.as_str().into(), dialled: joined(&host, port), host, path: clean(parsed.path()) })
}

/// ResolveCluster.
fn of_service(service: &Map, name: &str, port: i64) -> Result<String, String> {
    let spec = service.map("spec").unwrap_or(Map::EMPTY);
    match (spec.str("type"), spec.str("clusterIP")) {
        ("ClusterIP", "None") => Err("cannot route to service with ClusterIP \"None\"".into()),
        ("ClusterIP" | "LoadBalancer" | "NodePort", address) => {
            let found = spec.maps("ports").any(|has| has.i64("port") == Some(port));
            let missing = || format!("no service port {port} found for service {}", field::go_quote(name));
            found.then(|| joined(address, port)).ok_or_else(missing)
        }
        ("ExternalName", _) => Ok(joined(spec.str("externalName"), port)),
        (other, _) => Err(format!("unsupported service type {}", field::go_quote(other))),
    }
}

fn joined(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Go's path.Join of a slash and the path.
pub(super) fn clean(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    format!("/{}", steps.join("/"))
}

#[cfg(test)]
mod tests {
    use api::map;
    use api::value::Value;

    use super::*;

    fn check(spec: Map, port: i64, want: Result<&str, &str>) {
        let got = of_service(&map! { "spec" => spec.clone() }, "s", port);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{spec:?}");
    }

    #[test]
    fn services_have_a_cluster_address() {
        let spec = |ty: &str, address: &str| {
            let ports = vec![Value::Map(map! { "port" => 443i64 })];
            map! { "type" => ty, "clusterIP" => address, "externalName" => "far.example.com", "ports" => ports }
        };
        check(spec("ClusterIP", "10.0.0.1"), 443, Ok("10.0.0.1:443"));
        check(spec("NodePort", "fd00::1"), 443, Ok("[fd00::1]:443"));
        check(spec("ClusterIP", "10.0.0.1"), 8443, Err("no service port 8443 found for service \"s\""));
        check(spec("ClusterIP", "None"), 443, Err("cannot route to service with ClusterIP \"None\""));
        check(spec("ExternalName", ""), 8443, Ok("far.example.com:8443"));
        check(spec("Odd", ""), 443, Err("unsupported service type \"Odd\""));
    }

    #[test]
    fn urls() {
        let of = |url| of_url(url).map(|address| (address.authority, address.dialled, address.path));
        let want = |authority: &str, dialled: &str, path: &str| Ok((authority.into(), dialled.into(), path.into()));
        assert_eq!(of("https://h/a/b/"), want("h", "h:443", "/a/b"));
        assert_eq!(of("https://[::1]:9/x/../y"), want("[::1]:9", "[::1]:9", "/y"));
        assert_eq!(of(""), Err("webhook configuration must have either service or URL".into()));
    }

    #[test]
    fn places_of_configurations() {
        let service = map! { "namespace" => "n", "name" => "s", "path" => "mutate/" };
        let place = Place::of(&map! { "service" => service, "caBundle" => "Q0E=" });
        assert_eq!((place.url().as_str(), place.ca.as_slice()), ("https://s.n.svc:443/mutate", &b"CA"[..]));
        assert_eq!(Place::of(&map! { "url" => "https://h:1" }).url(), "https://h:1/");
    }
}
