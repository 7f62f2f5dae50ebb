//! exec, attach and port-forward: the runtime has the streams, this hands connections on to it
//! (pkg/kubelet/server/server.go, kubelet_pods.go@v1.37.2: GetExec, GetAttach, GetPortForward).
//!
//! Invariant: SPDY and old WebSockets go through as they are; a v5 WebSocket and a tunnel become SPDY,
//! because runtimes do not know them.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use k8s_openapi::api::core::v1::Pod;
use streams::upgrade::{self, Asked, How};
use streams::websocket;
use tokio::net::TcpStream;

use super::Server;
use super::options::Query;
use super::respond::{self, Body};
use super::route::Place;
use crate::pod::shape;

/// The streams that the caller wants; the error is the answer (400).
fn streams_of(query: &Query) -> Result<streams::exec::Options, Response<Body>> {
    let is = |name: &str| query.get(name) == "1";
    let tty = is("tty");
    // A terminal has one output.
    let options = streams::exec::Options { stdin: is("input"), stdout: is("output"), stderr: is("error") && !tty, tty };
    if !options.stdin && !options.stdout && !options.stderr {
        return Err(respond::text(400, "you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(options)
}

fn full_name(place: &Place<'_>) -> String {
    format!("{}_{}", place.pod, place.namespace)
}

struct Target {
    pod: Arc<Pod>,
    container_id: String,
    options: streams::exec::Options,
}

async fn target(
    server: &Server,
    place: &Place<'_>,
    query: &Query,
    missing: impl Fn() -> String,
) -> Result<Target, Response<Body>> {
    let options = streams_of(query)?;
    let pod = server.access.pod(place.namespace, place.pod, "");
    let pod = pod.ok_or_else(|| respond::text(404, "pod does not exist"))?;
    let wrong_uid = !place.uid.is_empty() && shape::uid(&pod) != place.uid;
    let found = match wrong_uid {
        true => None,
        false => server.access.running(&pod, place.container).await.map_err(|e| respond::runtime_failure(&e))?,
    };
    let container_id = found.ok_or_else(|| respond::text(500, missing()))?;
    Ok(Target { pod, container_id, options })
}

pub(super) async fn exec(
    server: &Arc<Server>,
    place: &Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let missing = || format!("container not found ({:?})", place.container);
    let target = match target(server, place, query, missing).await {
        Ok(target) => target,
        Err(answer) => return answer,
    };
    let options = target.options;
    let asked = cri::v1::ExecRequest {
        container_id: target.container_id,
        cmd: query.all("command").map(str::to_owned).collect(),
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    match server.access.runtime().exec(asked).await {
        Ok(answer) => hand_on(server, request, &answer.url, exec_how(options)).await,
        Err(error) => respond::runtime_failure(&error),
    }
}

pub(super) async fn attach(
    server: &Arc<Server>,
    place: &Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let missing = || format!("container {} not found in pod {}", place.container, full_name(place));
    let target = match target(server, place, query, missing).await {
        Ok(target) => target,
        Err(answer) => return answer,
    };
    let options = target.options;
    // Whether there is a terminal was settled when the container was made.
    let tty = shape::container(&target.pod, place.container).is_some_and(|container| container.tty == Some(true));
    let asked = cri::v1::AttachRequest {
        container_id: target.container_id,
        tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr && !tty,
    };
    match server.access.runtime().attach(asked).await {
        Ok(answer) => hand_on(server, request, &answer.url, exec_how(options)).await,
        Err(error) => respond::runtime_failure(&error),
    }
}

fn exec_how(options: streams::exec::Options) -> impl Fn(&http::HeaderMap) -> How {
    move |headers| match websocket::closes_channels(headers) {
        true => How::Exec(options),
        false => How::AsIs,
    }
}

pub(super) async fn port_forward(
    server: &Arc<Server>,
    place: &Place<'_>,
    query: &Query,
    request: Request<Incoming>,
) -> Response<Body> {
    let tunnelled = !websocket::tunnelled(request.headers()).is_empty();
    let port = match websocket::is_wanted(request.headers()) && !tunnelled {
        true => match ports(query) {
            Ok(ports) => ports,
            Err(why) => return respond::text(400, why),
        },
        false => vec![],
    };
    let Some(pod) = server.access.pod(place.namespace, place.pod, "") else {
        return respond::text(404, "pod does not exist");
    };
    if !place.uid.is_empty() && shape::uid(&pod) != place.uid {
        return respond::text(404, "pod not found");
    }
    let pod_sandbox_id = match server.access.sandbox(&pod).await {
        Ok(Some(id)) => id,
        Ok(None) => return respond::text(500, format!("pod not found ({:?})", full_name(place))),
        Err(error) => return respond::runtime_failure(&error),
    };
    match server.access.runtime().port_forward(cri::v1::PortForwardRequest { pod_sandbox_id, port }).await {
        Ok(answer) => {
            let how = move |_: &http::HeaderMap| if tunnelled { How::Tunnel } else { How::AsIs };
            hand_on(server, request, &answer.url, how).await
        }
        Err(error) => respond::runtime_failure(&error),
    }
}

/// Ports of a WebSocket (k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go@v0.37.2, NewV4Options).
fn ports(query: &Query) -> Result<Vec<i32>, String> {
    let mut ports = Vec::new();
    for text in query.all("port") {
        if text.is_empty() {
            return Err("query parameter \"port\" cannot be empty".into());
        }
        for one in text.split(',') {
            let port: u16 = one.parse().map_err(|error| format!("unable to parse {text:?} as a port: {error}"))?;
            if port == 0 {
                return Err(format!("port {text:?} must be > 0"));
            }
            ports.push(i32::from(port));
        }
    }
    if ports.is_empty() { Err("query parameter \"port\" is required".into()) } else { Ok(ports) }
}

async fn hand_on(
    server: &Server,
    mut request: Request<Incoming>,
    url: &str,
    how: impl Fn(&http::HeaderMap) -> How,
) -> Response<Body> {
    let target: Uri = match url.parse() {
        Ok(target) => target,
        Err(error) => return respond::text(500, format!("the runtime's streaming URL {url:?}: {error}")),
    };
    let Some(upgrade) =
        request.extensions_mut().remove::<OnUpgrade>().filter(|_| upgrade::is_wanted(request.headers()))
    else {
        return respond::text(500, "Upgrade request required\n");
    };
    let authority = target.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let path = Uri::try_from(path).unwrap_or(Uri::from_static("/"));
    let asked = Asked { method: request.method(), headers: request.headers(), upgrade };
    let dial = move || async move {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    match upgrade::serve(asked, path, how(request.headers()), dial).await {
        Ok(served) => {
            if let Some(work) = served.work {
                server.tasks.run("stream", async move {
                    if let Err(error) = work.await {
                        tracing::debug!(%error, "stream ended");
                    }
                });
            }
            served.response.map(|bytes: Bytes| respond::full(bytes))
        }
        Err(error) => {
            tracing::error!(%error, "Error while proxying request");
            respond::text(500, format!("{error}\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_streams() {
        let of = |text| streams_of(&Query::parse(text)).map_err(|answer| answer.status().as_u16());
        let options = streams::exec::Options { stdin: true, stdout: true, stderr: true, tty: false };
        assert_eq!(of("input=1&output=1&error=1"), Ok(options));
        let terminal = streams::exec::Options { stderr: false, tty: true, ..options };
        assert_eq!(of("input=1&output=1&error=1&tty=1"), Ok(terminal));
        assert_eq!(of("input=true"), Err(400));
    }

    #[test]
    fn which_ports() {
        let of = |text| ports(&Query::parse(text));
        assert_eq!(of("port=80&port=1,65535"), Ok(vec![80, 1, 65535]));
        for wrong in ["", "port=", "port=0", "port=65536", "port=x"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
