//! Bearer tokens that another server reviews: `--authentication-token-webhook-config-file`
//! (k8s.io/apiserver/plugin/pkg/authenticator/token/webhook/webhook.go,
//! k8s.io/apiserver/pkg/authentication/token/cache/cached_token_authenticator.go@v0.37.2).
//!
//! Invariant: of callers with the same token and audiences one asks, and the others get its answer. Answers are kept for
//! a while, failures to get one never.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::value::{Map, Value};
use api::{map, view};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use super::cache::{self, Verified, digest};
use super::{Identity, Outcome, User, overlap};
use crate::webhook::answer::Failure;
use crate::webhook::remote::{Backoff, Remote};
use crate::webhook::{self, Version};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenReview";
/// How long callers wait for the one that asks (cached_token_authenticator.go: sharedLookupTimeout).
const SHARED_TIMEOUT: Duration = Duration::from_secs(30);

type Key = [u8; 32];
type Flight = Shared<BoxFuture<'static, Outcome>>;

/// The webhook and its answers.
pub(crate) struct TokenWebhook {
    remote: Remote,
    version: Version,
    backoff: Backoff,
    /// The API server's audiences, for a webhook that knows of none.
    implicit: Vec<String>,
    ttl: jiff::SignedDuration,
    known: Verified<Option<Identity>>,
    flights: Mutex<HashMap<Key, Flight>>,
    tasks: TaskTracker,
}

