//! Service-account tokens of pods, asked for once and again before they expire
//! (pkg/kubelet/token/token_manager.go@v1.37.2).
//!
//! Invariant: a token that is handed out is bound to the pod and has not expired.

use std::collections::HashMap;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::pod::shape;

/// Part of its life after which a token is renewed, and its greatest age, in seconds.
const RENEW_PERCENT: i64 = 80;
const AGE_MAX: i64 = 24 * 3600;
const JITTER: i64 = 10;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    pod: String,
    audience: String,
    seconds: i64,
}

#[derive(Clone)]
struct Held {
    token: String,
    issued: i64,
    expires: i64,
}

pub(crate) struct Tokens {
    client: Client,
    held: Mutex<HashMap<Wanted, Held>>,
}

fn is_due(held: &Held, now: i64, jitter: i64) -> bool {
    let life = held.expires - held.issued;
    now > held.issued + AGE_MAX - jitter || now > held.issued + life * RENEW_PERCENT / 100 - jitter
}

impl Tokens {
    pub(crate) fn new(client: Client) -> Self {
        Tokens { client, held: Mutex::default() }
    }

    /// A token of the pod's service account; `audience` may be empty for the API server's own.
    pub(crate) async fn get(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<String, String> {
        let wanted = Wanted { pod: shape::uid(pod).into(), audience: audience.into(), seconds };
        let held = self.held.lock().get(&wanted).cloned();
        let now = Timestamp::now().as_second();
        let jitter = (rand::random::<f64>() * JITTER as f64) as i64;
        if let Some(held) = held.as_ref().filter(|held| !is_due(held, now, jitter)) {
            return Ok(held.token.clone());
        }
        match self.request(pod, audience, seconds).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                self.held.lock().insert(wanted, fresh);
                Ok(token)
            }
            // The old one still works: better than none while the API server is away.
            Err(error) => match held.filter(|held| now < held.expires) {
                Some(held) => Ok(held.token),
                None => Err(error),
            },
        }
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Held, String> {
        let account = shape::spec(pod).service_account_name.as_deref().unwrap_or("default");
        let bound = BoundObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            name: Some(shape::name(pod).into()),
            uid: Some(shape::uid(pod).into()),
        };
        let audiences = (!audience.is_empty()).then(|| vec![audience.to_owned()]);
        let spec = TokenRequestSpec {
            audiences,
            expiration_seconds: Some(seconds),
            bound_object_ref: Some(bound),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), shape::namespace(pod));
        let issued = Timestamp::now().as_second();
        let answer = api.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|e| format!("failed to fetch token: {}", api_text(&e)))?;
        let status = answer.status.ok_or("failed to fetch token: no token in the answer")?;
        let token = status.token.unwrap_or_default();
        let expires = status.expiration_timestamp.map_or(issued + seconds, |time| time.0.as_second());
        Ok(Held { token, issued, expires })
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.held.lock().retain(|wanted, _| wanted.pod != uid);
    }
}

/// What the API server said, without the client's wrapping.
pub(crate) fn api_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_at_four_fifths_and_at_a_day() {
        let held = |life| Held { token: String::new(), issued: 0, expires: life };
        for (life, now, due) in [
            (3607, 2884, false),
            (3607, 2886, true),
            (10 * AGE_MAX, AGE_MAX - 1, false),
            (10 * AGE_MAX, AGE_MAX + 1, true),
        ] {
            assert_eq!(is_due(&held(life), now, 0), due, "{life} {now}");
        }
    }
}
