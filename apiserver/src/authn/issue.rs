//! Issuing service account tokens: the TokenRequest subresource.
//!
//! A request is checked, its bound object is read, the claims are made (a pure function of objects, time and id) and
//! signed. Non-goal: tokens bound to webhook configurations (an alpha feature, off by default upstream).
//!
//! Upstream: `pkg/registry/core/serviceaccount/storage/token.go@v1.37.2`,
//! `pkg/apis/authentication/validation/validation.go@v1.37.2`.

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec, TokenRequestStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::jws::SigningKey;
use super::service_account::{Kubernetes, Ref, credential_id, make_username};
use super::text::quote;
use super::{Found, Lookup};

/// The default of `spec.expirationSeconds`.
const DEFAULT_EXPIRATION_SECONDS: i64 = 60 * 60;
/// The least lifetime that may be asked for.
const MIN_EXPIRATION_SECONDS: i64 = 10 * 60;
/// The greatest lifetime that may be asked for.
const MAX_EXPIRATION_SECONDS: i64 = 1 << 32;
/// The lifetime that the ServiceAccount admission plugin asks for, by which its tokens are recognised: clients that
/// never reload the file are warned about and not yet refused after it.
pub(crate) const WARN_ONLY_EXPIRATION_SECONDS: i64 = 60 * 60 + 7;
/// How long such a token really lives.
const EXTENDED_EXPIRATION_SECONDS: i64 = 365 * 24 * 60 * 60;

/// What signs tokens, and for how long.
pub(crate) struct Issuer {
    pub(crate) key: SigningKey,
    /// The `iss` claim: the first `--service-account-issuer`.
    pub(crate) issuer: String,
    /// The API server's audiences, the default of `spec.audiences`.
    pub(crate) audiences: Vec<String>,
    /// `--service-account-max-token-expiration`; `None` sets no limit.
    pub(crate) max_expiration_seconds: Option<i64>,
    /// `--service-account-extend-token-expiration`, on by default.
    pub(crate) extend_expiration: bool,
}

/// A field error: path, reason (a metav1.CauseType) and message without the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldProblem {
    pub(crate) field: String,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl FieldProblem {
    pub(crate) fn invalid(field: &str, value: &str, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        FieldProblem { field: field.into(), reason: "FieldValueInvalid", message }
    }

    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message = format!("Required value: {detail}");
        FieldProblem { field: field.into(), reason: "FieldValueRequired", message }
    }

    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        FieldProblem { field: field.into(), reason: "FieldValueForbidden", message: format!("Forbidden: {detail}") }
    }
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(String),
    /// The resource (core group) and the name.
    NotFound(&'static str, String),
    Conflict {
        group: &'static str,
        resource: String,
        name: String,
        message: String,
    },
    /// Invalid TokenRequest (group authentication.k8s.io).
    Invalid {
        name: String,
        problems: Vec<FieldProblem>,
    },
    Internal(String),
}

/// A token and what to say about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Issued {
    pub(crate) response: TokenRequest,
    pub(crate) warnings: Vec<String>,
    /// For the audit annotation `authentication.kubernetes.io/issued-credential-id`.
    pub(crate) credential_id: String,
}

