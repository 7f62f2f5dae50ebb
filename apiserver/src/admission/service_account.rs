//! ServiceAccount: every pod runs as one, with its token, the cluster's CA and its namespace projected
//! into each container (plugin/pkg/admission/serviceaccount/admission.go@v1.37.2).

use std::time::Duration;

use api::map;
use api::names;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};

const DEFAULT_NAME: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// Marks tokens whose clients may not reload them (authn/issue.rs extends these).
const TOKEN_SECONDS: i64 = 3607;

/// How often the default account is looked for, and how long after one another (once to twice this long).
const DEFAULT_TRIES: usize = 10;
const RETRY_MIN: Duration = Duration::from_millis(100);

pub(crate) struct ServiceAccount;

impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn admit<'a>(
        &'a self,
        attributes: &'a mut Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if !attributes.is("", "pods", &[""]) {
                return Ok(());
            }
            let Some(pod) = &attributes.object else { return Ok(()) };
            let mirror = pod.at(&["metadata", "annotations"]).is_some_and(|a| a.contains(MIRROR_ANNOTATION));
            if mirror {
                return refuse_mirror(attributes);
            }
            let asked = pod.map("spec").map_or("", |spec| spec.str("serviceAccountName"));
            let name = if asked.is_empty() { DEFAULT_NAME } else { asked }.to_string();
            let account = account(attributes, objects, &name).await?;
            let Some(pod) = attributes.object.as_deref_mut() else { return Ok(()) };
            apply(pod.map_mut("spec"), &name, &account);
            Ok(())
        })
    }
}

/// A mirror pod shows what runs already: it may not be given anything.
fn refuse_mirror(attributes: &Attributes<'_>) -> Result<(), Status> {
    let spec = attributes.object.as_ref().and_then(|pod| pod.map("spec")).unwrap_or(Map::EMPTY);
    if !spec.str("serviceAccountName").is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    let from_env = |container: &Map| {
        container.maps("env").any(|env| env.at(&["valueFrom", "secretKeyRef"]).is_some())
            || container.maps("envFrom").any(|from| from.contains("secretRef"))
    };
    let projected = || spec.maps("volumes").filter_map(|v| v.map("projected")).flat_map(|p| p.maps("sources"));
    let reads_secret = spec.maps("volumes").any(|volume| volume.contains("secret"))
        || projected().any(|source| source.contains("secret"))
        || !spec.list("imagePullSecrets").is_empty()
        || ["initContainers", "containers"].iter().any(|list| spec.maps(list).any(from_env));
    if reads_secret {
        return Err(attributes.forbidden("a mirror pod may not reference secrets"));
    }
    if projected().any(|source| source.contains("serviceAccountToken")) {
        return Err(attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

async fn account(attributes: &Attributes<'_>, objects: &dyn Reader, name: &str) -> Result<Map, Status> {
    let namespace = attributes.namespace;
    if let Some(account) = objects.cached("", "serviceaccounts", namespace, name) {
        return Ok((*account).clone());
    }
    // The default account is made by a controller soon after its namespace.
    let tries = if name == DEFAULT_NAME { DEFAULT_TRIES } else { 1 };
    let interval = RETRY_MIN + RETRY_MIN.mul_f64(f64::from(rand::random::<u16>()) / f64::from(u16::MAX));
    for at in 0..tries {
        if at > 0 {
            tokio::time::sleep(interval).await;
        }
        if let Some(account) = objects.live("", "serviceaccounts", namespace, name).await? {
            return Ok(account);
        }
    }
    let quoted = api::field::go_quote(name);
    let why = format!("error looking up service account {namespace}/{name}: serviceaccount {quoted} not found");
    Err(attributes.forbidden(&why))
}

fn apply(spec: &mut Map, name: &str, account: &Map) {
    spec.set("serviceAccountName", name);
    spec.set("serviceAccount", name);
    let automount = spec.bool("automountServiceAccountToken").or(account.bool("automountServiceAccountToken"));
    if automount != Some(false) {
        mount_token(spec);
    }
    if spec.list("imagePullSecrets").is_empty()
        && let Some(secrets) = account.get("imagePullSecrets").filter(|secrets| !secrets.is_zero())
    {
        spec.set("imagePullSecrets", secrets.clone());
    }
}

fn mount_token(spec: &mut Map) {
    let existing = spec.maps("volumes").map(|v| v.str("name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let had = existing.map(str::to_string);
    let volume = had.clone().unwrap_or_else(|| names::generate_name(VOLUME_PREFIX, rand::random));
    let mut mounted = false;
    for group in ["initContainers", "containers"] {
        for container in spec.maps_mut(group) {
            let has = container.maps("volumeMounts").any(|mount| mount.str("mountPath") == MOUNT_PATH);
            if !has {
                let mount = map! { "name" => volume.as_str(), "readOnly" => true, "mountPath" => MOUNT_PATH };
                container.list_mut("volumeMounts").push(Value::Map(mount));
                mounted = true;
            }
        }
    }
    if mounted && had.is_none() {
        spec.list_mut("volumes").push(Value::Map(token_volume(&volume)));
    }
}

fn token_volume(name: &str) -> Map {
    let token = map! { "expirationSeconds" => TOKEN_SECONDS, "path" => "token" };
    let ca = map! { "key" => "ca.crt", "path" => "ca.crt" };
    let field = map! { "apiVersion" => "v1", "fieldPath" => "metadata.namespace" };
    let namespace = map! { "path" => "namespace", "fieldRef" => field };
    let sources: Vec<Value> = vec![
        Value::Map(map! { "serviceAccountToken" => token }),
        Value::Map(map! { "configMap" => map! { "name" => "kube-root-ca.crt", "items" => vec![Value::Map(ca)] } }),
        Value::Map(map! { "downwardAPI" => map! { "items" => vec![Value::Map(namespace)] } }),
    ];
    map! { "name" => name, "projected" => map! { "sources" => sources, "defaultMode" => 420i64 } }
}
