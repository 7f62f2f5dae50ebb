//! AuthenticationConfiguration as a file holds it, and what the `--oidc-*` flags make of it
//! (k8s.io/apiserver/pkg/apis/apiserver/types.go@v0.37.2, pkg/kubeapiserver/options/authentication.go@v1.37.2).
//!
//! Invariant: the three versions of the file are one. Non-goal: whether the values make sense.

use api::facts::Type;
use api::value::Map;

use crate::configuration::{self, Expected, field, pointer, schema};
use crate::options::OidcOptions;

const TEXT: Type = Type::String;

schema!(CONDITION, "AnonymousAuthCondition", false, [field("path", TEXT)]);
schema!(
    ANONYMOUS,
    "AnonymousAuthConfig",
    false,
    [field("enabled", Type::Bool), field("conditions", Type::List(&Type::Struct(&CONDITION))),]
);
schema!(
    ISSUER,
    "Issuer",
    false,
    [
        field("url", TEXT),
        pointer("discoveryURL", TEXT),
        field("certificateAuthority", TEXT),
        field("audiences", Type::List(&TEXT)),
        field("audienceMatchPolicy", TEXT),
        field("egressSelectorType", TEXT),
    ]
);
schema!(
    CLAIM_RULE,
    "ClaimValidationRule",
    false,
    [field("claim", TEXT), field("requiredValue", TEXT), field("expression", TEXT), field("message", TEXT),]
);
schema!(
    PREFIXED,
    "PrefixedClaimOrExpression",
    false,
    [field("claim", TEXT), pointer("prefix", TEXT), field("expression", TEXT),]
);
schema!(CLAIM, "ClaimOrExpression", false, [field("claim", TEXT), field("expression", TEXT)]);
schema!(EXTRA, "ExtraMapping", false, [field("key", TEXT), field("valueExpression", TEXT)]);
schema!(
    MAPPINGS,
    "ClaimMappings",
    false,
    [
        field("username", Type::Struct(&PREFIXED)),
        field("groups", Type::Struct(&PREFIXED)),
        field("uid", Type::Struct(&CLAIM)),
        field("extra", Type::List(&Type::Struct(&EXTRA))),
    ]
);
schema!(USER_RULE, "UserValidationRule", false, [field("expression", TEXT), field("message", TEXT)]);
schema!(
    JWT,
    "JWTAuthenticator",
    false,
    [
        field("issuer", Type::Struct(&ISSUER)),
        field("claimValidationRules", Type::List(&Type::Struct(&CLAIM_RULE))),
        field("claimMappings", Type::Struct(&MAPPINGS)),
        field("userValidationRules", Type::List(&Type::Struct(&USER_RULE))),
    ]
);
schema!(
    CONFIGURATION,
    "AuthenticationConfiguration",
    true,
    [field("jwt", Type::List(&Type::Struct(&JWT))), pointer("anonymous", Type::Struct(&ANONYMOUS)),]
);

const EXPECTED: Expected = Expected {
    kind: "AuthenticationConfiguration",
    ty: &CONFIGURATION,
    scheme: "pkg/kubeapiserver/options/authentication.go:874",
};

/// AuthenticationConfiguration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AuthenticationConfiguration {
    pub(crate) jwt: Vec<JwtAuthenticator>,
    pub(crate) anonymous: Option<AnonymousConfig>,
}

/// AnonymousAuthConfig.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnonymousConfig {
    pub(crate) enabled: bool,
    /// Paths; none stands for all.
    pub(crate) conditions: Vec<String>,
}

/// JWTAuthenticator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct JwtAuthenticator {
    pub(crate) issuer: IssuerConfig,
    pub(crate) claim_rules: Vec<ClaimRule>,
    pub(crate) username: Mapping,
    pub(crate) groups: Mapping,
    pub(crate) uid: Mapping,
    pub(crate) extra: Vec<ExtraMapping>,
    pub(crate) user_rules: Vec<UserRule>,
}

/// Issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IssuerConfig {
    pub(crate) url: String,
    pub(crate) discovery_url: String,
    /// PEM; empty for the roots of the machine.
    pub(crate) certificate_authority: String,
    pub(crate) audiences: Vec<String>,
    pub(crate) audience_match_policy: String,
    pub(crate) egress_selector_type: String,
}

/// PrefixedClaimOrExpression; `uid` has no prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) claim: String,
    pub(crate) prefix: Option<String>,
    pub(crate) expression: String,
}

/// ClaimValidationRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClaimRule {
    pub(crate) claim: String,
    pub(crate) required_value: String,
    pub(crate) expression: String,
    pub(crate) message: String,
}

/// ExtraMapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtraMapping {
    pub(crate) key: String,
    pub(crate) value_expression: String,
}

/// UserValidationRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserRule {
    pub(crate) expression: String,
    pub(crate) message: String,
}

fn text(map: &Map, name: &str) -> String {
    map.str(name).to_owned()
}

fn part<'a>(map: &'a Map, name: &str) -> &'a Map {
    map.map(name).unwrap_or(Map::EMPTY)
}

