//! Webhooks on loopback: what they are asked, what is made of their answers, and chains with them.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::AuthorizationConfiguration;
use super::reload::Reloader;
use super::*;
use crate::authn::User;
use crate::authz::{Authorizers, ResourceAttributes};
use crate::configuration::metrics::Reloads;
use crate::webhook::testing::{Certificate, Webhook as Server};

/// A server that answers by user, and the kubeconfig that names it.
async fn server() -> (Server, PathBuf) {
    let answers = |asked: &Map| {
        let status = match asked.map("spec").map_or("", |spec| spec.str("user")) {
            "jane" => r#"{"allowed":true,"reason":"because"}"#,
            "mallory" => r#"{"allowed":false,"denied":true,"reason":"no"}"#,
            "both" => r#"{"allowed":true,"denied":true}"#,
            "broken" => return (403, "out of order".to_owned()),
            _ => r#"{"allowed":false,"reason":"unknown"}"#,
        };
        (200, format!(r#"{{"kind":"{KIND}","apiVersion":"{}","status":{status}}}"#, asked.str("apiVersion")))
    };
    let server = Server::start(&["localhost"], Certificate::Issued, Arc::new(answers)).await;
    let ca = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &server.ca);
    let path = std::env::temp_dir().join(format!("authz-{}", uuid::Uuid::new_v4()));
    let port = server.address.port();
    let text = format!(
        "current-context: c\ncontexts: [{{name: c, context: {{cluster: far}}}}]\nclusters: [{{name: far, cluster: {{server: 'https://localhost:{port}/authz', certificate-authority-data: {ca}}}}}]\n"
    );
    std::fs::write(&path, text).expect("written");
    (server, path)
}

/// A file with a webhook and RBAC behind it; `more` goes into the webhook.
fn file(kubeconfig: &std::path::Path, more: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n- type: Webhook\n  name: far\n  webhook: {{timeout: 5s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, connectionInfo: {{type: KubeConfigFile, kubeConfigFile: {}}}, {more}}}\n- {{type: RBAC, name: rbac}}\n",
        kubeconfig.display()
    )
}

fn authorizers(text: &str) -> Authorizers {
    let config = AuthorizationConfiguration::load(text.as_bytes(), &[]).expect("a configuration");
    let authorizers = Authorizers::empty(Metrics::default());
    authorizers.configure(&config, &["RBAC".into()]).expect("a chain");
    authorizers
}

fn user(name: &str) -> User {
    User { name: name.into(), ..User::default() }
}

fn attributes<'a>(user: &'a User, name: &'a str) -> Attributes<'a> {
    let resource = ResourceAttributes { version: "v1", resource: "pods", namespace: "ns", name, ..Default::default() };
    Attributes { user, verb: "get", resource: Some(resource), path: "" }
}

async fn check(authorizers: &Authorizers, name: &str, decision: Decision, error: Option<&str>) {
    let user = user(name);
    let answer = authorizers.judge(&attributes(&user, "p")).await;
    assert_eq!(answer, Answer { decision, error: error.map(str::to_owned) }, "{name}");
}

fn allow(reason: &str) -> Decision {
    Decision::Allow { reason: reason.into() }
}

fn deny(reason: &str) -> Decision {
    Decision::Deny { reason: reason.into() }
}

#[tokio::test]
async fn answers_are_decisions() {
    let (server, path) = server().await;
    for version in ["v1", "v1beta1"] {
        let text = file(&path, "failurePolicy: NoOpinion")
            .replace("subjectAccessReviewVersion: v1, m", &format!("subjectAccessReviewVersion: {version}, m"));
        let authorizers = authorizers(&text);
        check(&authorizers, "jane", allow("because"), None).await;
        check(&authorizers, "mallory", deny("no"), None).await;
        let both = "webhook subject access review returned both allow and deny response";
        check(&authorizers, "both", deny(""), Some(both)).await;
        check(&authorizers, "joe", Decision::no_opinion("far: unknown"), None).await;
        check(&authorizers, "broken", Decision::no_opinion(""), Some("out of order")).await;
        let root = User { groups: vec!["system:masters".into()], ..user("broken") };
        assert_eq!(authorizers.judge(&attributes(&root, "p")).await, Decision::allow().into());
    }
    let asked = server.asked.lock();
    let (path, review) = &asked[0];
    assert_eq!((path.as_str(), review.str("apiVersion")), ("/authz?timeout=5s", "authorization.k8s.io/v1"));
    let spec = String::from_utf8(json::encode(review.map("spec").expect("a spec"))).expect("text");
    let expect = r#"{"resourceAttributes":{"name":"p","namespace":"ns","resource":"pods","verb":"get","version":"v1"},"user":"jane"}"#;
    assert_eq!(spec.trim_end(), expect);
}

