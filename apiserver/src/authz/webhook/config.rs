//! AuthorizationConfiguration: what a file holds, what the flags make of it, and whether it makes sense
//! (k8s.io/apiserver/pkg/apis/apiserver/{types,validation/validation}.go@v0.37.2,
//! pkg/kubeapiserver/{authorizer/config,options/authorization}.go@v1.37.2).
//!
//! Invariant: the errors, their places and their order are upstream's. ABAC is a known mode that is not offered.

use std::collections::HashSet;
use std::path::Path as FilePath;
use std::time::Duration;

use api::facts::Type;
use api::field::{self, Errors, Path};
use api::value::Map;
use api::{duration, names};

use super::conditions::Conditions;
use crate::authn::aggregate;
use crate::configuration::{self, Expected, field, go_error, pointer, schema};
use crate::options::AuthorizationOptions;

schema!(INFO, "WebhookConnectionInfo", false, [field("type", Type::String), pointer("kubeConfigFile", Type::String)]);
schema!(CONDITION, "WebhookMatchCondition", false, [field("expression", Type::String)]);
schema!(
    WEBHOOK,
    "WebhookConfiguration",
    false,
    [
        field("authorizedTTL", Type::Duration),
        pointer("cacheAuthorizedRequests", Type::Bool),
        field("unauthorizedTTL", Type::Duration),
        pointer("cacheUnauthorizedRequests", Type::Bool),
        field("timeout", Type::Duration),
        field("subjectAccessReviewVersion", Type::String),
        field("matchConditionSubjectAccessReviewVersion", Type::String),
        field("failurePolicy", Type::String),
        field("connectionInfo", Type::Struct(&INFO)),
        field("matchConditions", Type::List(&Type::Struct(&CONDITION))),
    ]
);
schema!(
    AUTHORIZER,
    "AuthorizerConfiguration",
    false,
    [field("type", Type::String), field("name", Type::String), pointer("webhook", Type::Struct(&WEBHOOK)),]
);
schema!(
    CONFIGURATION,
    "AuthorizationConfiguration",
    true,
    [field("authorizers", Type::List(&Type::Struct(&AUTHORIZER)))]
);

const EXPECTED: Expected =
    Expected { kind: "AuthorizationConfiguration", ty: &CONFIGURATION, scheme: "pkg/apis/apiserver/load/load.go:32" };

/// pkg/kubeapiserver/authorizer/modes/modes.go@v1.37.2, sorted.
const TYPES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", WEBHOOK_TYPE];
const WEBHOOK_TYPE: &str = "Webhook";
const ABAC: &str = "ABAC";
const KUBECONFIG: &str = "KubeConfigFile";
const IN_CLUSTER: &str = "InClusterConfig";
const CONDITIONS_MAX: usize = 64;
const TIMEOUT_MAX: i64 = 30 * SECOND;
const SECOND: i64 = 1_000_000_000;
/// What is said of the one mode that upstream has and this server has not.
const NO_ABAC: &str = "ABAC is not offered by this API server, use RBAC or Webhook";

/// AuthorizationConfiguration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthorizationConfiguration {
    pub(crate) authorizers: Vec<AuthorizerConfig>,
}

/// AuthorizerConfiguration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthorizerConfig {
    pub(crate) ty: String,
    pub(crate) name: String,
    pub(crate) webhook: Option<WebhookConfig>,
}

/// WebhookConfiguration; durations in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WebhookConfig {
    pub(crate) authorized_ttl: i64,
    pub(crate) cache_authorized: bool,
    pub(crate) unauthorized_ttl: i64,
    pub(crate) cache_unauthorized: bool,
    pub(crate) timeout: i64,
    pub(crate) version: String,
    pub(crate) condition_version: String,
    pub(crate) failure_policy: String,
    pub(crate) connection: String,
    pub(crate) kubeconfig: Option<String>,
    pub(crate) conditions: Vec<String>,
}

