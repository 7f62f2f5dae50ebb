//! certificatesigningrequest-approving, -signing and -cleaner controllers (pkg/controller/certificates@v1.37.2).
//!
//! [`request`] reads what is asked for, [`sign`] makes the certificate, here are the three controllers.

mod clean;
mod request;
mod sign;

pub(crate) use clean::start as start_cleaner;

use std::sync::Arc;
use std::time::Duration;

use client::Key;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PostParams;
use kube::{Api, Client};

use self::request::Request;
use self::sign::{Authority, Policy};
use crate::Context;
use crate::error::{Error, Result, text};

const ACCOUNT: &str = "certificate-controller";
const WORKERS: usize = 5;
/// Delays of a failing key.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1000));
/// --cluster-signing-duration
const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The shortest lifetime that is honoured.
const LIFETIME_MIN: SignedDuration = SignedDuration::from_mins(10);
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

pub(crate) fn start_approver(context: &Context) {
    let client = context.client(ACCOUNT);
    follow(context, "certificatesigningrequest-approving-controller", move |request| {
        let client = client.clone();
        async move { approve(&client, &request).await }
    });
}

pub(crate) fn start_signer(context: &Context) {
    let Some((cert, key)) = &context.config.cluster_signing else { return };
    let authority = match Authority::parse(cert, key) {
        Ok(authority) => Arc::new(authority),
        Err(error) => return tracing::error!(%error, "cannot sign certificates with the given CA"),
    };
    let client = context.client(ACCOUNT);
    follow(context, "certificatesigningrequest-signing-controller", move |request| {
        let (client, authority) = (client.clone(), authority.clone());
        async move { sign(&client, &authority, &request).await }
    });
}

/// Calls `handle` with each request that has no certificate, when it changes.
fn follow<F, Fut>(context: &Context, name: &'static str, handle: F)
where
    F: Fn(Arc<CertificateSigningRequest>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let queue: Queue<Key> = Queue::with_backoff(RETRY.0, RETRY.1);
    let requests: Cache<CertificateSigningRequest> = context.informers.of();
    let to = queue.clone();
    requests.on_change(move |_, new| new.into_iter().for_each(|request| to.add(Key::of(&**request))));
    let handle = Arc::new(handle);
    context.controller(name, queue, WORKERS, requests, move |key, requests| {
        let handle = handle.clone();
        async move {
            if let Some(request) = requests.by_key(&key).filter(|request| !is_issued(request)) {
                handle(request).await?;
            }
            Ok(None)
        }
    });
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).iter().any(|condition| condition.type_ == kind)
}

fn name_of(request: &CertificateSigningRequest) -> &str {
    request.metadata.name.as_deref().unwrap_or("")
}

fn parse(request: &CertificateSigningRequest) -> Result<Request> {
    let parsed = request::parse(&request.spec.request.0);
    parsed.map_err(|why| Error::other(format!("unable to parse csr {:?}: {why}", name_of(request))))
}

fn with(
    request: &CertificateSigningRequest,
    condition: CertificateSigningRequestCondition,
) -> CertificateSigningRequest {
    let mut changed = request.clone();
    changed.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
    changed
}

fn condition(kind: &str, reason: &str, message: &str) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        ..CertificateSigningRequestCondition::default()
    }
}

/// The permissions that each allow a kubelet's request, and the message of their approval.
fn recognized(request: &CertificateSigningRequest, parsed: &Request) -> Vec<(&'static str, &'static str)> {
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    if request.spec.signer_name != KUBELET_CLIENT || request::check_kubelet_client(parsed, usages).is_err() {
        return Vec::new();
    }
    let renewal = request.spec.username.as_deref() == Some(parsed.common_name.as_str());
    let own = renewal
        .then_some(("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."));
    let any = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");
    own.into_iter().chain([any]).collect()
}

async fn approve(client: &Client, request: &CertificateSigningRequest) -> Result<()> {
    if has(request, "Approved") || has(request, "Denied") {
        return Ok(());
    }
    let recognized = recognized(request, &parse(request)?);
    for (permission, message) in &recognized {
        if !is_allowed(client, request, permission).await? {
            continue;
        }
        let api: Api<CertificateSigningRequest> = Api::all(client.clone());
        let approved = with(request, condition("Approved", "AutoApproved", message));
        let written = api.replace_subresource("approval", name_of(request), &PostParams::default(), &approved).await;
        written.map_err(|error| Error::other(format!("error updating approval for csr: {}", text(&error))))?;
        return Ok(());
    }
    if recognized.is_empty() {
        return Ok(());
    }
    // The permission may come later.
    let tried: Vec<&str> = recognized.iter().map(|(permission, _)| *permission).collect();
    Err(Error::other(format!(
        "recognized csr {:?} as [{}] but subject access review was not approved",
        name_of(request),
        tried.join(" ")
    )))
}