#[tokio::test]
async fn a_webhook_that_fails_closed_denies() {
    let (_server, path) = server().await;
    let authorizers = authorizers(&file(&path, "failurePolicy: Deny"));
    check(&authorizers, "broken", deny(""), Some("out of order")).await;
    check(&authorizers, "joe", Decision::no_opinion("far: unknown"), None).await;
}

#[tokio::test]
async fn answers_are_kept_as_configured() {
    let (server, path) = server().await;
    let asked = || server.asked.lock().len();
    let kept = authorizers(&file(&path, "failurePolicy: Deny"));
    for (name, calls) in [("jane", 1), ("jane", 1), ("joe", 2), ("joe", 2), ("broken", 3), ("broken", 4)] {
        kept.judge(&attributes(&user(name), "p")).await;
        assert_eq!(asked(), calls, "{name}");
    }
    let long = "x".repeat(CONTROLLED_BYTES_MAX);
    for calls in [5, 6] {
        kept.judge(&attributes(&user("jane"), &long)).await;
        assert_eq!(asked(), calls, "what is too long is not kept");
    }
    let some = authorizers(&file(&path, "failurePolicy: Deny, cacheAuthorizedRequests: false, unauthorizedTTL: 1ms"));
    for (name, calls) in [("jane", 7), ("jane", 8), ("joe", 9)] {
        some.judge(&attributes(&user(name), "p")).await;
        assert_eq!(asked(), calls, "{name}");
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    some.judge(&attributes(&user("joe"), "p")).await;
    assert_eq!(asked(), 10);
}

#[tokio::test]
async fn conditions_spare_calls() {
    let (server, path) = server().await;
    let conditions = |list: &str| format!("failurePolicy: Deny, matchConditions: [{list}]");
    let only = authorizers(&file(&path, &conditions("{expression: \"request.user != 'joe'\"}")));
    check(&only, "joe", Decision::no_opinion(""), None).await;
    check(&only, "mallory", deny("no"), None).await;
    assert_eq!(server.asked.lock().len(), 1);
    let fails = authorizers(&file(&path, &conditions("{expression: request.nonResourceAttributes.path == '/'}")));
    let why = "cel evaluation error: expression 'request.nonResourceAttributes.path == '/'' resulted in error: no such key: nonResourceAttributes";
    check(&fails, "jane", deny(""), Some(why)).await;
    assert_eq!(server.asked.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_cannot_wait_are_answered_too() {
    let (_server, path) = server().await;
    let authorizers = authorizers(&file(&path, "failurePolicy: Deny"));
    assert_eq!(authorizers.decide(&attributes(&user("jane"), "p")), allow("because"));
    assert!(authorizers.asks_elsewhere());
    let (_, errors, incomplete) = authorizers.rules_for(&user("jane"), "ns");
    assert_eq!(
        (errors, incomplete),
        (vec!["webhook authorizer does not support user rule resolution".to_owned()], true)
    );
}

#[tokio::test]
async fn a_changed_file_takes_effect() {
    let (_server, kubeconfig) = server().await;
    let path = std::env::temp_dir().join(format!("authz-{}", uuid::Uuid::new_v4()));
    let before = file(&kubeconfig, "failurePolicy: Deny");
    let authorizers = authorizers(&before);
    let config = AuthorizationConfiguration::load(before.as_bytes(), &[]).expect("a configuration");
    let required = config.local_types();
    let counted = Reloads::new("authorization", "test");
    let mut reloader = Reloader { path: path.clone(), seen: before.clone().into_bytes(), config, required, counted };
    let only_rbac = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: RBAC, name: rbac}]\n";
    let with_node = only_rbac.replace("[", "[{type: Node, name: node}, ");
    let steps: [(&str, Decision, Option<&str>); 5] = [
        ("nonsense", deny(""), Some("out of order")),
        (&only_rbac.replace("RBAC, name: rbac", "AlwaysAllow, name: alwaysallow"), deny(""), Some("out of order")),
        (&with_node, deny(""), Some("out of order")),
        (only_rbac, Decision::no_opinion(""), None),
        (&before, deny(""), Some("out of order")),
    ];
    for (text, decision, error) in steps {
        std::fs::write(&path, text).expect("written");
        reloader.check(&authorizers);
        check(&authorizers, "broken", decision, error).await;
    }
    std::fs::remove_file(&path).expect("removed");
}
