//! Authorization that another server does: a SubjectAccessReview for each question
//! (k8s.io/apiserver/plugin/pkg/authorizer/webhook/webhook.go@v0.37.2).
//!
//! A question goes two ways: [`Webhook::recall`] does what needs no IO (conditions, answers that are kept), and only
//! when that settles nothing [`Webhook::ask`] calls the webhook.
//!
//! Invariant: an answer is kept as long as its configuration says, and never for a question that is too large; a call
//! that fails means what `failurePolicy` says.

mod conditions;
pub(crate) mod config;
pub(crate) mod metrics;
pub(crate) mod reload;
mod spec;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use api::field::{self, Errors};
use api::value::{Map, Value};
use api::{json, map, view};
use k8s_openapi::api::authorization::v1::SubjectAccessReviewStatus;
use parking_lot::Mutex;

use self::conditions::Conditions;
use self::config::WebhookConfig;
use self::metrics::Metrics;
use super::{Answer, Attributes, Decision};
use crate::authn::aggregate;
use crate::webhook::answer::{Failure, Lost};
use crate::webhook::kubeconfig::Kubeconfig;
use crate::webhook::remote::{Backoff, Remote};
use crate::webhook::{Version, unlike};

const GROUP: &str = "authorization.k8s.io";
const KIND: &str = "SubjectAccessReview";
/// Answers that are kept.
const ANSWERS_MAX: usize = 8192;
/// Bytes of what a requester can choose, from which on an answer is not kept (maxControlledAttrCacheSize).
const CONTROLLED_BYTES_MAX: usize = 10_000;

/// What a webhook said.
#[derive(Clone, Debug, Default)]
struct Said {
    allowed: bool,
    denied: bool,
    reason: String,
}

type Answers = HashMap<Vec<u8>, (Said, Instant), foldhash::fast::RandomState>;

/// One webhook.
pub(crate) struct Webhook {
    name: String,
    remote: Remote,
    version: Version,
    backoff: Backoff,
    conditions: Conditions,
    /// `failurePolicy: Deny`
    deny_on_failure: bool,
    allowed_ttl: Duration,
    other_ttl: Duration,
    answers: Mutex<Answers>,
    metrics: Metrics,
}

/// What is known without a call.
pub(super) enum Recalled {
    Settled(Answer),
    Unknown(Question),
}

/// What to call with.
pub(super) struct Question {
    spec: Map,
    /// The spec as text, unless the answer is not to be kept.
    key: Option<Vec<u8>>,
}

impl Webhook {
    /// Of a configuration that was validated.
    ///
    /// # Errors
    /// A kubeconfig that cannot be used.
    pub(crate) fn new(name: &str, config: &WebhookConfig, metrics: &Metrics) -> Result<Self, String> {
        let Some(path) = &config.kubeconfig else {
            return Err(format!("webhook {name}: connectionInfo of type {} is not supported", config.connection));
        };
        let timeout = Duration::from_nanos(config.timeout.try_into().unwrap_or(0));
        let remote = Remote::new(&Kubeconfig::load(Path::new(path))?, timeout)?;
        let version = Version::named(&config.version).ok_or_else(|| {
            let known = "supported versions are \"v1\", \"v1beta1\"";
            format!("unsupported webhook authorizer version {}, {known}", field::go_quote(&config.version))
        })?;
        let mut errors = Errors::new();
        let conditions = Conditions::compile(&config.conditions, &field::Path::new("matchConditions"), &mut errors);
        if !errors.is_empty() {
            return Err(aggregate(&errors.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        Ok(Webhook {
            name: name.into(),
            remote,
            version,
            backoff: Backoff::default(),
            conditions,
            deny_on_failure: config.failure_policy == "Deny",
            allowed_ttl: config.ttl(true),
            other_ttl: config.ttl(false),
            answers: Mutex::default(),
            metrics: metrics.clone(),
        })
    }

    /// Looks a question up.
    pub(super) fn recall(&self, attributes: &Attributes<'_>) -> Recalled {
        match self.concerned(attributes) {
            Ok(true) => {}
            Ok(false) => return Recalled::Settled(Decision::no_opinion("").into()),
            Err(why) => return Recalled::Settled(self.failed(why)),
        }
        let spec = spec::sent(attributes, self.version);
        let key = json::encode(&spec);
        if let Some(said) = self.kept(&key) {
            return Recalled::Settled(answer(said));
        }
        Recalled::Unknown(Question { spec, key: Some(key).filter(|_| is_small(attributes)) })
    }

    fn concerned(&self, attributes: &Attributes<'_>) -> Result<bool, String> {
        if self.conditions.is_empty() {
            return Ok(true);
        }
        let started = Instant::now();
        let outcome = self.conditions.match_(spec::for_conditions(attributes));
        self.metrics.matched(&self.name, &outcome, started.elapsed());
        outcome
    }

    fn kept(&self, key: &[u8]) -> Option<Said> {
        let answers = self.answers.lock();
        let (said, until) = answers.get(key)?;
        (Instant::now() < *until).then(|| said.clone())
    }

    fn keep(&self, key: Vec<u8>, said: Said) {
        let ttl = if said.allowed { self.allowed_ttl } else { self.other_ttl };
        if ttl.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, until)| now < *until);
        }
        if answers.len() >= ANSWERS_MAX
            && let Some(any) = answers.keys().next().cloned()
        {
            answers.remove(&any);
        }
        answers.insert(key, (said, now + ttl));
    }

