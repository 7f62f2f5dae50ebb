//! What a name under the cluster domain asks for.
//!
//! Pure. Facts: the grammar of the DNS specification 1.1.0 and CoreDNS's plugin/kubernetes/parse.go.

/// A name of the zone, taken apart; lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The zone itself, `svc.ZONE`, `pod.ZONE` or a namespace below them: names without records.
    Nothing,
    /// `svc.ZONE` or `pod.ZONE` under a namespace, without more.
    Namespace {
        namespace: String,
    },
    Pod {
        namespace: String,
        name: String,
    },
    Service {
        namespace: String,
        name: String,
        part: Part,
    },
    /// No name of this zone can look so.
    Invalid,
}

/// What of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Endpoint(String),
    Port { port: String, protocol: String },
}

/// Parses the labels left of the zone, in order.
pub(crate) fn parse(labels: &[String]) -> Asked {
    let mut rest = labels.iter().rev();
    let kind = match rest.next().map(String::as_str) {
        None => return Asked::Nothing,
        Some(kind @ ("svc" | "pod")) => kind,
        Some(_) => return Asked::Invalid,
    };
    let Some(namespace) = rest.next().cloned() else { return Asked::Nothing };
    let Some(name) = rest.next().cloned() else { return Asked::Namespace { namespace } };
    let rest: Vec<&String> = rest.collect();
    let part = match rest[..] {
        [] => Part::Whole,
        [endpoint] => Part::Endpoint(endpoint.clone()),
        [protocol, port] => Part::Port { port: without_underscore(port), protocol: without_underscore(protocol) },
        _ => return Asked::Invalid,
    };
    // CoreDNS ignores what stands before the name of a pod.
    if kind == "pod" { Asked::Pod { namespace, name } } else { Asked::Service { namespace, name, part } }
}

fn without_underscore(label: &str) -> String {
    label.strip_prefix('_').unwrap_or(label).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let service = |part| Asked::Service { namespace: "ns".into(), name: "web".into(), part };
        let cases = [
            ("", Asked::Nothing),
            ("svc", Asked::Nothing),
            ("pod", Asked::Nothing),
            ("other", Asked::Invalid),
            ("ns.svc", Asked::Namespace { namespace: "ns".into() }),
            ("1-2-3-4.ns.pod", Asked::Pod { namespace: "ns".into(), name: "1-2-3-4".into() }),
            ("web.ns.svc", service(Part::Whole)),
            ("web-0.web.ns.svc", service(Part::Endpoint("web-0".into()))),
            ("_http._tcp.web.ns.svc", service(Part::Port { port: "http".into(), protocol: "tcp".into() })),
            ("http.tcp.web.ns.svc", service(Part::Port { port: "http".into(), protocol: "tcp".into() })),
            ("a.b.c.web.ns.svc", Asked::Invalid),
        ];
        for (name, expect) in cases {
            let labels: Vec<String> = name.split('.').filter(|label| !label.is_empty()).map(String::from).collect();
            assert_eq!(parse(&labels), expect, "{name}");
        }
    }
}