impl WebhookConfig {
    fn of(map: &Map) -> Self {
        let text = |name: &str| map.str(name).to_owned();
        let nanos = |name: &str| duration::parse(map.str(name)).unwrap_or(0);
        let or = |nanos: i64, default: i64| if nanos == 0 { default } else { nanos };
        let info = map.map("connectionInfo").unwrap_or(Map::EMPTY);
        WebhookConfig {
            authorized_ttl: or(nanos("authorizedTTL"), 300 * SECOND),
            cache_authorized: map.bool("cacheAuthorizedRequests").unwrap_or(true),
            unauthorized_ttl: or(nanos("unauthorizedTTL"), 30 * SECOND),
            cache_unauthorized: map.bool("cacheUnauthorizedRequests").unwrap_or(true),
            timeout: nanos("timeout"),
            version: text("subjectAccessReviewVersion"),
            condition_version: text("matchConditionSubjectAccessReviewVersion"),
            failure_policy: text("failurePolicy"),
            connection: info.str("type").to_owned(),
            kubeconfig: info.get("kubeConfigFile").and_then(|path| path.as_str()).map(str::to_owned),
            conditions: map.maps("matchConditions").map(|condition| condition.str("expression").to_owned()).collect(),
        }
    }

    /// How long an answer counts; not at all when it is not to be kept.
    pub(super) fn ttl(&self, allowed: bool) -> Duration {
        let (keep, nanos) = match allowed {
            true => (self.cache_authorized, self.authorized_ttl),
            false => (self.cache_unauthorized, self.unauthorized_ttl),
        };
        if keep { Duration::from_nanos(nanos.try_into().unwrap_or(0)) } else { Duration::ZERO }
    }
}

