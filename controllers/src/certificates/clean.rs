//! certificatesigningrequest-cleaner-controller: deletes requests some time after they were dealt with, or were not
//! (pkg/controller/certificates/cleaner/cleaner.go@v1.37.2, which looks at all of them every hour).

use std::time::Duration;

use client::Key;
use client::controller::Again;
use client::informer::Cache;
use client::queue::Queue;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use kube::{Api, Client};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::{ACCOUNT, conditions, is_issued};
use crate::Context;
use crate::common::pods::seconds;
use crate::error::{Result, is_not_found};

const NAME: &str = "certificatesigningrequest-cleaner-controller";
const WORKERS: usize = 1;
/// How long requests are kept that were issued, denied or failed, in seconds.
const SETTLED: i64 = 60 * 60;
/// How long requests are kept that nobody approved or nobody signed, in seconds.
const PENDING: i64 = 24 * 60 * 60;

pub(crate) fn start(context: &Context) {
    let queue: Queue<Key> = Queue::new();
    let requests = context.informers.of::<CertificateSigningRequest>();
    let to = queue.clone();
    requests.on_change(move |_, new| new.into_iter().for_each(|request| to.add(Key::of(&**request))));
    let client = context.client(ACCOUNT);
    context.controller(NAME, queue, WORKERS, requests, move |key, requests| {
        let client = client.clone();
        async move { sync(&client, &key, &requests).await }
    });
}

/// When the request is to go: the first of its deadlines.
fn due(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let conditions = conditions(request);
    if conditions.is_empty() {
        return Some(request.metadata.creation_timestamp.as_ref()?.0 + seconds(PENDING));
    }
    let after = |kind: &str, keep: i64| {
        let of = conditions.iter().filter(|condition| condition.type_ == kind);
        of.filter_map(|condition| condition.last_update_time.as_ref()).map(|at| at.0 + seconds(keep)).min()
    };
    let approved = if is_issued(request) { SETTLED } else { PENDING };
    let ends = conditions.iter().any(|condition| condition.type_ == "Approved").then(|| end(request)).flatten();
    [after("Approved", approved), after("Denied", SETTLED), after("Failed", SETTLED), ends].into_iter().flatten().min()
}

/// When the issued certificate ends.
fn end(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&certificate.0).ok()?;
    let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

async fn sync(client: &Client, key: &Key, requests: &Cache<CertificateSigningRequest>) -> Result<Again> {
    let Some(due) = requests.by_key(key).and_then(|request| due(&request)) else { return Ok(None) };
    let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
    if !left.is_zero() {
        return Ok(Some(left));
    }
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    match api.delete(&key.name, &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => Err(error.into()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn when_requests_go() {
        let condition =
            |kind: &str| json!([{"type": kind, "status": "True", "lastUpdateTime": "2026-01-01T12:00:00Z"}]);
        for (status, expected) in [
            (json!({}), "2026-01-02T00:00:00Z"),
            (json!({"conditions": condition("Denied")}), "2026-01-01T13:00:00Z"),
            (json!({"conditions": condition("Failed")}), "2026-01-01T13:00:00Z"),
            (json!({"conditions": condition("Approved")}), "2026-01-02T12:00:00Z"),
            (json!({"conditions": condition("Approved"), "certificate": "AAAA"}), "2026-01-01T13:00:00Z"),
        ] {
            let request: CertificateSigningRequest = serde_json::from_value(json!({
                "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"request": "", "signerName": "s"}, "status": status}))
            .expect("request");
            assert_eq!(due(&request).map(|at| at.to_string()).as_deref(), Some(expected), "{status}");
        }
        let unknown: CertificateSigningRequest =
            serde_json::from_value(json!({"spec": {"request": "", "signerName": "s"},
            "status": {"conditions": [{"type": "Approved", "status": "True"}]}, "metadata": Value::Null}))
            .expect("request");
        assert_eq!(due(&unknown), None);
    }
}
