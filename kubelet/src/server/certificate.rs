//! The serving certificate (pkg/kubelet/certificate/kubelet.go, cmd/kubelet/app/server.go@v1.37.2: InitializeTLS).

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;

use crate::Error;
use crate::config::Config;

/// Names of the files of a certificate that the kubelet makes for itself, under `pki`.
const OWN_CERT: &str = "kubelet.crt";
const OWN_KEY: &str = "kubelet.key";

pub(super) fn server_config(config: &Config, ips: &[IpAddr]) -> Result<ServerConfig, Error> {
    let (cert, key) = match (&config.server.tls_cert_file, &config.server.tls_private_key_file) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        _ => own_files(config, ips)?,
    };
    tls::server_config(cert, key).map_err(Error::Config)
}

/// A pair signed by itself, kept for the next start.
fn own_files(config: &Config, ips: &[IpAddr]) -> Result<(PathBuf, PathBuf), Error> {
    let folder = config.root_dir.join("pki");
    let (cert, key) = (folder.join(OWN_CERT), folder.join(OWN_KEY));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |source| Error::Io { what, source }
    };
    let mut names = vec![config.hostname().to_owned(), config.node_name.clone()];
    names.dedup();
    names.extend(ips.iter().map(IpAddr::to_string));
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::Config(error.to_string()))?;
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let write = |path: &Path, mode, text: String| {
        options.clone().mode(mode).open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(io(path))
    };
    write(&key, 0o600, made.signing_key.serialize_pem())?;
    write(&cert, 0o644, made.cert.pem())?;
    Ok((cert, key))
}
