//! What a caller may: SubjectAccessReview about subresources of this node
//! (pkg/kubelet/server/auth.go@v1.37.2).
//!
//! Invariant: any one of the subresources that a path stands for is enough.

use http::{Method, Response};
use kube::Client;
use serving::{Asked, Reviews, User};

use super::respond::{self, Body};
use super::{Authorization, Settings};

pub(super) struct Authorizer {
    /// Everybody may do everything without.
    reviews: Option<Reviews>,
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
        let asks = settings.authorization == Authorization::Webhook;
        let reviews = asks.then(|| Reviews::new(client, settings.authorized_ttl, settings.unauthorized_ttl));
        Authorizer { reviews }
    }

    /// The error is the answer that the caller gets.
    pub(super) async fn check(
        &self,
        user: &User,
        node: &str,
        method: &Method,
        path: &str,
    ) -> Result<(), Response<Body>> {
        let Some(reviews) = &self.reviews else { return Ok(()) };
        let (verb, subresources) = (verb(method), subresources(path));
        for subresource in &subresources {
            let asked = Asked::Resource {
                verb: verb.into(),
                resource: "nodes".into(),
                subresource: (*subresource).into(),
                name: node.into(),
            };
            match reviews.decide(user, &asked).await {
                Ok((true, _)) => return Ok(()),
                Ok((false, _)) => {}
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