impl Issuer {
    /// Answers a TokenRequest for the account in the URL. `id` is a fresh uuid.
    pub(crate) async fn token_request(
        &self,
        (namespace, name): (&str, &str),
        request: TokenRequest,
        lookup: &dyn Lookup,
        now: jiff::Timestamp,
        id: &str,
    ) -> Result<Issued, Refusal> {
        check_names(&request, namespace, name)?;
        let account = lookup.object("serviceaccounts", namespace, name).await;
        let account = account.ok_or_else(|| Refusal::NotFound("serviceaccounts", name.into()))?;
        let mut request = self.complete(request, (namespace, name, &account.uid), now)?;
        let problems = request.spec.as_ref().map(validate).unwrap_or_default();
        if !problems.is_empty() {
            return Err(Refusal::Invalid { name: String::new(), problems });
        }
        let mut binding = Kubernetes {
            namespace: namespace.into(),
            serviceaccount: Ref { name: name.into(), uid: account.uid },
            ..Kubernetes::default()
        };
        let spec = request.spec.get_or_insert_default();
        if let Some(reference) = &spec.bound_object_ref {
            bind(&mut binding, reference, (namespace, name), lookup).await?;
        }
        let mut warnings = Vec::new();
        let lifetime = self.lifetime(lifetime_of(spec), &mut warnings);
        spec.expiration_seconds = Some(lifetime);
        let audiences = spec.audiences.clone().unwrap_or_default();
        let (valid, warn_after) = self.extended(lifetime, &binding, &audiences);
        binding.warnafter = warn_after.map(|seconds| now.as_second() + seconds);
        let claims = self.claims(&binding, &audiences, valid, now, id);
        let token = self.key.sign(&claims).map_err(|e| Refusal::Internal(format!("failed to generate token: {e}")))?;
        request.status =
            Some(TokenRequestStatus { token: Some(token), expiration_timestamp: Some(later(now, lifetime)) });
        Ok(Issued { response: request, warnings, credential_id: credential_id(id) })
    }

    /// Fills in what the client left out, as defaulting and the storage do.
    fn complete(
        &self,
        mut request: TokenRequest,
        (namespace, name, uid): (&str, &str, &str),
        now: jiff::Timestamp,
    ) -> Result<TokenRequest, Refusal> {
        let asked = request.metadata.uid.get_or_insert_default();
        if !asked.is_empty() && asked != uid {
            let message =
                format!("the UID in the token request ({asked}) does not match the UID of the service account ({uid})");
            let (group, resource) = ("authentication.k8s.io", "TokenRequest".into());
            return Err(Refusal::Conflict { group, resource, name: name.into(), message });
        }
        let metadata = &mut request.metadata;
        metadata.uid = Some(uid.into());
        metadata.name = Some(name.into());
        metadata.namespace = Some(namespace.into());
        metadata.creation_timestamp = Some(Time(whole_second(now)));
        let spec = request.spec.get_or_insert_default();
        if spec.audiences.as_ref().is_none_or(Vec::is_empty) {
            spec.audiences = Some(self.audiences.clone());
        }
        spec.expiration_seconds.get_or_insert(DEFAULT_EXPIRATION_SECONDS);
        request.status = None;
        Ok(request)
    }

    fn lifetime(&self, asked: i64, warnings: &mut Vec<String>) -> i64 {
        match self.max_expiration_seconds {
            Some(max) if max > 0 && asked > max => {
                warnings.push(format!("requested expiration of {asked} seconds shortened to {max} seconds"));
                max
            }
            _ => asked,
        }
    }

    /// The real lifetime, and after how many seconds to warn: tokens that the kubelet projects by default live a year.
    fn extended(&self, lifetime: i64, binding: &Kubernetes, audiences: &[String]) -> (i64, Option<i64>) {
        let ours = audiences.iter().all(|a| self.audiences.contains(a));
        let extend =
            self.extend_expiration && binding.pod.is_some() && lifetime == WARN_ONLY_EXPIRATION_SECONDS && ours;
        if extend { (EXTENDED_EXPIRATION_SECONDS, Some(lifetime)) } else { (lifetime, None) }
    }

    /// The claims; `serde_json` keeps keys sorted, as go-jose writes them.
    fn claims(
        &self,
        binding: &Kubernetes,
        audiences: &[String],
        lifetime: i64,
        now: jiff::Timestamp,
        id: &str,
    ) -> Value {
        let issued = now.as_second();
        let mut claims = json!({
            "exp": issued + lifetime,
            "iat": issued,
            "iss": self.issuer,
            "jti": id,
            "kubernetes.io": binding,
            "nbf": issued,
            "sub": make_username(&binding.namespace, &binding.serviceaccount.name),
        });
        if !audiences.is_empty() {
            claims["aud"] = json!(audiences);
        }
        claims
    }
}

/// Kubernetes' time has whole seconds.
fn whole_second(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).expect("a timestamp without its fraction is a timestamp")
}

fn later(now: jiff::Timestamp, seconds: i64) -> Time {
    let at = whole_second(now).saturating_add(jiff::SignedDuration::from_secs(seconds));
    Time(at.expect("a signed duration has no calendar units"))
}

