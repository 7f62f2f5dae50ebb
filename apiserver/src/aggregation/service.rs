//! An APIService as it is worked with.
//!
//! Invariant: made of the stored object alone.

use api::object::Meta;
use api::value::Map;
use base64::Engine;
use structural::conditions;

/// Says how an APIService is kept that nobody wrote by hand
/// (kube-aggregator/pkg/controllers/autoregister/autoregister_controller.go@v0.37.2).
pub(super) const MANAGED_LABEL: &str = "kube-aggregator.kubernetes.io/automanaged";
/// The condition that says whether requests are handed on.
pub(super) const AVAILABLE: &str = "Available";
const HTTPS_PORT: i64 = 443;

/// How an APIService is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Managed {
    /// By whoever made it.
    No,
    /// Put right when the server starts.
    OnStart,
    Always,
}

impl Managed {
    pub(super) fn of(object: &Map) -> Self {
        match object.label(MANAGED_LABEL) {
            Some("onstart") => Managed::OnStart,
            Some("true") => Managed::Always,
            _ => Managed::No,
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Managed::No => "",
            Managed::OnStart => "onstart",
            Managed::Always => "true",
        }
    }
}

/// The service that serves a group version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceRef {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) port: i64,
}

/// An APIService.
#[derive(Debug)]
pub(crate) struct ApiService {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) group_priority: i64,
    pub(crate) version_priority: i64,
    /// `None` for a group version that this server has itself.
    pub(crate) service: Option<ServiceRef>,
    /// PEM; empty for the roots of the machine.
    pub(crate) ca: Vec<u8>,
    pub(crate) insecure: bool,
    pub(crate) available: bool,
    pub(crate) object: Map,
}

impl ApiService {
    pub(super) fn of(object: Map) -> Self {
        let spec = object.map("spec").unwrap_or(Map::EMPTY);
        let service = spec.map("service").map(|service| ServiceRef {
            namespace: service.str("namespace").into(),
            name: service.str("name").into(),
            port: service.i64("port").unwrap_or(HTTPS_PORT),
        });
        let ca = base64::engine::general_purpose::STANDARD.decode(spec.str("caBundle")).unwrap_or_default();
        ApiService {
            name: object.name().into(),
            group: spec.str("group").into(),
            version: spec.str("version").into(),
            group_priority: spec.i64("groupPriorityMinimum").unwrap_or(0),
            version_priority: spec.i64("versionPriority").unwrap_or(0),
            service,
            ca,
            insecure: spec.bool("insecureSkipTLSVerify") == Some(true),
            available: conditions::is_true(&object, AVAILABLE),
            object,
        }
    }

    /// Whom its certificate has to be of.
    pub(super) fn host(&self) -> String {
        let named = self.service.as_ref().map(|service| format!("{}.{}.svc", service.name, service.namespace));
        named.unwrap_or_default()
    }

    /// The path that everything below is handed on of; the core group has a wider one.
    pub(super) fn path(&self) -> String {
        match self.is_core() {
            true => "/api".into(),
            false => format!("/apis/{}/{}", self.group, self.version),
        }
    }

    /// Where discovery of the version is (kube-aggregator: remote_available_controller.go).
    pub(super) fn discovery_path(&self) -> String {
        match self.is_core() {
            true => format!("/api/{}", self.version),
            false => self.path(),
        }
    }

    fn is_core(&self) -> bool {
        self.group.is_empty()
    }

    pub(super) fn is(&self, group: &str, version: &str) -> bool {
        self.group == group && self.version == version
    }
}
