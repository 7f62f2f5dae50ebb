//! kube-apiserver's flags about who may ask, and what (pkg/kubeapiserver/options/{authentication,authorization}.go@v1.37.2).

use anyhow::Result;
use apiserver::{AuthenticationOptions, AuthorizationOptions, OidcOptions, TokenWebhookOptions};

use crate::flags::Values;

pub(super) const OIDC: [&str; 9] = [
    "oidc-ca-file",
    "oidc-client-id",
    "oidc-groups-claim",
    "oidc-groups-prefix",
    "oidc-issuer-url",
    "oidc-required-claim",
    "oidc-signing-algs",
    "oidc-username-claim",
    "oidc-username-prefix",
];

/// Flags that `--authorization-config` takes the place of.
pub(super) const LEGACY: [&str; 5] = [
    "authorization-mode",
    "authorization-webhook-config-file",
    "authorization-webhook-version",
    "authorization-webhook-cache-authorized-ttl",
    "authorization-webhook-cache-unauthorized-ttl",
];

pub(super) fn authentication(values: &Values) -> Result<AuthenticationOptions> {
    let token_webhook = match values.path("authentication-token-webhook-config-file") {
        None => None,
        Some(config_file) => Some(TokenWebhookOptions {
            config_file,
            version: values.text("authentication-token-webhook-version", "v1beta1"),
            cache_ttl: values.duration("authentication-token-webhook-cache-ttl", 120)?,
        }),
    };
    Ok(AuthenticationOptions {
        config_file: values.path("authentication-config"),
        anonymous_flag_set: values.get("anonymous-auth").is_some(),
        oidc: oidc(values)?,
        token_webhook,
    })
}

fn oidc(values: &Values) -> Result<OidcOptions> {
    let default = OidcOptions::default();
    let algorithms = values.list("oidc-signing-algs");
    let mut options = OidcOptions {
        flags_set: OIDC.iter().any(|flag| values.get(flag).is_some()),
        issuer_url: values.text("oidc-issuer-url", ""),
        client_id: values.text("oidc-client-id", ""),
        ca_file: values.path("oidc-ca-file"),
        username_claim: values.text("oidc-username-claim", &default.username_claim),
        username_prefix: values.text("oidc-username-prefix", ""),
        groups_claim: values.text("oidc-groups-claim", ""),
        groups_prefix: values.text("oidc-groups-prefix", ""),
        signing_algs: if algorithms.is_empty() { default.signing_algs } else { algorithms },
        required_claims: default.required_claims,
    };
    for given in values.all("oidc-required-claim") {
        // That there is one, the reader of flags has seen to.
        let (claim, value) = given.split_once('=').unwrap_or((given, ""));
        options.required_claims.insert(claim.trim().into(), value.trim().into());
    }
    Ok(options)
}

pub(super) fn authorization(values: &Values) -> Result<AuthorizationOptions> {
    let default = AuthorizationOptions::default();
    let (authorized, unauthorized) =
        (default.webhook_authorized_ttl.as_secs(), default.webhook_unauthorized_ttl.as_secs());
    Ok(AuthorizationOptions {
        config_file: values.path("authorization-config"),
        flags_set: LEGACY.iter().any(|flag| values.get(flag).is_some()),
        policy_file: values.path("authorization-policy-file"),
        webhook_config_file: values.path("authorization-webhook-config-file"),
        webhook_version: values.text("authorization-webhook-version", &default.webhook_version),
        webhook_authorized_ttl: values.duration("authorization-webhook-cache-authorized-ttl", authorized)?,
        webhook_unauthorized_ttl: values.duration("authorization-webhook-cache-unauthorized-ttl", unauthorized)?,
    })
}

/// `--authorization-mode`: everybody may do everything, unless somebody is named who decides (Complete).
pub(super) fn modes(values: &Values) -> Vec<String> {
    let modes = values.list("authorization-mode");
    if modes.is_empty() && values.path("authorization-config").is_none() { vec!["AlwaysAllow".into()] } else { modes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::kube_apiserver::FLAGS;

    fn values(arguments: &str) -> Values {
        let arguments: Vec<String> = arguments.split_whitespace().map(Into::into).collect();
        crate::flags::parse("kube-apiserver", FLAGS, &arguments).expect("flags")
    }

    #[test]
    fn flags_of_access() {
        let given = values(
            "--oidc-issuer-url=https://a --oidc-client-id b --oidc-required-claim=x=1,2 --oidc-required-claim=y=z=w \
             --authorization-webhook-cache-authorized-ttl=1m30s --anonymous-auth=false",
        );
        let options = authentication(&given).expect("options");
        assert!(options.oidc.flags_set && options.anonymous_flag_set);
        let claims: Vec<_> = options.oidc.required_claims.into_iter().collect();
        assert_eq!(claims, [("x".into(), "1,2".into()), ("y".into(), "z=w".into())]);
        let authorization = authorization(&given).expect("options");
        assert_eq!((authorization.flags_set, authorization.webhook_authorized_ttl.as_secs()), (true, 90));
        assert_eq!(modes(&given), ["AlwaysAllow"]);
        let none = values("--authorization-config=/a");
        assert_eq!((modes(&none).len(), authentication(&none).expect("options").oidc.flags_set), (0, false));
    }
}