fn check_names(request: &TokenRequest, namespace: &str, name: &str) -> Result<(), Refusal> {
    let checks = [
        ("metadata.name", &request.metadata.name, name, "must match the service account name if specified"),
        (
            "metadata.namespace",
            &request.metadata.namespace,
            namespace,
            "must match the service account namespace if specified",
        ),
    ];
    for (field, given, want, detail) in checks {
        if let Some(given) = given.as_ref().filter(|given| !given.is_empty() && *given != want) {
            let problems = vec![FieldProblem::invalid(field, &quote(given), detail)];
            return Err(Refusal::Invalid { name: name.into(), problems });
        }
    }
    Ok(())
}

fn lifetime_of(spec: &TokenRequestSpec) -> i64 {
    spec.expiration_seconds.unwrap_or(DEFAULT_EXPIRATION_SECONDS)
}

fn validate(spec: &TokenRequestSpec) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let seconds = lifetime_of(spec);
    let mut expiration =
        |detail| problems.push(FieldProblem::invalid("spec.expirationSeconds", &seconds.to_string(), detail));
    if seconds < MIN_EXPIRATION_SECONDS {
        expiration("may not specify a duration less than 10 minutes");
    }
    if seconds > MAX_EXPIRATION_SECONDS {
        expiration("may not specify a duration larger than 2^32 seconds");
    }
    let attestations = spec.attestations.clone().filter(|a| !a.is_empty());
    let value = serde_json::to_string(&attestations).expect("a map of strings is JSON");
    let attestation = |detail| FieldProblem::invalid("spec.attestations", &value, detail);
    if !spec.bound_object_ref.as_ref().is_some_and(is_webhook) {
        let detail = "attestations may only be specified with a webhook bound object reference";
        return if attestations.is_some() { vec![attestation(detail)] } else { problems };
    }
    let audiences = spec.audiences.as_deref().unwrap_or_default();
    if audiences.len() != 1 {
        let value = serde_json::to_string(audiences).expect("a list of strings is JSON");
        let detail = "must be length 1 when bound to a webhook config";
        problems.push(FieldProblem::invalid("spec.audiences", &value, detail));
    }
    if attestations.as_ref().map_or(0, |a| a.len()) != 1 {
        problems.push(attestation("webhook bound requests require exactly one admissionReviewAPIGroups attestation"));
    }
    problems
}

fn is_webhook(reference: &BoundObjectReference) -> bool {
    let kinds = ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"];
    reference.api_version.as_deref() == Some("admissionregistration.k8s.io/v1")
        && reference.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
}

/// The group, version and kind of a reference, as Go prints them.
fn describe(reference: &BoundObjectReference) -> (String, String) {
    let api_version = reference.api_version.as_deref().unwrap_or_default();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = reference.kind.as_deref().unwrap_or_default();
    (group.to_owned(), format!("{group}/{version}, Kind={kind}"))
}

/// Reads the object that the token shall be bound to, and writes it into the claims.
async fn bind(
    binding: &mut Kubernetes,
    reference: &BoundObjectReference,
    (namespace, account): (&str, &str),
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    let name = reference.name.as_deref().unwrap_or_default();
    let (group, described) = describe(reference);
    let read = async |resource: &'static str, namespace| {
        lookup.object(resource, namespace, name).await.ok_or_else(|| Refusal::NotFound(resource, name.into()))
    };
    let kind = reference.kind.as_deref().filter(|_| group.is_empty()).unwrap_or_default();
    let found = match kind {
        "Pod" => read("pods", namespace).await?,
        "Node" => read("nodes", "").await?,
        "Secret" => read("secrets", namespace).await?,
        _ => return Err(Refusal::BadRequest(unbindable(reference, &described))),
    };
    let uid = reference.uid.as_deref().unwrap_or_default();
    let bound = Some(Ref { name: name.into(), uid: found.uid.clone() });
    match kind {
        "Pod" => {
            binding.node = node_of_pod(&found, account, lookup).await?;
            binding.pod = bound;
        }
        "Node" => binding.node = bound,
        _ => binding.secret = bound,
    }
    if !uid.is_empty() && uid != found.uid {
        let message = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        return Err(Refusal::Conflict { group: "", resource: kind.into(), name: name.into(), message });
    }
    Ok(())
}

