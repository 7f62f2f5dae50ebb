//! TokenReview and SelfSubjectReview: what others may ask about who somebody is.
//!
//! Upstream: `pkg/registry/authentication/{tokenreview/storage,selfsubjectreview/rest}.go@v1.37.2`.

use k8s_openapi::api::authentication::v1::{SelfSubjectReviewStatus, TokenReviewSpec, TokenReviewStatus, UserInfo};

use super::{Authenticators, Identity, Lookup, Rejected, User};

/// Said when a token is asked about that is not there.
const TOKEN_REQUIRED: &str = "token is required for TokenReview in authentication";

/// Reviews a token; `Err` is the text of a bad request.
pub(crate) async fn token_review(
    authenticators: &Authenticators,
    spec: &TokenReviewSpec,
    lookup: &dyn Lookup,
    now: jiff::Timestamp,
) -> Result<TokenReviewStatus, &'static str> {
    if spec.token.is_empty() {
        return Err(TOKEN_REQUIRED);
    }
    let audiences = spec.audiences.as_deref().unwrap_or_default();
    Ok(token_review_status(authenticators.token(&spec.token, audiences, lookup, now).await))
}

/// The status for the outcome of an authentication.
fn token_review_status(outcome: Result<Identity, Rejected>) -> TokenReviewStatus {
    match outcome {
        Ok(identity) => TokenReviewStatus {
            authenticated: Some(true),
            user: Some(user_info(&identity.user)),
            audiences: (!identity.audiences.is_empty()).then_some(identity.audiences),
            error: None,
        },
        Err(rejected) => TokenReviewStatus {
            error: (!rejected.errors.is_empty()).then(|| rejected.to_string()),
            user: Some(UserInfo::default()),
            ..TokenReviewStatus::default()
        },
    }
}

/// Tells a user who they are.
pub(crate) fn self_subject_review(user: &User) -> SelfSubjectReviewStatus {
    SelfSubjectReviewStatus { user_info: Some(user_info(user)) }
}

/// A user in the API's form; what is empty is left out.
pub(crate) fn user_info(user: &User) -> UserInfo {
    let text = |s: &String| (!s.is_empty()).then(|| s.clone());
    UserInfo {
        username: text(&user.name),
        uid: text(&user.uid),
        groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
    }
}
