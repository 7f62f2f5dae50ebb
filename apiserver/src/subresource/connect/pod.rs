//! exec, attach and port-forward of a pod, and the proxy to it
//! (pkg/registry/core/pod/{strategy.go,rest/subresources.go}@v1.37.2).

use std::borrow::Cow;

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use http::Response;
use streams::upgrade::How;
use streams::{exec, websocket};

use super::choose::{container, node_name};
use super::node::{Kubelet, is_allowed};
use super::target::{Identity, Target, query, split_scheme_name_port, subpath};
use super::{Connect, admit, live, may_create, upgrade};
use crate::chain::Asked;
use crate::request::Query;
use crate::respond::Body;
use crate::rest::Call;
use crate::subresource::Incoming;

/// Parameters of the API and what kubelets call them.
const STREAMS: [(&str, &str); 4] = [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")];

/// A port that is no number is refused before anybody is asked.
fn check_ports(asked: &Query) -> Result<(), Status> {
    let wrong = asked.all("ports").find(|port| port.parse::<i32>().is_err());
    wrong.map_or(Ok(()), |port| {
        let port = api::field::go_quote(port);
        let text = format!("cannot convert to []int32: strconv.ParseUint: parsing {port}: invalid syntax");
        Err(Status::bad_request(text))
    })
}

fn stream_parameters(asked: &Query, verb: Connect) -> Vec<(&'static str, Cow<'_, str>)> {
    if verb == Connect::PortForward {
        let ports: Vec<&str> = asked.all("ports").collect();
        let ports = (!ports.is_empty()).then(|| ("port", Cow::from(ports.join(","))));
        return ports.into_iter().collect();
    }
    let wanted = STREAMS.iter().filter(|(name, _)| asked.flag(name));
    let mut parameters: Vec<_> = wanted.map(|(_, name)| (*name, Cow::from("1"))).collect();
    if verb == Connect::Exec {
        parameters.extend(asked.all("command").map(|part| ("command", Cow::from(part))));
    }
    parameters
}

fn options(asked: &Query) -> exec::Options {
    let [stdin, stdout, stderr, tty] = STREAMS.map(|(name, _)| asked.flag(name));
    exec::Options { stdin, stdout, stderr, tty }
}

pub(super) async fn stream(
    asked: &Asked<'_>,
    call: &Call<'_>,
    incoming: Incoming<'_>,
    verb: Connect,
) -> Result<Response<Body>, Status> {
    let info = call.info;
    check_ports(&info.query)?;
    admit(call).await?;
    may_create(asked)?;
    let pod = live(call, "pods", &info.namespace, &info.name).await?;
    let (namespace, name) = (pod.namespace(), pod.name());
    let path = match verb {
        Connect::PortForward => format!("/portForward/{namespace}/{name}"),
        _ => {
            let container = container(info.query.get("container"), &pod)?;
            let verb = if verb == Connect::Exec { "exec" } else { "attach" };
            format!("/{verb}/{namespace}/{name}/{container}")
        }
    };
    let node = node_name(&pod);
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let kubelet = Kubelet::of(asked, call, node).await?;
    let target = kubelet.target(path, query(stream_parameters(&info.query, verb)), Identity::Kubelet);
    let how = match verb {
        _ if kubelet.takes_websockets => How::AsIs,
        Connect::PortForward if !websocket::tunnelled(asked.headers).is_empty() => How::Tunnel,
        Connect::Exec | Connect::Attach if websocket::closes_channels(asked.headers) => How::Exec(options(&info.query)),
        _ => How::AsIs,
    };
    upgrade(asked, incoming, target, how).await
}

fn pod_ip(pod: &Map) -> &str {
    pod.map("status").and_then(|status| status.maps("podIPs").next()).map_or("", |ip| ip.str("ip"))
}

pub(super) async fn proxy_target(call: &Call<'_>) -> Result<Target, Status> {
    let id = &call.info.name;
    let (scheme, name, port) = split_scheme_name_port(id)
        .ok_or_else(|| Status::bad_request(format!("invalid pod request {}", api::field::go_quote(id))))?;
    admit(call).await?;
    let pod = live(call, "pods", &call.info.namespace, name).await?;
    target(&pod, scheme, port, subpath(&call.info.rest, &call.info.path))
}

fn target(pod: &Map, scheme: &str, port: &str, path: String) -> Result<Target, Status> {
    let first = || {
        let containers = pod.map("spec").into_iter().flat_map(|spec| spec.maps("containers"));
        containers
            .into_iter()
            .find_map(|one| one.maps("ports").next()?.i64("containerPort"))
            .map(|port| port.to_string())
    };
    let port = if port.is_empty() { first() } else { Some(port.to_owned()) };
    let host = pod_ip(pod);
    if !host.parse().is_ok_and(is_allowed) {
        return Err(Status::bad_request("address not allowed"));
    }
    let tls = (scheme == "https").then_some(Identity::Anyone);
    Ok(Target { tls, host: host.into(), port, path, query: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Map {
        crate::subresource::connect::testing::json(json)
    }

    #[test]
    fn what_kubelets_are_asked() {
        let of = |text: &str, verb| query(stream_parameters(&Query::parse(text), verb));
        assert_eq!(
            of("command=ls&command=-l&container=c&stdin=true&stdout=true&stderr=false", Connect::Exec),
            "command=ls&command=-l&input=1&output=1"
        );
        assert_eq!(of("tty=true&stdout=1", Connect::Attach), "output=1&tty=1");
        assert_eq!(of("ports=80&ports=81", Connect::PortForward), "port=80%2C81");
        assert_eq!(of("", Connect::PortForward), "");
        assert_eq!(of("", Connect::Exec), "", "no stream is on unless it is asked for");
        assert_eq!(check_ports(&Query::parse("ports=80")), Ok(()));
        let refused = check_ports(&Query::parse("ports=80&ports=x")).map_err(|status| status.message);
        let text = "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax";
        assert_eq!(refused, Err(text.into()));
    }

    #[test]
    fn where_a_pod_is() {
        let pod = parse(
            r#"{"spec":{"containers":[{"name":"a"},{"name":"b","ports":[{"containerPort":8080}]}]},"status":{"podIPs":[{"ip":"10.0.0.9"}]}}"#,
        );
        let url = |scheme, port| target(&pod, scheme, port, "/x".into()).map(|target| target.url());
        assert_eq!(url("", ""), Ok("http://10.0.0.9:8080/x".into()));
        assert_eq!(url("https", "443"), Ok("https://10.0.0.9:443/x".into()));
        let nowhere = parse(r#"{"spec":{},"status":{"podIPs":[{"ip":"127.0.0.1"}]}}"#);
        assert_eq!(
            target(&nowhere, "", "", String::new()).map_err(|status| status.message),
            Err("address not allowed".into())
        );
    }
}