fn unbindable(reference: &BoundObjectReference, described: &str) -> String {
    let gate = " (feature gate APIServerWebhookAuthenticationToken is disabled)";
    format!("cannot bind token to object of type {described}{}", if is_webhook(reference) { gate } else { "" })
}

/// The node that a pod runs on; one that is not registered is told by name only.
async fn node_of_pod(pod: &Found, account: &str, lookup: &dyn Lookup) -> Result<Option<Ref>, Refusal> {
    if pod.raw["spec"]["serviceAccountName"] != account {
        return Err(Refusal::BadRequest(format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            quote(account)
        )));
    }
    let Some(node) = pod.raw["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) else { return Ok(None) };
    let uid = lookup.object("nodes", "", node).await.map(|found| found.uid).unwrap_or_default();
    Ok(Some(Ref { name: node.into(), uid }))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Objects, at, claims_of, ec_key_pem, object};
    use super::*;

    fn issuer() -> Issuer {
        Issuer {
            key: SigningKey::from_pem(ec_key_pem(&rcgen::PKCS_ECDSA_P256_SHA256).as_bytes()).unwrap(),
            issuer: "https://issuer".into(),
            audiences: vec!["api".into()],
            max_expiration_seconds: None,
            extend_expiration: true,
        }
    }

    fn objects() -> Objects {
        let mut pod = object("pods", "ns", "pod", "pod-uid", None);
        pod.3.raw = json!({"spec": {"serviceAccountName": "sa", "nodeName": "node"}});
        let mut foreign = object("pods", "ns", "foreign", "foreign-uid", None);
        foreign.3.raw = json!({"spec": {"serviceAccountName": "other"}});
        Objects(vec![
            object("serviceaccounts", "ns", "sa", "sa-uid", None),
            pod,
            foreign,
            object("nodes", "", "node", "node-uid", None),
            object("secrets", "ns", "secret", "secret-uid", None),
        ])
    }

    fn request(seconds: i64, bound: Option<(&str, &str, &str)>) -> TokenRequest {
        let reference = |(kind, name, uid): (&str, &str, &str)| BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some(kind.into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
        };
        let spec = TokenRequestSpec {
            expiration_seconds: Some(seconds),
            bound_object_ref: bound.map(reference),
            ..TokenRequestSpec::default()
        };
        TokenRequest { spec: Some(spec), ..TokenRequest::default() }
    }

    async fn ask(issuer: &Issuer, request: TokenRequest) -> Result<Issued, Refusal> {
        issuer.token_request(("ns", "sa"), request, &objects(), at(0), "fixed").await
    }

    #[tokio::test]
    async fn claims_follow_upstream() {
        let account = r#""namespace":"ns""#;
        let sa = r#""serviceaccount":{"name":"sa","uid":"sa-uid"}"#;
        let node = r#""node":{"name":"node","uid":"node-uid"}"#;
        let pod = r#""pod":{"name":"pod","uid":"pod-uid"}"#;
        let now = at(0).as_second();
        let cases = [
            (request(3600, None), format!("{{{account},{sa}}}"), 3600),
            (request(600, Some(("Pod", "pod", "pod-uid"))), format!("{{{account},{node},{pod},{sa}}}"), 600),
            (
                request(WARN_ONLY_EXPIRATION_SECONDS, Some(("Pod", "pod", ""))),
                format!("{{{account},{node},{pod},{sa},\"warnafter\":{}}}", now + 3607),
                31_536_000,
            ),
            (request(3607, Some(("Node", "node", ""))), format!("{{{account},{node},{sa}}}"), 3607),
            (
                request(3607, Some(("Secret", "secret", ""))),
                format!("{{{account},\"secret\":{{\"name\":\"secret\",\"uid\":\"secret-uid\"}},{sa}}}"),
                3607,
            ),
        ];
        let issuer = issuer();
        for (request, kubernetes, lifetime) in cases {
            let issued = ask(&issuer, request.clone()).await.unwrap();
            let status = issued.response.status.clone().unwrap();
            let want = format!(
                r#"{{"aud":["api"],"exp":{},"iat":{now},"iss":"https://issuer","jti":"fixed","kubernetes.io":{kubernetes},"nbf":{now},"sub":"system:serviceaccount:ns:sa"}}"#,
                now + lifetime
            );
            assert_eq!(claims_of(status.token.as_deref().unwrap()), want);
            // The status tells the lifetime asked for, not the extended one.
            let told = status.expiration_timestamp.unwrap().0.as_second() - now;
            assert_eq!(Some(told), request.spec.unwrap().expiration_seconds);
            assert_eq!(issued.credential_id, "JTI=fixed");
        }
    }

    #[tokio::test]
    async fn limits_shorten_with_a_warning() {
        let issuer = Issuer { max_expiration_seconds: Some(7200), ..issuer() };
        let issued = ask(&issuer, request(7201, None)).await.unwrap();
        assert_eq!(issued.warnings, ["requested expiration of 7201 seconds shortened to 7200 seconds"]);
        assert_eq!(issued.response.spec.unwrap().expiration_seconds, Some(7200));
        let mut elsewhere = request(3607, Some(("Pod", "pod", "")));
        elsewhere.spec.as_mut().unwrap().audiences = Some(vec!["vault".into()]);
        let token = ask(&issuer, elsewhere).await.unwrap().response.status.unwrap().token.unwrap();
        assert!(!claims_of(&token).contains("warnafter"), "only tokens for the API server are extended");
    }

    #[tokio::test]
    async fn refusals_use_upstream_texts() {
        let bad = |text: &str| Refusal::BadRequest(text.into());
        let invalid = |field, value, detail| Refusal::Invalid {
            name: String::new(),
            problems: vec![FieldProblem::invalid(field, value, detail)],
        };
        let short = "may not specify a duration less than 10 minutes";
        let long = "may not specify a duration larger than 2^32 seconds";
        let conflict = "the UID in the bound object reference (old) does not match the UID in record. The object might \
                        have been deleted and then recreated";
        let different =
            r#"cannot bind token for serviceaccount "sa" to pod running with different serviceaccount name."#;
        let cases = [
            (request(599, None), invalid("spec.expirationSeconds", "599", short)),
            (request((1 << 32) + 1, None), invalid("spec.expirationSeconds", "4294967297", long)),
            (request(600, Some(("Pod", "gone", ""))), Refusal::NotFound("pods", "gone".into())),
            (request(600, Some(("Pod", "foreign", ""))), bad(different)),
            (request(600, Some(("Job", "x", ""))), bad("cannot bind token to object of type /v1, Kind=Job")),
            (
                request(600, Some(("Pod", "pod", "old"))),
                Refusal::Conflict { group: "", resource: "Pod".into(), name: "pod".into(), message: conflict.into() },
            ),
        ];
        let issuer = issuer();
        for (request, want) in cases {
            assert_eq!(ask(&issuer, request).await.unwrap_err(), want);
        }
        let mut webhook = request(600, Some(("MutatingWebhookConfiguration", "w", "")));
        let spec = webhook.spec.as_mut().unwrap();
        spec.bound_object_ref.as_mut().unwrap().api_version = Some("admissionregistration.k8s.io/v1".into());
        let detail = "webhook bound requests require exactly one admissionReviewAPIGroups attestation";
        assert_eq!(ask(&issuer, webhook.clone()).await.unwrap_err(), invalid("spec.attestations", "null", detail));
        webhook.spec.as_mut().unwrap().attestations =
            Some([("admissionReviewAPIGroups".into(), vec!["*".into()])].into());
        assert!(
            matches!(ask(&issuer, webhook).await, Err(Refusal::BadRequest(text)) if text.ends_with("is disabled)"))
        );
        let mut named = request(600, None);
        named.metadata.name = Some("other".into());
        assert!(matches!(ask(&issuer, named).await, Err(Refusal::Invalid { name, .. }) if name == "sa"));
        let mut other = request(600, None);
        other.metadata.uid = Some("old".into());
        assert!(
            matches!(ask(&issuer, other).await, Err(Refusal::Conflict { resource, .. }) if resource == "TokenRequest")
        );
    }
}