impl TokenWebhook {
    pub(crate) fn new(remote: Remote, version: Version, implicit: Vec<String>, ttl: Duration) -> Arc<Self> {
        Arc::new(TokenWebhook {
            remote,
            version,
            backoff: Backoff::default(),
            implicit,
            ttl: ttl.try_into().unwrap_or(jiff::SignedDuration::MAX),
            known: Verified::new(),
            flights: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Who a token stands for; `target` are the audiences that it should be for.
    pub(super) async fn authenticate(
        self: &Arc<Self>,
        token: &str,
        target: Option<&[String]>,
        now: jiff::Timestamp,
    ) -> Outcome {
        let audiences = target.unwrap_or_default();
        let key = digest([token.as_bytes()].into_iter().chain(audiences.iter().map(String::as_bytes)));
        if let Some(known) = self.known.get(&key, now) {
            return Ok(Option::clone(&known));
        }
        self.flight(key, token, target, now).await
    }

    /// The question under way, or a new one, which goes on when nobody waits for it any more.
    fn flight(self: &Arc<Self>, key: Key, token: &str, target: Option<&[String]>, now: jiff::Timestamp) -> Flight {
        let mut flights = self.flights.lock();
        if let Some(under_way) = flights.get(&key) {
            return under_way.clone();
        }
        let (webhook, token, target) = (self.clone(), token.to_owned(), target.map(<[String]>::to_vec));
        let task = self.tasks.spawn(async move {
            let review = webhook.review(&token, target.as_deref());
            let outcome = tokio::time::timeout(SHARED_TIMEOUT, review).await;
            let outcome = outcome.unwrap_or_else(|_| Err("context deadline exceeded".into()));
            if let Ok(answer) = &outcome {
                webhook.keep(key, answer, now);
            }
            webhook.flights.lock().remove(&key);
            outcome
        });
        let started = async move { task.await.unwrap_or_else(|error| Err(error.to_string())) }.boxed().shared();
        flights.insert(key, started.clone());
        started
    }

    fn keep(&self, key: Key, answer: &Option<Identity>, now: jiff::Timestamp) {
        // What is good for any token is good for these, too: successes count for some seconds at least.
        let ttl = if answer.is_some() { self.ttl.max(cache::TTL) } else { self.ttl };
        if !ttl.is_zero() {
            let until = now.saturating_add(ttl).unwrap_or(jiff::Timestamp::MAX);
            self.known.put_until(key, Arc::new(answer.clone()), now, until);
        }
    }

    async fn review(&self, token: &str, target: Option<&[String]>) -> Outcome {
        let asked = self.question(token, target.unwrap_or_default());
        let mut attempts = self.backoff.attempts();
        let answered = loop {
            match self.ask(&asked).await {
                Err(failure) if attempts.again(&failure).await => {}
                outcome => break outcome,
            }
        };
        let status = answered.map_err(|failure| {
            tracing::error!("Failed to make webhook authenticator request: {}", failure.text);
            failure.text
        })?;
        let told = status.audiences.unwrap_or_default();
        let got = if told.is_empty() { &self.implicit } else { &told };
        if target.is_some_and(|target| !overlap(target, got)) {
            return Ok(None);
        }
        let both = |audience: &&String| got.contains(*audience);
        let audiences = target.unwrap_or_default().iter().filter(both).cloned().collect();
        match (status.authenticated, status.error.unwrap_or_default()) {
            (Some(true), _) => {
                let user = user(status.user.unwrap_or_default());
                Ok(Some(Identity { user, audiences, ..Identity::default() }))
            }
            (_, error) if error.is_empty() => Ok(None),
            (_, error) => Err(error),
        }
    }

    fn question(&self, token: &str, audiences: &[String]) -> Map {
        let mut spec = map! { "token" => token };
        if !audiences.is_empty() {
            spec.set("audiences", audiences.iter().map(|one| Value::from(one.as_str())).collect::<Vec<_>>());
        }
        let version = self.version.of_group(GROUP);
        map! {
            "kind" => KIND, "apiVersion" => version.as_str(), "metadata" => Map::new(), "spec" => spec,
            "status" => map! { "user" => Map::new() }
        }
    }

    async fn ask(&self, asked: &Map) -> Result<TokenReviewStatus, Failure> {
        let review = self.remote.post(asked).await?;
        if let Some(why) = webhook::unlike(GROUP, KIND, self.version, &review) {
            return Err(Failure::new(why));
        }
        let empty = Value::Map(Map::new());
        view::of_value(review.get("status").unwrap_or(&empty)).map_err(|error| Failure::new(error.to_string()))
    }
}

fn user(user: UserInfo) -> User {
    User {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::kubeconfig::Kubeconfig;
    use crate::webhook::testing::{Certificate, Webhook};

    const JANE: &str = r#"{"authenticated":true,"user":{"username":"jane","groups":["g"],"extra":{"k":["v"]}}}"#;

    /// Answers by token.
    async fn server() -> Webhook {
        let answers = |asked: &Map| {
            let token = asked.map("spec").map_or("", |spec| spec.str("token"));
            let status = match token {
                "jane" => JANE.to_owned(),
                "other" => JANE.replace("true,", r#"true,"audiences":["other"],"#),
                "both" => JANE.replace("true,", r#"true,"audiences":["api","other"],"#),
                "bad" => r#"{"authenticated":false,"error":"no such token"}"#.to_owned(),
                "strange" => return (200, r#"{"kind":"Strange","apiVersion":"v1"}"#.to_owned()),
                "fails" => return (403, "go away".to_owned()),
                _ => r#"{"authenticated":false}"#.to_owned(),
            };
            let version = asked.str("apiVersion");
            (200, format!(r#"{{"kind":"TokenReview","apiVersion":"{version}","status":{status}}}"#))
        };
        Webhook::start(&["localhost"], Certificate::Issued, Arc::new(answers)).await
    }

    fn client(server: &Webhook, version: Version, ttl: u64) -> Arc<TokenWebhook> {
        let url = format!("https://localhost:{}/review", server.address.port());
        let config = Kubeconfig { server: url, ca: server.ca.clone().into_bytes(), ..Kubeconfig::default() };
        let remote = Remote::new(&config, Duration::from_secs(5)).expect("a remote");
        TokenWebhook::new(remote, version, vec!["api".into()], Duration::from_secs(ttl))
    }

    fn at(seconds: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_700_000_000 + seconds).expect("a time")
    }

    #[tokio::test]
    async fn answers_are_outcomes() {
        let server = server().await;
        for version in Version::ALL {
            let webhook = client(&server, version, 0);
            let api = ["api".to_owned()];
            for (token, target, expect) in [
                ("jane", Some(&api[..]), Ok(Some(&["api"][..]))),
                ("jane", None, Ok(Some(&[][..]))),
                ("other", Some(&api[..]), Ok(None)),
                ("both", Some(&api[..]), Ok(Some(&["api"][..]))),
                ("none", Some(&api[..]), Ok(None)),
                ("bad", Some(&api[..]), Err("no such token")),
                ("fails", Some(&api[..]), Err("go away")),
            ] {
                let got = webhook.authenticate(token, target, at(0)).await;
                let audiences = got.as_ref().map(|found| found.as_ref().map(|identity| identity.audiences.clone()));
                let expect = expect.map(|found| found.map(|list| list.iter().map(ToString::to_string).collect()));
                assert_eq!(
                    audiences.map_err(String::as_str),
                    expect.as_ref().map(Clone::clone).map_err(|why| *why),
                    "{token}"
                );
                if let Ok(Some(identity)) = got {
                    assert_eq!((identity.user.name.as_str(), identity.user.extra["k"].len()), ("jane", 1));
                }
            }
            let strange = webhook.authenticate("strange", None, at(0)).await.err().unwrap_or_default();
            assert!(strange.starts_with("no kind \"Strange\" is registered for version \"v1\""), "{strange}");
        }
        let asked = &server.asked.lock()[0].1;
        let spec = asked.map("spec").expect("a spec");
        assert_eq!((asked.str("apiVersion"), spec.list("audiences").len()), ("authentication.k8s.io/v1", 1));
    }

    #[tokio::test]
    async fn answers_are_kept_and_failures_are_not() {
        let server = server().await;
        let webhook = client(&server, Version::V1, 120);
        let asked = || server.asked.lock().len();
        for (token, seconds, calls) in [
            ("jane", 0, 1),
            ("jane", 119, 1),
            ("jane", 120, 2),
            ("none", 0, 3),
            ("none", 119, 3),
            ("fails", 0, 4),
            ("fails", 1, 5),
        ] {
            let _ = webhook.authenticate(token, None, at(seconds)).await;
            assert_eq!(asked(), calls, "{token} after {seconds} s");
        }
        let many = (0..8).map(|_| webhook.authenticate("new", None, at(0)));
        futures::future::join_all(many).await;
        assert_eq!(asked(), 6, "eight callers ask once");
    }
}
