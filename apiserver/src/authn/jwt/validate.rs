//! Whether an AuthenticationConfiguration makes sense, and what its expressions compile to
//! (k8s.io/apiserver/pkg/apis/apiserver/validation/validation.go@v0.37.2).
//!
//! Invariant: the errors, their places and their order are upstream's.

use std::collections::{BTreeSet, HashSet};

use api::field::{self, Errors, Path};
use api::{gourl, names};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::config::{AuthenticationConfiguration, IssuerConfig, JwtAuthenticator, Mapping};
use super::expression::{About, Expression, Unusable};

/// Most authenticators of a configuration.
const AUTHENTICATORS_MAX: usize = 64;
const BOTH: &str = "claim and expression can't both be set";
const NEITHER: &str = "claim or expression is required";
const MATCH_ANY: &str = "MatchAny";

/// The expressions of one authenticator.
#[derive(Clone, Debug, Default)]
pub(super) struct Compiled {
    pub(super) username: Option<Expression>,
    pub(super) groups: Option<Expression>,
    pub(super) uid: Option<Expression>,
    pub(super) extra: Vec<(String, Expression)>,
    /// With the message of each.
    pub(super) claim_rules: Vec<(Expression, String)>,
    pub(super) user_rules: Vec<(Expression, String)>,
}

/// ValidateAuthenticationConfiguration. `disallowed`: issuers that others have.
pub(crate) fn configuration(config: &AuthenticationConfiguration, disallowed: &[String]) -> Errors {
    let root = Path::new("jwt");
    if config.jwt.len() > AUTHENTICATORS_MAX {
        return vec![field::too_many(&root, config.jwt.len(), AUTHENTICATORS_MAX)];
    }
    let mut errors = Errors::new();
    let (mut issuers, mut discoveries) = (HashSet::new(), HashSet::new());
    for (at, jwt) in config.jwt.iter().enumerate() {
        let path = root.index(at);
        errors.extend(authenticator(jwt, &path, disallowed).1);
        let issuer = path.child("issuer");
        if !issuers.insert(&jwt.issuer.url) {
            errors.push(field::duplicate(&issuer.child("url"), &jwt.issuer.url));
        }
        let discovery = &jwt.issuer.discovery_url;
        if !discovery.is_empty() && !discoveries.insert(discovery) {
            errors.push(field::duplicate(&issuer.child("discoveryURL"), discovery));
        }
    }
    if let Some(anonymous) = config.anonymous.as_ref().filter(|a| !a.enabled && !a.conditions.is_empty()) {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Condition<'a> {
            path: &'a str,
        }
        let conditions: Vec<_> = anonymous.conditions.iter().map(|path| Condition { path }).collect();
        let why = "enabled should be set to true when conditions are defined";
        errors.push(field::invalid(&Path::new("anonymous").child("conditions"), field::Json(&conditions), why));
    }
    errors
}

/// validateJWTAuthenticator.
pub(super) fn authenticator(jwt: &JwtAuthenticator, path: &Path, disallowed: &[String]) -> (Compiled, Errors) {
    let mut compiled = Compiled::default();
    let mut errors = issuer(&jwt.issuer, &path.child("issuer"), disallowed);
    claim_rules(jwt, &path.child("claimValidationRules"), &mut compiled, &mut errors);
    mappings(jwt, &path.child("claimMappings"), &mut compiled, &mut errors);
    user_rules(jwt, &path.child("userValidationRules"), &mut compiled, &mut errors);
    (compiled, errors)
}