impl AuthorizationConfiguration {
    /// Reads a file that has to have the authorizers named beside webhooks (LoadAndValidateData).
    ///
    /// # Errors
    /// Upstream's texts.
    pub(crate) fn load(data: &[u8], required: &[String]) -> Result<Self, String> {
        let config = match data {
            [] => AuthorizationConfiguration::default(),
            data => {
                decode(data).map_err(|why| format!("failed to load AuthorizationConfiguration from file: {why}"))?
            }
        };
        let errors = config.errors();
        if !errors.is_empty() {
            return Err(aggregate(&errors.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        let local = || config.authorizers.iter().filter(|authorizer| authorizer.ty != WEBHOOK_TYPE);
        let misnamed = local().filter(|authorizer| authorizer.name != authorizer.ty.to_lowercase()).map(|authorizer| {
            let AuthorizerConfig { ty, name, .. } = authorizer;
            format!("expected name {} for authorizer {ty} instead of {name}", ty.to_lowercase())
        });
        let mut errors: Vec<String> = misnamed.collect();
        let mut missing: Vec<&str> =
            required.iter().filter(|ty| !local().any(|has| has.ty == **ty)).map(String::as_str).collect();
        missing.sort_unstable();
        if !missing.is_empty() {
            errors.push(format!("missing required types: [{}]", missing.join(" ")));
        }
        if errors.is_empty() { Ok(config) } else { Err(aggregate(&errors)) }
    }

    /// What `--authorization-mode` and `--authorization-webhook-*` say (Validate, buildAuthorizationConfiguration).
    ///
    /// # Errors
    /// Upstream's texts.
    pub(crate) fn of_flags(modes: &[String], options: &AuthorizationOptions) -> Result<Self, String> {
        check_flags(modes, options)?;
        let nanos = |ttl: Duration| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
        let webhook = || WebhookConfig {
            authorized_ttl: nanos(options.webhook_authorized_ttl),
            cache_authorized: !options.webhook_authorized_ttl.is_zero(),
            unauthorized_ttl: nanos(options.webhook_unauthorized_ttl),
            cache_unauthorized: !options.webhook_unauthorized_ttl.is_zero(),
            timeout: TIMEOUT_MAX,
            version: options.webhook_version.clone(),
            failure_policy: "NoOpinion".into(),
            connection: KUBECONFIG.into(),
            kubeconfig: options.webhook_config_file.as_ref().map(|path| path.display().to_string()),
            ..WebhookConfig::default()
        };
        let authorizer = |mode: &String| match mode.as_str() {
            WEBHOOK_TYPE => AuthorizerConfig { ty: mode.clone(), name: "default".into(), webhook: Some(webhook()) },
            _ => AuthorizerConfig { ty: mode.clone(), name: mode.to_lowercase(), webhook: None },
        };
        Ok(AuthorizationConfiguration { authorizers: modes.iter().map(authorizer).collect() })
    }

    /// The types that are no webhooks.
    pub(crate) fn local_types(&self) -> Vec<String> {
        let local = self.authorizers.iter().filter(|authorizer| authorizer.ty != WEBHOOK_TYPE);
        local.map(|authorizer| authorizer.ty.clone()).collect()
    }

    /// ValidateAuthorizationConfiguration.
    fn errors(&self) -> Errors {
        let root = Path::new("authorizers");
        let mut errors = Errors::new();
        if self.authorizers.is_empty() {
            errors.push(field::required(&root, "at least one authorization mode must be defined"));
        }
        let (mut types, mut names) = (HashSet::new(), HashSet::new());
        for (at, authorizer) in self.authorizers.iter().enumerate() {
            let path = root.index(at);
            let at = path.child("type");
            match authorizer.ty.as_str() {
                "" => errors.push(field::required(&at, "")),
                ty if !TYPES.contains(&ty) => errors.push(field::not_supported(&at, ty, &TYPES)),
                ABAC => errors.push(field::invalid(&at, ABAC, NO_ABAC)),
                ty if !types.insert(ty) && ty != WEBHOOK_TYPE => errors.push(field::duplicate(&at, ty)),
                _ => {
                    let fresh = names.insert(authorizer.name.as_str());
                    authorizer.errors(&path, fresh, &mut errors);
                }
            }
        }
        errors
    }
}

fn decode(data: &[u8]) -> Result<AuthorizationConfiguration, String> {
    let file = configuration::decode(data, &EXPECTED)?;
    let authorizer = |map: &Map| AuthorizerConfig {
        ty: map.str("type").to_owned(),
        name: map.str("name").to_owned(),
        webhook: map.map("webhook").map(WebhookConfig::of),
    };
    Ok(AuthorizationConfiguration { authorizers: file.maps("authorizers").map(authorizer).collect() })
}

fn check_flags(modes: &[String], options: &AuthorizationOptions) -> Result<(), String> {
    let mut errors = Vec::new();
    if modes.is_empty() {
        errors.push("at least one authorization-mode must be passed".to_owned());
    }
    let has = |wanted: &str| modes.iter().any(|mode| mode == wanted);
    for mode in modes {
        match mode.as_str() {
            ABAC => errors.push(format!("authorization-mode \"ABAC\" is not a valid mode: {NO_ABAC}")),
            WEBHOOK_TYPE if options.webhook_config_file.is_none() => {
                errors.push("authorization-mode Webhook's authorization config file not passed".into());
            }
            mode if !TYPES.contains(&mode) => errors.push(format!("authorization-mode \"{mode}\" is not a valid mode")),
            _ => {}
        }
    }
    if options.policy_file.is_some() && !has(ABAC) {
        errors.push("cannot specify --authorization-policy-file without mode ABAC".into());
    }
    if options.webhook_config_file.is_some() && !has(WEBHOOK_TYPE) {
        errors.push("cannot specify --authorization-webhook-config-file without mode Webhook".into());
    }
    if modes.iter().collect::<HashSet<_>>().len() != modes.len() {
        let list = crate::authn::text::quote_list(modes);
        errors.push(format!("authorization-mode {list} has mode specified more than once"));
    }
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}

impl AuthorizerConfig {
    fn errors(&self, path: &Path, fresh: bool, errors: &mut Errors) {
        let (at, name) = (path.child("name"), self.name.as_str());
        let wrong = names::is_dns1123_subdomain(name);
        match () {
            () if name.is_empty() => errors.push(field::required(&at, "")),
            () if !fresh => errors.push(field::duplicate(&at, name)),
            () if !wrong.is_empty() => {
                let why = format!("authorizer name is invalid: {}", wrong.join(", "));
                errors.push(field::invalid(&at, name, why));
            }
            () => {}
        }
        let at = path.child("webhook");
        match (&self.webhook, self.ty == WEBHOOK_TYPE) {
            (None, true) => errors.push(field::required(&at, "required when type=Webhook")),
            (Some(webhook), true) => webhook.errors(path, errors),
            (Some(_), false) => {
                errors.push(field::invalid(&at, "non-null", "may only be specified when type=Webhook"));
            }
            (None, false) => {}
        }
    }
}

impl WebhookConfig {
    /// ValidateWebhookConfiguration.
    fn errors(&self, path: &Path, errors: &mut Errors) {
        let shown = duration::format;
        match self.timeout {
            0 => errors.push(field::required(&path.child("timeout"), "")),
            1..=TIMEOUT_MAX => {}
            nanos => errors.push(field::invalid(&path.child("timeout"), shown(nanos), "must be > 0s and <= 30s")),
        }
        for (name, nanos) in [("authorizedTTL", self.authorized_ttl), ("unauthorizedTTL", self.unauthorized_ttl)] {
            match nanos {
                0 => errors.push(field::required(&path.child(name), "")),
                1.. => {}
                nanos => errors.push(field::invalid(&path.child(name), shown(nanos), "must be > 0s")),
            }
        }
        self.version_errors(path, errors);
        let at = path.child("failurePolicy");
        match self.failure_policy.as_str() {
            "" => errors.push(field::required(&at, "")),
            "NoOpinion" | "Deny" => {}
            other => errors.push(field::not_supported(&at, other, &["NoOpinion", "Deny"])),
        }
        self.connection_errors(&path.child("connectionInfo"), errors);
        self.condition_errors(&path.child("matchConditions"), errors);
    }

    fn version_errors(&self, path: &Path, errors: &mut Errors) {
        let at = path.child("subjectAccessReviewVersion");
        match self.version.as_str() {
            "" => errors.push(field::required(&at, "")),
            "v1" | "v1beta1" => {}
            other => errors.push(field::not_supported(&at, other, &["v1", "v1beta1"])),
        }
        let at = path.child("matchConditionSubjectAccessReviewVersion");
        match self.condition_version.as_str() {
            "" if self.conditions.is_empty() => {}
            "" => errors.push(field::required(&at, "required if match conditions are specified")),
            "v1" => {}
            other => errors.push(field::not_supported(&at, other, &["v1"])),
        }
    }

    fn connection_errors(&self, path: &Path, errors: &mut Errors) {
        let at = path.child("kubeConfigFile");
        let file = self.kubeconfig.as_deref().unwrap_or_default();
        match self.connection.as_str() {
            "" => errors.push(field::required(&path.child("type"), "")),
            IN_CLUSTER => {
                if let Some(file) = &self.kubeconfig {
                    errors.push(field::invalid(&at, file, "can only be set when type=KubeConfigFile"));
                }
            }
            KUBECONFIG if file.is_empty() => errors.push(field::required(&at, "")),
            KUBECONFIG => errors.extend(wrong_file(file).map(|why| field::invalid(&at, file, why))),
            other => {
                #[derive(serde::Serialize)]
                #[serde(rename_all = "PascalCase")]
                struct Info<'a> {
                    r#type: &'a str,
                    kube_config_file: &'a Option<String>,
                }
                let info = Info { r#type: other, kube_config_file: &self.kubeconfig };
                errors.push(field::not_supported(&path.child("type"), field::Json(&info), &[IN_CLUSTER, KUBECONFIG]));
            }
        }
    }

    fn condition_errors(&self, path: &Path, errors: &mut Errors) {
        if self.conditions.len() > CONDITIONS_MAX {
            return errors.push(field::too_many(path, self.conditions.len(), CONDITIONS_MAX));
        }
        Conditions::compile(&self.conditions, path, errors);
    }
}

/// Why a kubeconfig is not where it is said to be.
fn wrong_file(file: &str) -> Option<String> {
    let path = FilePath::new(file);
    if !path.is_absolute() {
        return Some("must be an absolute path".into());
    }
    match std::fs::metadata(path) {
        Err(error) => Some(format!("error loading file: stat {file}: {}", go_error(&error))),
        Ok(found) if !found.is_file() => Some("must be a regular file".into()),
        Ok(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n";

    fn check(text: &str, expect: Result<&[&str], &str>) {
        let got = AuthorizationConfiguration::load(format!("{HEAD}{text}").as_bytes(), &["RBAC".into()]);
        let names = got.as_ref().map(|config| config.authorizers.iter().map(|a| a.name.as_str()).collect::<Vec<_>>());
        assert_eq!(names.as_deref().map_err(|why| why.as_str()), expect, "{text}");
    }

    #[test]
    fn authorizers_and_their_names() {
        check("authorizers: [{type: RBAC, name: rbac}]", Ok(&["rbac"]));
        check("authorizers: []", Err("authorizers: Required value: at least one authorization mode must be defined"));
        check("authorizers: [{name: a}]", Err("authorizers[0].type: Required value"));
        let types = r#""ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook""#;
        let unknown = format!("authorizers[0].type: Unsupported value: \"X\": supported values: {types}");
        check("authorizers: [{type: X}]", Err(&unknown));
        let abac = format!("authorizers[0].type: Invalid value: \"ABAC\": {NO_ABAC}");
        check("authorizers: [{type: ABAC, name: abac}]", Err(&abac));
        check(
            "authorizers: [{type: RBAC, name: rbac}, {type: RBAC, name: b}]",
            Err("authorizers[1].type: Duplicate value: \"RBAC\""),
        );
        check(
            "authorizers: [{type: RBAC, name: rbac}, {type: Node, name: rbac}]",
            Err("authorizers[1].name: Duplicate value: \"rbac\""),
        );
        check("authorizers: [{type: RBAC, name: x}]", Err("expected name rbac for authorizer RBAC instead of x"));
        check("authorizers: [{type: Node, name: node}]", Err("missing required types: [RBAC]"));
        let webhook = "authorizers[0].webhook: Invalid value: \"non-null\": may only be specified when type=Webhook";
        check("authorizers: [{type: RBAC, name: rbac, webhook: {timeout: 1s}}]", Err(webhook));
        let none = "authorizers[0].webhook: Required value: required when type=Webhook";
        check("authorizers: [{type: Webhook, name: w}]", Err(none));
        let unread = "failed to load AuthorizationConfiguration from file: strict decoding error: unknown field \"authorizers[0].foo\"";
        check("authorizers: [{foo: 1}]", Err(unread));
    }

    const GOOD: &str = "timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, matchConditionSubjectAccessReviewVersion: v1, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /dev/null}";

    fn check_webhook(webhook: &str, expect: &str) {
        let text =
            format!("authorizers: [{{type: RBAC, name: rbac}}, {{type: Webhook, name: w, webhook: {{{webhook}}}}}]");
        check(&text, Err(expect));
    }

    #[test]
    fn webhooks() {
        let at = "authorizers[1]";
        let regular =
            format!("{at}.connectionInfo.kubeConfigFile: Invalid value: \"/dev/null\": must be a regular file");
        check_webhook(GOOD, &regular);
        let all = [
            format!("{at}.timeout: Required value"),
            format!("{at}.subjectAccessReviewVersion: Required value"),
            format!("{at}.failurePolicy: Required value"),
            format!("{at}.connectionInfo.type: Required value"),
        ];
        check_webhook("", &format!("[{}]", all.join(", ")));
        let long = format!("[{at}.timeout: Invalid value: \"31s\": must be > 0s and <= 30s, {regular}]");
        check_webhook(&GOOD.replace("3s", "31s"), &long);
        let ttl = format!("[{at}.authorizedTTL: Invalid value: \"-1s\": must be > 0s, {regular}]");
        check_webhook(&format!("{GOOD}, authorizedTTL: -1s"), &ttl);
        let version = format!(
            "[{at}.subjectAccessReviewVersion: Unsupported value: \"v2\": supported values: \"v1\", \"v1beta1\", {regular}]"
        );
        check_webhook(
            &GOOD.replace("subjectAccessReviewVersion: v1, f", "subjectAccessReviewVersion: v2, f"),
            &version,
        );
        let policy = format!(
            "[{at}.failurePolicy: Unsupported value: \"Open\": supported values: \"NoOpinion\", \"Deny\", {regular}]"
        );
        check_webhook(&GOOD.replace("Deny", "Open"), &policy);
        let info = |info: &str| {
            format!("{}, connectionInfo: {info}", GOOD.split(", connectionInfo").next().unwrap_or_default())
        };
        let file = format!("{at}.connectionInfo.kubeConfigFile");
        check_webhook(&info("{type: KubeConfigFile}"), &format!("{file}: Required value"));
        check_webhook(
            &info("{type: KubeConfigFile, kubeConfigFile: a}"),
            &format!("{file}: Invalid value: \"a\": must be an absolute path"),
        );
        let gone = format!(
            "{file}: Invalid value: \"/nowhere\": error loading file: stat /nowhere: no such file or directory"
        );
        check_webhook(&info("{type: KubeConfigFile, kubeConfigFile: /nowhere}"), &gone);
        let cluster = format!("{file}: Invalid value: \"/a\": can only be set when type=KubeConfigFile");
        check_webhook(&info("{type: InClusterConfig, kubeConfigFile: /a}"), &cluster);
        let other = format!(
            "{at}.connectionInfo.type: Unsupported value: {{\"Type\":\"X\",\"KubeConfigFile\":null}}: supported values: \"InClusterConfig\", \"KubeConfigFile\""
        );
        check_webhook(&info("{type: X}"), &other);
        let conditions = |list: &str| format!("{}, matchConditions: [{list}]", info("{type: InClusterConfig}"));
        let expression = |at: usize| format!("authorizers[1].matchConditions[{at}].expression");
        check_webhook(&conditions("{expression: ' '}"), &format!("{}: Required value", expression(0)));
        let twice = format!("{}: Duplicate value: \"true\"", expression(1));
        check_webhook(&conditions("{expression: 'true'}, {expression: 'true'}"), &twice);
        let number = format!("{}: Invalid value: \"1\": must evaluate to bool but got int", expression(0));
        check_webhook(&conditions("{expression: '1'}"), &number);
        let version = format!(
            "{at}.matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified"
        );
        check_webhook(
            &conditions("{expression: 'true'}").replace("matchConditionSubjectAccessReviewVersion: v1, ", ""),
            &version,
        );
    }

    #[test]
    fn flags() {
        let check = |modes: &[&str], options: &AuthorizationOptions, expect: Result<&[&str], &str>| {
            let modes: Vec<String> = modes.iter().map(|mode| (*mode).to_owned()).collect();
            let got = AuthorizationConfiguration::of_flags(&modes, options);
            let names =
                got.as_ref().map(|config| config.authorizers.iter().map(|a| a.name.as_str()).collect::<Vec<_>>());
            assert_eq!(names.as_deref().map_err(|why| why.as_str()), expect, "{modes:?}");
        };
        let none = AuthorizationOptions::default();
        check(&["Node", "RBAC", "AlwaysDeny"], &none, Ok(&["node", "rbac", "alwaysdeny"]));
        check(&[], &none, Err("at least one authorization-mode must be passed"));
        check(&["X"], &none, Err("authorization-mode \"X\" is not a valid mode"));
        check(
            &["RBAC", "RBAC"],
            &none,
            Err("authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once"),
        );
        check(&["Webhook"], &none, Err("authorization-mode Webhook's authorization config file not passed"));
        let with = AuthorizationOptions { webhook_config_file: Some("/a".into()), ..none };
        check(&["RBAC"], &with, Err("cannot specify --authorization-webhook-config-file without mode Webhook"));
        check(&["Webhook", "RBAC"], &with, Ok(&["default", "rbac"]));
        let made = AuthorizationConfiguration::of_flags(&["Webhook".into()], &with).expect("made");
        let webhook = made.authorizers[0].webhook.as_ref().expect("a webhook");
        assert_eq!((webhook.ttl(true).as_secs(), webhook.ttl(false).as_secs()), (300, 30));
        assert_eq!((webhook.version.as_str(), webhook.failure_policy.as_str()), ("v1beta1", "NoOpinion"));
    }
}