async fn is_allowed(client: &Client, request: &CertificateSigningRequest, permission: &str) -> Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".into()),
        resource: Some("certificatesigningrequests".into()),
        subresource: Some(permission.into()),
        verb: Some("create".into()),
        version: Some("*".into()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(attributes),
            non_resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Whether the request is one that its signer signs; `None` for signers that are not ours.
fn check(request: &CertificateSigningRequest, parsed: &Request) -> Option<std::result::Result<(), String>> {
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    match request.spec.signer_name.as_str() {
        KUBELET_CLIENT => Some(request::check_kubelet_client(parsed, usages)),
        KUBELET_SERVING => Some(request::check_kubelet_serving(parsed, usages)),
        CLIENT => Some(request::check_client(usages)),
        LEGACY => Some(Ok(())),
        _ => None,
    }
}

/// As asked, within bounds.
fn lifetime(seconds: Option<i32>) -> SignedDuration {
    let asked = seconds.map(|seconds| SignedDuration::from_secs(seconds.into()));
    asked.map_or(LIFETIME, |asked| asked.clamp(LIFETIME_MIN, LIFETIME))
}

async fn sign(client: &Client, authority: &Authority, request: &CertificateSigningRequest) -> Result<()> {
    let failed = conditions(request)
        .iter()
        .any(|condition| condition.type_ == "Failed" && matches!(condition.status.as_str(), "" | "True"));
    let ours = [KUBELET_CLIENT, KUBELET_SERVING, CLIENT, LEGACY].contains(&request.spec.signer_name.as_str());
    if !has(request, "Approved") || has(request, "Denied") || failed || !ours {
        return Ok(());
    }
    let parsed = parse(request)?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let (changed, what) = match check(request, &parsed) {
        None => return Ok(()),
        Some(Err(why)) => {
            let mut failure = condition("Failed", "SignerValidationFailure", &why);
            failure.last_update_time = Some(Time(Timestamp::now()));
            (with(request, failure), "error adding failure condition for csr")
        }
        Some(Ok(())) => {
            let policy = Policy {
                usages: request.spec.usages.as_deref().unwrap_or_default(),
                lifetime: lifetime(request.spec.expiration_seconds),
                now: Timestamp::now(),
                serial: rand::random(),
            };
            let signed = authority.sign(&parsed, &policy);
            let signed = signed.map_err(|why| Error::other(format!("error auto signing csr: {why}")))?;
            let mut changed = request.clone();
            changed.status.get_or_insert_default().certificate = Some(ByteString(signed.into_bytes()));
            (changed, "error updating signature for csr")
        }
    };
    let written = api.replace_status(name_of(request), &PostParams::default(), &changed).await;
    written.map(drop).map_err(|error| Error::other(format!("{what}: {}", text(&error))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(signer: &str, user: &str, usages: &[&str]) -> CertificateSigningRequest {
        serde_json::from_value(json!({"metadata": {"name": "r"}, "spec": {"request": "", "signerName": signer,
            "username": user, "usages": usages}}))
        .expect("request")
    }

    #[test]
    fn which_permissions_are_asked_for() {
        let node = Request {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..Request::default()
        };
        let usages = ["client auth", "digital signature"];
        for (request, expected) in [
            (request(KUBELET_CLIENT, "system:node:a", &usages), vec!["selfnodeclient", "nodeclient"]),
            (request(KUBELET_CLIENT, "system:bootstrap:x", &usages), vec!["nodeclient"]),
            (request(KUBELET_CLIENT, "system:node:a", &["server auth"]), vec![]),
            (request(CLIENT, "system:node:a", &usages), vec![]),
        ] {
            let found: Vec<&str> = recognized(&request, &node).into_iter().map(|(permission, _)| permission).collect();
            assert_eq!(found, expected, "{request:?}");
        }
    }

    #[test]
    fn lifetimes_are_bounded() {
        for (asked, expected) in [(None, 31_536_000), (Some(60), 600), (Some(3600), 3600), (Some(i32::MAX), 31_536_000)]
        {
            assert_eq!(lifetime(asked).as_secs(), expected, "{asked:?}");
        }
    }
}