impl AuthenticationConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// Upstream's texts for what cannot be decoded (loadAuthenticationConfigFromData).
    pub(crate) fn decode(data: &[u8]) -> Result<Self, String> {
        if data.is_empty() {
            return Err("empty config data".into());
        }
        let file = configuration::decode(data, &EXPECTED)?;
        let anonymous = file.map("anonymous").map(|anonymous| AnonymousConfig {
            enabled: anonymous.bool("enabled") == Some(true),
            conditions: anonymous.maps("conditions").map(|condition| text(condition, "path")).collect(),
        });
        Ok(AuthenticationConfiguration { jwt: file.maps("jwt").map(JwtAuthenticator::of).collect(), anonymous })
    }

    /// What the `--oidc-*` flags say; `ca` is the content of `--oidc-ca-file`.
    pub(crate) fn of_flags(flags: &OidcOptions, ca: String) -> Self {
        let prefix = match flags.username_prefix.as_str() {
            // Names of one issuer must not be taken for those of another.
            "" if flags.username_claim != "email" => format!("{}#", flags.issuer_url),
            "-" => String::new(),
            prefix => prefix.to_owned(),
        };
        let rule = |(claim, value): (&String, &String)| ClaimRule {
            claim: claim.clone(),
            required_value: value.clone(),
            ..ClaimRule::default()
        };
        let groups = Mapping {
            claim: flags.groups_claim.clone(),
            prefix: Some(flags.groups_prefix.clone()),
            ..Mapping::default()
        };
        let authenticator = JwtAuthenticator {
            issuer: IssuerConfig {
                url: flags.issuer_url.clone(),
                audiences: vec![flags.client_id.clone()],
                certificate_authority: ca,
                ..IssuerConfig::default()
            },
            username: Mapping { claim: flags.username_claim.clone(), prefix: Some(prefix), ..Mapping::default() },
            groups: if flags.groups_claim.is_empty() { Mapping::default() } else { groups },
            claim_rules: flags.required_claims.iter().map(rule).collect(),
            ..JwtAuthenticator::default()
        };
        AuthenticationConfiguration { jwt: vec![authenticator], anonymous: None }
    }
}

impl JwtAuthenticator {
    fn of(map: &Map) -> Self {
        let mappings = part(map, "claimMappings");
        let claim_rule = |rule: &Map| ClaimRule {
            claim: text(rule, "claim"),
            required_value: text(rule, "requiredValue"),
            expression: text(rule, "expression"),
            message: text(rule, "message"),
        };
        let extra =
            |extra: &Map| ExtraMapping { key: text(extra, "key"), value_expression: text(extra, "valueExpression") };
        let user_rule = |rule: &Map| UserRule { expression: text(rule, "expression"), message: text(rule, "message") };
        JwtAuthenticator {
            issuer: IssuerConfig::of(part(map, "issuer")),
            claim_rules: map.maps("claimValidationRules").map(claim_rule).collect(),
            username: Mapping::of(part(mappings, "username")),
            groups: Mapping::of(part(mappings, "groups")),
            uid: Mapping::of(part(mappings, "uid")),
            extra: mappings.maps("extra").map(extra).collect(),
            user_rules: map.maps("userValidationRules").map(user_rule).collect(),
        }
    }
}

impl IssuerConfig {
    fn of(map: &Map) -> Self {
        let audience = |value: &api::value::Value| value.as_str().unwrap_or_default().to_owned();
        IssuerConfig {
            url: text(map, "url"),
            discovery_url: text(map, "discoveryURL"),
            certificate_authority: text(map, "certificateAuthority"),
            audiences: map.list("audiences").iter().map(audience).collect(),
            audience_match_policy: text(map, "audienceMatchPolicy"),
            egress_selector_type: text(map, "egressSelectorType"),
        }
    }
}

impl Mapping {
    fn of(map: &Map) -> Self {
        let prefix = map.get("prefix").and_then(|prefix| prefix.as_str()).map(str::to_owned);
        Mapping { claim: text(map, "claim"), prefix, expression: text(map, "expression") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_every_version() {
        for version in ["v1", "v1beta1", "v1alpha1"] {
            let text = format!(
                "apiVersion: apiserver.config.k8s.io/{version}
kind: AuthenticationConfiguration
anonymous: {{enabled: true, conditions: [{{path: /livez}}]}}
jwt:
- issuer: {{url: 'https://a', audiences: [b], discoveryURL: 'https://c'}}
  claimMappings:
    username: {{claim: sub, prefix: ''}}
    groups: {{expression: claims.roles}}
    extra: [{{key: example.org/x, valueExpression: claims.x}}]
  claimValidationRules: [{{claim: hd, requiredValue: d}}]
  userValidationRules: [{{expression: 'true', message: m}}]
"
            );
            let read = AuthenticationConfiguration::decode(text.as_bytes()).expect("read");
            let anonymous = AnonymousConfig { enabled: true, conditions: vec!["/livez".into()] };
            assert_eq!(read.anonymous, Some(anonymous));
            let [jwt] = read.jwt.as_slice() else { panic!("one") };
            assert_eq!((jwt.issuer.discovery_url.as_str(), jwt.issuer.audiences.len()), ("https://c", 1));
            assert_eq!(jwt.username, Mapping { claim: "sub".into(), prefix: Some("".into()), ..Mapping::default() });
            assert_eq!(jwt.groups, Mapping { expression: "claims.roles".into(), ..Mapping::default() });
            assert_eq!((jwt.extra[0].key.as_str(), jwt.claim_rules[0].claim.as_str()), ("example.org/x", "hd"));
            assert_eq!(jwt.user_rules[0].message, "m");
        }
        assert_eq!(AuthenticationConfiguration::decode(b"").err().as_deref(), Some("empty config data"));
    }

    fn check_prefix(claim: &str, prefix: &str, expect: &str) {
        let flags = OidcOptions {
            issuer_url: "https://a".into(),
            username_claim: claim.into(),
            username_prefix: prefix.into(),
            ..OidcOptions::default()
        };
        let made = AuthenticationConfiguration::of_flags(&flags, String::new());
        assert_eq!(made.jwt[0].username.prefix.as_deref(), Some(expect), "{claim} {prefix}");
    }

    #[test]
    fn names_of_flags_have_the_issuer_before_them() {
        check_prefix("sub", "", "https://a#");
        check_prefix("email", "", "");
        check_prefix("sub", "-", "");
        check_prefix("email", "oidc:", "oidc:");
    }
}
