//! The words of a refusal.
//!
//! Upstream: `k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/errors.go@v0.37.2`,
//! `k8s.io/apimachinery/pkg/api/errors/errors.go@v0.37.2`.

use super::Attributes;
use crate::authn::text::quote;

/// A 403: what the Status object needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forbidden {
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    /// The whole message, with the resource and name in front.
    pub(crate) message: String,
}

impl Forbidden {
    /// A refusal of access to a resource for a given cause.
    pub(crate) fn new(group: &str, resource: &str, name: &str, cause: &str) -> Self {
        let qualified = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let message = match (resource, name) {
            ("", _) => format!("forbidden: {cause}"),
            (_, "") => format!("{qualified} is forbidden: {cause}"),
            (_, name) => format!("{qualified} {} is forbidden: {cause}", quote(name)),
        };
        Forbidden { group: group.into(), resource: resource.into(), name: name.into(), message }
    }

    /// The refusal of a request, with what the authorizers gave as a reason.
    pub(crate) fn of(attributes: &Attributes<'_>, reason: &str) -> Self {
        let told = sanitize(&describe(attributes));
        let cause = if reason.is_empty() { told } else { format!("{told}: {reason}") };
        let resource = attributes.resource.unwrap_or_default();
        Forbidden::new(resource.group, resource.resource, resource.name, &cause)
    }
}

/// Nothing in an error may look like HTML.
fn sanitize(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn describe(attributes: &Attributes<'_>) -> String {
    let (user, verb) = (quote(&attributes.user.name), attributes.verb);
    let Some(wanted) = attributes.resource else {
        return format!("User {user} cannot {verb} path {}", quote(attributes.path));
    };
    let resource = match wanted.subresource {
        "" => quote(wanted.resource),
        sub => quote(&format!("{}/{sub}", wanted.resource)),
    };
    let scope = match wanted.namespace {
        "" => "at the cluster scope".to_owned(),
        namespace => format!("in the namespace {}", quote(namespace)),
    };
    format!("User {user} cannot {verb} resource {resource} in API group {} {scope}", quote(wanted.group))
}

#[cfg(test)]
mod tests {
    use super::super::ResourceAttributes;
    use super::*;
    use crate::authn::User;

    #[test]
    fn messages_follow_upstream() {
        let user = User { name: "NAME".into(), ..User::default() };
        let resource = |group, resource, subresource, namespace, name| {
            Some(ResourceAttributes { group, resource, subresource, namespace, name, ..Default::default() })
        };
        let cases = [
            (None, "", r#"forbidden: User "NAME" cannot GET path "/whatever""#),
            (None, "why", r#"forbidden: User "NAME" cannot GET path "/whatever": why"#),
            (
                resource("", "pod", "", "", ""),
                "",
                r#"pod is forbidden: User "NAME" cannot GET resource "pod" in API group "" at the cluster scope"#,
            ),
            (
                resource("apps", "deployments", "scale", "ns", "web"),
                "",
                r#"deployments.apps "web" is forbidden: User "NAME" cannot GET resource "deployments/scale" in API group "apps" in the namespace "ns""#,
            ),
            (
                resource("", "<pods>", "", "ns", ""),
                "a<b",
                r#"<pods> is forbidden: User "NAME" cannot GET resource "&lt;pods&gt;" in API group "" in the namespace "ns": a<b"#,
            ),
        ];
        for (resource, reason, want) in cases {
            let attributes = Attributes { user: &user, verb: "GET", resource, path: "/whatever" };
            assert_eq!(Forbidden::of(&attributes, reason).message, want);
        }
    }
}
