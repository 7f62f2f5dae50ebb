//! Which container of a pod is meant (pkg/registry/core/pod/strategy.go@v1.37.2, validateContainer).

use api::object::Meta;
use api::status::Status;
use api::value::Map;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Names of all containers, init containers first.
fn names(spec: &Map) -> Vec<&str> {
    LISTS.iter().flat_map(|list| spec.maps(list)).map(|container| container.str("name")).collect()
}

pub(super) fn container(wanted: &str, pod: &Map) -> Result<String, Status> {
    let spec = pod.map("spec").unwrap_or(Map::EMPTY);
    let pod = pod.name();
    if !wanted.is_empty() {
        return match names(spec).contains(&wanted) {
            true => Ok(wanted.into()),
            false => Err(Status::bad_request(format!("container {wanted} is not valid for pod {pod}"))),
        };
    }
    let mut regular = spec.maps("containers").map(|container| container.str("name"));
    match (regular.next(), regular.next()) {
        (Some(only), None) => Ok(only.into()),
        (None, _) => Err(Status::bad_request(format!("a container name must be specified for pod {pod}"))),
        _ => {
            let all = names(spec).join(" ");
            let text = format!("a container name must be specified for pod {pod}, choose one of: [{all}]");
            Err(Status::bad_request(text))
        }
    }
}

/// The node that a pod runs on; "" before it was assigned to one.
pub(super) fn node_name(pod: &Map) -> &str {
    pod.map("spec").map_or("", |spec| spec.str("nodeName"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::map;
    use api::value::Value;

    fn pod(lists: &[(&'static str, &[&str])]) -> Map {
        let mut spec = Map::new();
        for (list, names) in lists {
            spec.set(*list, names.iter().map(|name| Value::Map(map! { "name" => *name })).collect::<Vec<_>>());
        }
        map! { "metadata" => map! { "name" => "x" }, "spec" => spec }
    }

    #[test]
    fn which_one() {
        let one = pod(&[("containers", &["a"])]);
        let two = pod(&[("containers", &["a", "b"]), ("initContainers", &["i"])]);
        for (pod, wanted, expect) in [
            (&one, "", Ok("a")),
            (&one, "a", Ok("a")),
            (&one, "z", Err("container z is not valid for pod x")),
            (&two, "i", Ok("i")),
            (&two, "", Err("a container name must be specified for pod x, choose one of: [i a b]")),
            (&pod(&[]), "", Err("a container name must be specified for pod x")),
        ] {
            let chosen = container(wanted, pod);
            assert_eq!(chosen.as_deref().map_err(|status| status.message.as_str()), expect);
        }
    }
}
