//! Whose certificates count: of authorities in files, or of those that the cluster publishes in
//! kube-system/extension-apiserver-authentication (k8s.io/apiserver/pkg/server/options/authentication.go@v0.37.2).
//!
//! Invariant: what a file says goes before what the cluster says; until the cluster has said something, nobody counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use client::task::Tasks;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::Error;
use crate::front_proxy::{FrontProxy, Headers};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// The verifier of an authority's client certificates.
#[derive(Clone)]
pub(crate) struct Authority(Arc<dyn ClientCertVerifier>);

impl Authority {
    pub(crate) fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        built.map(Authority).map_err(|error| error.to_string())
    }

    pub(crate) fn verify(&self, first: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Result<(), String> {
        self.0.verify_client_cert(first, rest, UnixTime::now()).map(drop).map_err(|error| error.to_string())
    }
}

/// Whose certificates count now; cheap to clone.
#[derive(Clone, Default)]
pub struct Trust(Arc<Mutex<Known>>);

#[derive(Clone, Default)]
pub(crate) struct Known {
    pub(crate) clients: Option<Authority>,
    pub(crate) front_proxy: Option<FrontProxy>,
}

impl Trust {
    /// Of a client CA file and of that of front proxies; of nobody without.
    ///
    /// # Errors
    /// A file that cannot be read, or is no certificate.
    pub fn of_files(clients: Option<&Path>, front_proxy: Option<(&Path, Headers)>) -> Result<Self, Error> {
        let read = |path: &Path, what: &str| {
            let failed =
                |error: String| Error::Config(format!("unable to load {what} file {}: {error}", path.display()));
            let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
            Authority::of_pem(&pem).map_err(failed)
        };
        let clients = clients.map(|path| read(path, "client CA")).transpose()?;
        let front_proxy = front_proxy.map(|(path, headers)| {
            read(path, "request-header-client-ca").map(|authority| FrontProxy { authority, headers })
        });
        Ok(Trust(Arc::new(Mutex::new(Known { clients, front_proxy: front_proxy.transpose()? }))))
    }

    pub(crate) fn now(&self) -> Known {
        self.0.lock().clone()
    }

    /// Goes by what the cluster publishes where there was no file.
    pub fn follow(&self, client: Client, tasks: &Tasks) {
        let files = self.now();
        let trust = self.clone();
        tasks.run("authorities of the cluster", async move {
            let maps: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
            let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
            let mut changes = pin!(watcher(maps, only).default_backoff().applied_objects());
            while let Some(change) = changes.next().await {
                match change {
                    Ok(map) => trust.learn(&files, &map.data.unwrap_or_default()),
                    Err(error) => tracing::warn!(%error, "configmap {NAMESPACE}/{NAME} is not to be had"),
                }
            }
        });
    }

    fn learn(&self, files: &Known, data: &BTreeMap<String, String>) {
        // What cannot be read is not trusted; the log says why.
        let authority = |key: &str| {
            let read = Authority::of_pem(data.get(key)?.as_bytes());
            read.inspect_err(|error| tracing::error!(%error, key, "configmap {NAMESPACE}/{NAME}")).ok()
        };
        let clients = files.clients.clone().or_else(|| authority("client-ca-file"));
        let front_proxy = files.front_proxy.clone().or_else(|| {
            let headers = Headers::of_config_map(data);
            authority("requestheader-client-ca-file").map(|authority| FrontProxy { authority, headers })
        });
        *self.0.lock() = Known { clients, front_proxy };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_before_the_cluster() {
        let authority = |name: &str| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.self_signed(&rcgen::KeyPair::generate().expect("a key")).expect("a certificate").pem()
        };
        let (file, cluster) = (authority("of the file"), authority("of the cluster"));
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("ca.crt");
        std::fs::write(&path, &file).expect("written");
        let of_file = Trust::of_files(Some(&path), None).expect("trust");
        let both = ["client-ca-file", "requestheader-client-ca-file"];
        let data = both.map(|key| (key.to_owned(), cluster.clone())).into();
        for (trust, expect) in [(of_file, "of the file"), (Trust::default(), "of the cluster")] {
            let files = trust.now();
            assert!(files.front_proxy.is_none());
            trust.learn(&files, &data);
            let known = trust.now();
            let hints = known.clients.expect("an authority").0.root_hint_subjects().to_vec();
            let names = hints.iter().map(|name| String::from_utf8_lossy(name.as_ref()).into_owned());
            assert!(names.collect::<String>().contains(expect), "{expect}");
            assert!(known.front_proxy.is_some());
        }
        assert!(Trust::of_files(Some(Path::new("/nonexistent")), None).is_err());
    }
}
