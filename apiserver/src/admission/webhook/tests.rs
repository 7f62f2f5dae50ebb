//! Both plugins in a chain, against a webhook on loopback.

use std::sync::Arc;

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use base64::Engine;

use super::{MutatingAdmissionWebhook, ValidatingAdmissionWebhook, Webhooks};
use crate::admission::{Attributes, Chain, Operation, Plugin, Reader};
use crate::audit::{Annotations, Level};
use crate::authn::User;
use crate::authz::Authorizers;
use crate::registry::Entry;
use crate::webhook::testing::{Certificate, Objects, Webhook, object};
use futures::future::BoxFuture;
use parking_lot::Mutex;

/// Sets a label whenever another is there, as a plugin of the server that runs twice.
struct Follows;

impl Plugin for Follows {
    fn name(&self) -> &'static str {
        "Follows"
    }

    fn handles(&self, _: Operation) -> bool {
        true
    }

    fn admit<'a>(&'a self, attributes: &'a mut Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if let Some(object) = attributes.object.as_deref_mut()
                && object.label("hooked").is_some()
            {
                object.meta_mut().map_mut("labels").set("followed", "yes");
            }
            Ok(())
        })
    }
}

/// The webhook's mind: told by the name of the object that it is asked about.
fn decide(asked: &Map) -> (u16, String) {
    let request = asked.map("request").expect("a request");
    let object = request.map("object").or(request.map("oldObject")).unwrap_or(Map::EMPTY);
    let patch = |text: &str| {
        let patch = base64::engine::general_purpose::STANDARD.encode(text);
        format!(r#""allowed":true,"patchType":"JSONPatch","patch":"{patch}""#)
    };
    let labels = object.meta().map("labels").is_some();
    let response = match request.str("name") {
        "refused" => {
            r#""allowed":false,"status":{"message":"not today","code":403,"reason":"Nope"},"warnings":["careful"]"#
                .into()
        }
        "broken" => return (500, "oh".into()),
        "wild" => patch(r#"[{"op":"remove","path":"/spec/missing"}]"#),
        "hooked" if !labels => patch(r#"[{"op":"add","path":"/metadata/labels","value":{"hooked":"yes"}}]"#),
        _ => r#""allowed":true,"warnings":["seen"]"#.into(),
    };
    let (uid, version) = (request.str("uid"), asked.str("apiVersion"));
    (200, format!(r#"{{"kind":"AdmissionReview","apiVersion":"{version}","response":{{"uid":"{uid}",{response}}}}}"#))
}

struct World {
    chain: Chain,
    webhook: Webhook,
    objects: Objects,
}

fn configuration(webhook: &Webhook, more: &Map) -> Map {
    let mut hook = object(
        r#"{"name":"w.example.com","rules":[{"operations":["*"],"apiGroups":["apps"],"apiVersions":["v1"],"resources":["deployments"],"scope":"*"}],
        "namespaceSelector":{},"objectSelector":{},"matchPolicy":"Equivalent","sideEffects":"None","failurePolicy":"Fail","timeoutSeconds":5,"admissionReviewVersions":["v1"]}"#,
    );
    hook.set("clientConfig", webhook.by_service());
    for (name, value) in more.iter() {
        hook.set(name.clone(), value.clone());
    }
    map! { "webhooks" => vec![Value::Map(hook)] }
}

async fn world(more: &str) -> World {
    let webhook = Webhook::start(&["webhook.test.svc"], Certificate::Issued, Arc::new(decide)).await;
    let webhooks = Arc::new(Webhooks::default());
    let configuration = configuration(&webhook, &object(more));
    webhooks.mutating.set("m", Some(&configuration));
    webhooks.validating.set("v", Some(&configuration));
    let authorizers = Arc::new(Authorizers::new(&[]));
    let chain = Chain::new(vec![
        Box::new(Follows),
        Box::new(MutatingAdmissionWebhook { webhooks: webhooks.clone(), authorizers: authorizers.clone() }),
        Box::new(ValidatingAdmissionWebhook { webhooks, authorizers }),
    ]);
    let namespace = object(r#"{"metadata":{"name":"n","labels":{"team":"a"}}}"#);
    let all = vec![("services", Arc::new(webhook.service())), ("namespaces", Arc::new(namespace))];
    World { chain, webhook, objects: Objects { all } }
}

fn attributes<'a>(
    entry: &'a Arc<Entry>,
    user: &'a User,
    name: &'a str,
    dry_run: bool,
    object: &'a mut Map,
) -> Attributes<'a> {
    Attributes {
        operation: Operation::Create,
        user,
        entry,
        group: "apps",
        version: "v1",
        resource: "deployments",
        kind: "Deployment",
        subresource: "",
        namespace: "n",
        name,
        object: Some(object),
        old: None,
        dry_run,
        options: Value::Null,
        warnings: Default::default(),
        annotations: Default::default(),
        reinvocation: Default::default(),
    }
}

impl World {
    /// Admits a deployment and gives it as it is then, with the warnings.
    async fn admit(&self, name: &str, dry_run: bool) -> Result<(Map, Vec<String>), Status> {
        let entry = self.objects.registry().get("apps", "v1", "deployments").expect("deployments");
        let text = format!(
            r#"{{"kind":"Deployment","apiVersion":"apps/v1","metadata":{{"name":"{name}","namespace":"n"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{}},"spec":{{}}}}}}}}"#
        );
        let (mut object, user) = (object(&text), User::default());
        let mut asked = attributes(&entry, &user, name, dry_run, &mut object);
        self.chain.admit(&mut asked, &self.objects).await?;
        let mut warnings = asked.warnings.into_inner();
        let judged = attributes(&entry, &user, name, dry_run, &mut object);
        self.chain.validate(&judged, &self.objects).await?;
        warnings.extend(judged.warnings.into_inner());
        Ok((object, warnings))
    }

    /// What the audit log is told of a request that is told at `level`: keys without what they all have, and values.
    async fn told(&self, name: &str, level: Level) -> Vec<String> {
        let entry = self.objects.registry().get("apps", "v1", "deployments").expect("deployments");
        let text =
            format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"template":{{"metadata":{{}},"spec":{{}}}}}}}}"#);
        let (mut object, user) = (object(&text), User::default());
        let mut told = Vec::new();
        for judges in [false, true] {
            let mut asked = attributes(&entry, &user, name, false, &mut object);
            asked.annotations = Mutex::new(Annotations::new(level));
            let _ = match judges {
                true => self.chain.validate(&asked, &self.objects).await,
                false => self.chain.admit(&mut asked, &self.objects).await,
            };
            let annotations = asked.annotations.into_inner().wanted;
            told.extend(
                annotations
                    .iter()
                    .map(|(key, value)| format!("{key}={value}").replace(".webhook.admission.k8s.io/", " ")),
            );
        }
        told
    }

    async fn refusal(&self, name: &str) -> (u16, String) {
        let status = self.admit(name, false).await.expect_err("a refusal");
        (status.code, status.message)
    }
}

