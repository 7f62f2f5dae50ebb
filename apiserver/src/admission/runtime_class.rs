//! RuntimeClass: a pod carries the overhead and the placement of its class
//! (plugin/pkg/admission/runtimeclass/admission.go, pkg/util/tolerations/tolerations.go@v1.37.2).

use std::sync::Arc;

use api::field::go_quote;
use api::status::Status;
use api::value::{Map, Value};
use futures::future::BoxFuture;

use super::amounts;
use super::{Attributes, Operation, Plugin, Reader};

const GROUP: &str = "node.k8s.io";

pub(crate) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
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
            let Some(class) = class(attributes, objects).await? else { return Ok(()) };
            let Some(pod) = attributes.object.as_deref_mut() else { return Ok(()) };
            apply(pod.map_mut("spec"), &class).map_err(|why| attributes.forbidden(&why))
        })
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            if !attributes.is("", "pods", &[""]) {
                return Ok(());
            }
            let class = class(attributes, objects).await?;
            let overhead = attributes.object.as_deref().and_then(|pod| pod.at(&["spec", "overhead"]));
            let why = match class.as_deref().and_then(|class| class.at(&["overhead"])) {
                Some(wanted) if !same(wanted.map("podFixed"), overhead) => MISMATCH,
                None if overhead.is_some() => {
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                }
                _ => return Ok(()),
            };
            Err(attributes.forbidden(why))
        })
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

async fn class(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<Option<Arc<Map>>, Status> {
    let pod = attributes.object.as_deref().filter(|_| attributes.is("", "pods", &[""]));
    let Some(name) = pod.and_then(|pod| pod.value_at(&["spec", "runtimeClassName"])?.as_str()) else { return Ok(None) };
    let found = match objects.cached(GROUP, "runtimeclasses", "", name) {
        Some(class) => Some(class),
        None => objects.live(GROUP, "runtimeclasses", "", name).await?.map(Arc::new),
    };
    let missing = || attributes.forbidden(&format!("pod rejected: RuntimeClass {} not found", go_quote(name)));
    found.map(Some).ok_or_else(missing)
}

fn same(left: Option<&Map>, right: Option<&Map>) -> bool {
    amounts::of(left) == amounts::of(right)
}

fn apply(spec: &mut Map, class: &Map) -> Result<(), String> {
    if let Some(overhead) = class.map("overhead") {
        let fixed = overhead.map("podFixed");
        if spec.map("overhead").is_some_and(|own| !own.is_empty() && !same(Some(own), fixed)) {
            return Err(MISMATCH.into());
        }
        if let Some(fixed) = fixed {
            spec.set("overhead", fixed.clone());
        }
    }
    let Some(scheduling) = class.map("scheduling") else { return Ok(()) };
    for (key, value) in scheduling.map("nodeSelector").into_iter().flat_map(Map::iter) {
        let selector = spec.map_mut("nodeSelector");
        let (own, wanted) = (selector.str(key).to_string(), value.as_str().unwrap_or(""));
        if selector.contains(key) && own != wanted {
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            ));
        }
        selector.set(key.clone(), wanted);
        selector.sort();
    }
    let merged = merge_tolerations(spec.list("tolerations"), scheduling.list("tolerations"));
    if !merged.is_empty() {
        spec.set("tolerations", merged);
    }
    Ok(())
}

/// All of both, but for those that another one covers; of two equal ones the first stays.
fn merge_tolerations(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Map> = first.iter().chain(second).filter_map(Value::as_map).collect();
    let covered = |at: usize, one: &Map| {
        all.iter().enumerate().any(|(other_at, other)| {
            let equal = same_toleration(one, other);
            other_at != at && if equal { other_at < at } else { is_superset(other, one) }
        })
    };
    let kept = all.iter().enumerate().filter(|(at, one)| !covered(*at, one));
    kept.map(|(_, one)| Value::Map((*one).clone())).collect()
}

fn operator(toleration: &Map) -> &str {
    match toleration.str("operator") {
        "" => "Equal",
        operator => operator,
    }
}

fn same_toleration(a: &Map, b: &Map) -> bool {
    ["key", "value", "effect"].iter().all(|name| a.str(name) == b.str(name))
        && operator(a) == operator(b)
        && a.i64("tolerationSeconds") == b.i64("tolerationSeconds")
}

/// Everything that `less` tolerates, `more` does too.
fn is_superset(more: &Map, less: &Map) -> bool {
    let any_key = more.str("key").is_empty() && operator(more) == "Exists";
    if more.str("key") != less.str("key") && !any_key {
        return false;
    }
    let effect = more.str("effect");
    if effect != less.str("effect") && !effect.is_empty() {
        return false;
    }
    if effect == "NoExecute"
        && let Some(seconds) = more.i64("tolerationSeconds")
        && less.i64("tolerationSeconds").is_none_or(|other| other > seconds)
    {
        return false;
    }
    operator(more) == "Exists" || (operator(less) == "Equal" && more.str("value") == less.str("value"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;

    #[test]
    fn classes_place_pods() {
        let toleration = |key: &str| Value::Map(map! { "key" => key, "operator" => "Exists" });
        let class = map! {
            "overhead" => map! { "podFixed" => map! { "cpu" => "100m" } },
            "scheduling" => map! {
                "nodeSelector" => map! { "a" => "1" }, "tolerations" => vec![toleration("x"), toleration("y")],
            },
        };
        let mut spec = map! { "tolerations" => vec![toleration("x")] };
        assert_eq!(apply(&mut spec, &class), Ok(()));
        assert_eq!(spec.list("tolerations"), [toleration("x"), toleration("y")]);
        assert_eq!(spec.map("overhead"), Some(&map! { "cpu" => "100m" }));
        let mut spec = map! { "nodeSelector" => map! { "a" => "2" } };
        let why = "conflict: runtimeClass.scheduling.nodeSelector[a] = 1; pod.spec.nodeSelector[a] = 2";
        assert_eq!(apply(&mut spec, &class), Err(why.into()));
        let mut spec = map! { "overhead" => map! { "cpu" => "1" } };
        assert_eq!(apply(&mut spec, &class), Err(MISMATCH.into()));
    }
}