fn issuer(issuer: &IssuerConfig, path: &Path, disallowed: &[String]) -> Errors {
    let (at, url) = (path.child("url"), issuer.url.as_str());
    let mut errors = match url {
        "" => vec![field::required(&at, "")],
        url => url_errors(url, &at, disallowed),
    };
    let (at, discovery) = (path.child("discoveryURL"), issuer.discovery_url.as_str());
    if !discovery.is_empty() {
        if !url.is_empty() && url.trim_end_matches('/') == discovery.trim_end_matches('/') {
            errors.push(field::invalid(&at, discovery, "discoveryURL must be different from URL"));
        }
        errors.extend(url_errors(discovery, &at, &[]));
    }
    errors.extend(audiences(issuer, path));
    let certificates = issuer.certificate_authority.as_bytes();
    let mut found = CertificateDer::pem_slice_iter(certificates).filter_map(Result::ok);
    if !certificates.is_empty() && found.next().is_none() {
        let why = "data does not contain any valid RSA or ECDSA certificates";
        errors.push(field::invalid(&path.child("certificateAuthority"), "<omitted>", why));
    }
    let egress = issuer.egress_selector_type.as_str();
    if !matches!(egress, "" | "controlplane" | "cluster") {
        let why = "egress selector must be either controlplane or cluster";
        errors.push(field::invalid(&path.child("egressSelectorType"), egress, why));
    }
    errors
}

fn url_errors(text: &str, at: &Path, disallowed: &[String]) -> Errors {
    let mut errors = Errors::new();
    let mut refuse = |why: String| errors.push(field::invalid(at, text, why));
    if disallowed.iter().any(|issuer| issuer == text) {
        let sorted: BTreeSet<&str> = disallowed.iter().map(String::as_str).collect();
        let list = sorted.into_iter().collect::<Vec<_>>().join(" ");
        refuse(format!("URL must not overlap with disallowed issuers: [{list}]"));
    }
    match gourl::parse(text) {
        Err(why) => refuse(why),
        Ok(url) => {
            let checks = [
                (url.scheme != "https", "URL scheme must be https"),
                (url.user.is_some(), "URL must not contain a username or password"),
                (!url.query.is_empty(), "URL must not contain a query"),
                (!url.fragment.is_empty(), "URL must not contain a fragment"),
            ];
            checks.into_iter().filter(|check| check.0).for_each(|check| refuse(check.1.into()));
        }
    }
    errors
}

fn audiences(issuer: &IssuerConfig, path: &Path) -> Errors {
    let at = path.child("audiences");
    if issuer.audiences.is_empty() {
        return vec![field::required(&at, format!("at least one {at} is required"))];
    }
    let mut errors = Errors::new();
    let mut seen = HashSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.push(field::required(&at.index(index), ""));
        }
        if !seen.insert(audience) {
            errors.push(field::duplicate(&at.index(index), audience));
        }
    }
    let policy = issuer.audience_match_policy.as_str();
    let why = match issuer.audiences.len() {
        1 if !matches!(policy, "" | MATCH_ANY) => "audienceMatchPolicy must be empty or MatchAny for single audience",
        2.. if policy != MATCH_ANY => "audienceMatchPolicy must be MatchAny for multiple audiences",
        _ => return errors,
    };
    errors.push(field::invalid(&path.child("audienceMatchPolicy"), policy, why));
    errors
}

fn compile(text: &str, about: About, rule: bool, at: &Path, errors: &mut Errors) -> Option<Expression> {
    match Expression::compile(text, about, rule) {
        Ok(expression) => return Some(expression),
        Err(Unusable::Invalid(why)) => errors.push(field::invalid(at, text, why)),
        Err(Unusable::Internal(why)) => errors.push(field::internal(at, why)),
    }
    None
}

fn claim_rules(jwt: &JwtAuthenticator, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
    for (at, rule) in jwt.claim_rules.iter().enumerate() {
        let path = path.index(at);
        match (rule.claim.as_str(), rule.expression.as_str()) {
            ("", "") => errors.push(field::required(&path, NEITHER)),
            (claim, "") => {
                if !rule.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    errors.push(field::invalid(&path.child("message"), &rule.message, why));
                }
                if !claims.insert(claim) {
                    errors.push(field::duplicate(&path.child("claim"), claim));
                }
            }
            ("", expression) => {
                if !rule.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    errors.push(field::invalid(&path.child("requiredValue"), &rule.required_value, why));
                }
                let at = path.child("expression");
                if !expressions.insert(expression) {
                    errors.push(field::duplicate(&at, expression));
                    continue;
                }
                let made = compile(expression, About::Claims, true, &at, errors);
                compiled.claim_rules.extend(made.map(|made| (made, rule.message.clone())));
            }
            (claim, _) => errors.push(field::invalid(&path, claim, BOTH)),
        }
    }
}

