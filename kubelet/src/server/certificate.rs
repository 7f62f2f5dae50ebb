//! The serving certificate (pkg/kubelet/certificate/kubelet.go, cmd/kubelet/app/server.go@v1.37.2: InitializeTLS).

use std::net::IpAddr;
use std::path::PathBuf;

use rustls::ServerConfig;

use crate::Error;
use crate::config::Config;

/// Name of the files of a certificate that the kubelet makes for itself, under `pki`.
const PAIR: &str = "kubelet";

pub(super) fn server_config(config: &Config, ips: &[IpAddr]) -> Result<ServerConfig, Error> {
    let (cert, key) = match (&config.server.tls_cert_file, &config.server.tls_private_key_file) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        _ => own_files(config, ips)?,
    };
    tls::server_config(cert, key).map_err(Error::Config)
}

/// A pair signed by itself, kept for the next start.
fn own_files(config: &Config, ips: &[IpAddr]) -> Result<(PathBuf, PathBuf), Error> {
    let mut names = vec![config.hostname().to_owned(), config.node_name.clone()];
    names.dedup();
    names.extend(ips.iter().map(IpAddr::to_string));
    Ok(serving::own_files(&config.root_dir.join("pki"), PAIR, names)?)
}
