//! Which handler a path belongs to.
//!
//! Invariant: pure; names come percent-decoded out of whole path segments.

/// A container of a pod; port-forward has no container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    /// Empty when the caller does not care.
    pub(super) uid: &'a str,
    pub(super) container: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// All checks, or one.
    Healthz(Option<&'a str>),
    Pods,
    RunningPods,
    Configz,
    Summary,
    Metrics,
    CadvisorMetrics,
    ResourceMetrics,
    ProbeMetrics,
    NodeLogs(&'a str),
    ContainerLogs(Place<'a>),
    Run(Place<'a>),
    Exec(Place<'a>),
    Attach(Place<'a>),
    PortForward(Place<'a>),
}

impl Route<'_> {
    /// Only there when debugging handlers are enabled.
    pub(super) fn is_debugging(&self) -> bool {
        matches!(
            self,
            Route::RunningPods
                | Route::NodeLogs(_)
                | Route::ContainerLogs(_)
                | Route::Run(_)
                | Route::Exec(_)
                | Route::Attach(_)
                | Route::PortForward(_)
                | Route::Configz
        )
    }

    pub(super) fn is_read_only(&self) -> bool {
        !matches!(self, Route::Run(_) | Route::Exec(_) | Route::Attach(_) | Route::PortForward(_))
    }
}

pub(super) fn find(path: &str) -> Option<Route<'_>> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    Some(match *parts.as_slice() {
        ["healthz"] | ["healthz", ""] => Route::Healthz(None),
        ["healthz", check] => Route::Healthz(Some(check)),
        ["pods"] | ["pods", ""] => Route::Pods,
        ["runningpods"] | ["runningpods", ""] => Route::RunningPods,
        ["configz"] => Route::Configz,
        ["stats", "summary"] => Route::Summary,
        ["metrics"] => Route::Metrics,
        ["metrics", "cadvisor"] => Route::CadvisorMetrics,
        ["metrics", "resource"] => Route::ResourceMetrics,
        ["metrics", "probes"] => Route::ProbeMetrics,
        ["logs"] => Route::NodeLogs(""),
        ["logs", ..] => Route::NodeLogs(&path["/logs/".len()..]),
        ["containerLogs", namespace, pod, container] => {
            Route::ContainerLogs(Place { namespace, pod, container, uid: "" })
        }
        ["portForward", namespace, pod] => Route::PortForward(Place { namespace, pod, ..Place::default() }),
        ["portForward", namespace, pod, uid] => Route::PortForward(Place { namespace, pod, uid, container: "" }),
        [verb, namespace, pod, container] => of_container(verb, Place { namespace, pod, container, uid: "" })?,
        [verb, namespace, pod, uid, container] => of_container(verb, Place { namespace, pod, container, uid })?,
        _ => return None,
    })
}

fn of_container<'a>(verb: &str, place: Place<'a>) -> Option<Route<'a>> {
    Some(match verb {
        "exec" => Route::Exec(place),
        "attach" => Route::Attach(place),
        "run" => Route::Run(place),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let place = |uid, container| Place { namespace: "n", pod: "p", uid, container };
        for (path, expect) in [
            ("/healthz", Some(Route::Healthz(None))),
            ("/healthz/syncloop", Some(Route::Healthz(Some("syncloop")))),
            ("/pods", Some(Route::Pods)),
            ("/runningpods/", Some(Route::RunningPods)),
            ("/logs/", Some(Route::NodeLogs(""))),
            ("/logs/a/b.log", Some(Route::NodeLogs("a/b.log"))),
            ("/containerLogs/n/p/c", Some(Route::ContainerLogs(place("", "c")))),
            ("/exec/n/p/c", Some(Route::Exec(place("", "c")))),
            ("/attach/n/p/u/c", Some(Route::Attach(place("u", "c")))),
            ("/portForward/n/p", Some(Route::PortForward(place("", "")))),
            ("/portForward/n/p/u", Some(Route::PortForward(place("u", "")))),
            ("/exec/n/p", None),
            ("/other/n/p/c", None),
            ("/metrics/cadvisor", Some(Route::CadvisorMetrics)),
            ("/", None),
        ] {
            assert_eq!(find(path), expect, "{path}");
        }
    }
}