fn mappings(jwt: &JwtAuthenticator, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    compiled.username = prefixed(&jwt.username, &path.child("username"), true, errors);
    compiled.groups = prefixed(&jwt.groups, &path.child("groups"), false, errors);
    let at = path.child("uid");
    match (jwt.uid.claim.as_str(), jwt.uid.expression.as_str()) {
        (_, "") => {}
        ("", expression) => {
            compiled.uid = compile(expression, About::Claims, false, &at.child("expression"), errors);
        }
        _ => errors.push(field::invalid(&at, "", BOTH)),
    }
    extra(jwt, path, compiled, errors);
    let rules = compiled.claim_rules.iter().map(|rule| &rule.0);
    let mut readers = rules.chain(compiled.extra.iter().map(|extra| &extra.1)).chain(&compiled.username);
    let email = compiled.username.as_ref().is_some_and(|username| username.reads_claim("email"));
    if email && !readers.any(|reader| reader.reads_claim("email_verified")) {
        let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        let at = path.child("username").child("expression");
        errors.push(field::invalid(&at, &jwt.username.expression, why));
    }
}

/// validatePrefixClaimOrExpression.
fn prefixed(mapping: &Mapping, path: &Path, required: bool, errors: &mut Errors) -> Option<Expression> {
    let before = errors.len();
    let mut made = None;
    match (mapping.claim.as_str(), mapping.expression.as_str()) {
        ("", "") if required => errors.push(field::required(path, NEITHER)),
        ("", "") => {}
        ("", expression) => {
            if let Some(prefix) = &mapping.prefix {
                let why = "may not be specified when expression is set";
                errors.push(field::invalid(&path.child("prefix"), prefix, why));
            }
            made = compile(expression, About::Claims, false, &path.child("expression"), errors);
        }
        (_, "") if mapping.prefix.is_none() => {
            let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
            errors.push(field::required(&path.child("prefix"), why));
        }
        (_, "") => {}
        _ => errors.push(field::invalid(path, "", BOTH)),
    }
    made.filter(|_| errors.len() == before)
}

fn extra(jwt: &JwtAuthenticator, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, mapping) in jwt.extra.iter().enumerate() {
        let path = path.child("extra").index(at);
        let (at, key) = (path.child("key"), mapping.key.as_str());
        errors.extend(names::is_domain_prefixed_path(&at, key));
        if key != key.to_lowercase() {
            errors.push(field::invalid(&at, key, "must be lowercase"));
        }
        if is_reserved(key) {
            let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            errors.push(field::invalid(&at, key, why));
        }
        if !seen.insert(key) {
            errors.push(field::duplicate(&at, key));
            continue;
        }
        let at = path.child("valueExpression");
        if mapping.value_expression.is_empty() {
            errors.push(field::required(&at, ""));
            continue;
        }
        let made = compile(&mapping.value_expression, About::Claims, false, &at, errors);
        compiled.extra.extend(made.map(|made| (key.to_owned(), made)));
    }
}

