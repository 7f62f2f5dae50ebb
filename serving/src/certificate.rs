//! Certificates that a server makes for itself when it was given none
//! (k8s.io/apiserver/pkg/server/options/serving.go@v0.37.2, MaybeDefaultWithSelfSignedCerts).

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;

use crate::Error;

/// A pair for these names, signed by itself and in memory alone.
///
/// # Errors
/// A name that no certificate can hold, or a choice of versions and suites that nobody knows.
pub fn made(names: Vec<String>, choice: &tls::Choice) -> Result<ServerConfig, Error> {
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::Config(error.to_string()))?;
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    tls::made_server_config(made.cert.der().clone(), key.into(), choice).map_err(Error::Config)
}

/// A pair for these names, signed by itself: `NAME.crt` and `NAME.key` of a folder, kept for the next start.
///
/// # Errors
/// A name that no certificate can hold, or files that cannot be written.
pub fn own_files(folder: &Path, name: &str, names: Vec<String>) -> Result<(PathBuf, PathBuf), Error> {
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    if cert.exists() && key.exists() {
        return Ok((cert, key));
    }
    let io = |what: &Path| {
        let what = what.display().to_string();
        move |source| Error::Io { what, source }
    };
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| Error::Config(error.to_string()))?;
    fs::create_dir_all(folder).map_err(io(folder))?;
    let mut options = fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true);
    let write = |path: &Path, mode, text: String| {
        options.clone().mode(mode).open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(io(path))
    };
    write(&key, 0o600, made.signing_key.serialize_pem())?;
    write(&cert, 0o644, made.cert.pem())?;
    Ok((cert, key))
}
