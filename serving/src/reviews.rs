//! What somebody may, asked by SubjectAccessReview (k8s.io/apiserver/plugin/pkg/authorizer/webhook@v0.37.2).
//!
//! Invariant: an answer is believed for the configured time at most.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::authn::User;

/// Decisions remembered at most.
const DECISIONS_MAX: usize = 4096;

/// What is asked about: a path, or something of the core group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Asked {
    Path { verb: String, path: String },
    Resource { verb: String, resource: String, subresource: String, name: String },
}

impl Asked {
    fn spec(&self) -> SubjectAccessReviewSpec {
        match self.clone() {
            Asked::Path { verb, path } => SubjectAccessReviewSpec {
                non_resource_attributes: Some(NonResourceAttributes { path: Some(path), verb: Some(verb) }),
                ..SubjectAccessReviewSpec::default()
            },
            Asked::Resource { verb, resource, subresource, name } => SubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    name: Some(name),
                    resource: Some(resource),
                    subresource: Some(subresource),
                    verb: Some(verb),
                    version: Some("v1".into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
        }
    }
}

/// An answer: whether it is allowed, and what the authorizers said.
type Decision = (bool, String);

/// Who is asked, and what was answered.
pub struct Reviews {
    client: Client,
    allowed_for: Duration,
    refused_for: Duration,
    known: Mutex<HashMap<(User, Asked), (Instant, Decision)>>,
}

impl Reviews {
    pub fn new(client: Client, allowed_for: Duration, refused_for: Duration) -> Self {
        Reviews { client, allowed_for, refused_for, known: Mutex::default() }
    }

    /// Whether somebody may do it, and why.
    ///
    /// # Errors
    /// The API server does not say.
    pub async fn decide(&self, user: &User, asked: &Asked) -> Result<Decision, kube::Error> {
        let key = (user.clone(), asked.clone());
        if let Some((until, decision)) = self.known.lock().get(&key)
            && Instant::now() < *until
        {
            return Ok(decision.clone());
        }
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
            ..asked.spec()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let reviewed: SubjectAccessReview =
            Api::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = reviewed.status.unwrap_or_default();
        let decision = (status.allowed, status.reason.unwrap_or_default());
        self.remember(key, decision.clone());
        Ok(decision)
    }

    fn remember(&self, key: (User, Asked), decision: Decision) {
        let (mut known, now) = (self.known.lock(), Instant::now());
        if known.len() >= DECISIONS_MAX {
            known.retain(|_, (until, _)| now < *until);
        }
        if known.len() < DECISIONS_MAX {
            let time = if decision.0 { self.allowed_for } else { self.refused_for };
            known.insert(key, (now + time, decision));
        }
    }
}
