//! A kubeconfig that names one server and how to reach it, as the files of webhooks do
//! (k8s.io/client-go/tools/clientcmd@v0.37.2: ClientConfig, ConfirmUsable).
//!
//! Invariant: paths in the file are below its folder. Non-goal: several files, environment, credential plugins,
//! impersonation, proxies; a file that wants one of them is refused.

use std::path::{Path, PathBuf};

use api::field::go_quote;
use api::json::{Strictness, decode_any};
use api::value::{Map, Value};
use api::yaml;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::trust::Identity;
use crate::authn::aggregate;
use crate::configuration::go_error;

/// What is said of a file that names nothing.
const EMPTY: &str = "no configuration has been provided, try setting KUBERNETES_MASTER environment variable";

/// How a caller makes itself known beside its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credential {
    Token(String),
    /// Read for each call: tokens in files are replaced.
    TokenFile(PathBuf),
    Basic(String, String),
}

/// A server and how to reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kubeconfig {
    /// The URL, as it is written.
    pub(crate) server: String,
    /// PEM; empty for the roots of the machine.
    pub(crate) ca: Vec<u8>,
    pub(crate) insecure: bool,
    /// `tls-server-name`
    pub(crate) server_name: String,
    pub(crate) client: Option<Identity>,
    pub(crate) credential: Option<Credential>,
}

impl Kubeconfig {
    /// Reads a file and the files that it names.
    ///
    /// # Errors
    /// clientcmd's texts.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = std::fs::read(path).map_err(|error| format!("stat {shown}: {}", go_error(&error)))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let failed = |error: String| format!("error loading config file \"{shown}\": {error}");
        let file = parse(&text).map_err(failed)?;
        Chosen::of(&file)?.resolve(&folder)
    }
}

fn parse(text: &[u8]) -> Result<Map, String> {
    let json = yaml::to_json(text).map_err(|error| error.to_string())?;
    match decode_any(&json, Strictness::Lenient).map_err(|error| error.to_string())?.0 {
        Value::Map(file) => Ok(file),
        Value::Null => Ok(Map::new()),
        _ => Err("couldn't get version/kind; json parse error".into()),
    }
}

/// What the current context points at.
struct Chosen<'a> {
    cluster_name: &'a str,
    cluster: &'a Map,
    user_name: &'a str,
    user: &'a Map,
}

/// The entry of a named list.
fn named<'a>(file: &'a Map, list: &str, entry: &str, name: &str) -> Option<&'a Map> {
    let found = file.maps(list).find(|item| item.str("name") == name)?;
    Some(found.map(entry).unwrap_or(Map::EMPTY))
}

impl<'a> Chosen<'a> {
    fn of(file: &'a Map) -> Result<Self, String> {
        let context_name = file.str("current-context");
        let context = named(file, "contexts", "context", context_name);
        if context.is_none() && !context_name.is_empty() {
            return Err(format!("context {} does not exist", go_quote(context_name)));
        }
        let context = context.unwrap_or(Map::EMPTY);
        let part = |list, entry, name: &'a str, what: &str| match named(file, list, entry, name) {
            Some(found) => Ok(found),
            None if name.is_empty() => Ok(Map::EMPTY),
            None => Err(format!("{what} {} does not exist", go_quote(name))),
        };
        let (user_name, cluster_name) = (context.str("user"), context.str("cluster"));
        Ok(Chosen {
            user: part("users", "user", user_name, "auth info")?,
            cluster: part("clusters", "cluster", cluster_name, "cluster")?,
            cluster_name,
            user_name,
        })
    }

    fn resolve(&self, folder: &Path) -> Result<Kubeconfig, String> {
        let mut errors = self.user_errors();
        let empty = self.cluster.is_empty();
        if empty && errors.is_empty() {
            return Err(format!("invalid configuration: {EMPTY}"));
        }
        if empty {
            errors.push("cluster has no server defined".into());
        } else {
            errors.extend(self.cluster_errors());
        }
        let mut read = |map: &Map, name: &str, what: &str, of: &str| {
            let content = content(map, name, folder);
            content.unwrap_or_else(|(path, why)| {
                errors.push(format!("unable to read {what} {path} for {of} due to open {path}: {why}"));
                Vec::new()
            })
        };
        let ca = read(self.cluster, "certificate-authority", "certificate-authority", self.cluster_name);
        let cert = read(self.user, "client-certificate", "client-cert", self.user_name);
        let key = read(self.user, "client-key", "client-key", self.user_name);
        if !errors.is_empty() {
            return Err(format!("invalid configuration: {}", aggregate(&errors)));
        }
        let insecure = self.cluster.bool("insecure-skip-tls-verify") == Some(true);
        if insecure && !ca.is_empty() {
            return Err("specifying a root certificates file with the insecure flag is not allowed".into());
        }
        Ok(Kubeconfig {
            server: self.cluster.str("server").into(),
            ca,
            insecure,
            server_name: self.cluster.str("tls-server-name").into(),
            client: (!cert.is_empty()).then_some((cert, key)),
            credential: self.credential(folder),
        })
    }

    fn credential(&self, folder: &Path) -> Option<Credential> {
        let (token, file) = (self.user.str("token"), self.user.str("tokenFile"));
        let (name, password) = (self.user.str("username"), self.user.str("password"));
        match () {
            // A file is read again and again, a token beside it is only the first.
            () if !file.is_empty() => Some(Credential::TokenFile(folder.join(file))),
            () if !token.is_empty() => Some(Credential::Token(token.into())),
            () if !name.is_empty() || !password.is_empty() => Some(Credential::Basic(name.into(), password.into())),
            () => None,
        }
    }

    fn cluster_errors(&self) -> Vec<String> {
        let (name, cluster) = (self.cluster_name, self.cluster);
        let mut errors = Vec::new();
        if cluster.str("server").is_empty() {
            errors.push(match name {
                "" => "default cluster has no server defined".into(),
                name => format!("no server found for cluster {}", go_quote(name)),
            });
        }
        if !cluster.str("certificate-authority").is_empty() && !cluster.str("certificate-authority-data").is_empty() {
            errors.push(format!(
                "certificate-authority-data and certificate-authority are both specified for {name}. certificate-authority-data will override."
            ));
        }
        if !cluster.str("proxy-url").is_empty() {
            errors.push(format!("proxy-url of cluster {name} is not supported"));
        }
        errors
    }

    fn user_errors(&self) -> Vec<String> {
        let (name, user) = (self.user_name, self.user);
        let has = |field: &str| !user.str(field).is_empty();
        let mut errors = Vec::new();
        if has("client-certificate") || has("client-certificate-data") {
            if has("client-certificate") && has("client-certificate-data") {
                errors.push(format!(
                    "client-cert-data and client-cert are both specified for {name}. client-cert-data will override."
                ));
            }
            if has("client-key") && has("client-key-data") {
                errors.push(format!(
                    "client-key-data and client-key are both specified for {name}; client-key-data will override"
                ));
            }
            if !has("client-key") && !has("client-key-data") {
                errors.push(format!(
                    "client-key-data or client-key must be specified for {name} to use the clientCert authentication method."
                ));
            }
        }
        for plugin in ["exec", "auth-provider", "as"] {
            if user.contains(plugin) {
                errors.push(format!("{plugin} of user {name} is not supported"));
            }
        }
        if has("token") && (has("username") || has("password")) {
            errors.push(format!(
                "more than one authentication method found for {name}; found [token basicAuth], only one is allowed"
            ));
        }
        errors
    }
}