fn is_reserved(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    ["kubernetes.io", "k8s.io"]
        .iter()
        .any(|own| domain.strip_suffix(own).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

fn user_rules(jwt: &JwtAuthenticator, path: &Path, compiled: &mut Compiled, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, rule) in jwt.user_rules.iter().enumerate() {
        let at = path.index(at).child("expression");
        if rule.expression.is_empty() {
            errors.push(field::required(&at, ""));
        } else if !seen.insert(&rule.expression) {
            errors.push(field::duplicate(&at, &rule.expression));
        } else {
            let made = compile(&rule.expression, About::User, true, &at, errors);
            compiled.user_rules.extend(made.map(|made| (made, rule.message.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
    const ISSUER: &str = "issuer: {url: 'https://a', audiences: [x]}";
    const USERNAME: &str = "claimMappings: {username: {claim: sub, prefix: ''}}";

    fn errors_of(text: &str) -> Vec<String> {
        let read = AuthenticationConfiguration::decode(format!("{HEAD}{text}").as_bytes());
        let config = read.unwrap_or_else(|why| panic!("{why}: {text}"));
        configuration(&config, &["https://taken".into()]).iter().map(ToString::to_string).collect()
    }

    fn check(text: &str, expect: &[&str]) {
        assert_eq!(errors_of(text), expect, "{text}");
    }

    fn check_issuer(issuer: &str, expect: &[&str]) {
        check(&format!("jwt:\n- issuer: {issuer}\n  {USERNAME}\n"), expect);
    }

    #[test]
    fn issuers() {
        check_issuer("{url: 'https://a', audiences: [x]}", &[]);
        check_issuer("{audiences: [x]}", &["jwt[0].issuer.url: Required value"]);
        let scheme = "jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https";
        check_issuer("{url: 'http://a', audiences: [x]}", &[scheme]);
        let user =
            "jwt[0].issuer.url: Invalid value: \"https://u:p@a?q#f\": URL must not contain a username or password";
        let query = "jwt[0].issuer.url: Invalid value: \"https://u:p@a?q#f\": URL must not contain a query";
        let fragment = "jwt[0].issuer.url: Invalid value: \"https://u:p@a?q#f\": URL must not contain a fragment";
        check_issuer("{url: 'https://u:p@a?q#f', audiences: [x]}", &[user, query, fragment]);
        let taken = "jwt[0].issuer.url: Invalid value: \"https://taken\": URL must not overlap with disallowed issuers: [https://taken]";
        check_issuer("{url: 'https://taken', audiences: [x]}", &[taken]);
        let same = "jwt[0].issuer.discoveryURL: Invalid value: \"https://a/\": discoveryURL must be different from URL";
        check_issuer("{url: 'https://a', discoveryURL: 'https://a/', audiences: [x]}", &[same]);
        let none = "jwt[0].issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required";
        check_issuer("{url: 'https://a'}", &[none]);
        let twice = "jwt[0].issuer.audiences[1]: Duplicate value: \"x\"";
        let policy = "jwt[0].issuer.audienceMatchPolicy: Invalid value: \"\": audienceMatchPolicy must be MatchAny for multiple audiences";
        check_issuer("{url: 'https://a', audiences: [x, x]}", &[twice, policy]);
        check_issuer("{url: 'https://a', audiences: [x, z], audienceMatchPolicy: MatchAny}", &[]);
        let ca = "jwt[0].issuer.certificateAuthority: Invalid value: \"<omitted>\": data does not contain any valid RSA or ECDSA certificates";
        check_issuer("{url: 'https://a', audiences: [x], certificateAuthority: 'no'}", &[ca]);
        let egress = "jwt[0].issuer.egressSelectorType: Invalid value: \"etcd\": egress selector must be either controlplane or cluster";
        check_issuer("{url: 'https://a', audiences: [x], egressSelectorType: etcd}", &[egress]);
    }

    fn check_mappings(mappings: &str, expect: &[&str]) {
        check(&format!("jwt:\n- {ISSUER}\n  {mappings}\n"), expect);
    }

    #[test]
    fn mappings_of_claims() {
        let at = "jwt[0].claimMappings";
        check_mappings("claimMappings: {}", &[&format!("{at}.username: Required value: {NEITHER}")]);
        let prefix = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
        check_mappings(
            "claimMappings: {username: {claim: sub}, groups: {claim: g}}",
            &[
                &format!("{at}.username.prefix: Required value: {prefix}"),
                &format!("{at}.groups.prefix: Required value: {prefix}"),
            ],
        );
        check_mappings(
            "claimMappings: {username: {claim: sub, expression: claims.sub}}",
            &[&format!("{at}.username: Invalid value: \"\": {BOTH}")],
        );
        check_mappings(
            "claimMappings: {username: {expression: claims.sub, prefix: a}}",
            &[&format!("{at}.username.prefix: Invalid value: \"a\": may not be specified when expression is set")],
        );
        let bad = errors_of(&format!("jwt:\n- {ISSUER}\n  claimMappings: {{username: {{expression: foo.bar}}}}\n"));
        let start = format!(
            "{at}.username.expression: Invalid value: \"foo.bar\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')"
        );
        assert!(bad[0].starts_with(&start), "{bad:?}");
        let email = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        check_mappings(
            "claimMappings: {username: {expression: claims.email}}",
            &[&format!("{at}.username.expression: Invalid value: \"claims.email\": {email}")],
        );
        check_mappings(
            "claimMappings: {username: {expression: claims.email}}\n  claimValidationRules: [{expression: 'claims.?email_verified.orValue(true) == true'}]",
            &[],
        );
        let keys = "claimMappings: {username: {claim: sub, prefix: ''}, extra: [{key: a.k8s.io/x, valueExpression: claims.x}, {key: example.org/A}, {key: a.k8s.io/x}]}";
        let reserved = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
        check_mappings(
            keys,
            &[
                &format!("{at}.extra[0].key: Invalid value: \"a.k8s.io/x\": {reserved}"),
                &format!("{at}.extra[1].key: Invalid value: \"example.org/A\": must be lowercase"),
                &format!("{at}.extra[1].valueExpression: Required value"),
                &format!("{at}.extra[2].key: Invalid value: \"a.k8s.io/x\": {reserved}"),
                &format!("{at}.extra[2].key: Duplicate value: \"a.k8s.io/x\""),
            ],
        );
    }

    #[test]
    fn rules_on_claims_and_users() {
        let rules = |rules: &str| format!("jwt:\n- {ISSUER}\n  {USERNAME}\n  {rules}\n");
        let at = "jwt[0].claimValidationRules";
        check(
            &rules("claimValidationRules: [{claim: a, expression: 'true'}, {}, {claim: a, message: m}, {claim: a}]"),
            &[
                &format!("{at}[0]: Invalid value: \"a\": {BOTH}"),
                &format!("{at}[1]: Required value: {NEITHER}"),
                &format!("{at}[2].message: Invalid value: \"m\": may not be specified when claim is set"),
                &format!("{at}[3].claim: Duplicate value: \"a\""),
            ],
        );
        check(
            &rules(
                "claimValidationRules: [{expression: 'true', requiredValue: v}, {expression: 'true'}, {expression: '1'}]",
            ),
            &[
                &format!("{at}[0].requiredValue: Invalid value: \"v\": may not be specified when expression is set"),
                &format!("{at}[1].expression: Duplicate value: \"true\""),
                &format!("{at}[2].expression: Invalid value: \"1\": must evaluate to bool"),
            ],
        );
        let at = "jwt[0].userValidationRules";
        check(
            &rules("userValidationRules: [{message: m}, {expression: 'true'}, {expression: 'true'}]"),
            &[
                &format!("{at}[0].expression: Required value"),
                &format!("{at}[2].expression: Duplicate value: \"true\""),
            ],
        );
    }

    #[test]
    fn whole_configurations() {
        let one = format!("- {ISSUER}\n  {USERNAME}\n");
        check(&format!("jwt:\n{one}{one}"), &["jwt[1].issuer.url: Duplicate value: \"https://a\""]);
        let many = one.repeat(65);
        check(&format!("jwt:\n{many}"), &["jwt: Too many: 65: must have at most 64 items"]);
        let why = "anonymous.conditions: Invalid value: [{\"Path\":\"/x\"}]: enabled should be set to true when conditions are defined";
        check("anonymous: {enabled: false, conditions: [{path: /x}]}", &[why]);
        check("anonymous: {enabled: true, conditions: [{path: /x}]}", &[]);
        check("jwt: []", &[]);
    }
}
