//! Priority: a pod's class becomes its number (plugin/pkg/admission/priority/admission.go@v1.37.2).

use std::sync::Arc;

use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::{Attributes, Operation, Plugin, Reader};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
/// The policy where no class says anything.
const DEFAULT_POLICY: &str = "PreemptLowerPriority";

pub(crate) struct Priority;

impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
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
            match attributes.operation {
                Operation::Create => admit_pod(attributes, objects).await,
                _ => {
                    keep(attributes);
                    Ok(())
                }
            }
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move { one_default(attributes, objects) })
    }
}

/// An update without the fields keeps them.
fn keep(attributes: &mut Attributes<'_>) {
    let Some(old) = attributes.old.and_then(|old| old.map("spec")) else { return };
    let Some(spec) = attributes.object.as_deref_mut().map(|pod| pod.map_mut("spec")) else { return };
    for name in ["priority", "preemptionPolicy"] {
        if let (None, Some(value)) = (spec.get(name), old.get(name)) {
            spec.set(name, value.clone());
        }
    }
}

async fn class(objects: &dyn Reader, name: &str) -> Result<Option<Arc<Map>>, Status> {
    match objects.cached(GROUP, CLASSES, "", name) {
        Some(class) => Ok(Some(class)),
        None => Ok(objects.live(GROUP, CLASSES, "", name).await?.map(Arc::new)),
    }
}

/// Of several global defaults the lowest counts.
fn default_class(objects: &dyn Reader) -> Option<Arc<Map>> {
    let classes = objects.list(GROUP, CLASSES, "").into_iter();
    classes.filter(|class| class.bool("globalDefault") == Some(true)).min_by_key(|class| class.i64("value"))
}

async fn admit_pod(attributes: &mut Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
    let Some(pod) = attributes.object.as_deref() else { return Ok(()) };
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    let (asked, name) = (spec.i64("priority"), spec.str("priorityClassName").to_string());
    let asked_policy = spec.get("preemptionPolicy").and_then(Value::as_str).map(str::to_owned);
    let found = if name.is_empty() { default_class(objects) } else { class(objects, &name).await? };
    let (value, policy) = match &found {
        Some(class) => (class.i64("value").unwrap_or(0), class.str("preemptionPolicy").to_string()),
        None if name.is_empty() => (0, DEFAULT_POLICY.to_string()),
        None => return Err(attributes.forbidden(&format!("no PriorityClass with name {name} was found"))),
    };
    if let Some(asked) = asked.filter(|asked| *asked != value) {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(&why));
    }
    let class_name =
        found.as_ref().map_or("", |class| class.map("metadata").map_or("", |meta| meta.str("name"))).to_string();
    if let Some(asked_policy) = asked_policy.filter(|asked| !policy.is_empty() && *asked != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({asked_policy}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(attributes.forbidden(&why));
    }
    let Some(spec) = attributes.object.as_deref_mut().map(|pod| pod.map_mut("spec")) else { return Ok(()) };
    if !class_name.is_empty() {
        spec.set("priorityClassName", class_name);
    }
    spec.set("priority", Value::Int(value));
    if !policy.is_empty() {
        spec.set("preemptionPolicy", policy);
    }
    Ok(())
}

/// Only one class may be the global default.
fn one_default(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
    if !attributes.is(GROUP, CLASSES, &[""]) {
        return Ok(());
    }
    let Some(object) = attributes.object.as_deref().filter(|object| object.bool("globalDefault") == Some(true)) else {
        return Ok(());
    };
    let own = object.map("metadata").map_or("", |meta| meta.str("name"));
    match default_class(objects).and_then(|class| Some(class.map("metadata")?.str("name").to_string())) {
        Some(other) if other != own => Err(attributes
            .forbidden(&format!("PriorityClass {other} is already marked as default. Only one default can exist"))),
        _ => Ok(()),
    }
}