    /// Calls the webhook.
    pub(super) async fn ask(&self, question: Question) -> Answer {
        let version = self.version.of_group(GROUP);
        let asked = map! {
            "kind" => KIND, "apiVersion" => version.as_str(), "metadata" => Map::new(), "spec" => question.spec,
            "status" => map! { "allowed" => false }
        };
        let mut attempts = self.backoff.attempts();
        let (answered, result) = loop {
            let started = Instant::now();
            let outcome = self.call(&asked).await;
            let result = outcome.as_ref().err().map_or("success", result_of);
            self.metrics.called(&self.name, result, started.elapsed());
            match outcome {
                Err(failure) if attempts.again(&failure).await => {}
                outcome => break (outcome, result),
            }
        };
        match answered {
            Ok(said) => {
                question.key.into_iter().for_each(|key| self.keep(key, said.clone()));
                answer(said)
            }
            Err(failure) => {
                tracing::error!("Failed to make webhook authorizer request: {}", failure.text);
                if !self.deny_on_failure {
                    self.metrics.failed_open(&self.name, result);
                }
                self.failed(failure.text)
            }
        }
    }

    async fn call(&self, asked: &Map) -> Result<Said, Failure> {
        let review = self.remote.post(asked).await?;
        if let Some(why) = unlike(GROUP, KIND, self.version, &review) {
            return Err(Failure::new(why));
        }
        let empty = Value::Map(map! { "allowed" => false });
        let mut status = review.get("status").cloned().unwrap_or(empty);
        if let Some(status) = status.as_map_mut().filter(|status| !status.contains("allowed")) {
            status.set("allowed", false);
        }
        let status: SubjectAccessReviewStatus =
            view::of_value(&status).map_err(|error| Failure::new(error.to_string()))?;
        Ok(Said {
            allowed: status.allowed,
            denied: status.denied == Some(true),
            reason: status.reason.unwrap_or_default(),
        })
    }

    fn failed(&self, why: String) -> Answer {
        let reason = String::new();
        let decision = if self.deny_on_failure { Decision::Deny { reason } } else { Decision::NoOpinion { reason } };
        Answer { decision, error: Some(why) }
    }
}

/// How a call that failed is counted.
fn result_of(failure: &Failure) -> &'static str {
    let late = failure.lost == Some(Lost::TimedOut) || failure.reason == "Timeout";
    if late { "timeout" } else { "error" }
}

fn answer(said: Said) -> Answer {
    let Said { allowed, denied, reason } = said;
    let both = "webhook subject access review returned both allow and deny response";
    let decision = match (denied, allowed) {
        (true, _) => Decision::Deny { reason },
        (false, true) => Decision::Allow { reason },
        (false, false) => Decision::NoOpinion { reason },
    };
    Answer { decision, error: (denied && allowed).then(|| both.to_owned()) }
}

/// shouldCache.
fn is_small(attributes: &Attributes<'_>) -> bool {
    let resource = attributes.resource.unwrap_or_default();
    let chosen = [
        attributes.verb,
        attributes.path,
        resource.namespace,
        resource.group,
        resource.version,
        resource.resource,
        resource.subresource,
        resource.name,
    ];
    chosen.iter().map(|text| text.len()).sum::<usize>() < CONTROLLED_BYTES_MAX
}