#[tokio::test]
async fn conditions_that_fail() {
    let world = world(r#"{"matchConditions":[{"name":"a","expression":"object.spec.zz == 'c'"}]}"#).await;
    let why = "deployments.apps \"plain\" is forbidden: expression 'object.spec.zz == 'c'' resulted in error: no such key: zz";
    assert_eq!(world.refusal("plain").await, (403, why.into()));
}

#[tokio::test]
async fn refusals() {
    let world = world("{}").await;
    let (code, message) = world.refusal("refused").await;
    assert_eq!((code, message.as_str()), (403, "admission webhook \"w.example.com\" denied the request: not today"));
    let (code, message) = world.refusal("broken").await;
    let why = "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: an error on the server (\"oh\") has prevented the request from succeeding";
    assert_eq!((code, message.as_str()), (500, why));
    let (code, message) = world.refusal("wild").await;
    let why = "Internal error occurred: error in remove for path: '/spec/missing': Unable to remove nonexistent key: missing: missing value";
    assert_eq!((code, message.as_str()), (500, why));
}

#[tokio::test]
async fn failures_may_be_ignored() {
    let world = world(r#"{"failurePolicy":"Ignore"}"#).await;
    assert!(world.admit("broken", false).await.is_ok());
    assert_eq!(world.refusal("refused").await.0, 403);
}

#[tokio::test]
async fn the_audit_log_is_told() {
    let mutated = |changed: bool| {
        format!(r#"mutation round_0_index_0={{"configuration":"m","webhook":"w.example.com","mutated":{changed}}}"#)
    };
    let patch = r#"patch round_0_index_0={"configuration":"m","webhook":"w.example.com","patch":[{"op":"add","path":"/metadata/labels","value":{"hooked":"yes"}}],"patchType":"JSONPatch"}"#;
    let open = |what: &str| format!("failed-open.{what} round_0_index_0=w.example.com");
    for (name, policy, level, expect) in [
        ("plain", "Fail", Level::None, vec![]),
        ("plain", "Fail", Level::Metadata, vec![mutated(false)]),
        ("hooked", "Fail", Level::Metadata, vec![mutated(true)]),
        ("hooked", "Fail", Level::Request, vec![patch.to_owned(), mutated(true)]),
        ("broken", "Ignore", Level::Metadata, vec![mutated(false), open("mutation"), open("validating")]),
    ] {
        let world = world(&format!(r#"{{"failurePolicy":"{policy}"}}"#)).await;
        assert_eq!(world.told(name, level).await, expect, "{name}");
    }
}

#[tokio::test]
async fn changes_are_defaulted_and_shown_to_the_plugins_before() {
    let world = world("{}").await;
    let (object, warnings) = world.admit("hooked", false).await.expect("admitted");
    assert_eq!((object.label("hooked"), object.label("followed")), (Some("yes"), Some("yes")));
    // Defaults come with a patch.
    assert_eq!(object.map("spec").and_then(|spec| spec.i64("revisionHistoryLimit")), Some(10));
    assert_eq!(warnings, ["seen"]);
    // Once to change it, once to judge it: reinvocationPolicy is Never.
    assert_eq!(world.webhook.asked.lock().len(), 2);
}

#[tokio::test]
async fn webhooks_see_later_changes_if_they_want() {
    let world = world(r#"{"reinvocationPolicy":"IfNeeded"}"#).await;
    world.admit("hooked", false).await.expect("admitted");
    let followed: Vec<bool> = world
        .webhook
        .asked
        .lock()
        .iter()
        .map(|(_, asked)| asked.at(&["request", "object"]).and_then(|object| object.label("followed")).is_some())
        .collect();
    assert_eq!(followed, [false, true, true]);
}

#[tokio::test]
async fn selectors_and_rules_leave_out() {
    for (more, calls) in [
        (r#"{"namespaceSelector":{"matchLabels":{"team":"a"}}}"#, 2),
        (r#"{"namespaceSelector":{"matchLabels":{"team":"b"}}}"#, 0),
        (r#"{"matchConditions":[{"name":"a","expression":"object.metadata.name == 'plain'"}]}"#, 2),
        (r#"{"matchConditions":[{"name":"a","expression":"request.operation == 'DELETE'"}]}"#, 0),
        (r#"{"objectSelector":{"matchLabels":{"x":"y"}}}"#, 0),
        (r#"{"rules":[{"operations":["UPDATE"],"apiGroups":["*"],"apiVersions":["*"],"resources":["*"]}]}"#, 0),
    ] {
        let world = world(more).await;
        world.admit("plain", false).await.expect("admitted");
        assert_eq!(world.webhook.asked.lock().len(), calls, "{more}");
    }
}

#[tokio::test]
async fn requests_that_change_nothing() {
    let effects = world(r#"{"sideEffects":"Some"}"#).await;
    let refused = effects.admit("plain", true).await.map_err(|status| (status.code, status.message));
    let why = "admission webhook \"w.example.com\" does not support dry run";
    assert_eq!(refused.err(), Some((400, why.into())));
    let none = world("{}").await;
    none.admit("plain", true).await.expect("admitted");
    let asked = none.webhook.asked.lock();
    assert_eq!(asked.first().and_then(|(_, asked)| asked.map("request")?.bool("dryRun")), Some(true));
}