/// What `NAME-data` holds or the file that `NAME` names; empty without either. An error has the path.
fn content(map: &Map, name: &str, folder: &Path) -> Result<Vec<u8>, (String, String)> {
    let data = BASE64_STANDARD.decode(map.str(&format!("{name}-data"))).unwrap_or_default();
    if !data.is_empty() || map.str(name).is_empty() {
        return Ok(data);
    }
    let path = folder.join(map.str(name));
    std::fs::read(&path).map_err(|error| (path.display().to_string(), go_error(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: c
contexts:
- name: c
  context: {cluster: far, user: us}
";

    fn check(cluster: &str, user: &str, expect: Result<&str, &str>) {
        let text = format!("{FILE}clusters:\n- name: far\n  cluster: {cluster}\nusers:\n- name: us\n  user: {user}\n");
        let file = parse(text.as_bytes()).expect("read");
        let got = Chosen::of(&file).and_then(|chosen| chosen.resolve(Path::new("/nowhere")));
        let got = got.map(|config| {
            let credential = config.credential.map(|credential| format!("{credential:?}")).unwrap_or_default();
            let client = config.client.is_some();
            format!("{} {} {client} {} {credential}", config.server, config.ca.len(), config.insecure)
        });
        assert_eq!(got.as_ref().map(|text| text.trim_end()).map_err(String::as_str), expect, "{text}");
    }

    #[test]
    fn servers_and_credentials() {
        check("{server: 'https://a/x'}", "{}", Ok("https://a/x 0 false false"));
        check(
            "{server: 'https://a', certificate-authority-data: Q0E=}",
            "{client-certificate-data: QQ==, client-key-data: QQ==}",
            Ok("https://a 2 true false"),
        );
        check(
            "{server: 'https://a', insecure-skip-tls-verify: true}",
            "{token: t}",
            Ok("https://a 0 false true Token(\"t\")"),
        );
        let file = "https://a 0 false false TokenFile(\"/nowhere/token\")";
        check("{server: 'https://a'}", "{tokenFile: token}", Ok(file));
    }

    #[test]
    fn files_that_are_of_no_use() {
        check("{}", "{}", Err(&format!("invalid configuration: {EMPTY}")));
        check(
            "{insecure-skip-tls-verify: true}",
            "{}",
            Err("invalid configuration: no server found for cluster \"far\""),
        );
        let key = "invalid configuration: client-key-data or client-key must be specified for us to use the clientCert authentication method.";
        check("{server: 'https://a'}", "{client-certificate-data: QQ==}", Err(key));
        let methods = "invalid configuration: more than one authentication method found for us; found [token basicAuth], only one is allowed";
        check("{server: 'https://a'}", "{token: t, username: u}", Err(methods));
        let ca = "invalid configuration: unable to read certificate-authority /nowhere/ca for far due to open /nowhere/ca: no such file or directory";
        check("{server: 'https://a', certificate-authority: ca}", "{}", Err(ca));
        let missing = parse(FILE.as_bytes()).expect("read");
        let why = Chosen::of(&missing).and_then(|chosen| chosen.resolve(Path::new("/"))).err();
        assert_eq!(why.as_deref(), Some("auth info \"us\" does not exist"));
        let gone = Kubeconfig::load(Path::new("/nowhere/config")).err();
        assert_eq!(gone.as_deref(), Some("stat /nowhere/config: no such file or directory"));
    }
}
