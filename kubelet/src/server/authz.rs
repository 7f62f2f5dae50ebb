//! What a caller may: SubjectAccessReview about subresources of this node
//! (pkg/kubelet/server/auth.go@v1.37.2).
//!
//! Invariant: an answer is believed for the configured time at most, a refusal for a shorter one.

use std::collections::HashMap;
use std::time::Duration;

use http::{Method, Response};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::authn::User;
use super::respond::{self, Body};
use super::{Authorization, Settings};

/// Decisions remembered at most.
const DECISIONS_MAX: usize = 4096;

type Key = (User, &'static str, &'static str);

pub(super) struct Authorizer {
    client: Client,
    mode: Authorization,
    allowed_for: Duration,
    refused_for: Duration,
    known: Mutex<HashMap<Key, (Instant, bool)>>,
}

/// Path below which a subresource of its own is asked about, and whether `proxy` does as well.
const SUBRESOURCES: [(&str, &str, bool); 9] = [
    ("/pods", "pods", true),
    ("/healthz", "healthz", true),
    ("/configz", "configz", true),
    ("/runningpods", "pods", true),
    ("/stats", "stats", false),
    ("/metrics", "metrics", false),
    ("/logs", "log", false),
    ("/checkpoint", "checkpoint", false),
    ("/statusz", "statusz", false),
];

/// Any of these is enough.
fn subresources(path: &str) -> Vec<&'static str> {
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match SUBRESOURCES.iter().find(|(root, ..)| below(root)) {
        Some((_, name, true)) => vec![name, "proxy"],
        Some((_, name, false)) => vec![name],
        None => vec!["proxy"],
    }
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

impl Authorizer {
    pub(super) fn new(settings: &Settings, client: Client) -> Self {
        Authorizer {
            client,
            mode: settings.authorization,
            allowed_for: settings.authorized_ttl,
            refused_for: settings.unauthorized_ttl,
            known: Mutex::default(),
        }
    }

    /// The error is the answer that the caller gets.
    pub(super) async fn check(
        &self,
        user: &User,
        node: &str,
        method: &Method,
        path: &str,
    ) -> Result<(), Response<Body>> {
        if self.mode == Authorization::AlwaysAllow {
            return Ok(());
        }
        let (verb, subresources) = (verb(method), subresources(path));
        for subresource in &subresources {
            match self.decide(user, node, verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    let name = &user.name;
                    tracing::error!(%error, user = name, verb, subresource, "Authorization error");
                    return Err(respond::text(
                        500,
                        format!(
                            "Authorization error (user={name}, verb={verb}, resource=nodes, subresource={subresource})"
                        ),
                    ));
                }
            }
        }
        let (name, list) = (&user.name, subresources.join(" "));
        let text = format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{list}])\n");
        Err(respond::text(403, text))
    }

    async fn decide(
        &self,
        user: &User,
        node: &str,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, kube::Error> {
        let key = (user.clone(), verb, subresource);
        if let Some((until, allowed)) = self.known.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(*allowed);
        }
        let attributes = ResourceAttributes {
            name: Some(node.to_owned()),
            resource: Some("nodes".into()),
            subresource: Some(subresource.into()),
            verb: Some(verb.into()),
            version: Some("v1".into()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviewed: SubjectAccessReview =
            Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let allowed = reviewed.status.is_some_and(|status| status.allowed);
        self.remember(key, allowed);
        Ok(allowed)
    }

    fn remember(&self, key: Key, allowed: bool) {
        let (mut known, now) = (self.known.lock(), Instant::now());
        if known.len() >= DECISIONS_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < DECISIONS_MAX {
            let time = if allowed { self.allowed_for } else { self.refused_for };
            known.insert(key, (now + time, allowed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_about() {
        for (path, expect) in [
            ("/pods", &["pods", "proxy"][..]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/syncloop", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/stats/summary", &["stats"]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/logs/x", &["log"]),
            ("/logsx", &["proxy"]),
            ("/exec/n/p/c", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expect, "{path}");
        }
    }
}
