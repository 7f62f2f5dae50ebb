//! One GET as probes and hooks make it: no proxy, no verification of certificates, no connection
//! kept (pkg/probe/http/http.go, request.go@v1.37.2).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes of a body that are read.
const BODY_BYTES_MAX: usize = 10 << 10;
/// Redirects followed on one host.
const REDIRECTS_MAX: usize = 10;

/// A number, or the number of the container's port of that name.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    };
    let valid = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    valid.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?} in container spec"),
    })
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Where and how to ask.
pub(crate) struct Target {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
    agent: &'static str,
}

impl Target {
    pub(crate) fn new(
        action: &HTTPGetAction,
        container: &Container,
        pod_ip: &str,
        agent: &'static str,
    ) -> Result<Self, String> {
        let path = action.path.as_deref().unwrap_or("");
        let headers = action.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone()));
        Ok(Target {
            tls: action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
            port: port(&action.port, container)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            headers: headers.collect(),
            agent,
        })
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = Request::get(&self.path).body(Empty::new()).map_err(|e| e.to_string())?;
        let map = request.headers_mut();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name).map_err(|e| e.to_string())?;
            let value = HeaderValue::try_from(value).map_err(|e| e.to_string())?;
            map.append(name, value);
        }
        map.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(self.agent));
        match map.entry(header::ACCEPT) {
            http::header::Entry::Vacant(entry) => drop(entry.insert(HeaderValue::from_static("*/*"))),
            http::header::Entry::Occupied(entry) if entry.get().is_empty() => drop(entry.remove()),
            http::header::Entry::Occupied(_) => {}
        }
        let host = HeaderValue::try_from(self.authority()).map_err(|e| e.to_string())?;
        map.entry(header::HOST).or_insert(host);
        map.insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }
}

/// Asks, following redirects to the same host; one that leads elsewhere is the answer.
pub(crate) async fn get(mut target: Target) -> Result<Answer, String> {
    for _ in 0..REDIRECTS_MAX {
        let (answer, location) = once(&target).await.map_err(|e| format!("Get {:?}: {e}", target.url()))?;
        let Some(next) = location.filter(|_| (300..400).contains(&answer.status)) else { return Ok(answer) };
        let Ok(next) = next.parse::<Uri>() else { return Ok(answer) };
        if next.host().is_some_and(|host| host.trim_matches(['[', ']']) != target.host) {
            return Ok(answer);
        }
        if let Some(scheme) = next.scheme_str() {
            target.tls = scheme == "https";
            target.port = next.port_u16().unwrap_or(if target.tls { 443 } else { 80 });
        }
        target.path = next.path_and_query().map_or("/".into(), ToString::to_string);
    }
    Err(format!("Get {:?}: stopped after {REDIRECTS_MAX} redirects", target.url()))
}

async fn once(target: &Target) -> Result<(Answer, Option<String>), String> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await;
    let stream = stream.map_err(|e| format!("dial tcp {}: {}", target.authority(), dial_text(&e)))?;
    if !target.tls {
        return exchange(target, stream).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|e| e.to_string())?;
    let stream = TlsConnector::from(client_config()?).connect(name, stream).await.map_err(|e| e.to_string())?;
    exchange(target, stream).await
}

/// As Go says why a dial failed.
pub(crate) fn dial_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".into(),
        _ => error.to_string(),
    }
}

async fn exchange<S>(target: &Target, stream: S) -> Result<(Answer, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let asked = async {
        let response = sender.send_request(target.request()?).await.map_err(|e| e.to_string())?;
        let location =
            response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        // A body that is too long is cut, not refused.
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
        Ok((Answer { status, body }, location))
    };
    // A connection that ends well has delivered everything; only an error ends the wait.
    let broken = async {
        match connection.await {
            Ok(()) => std::future::pending().await,
            Err(error) => error.to_string(),
        }
    };
    tokio::select! {
        biased;
        answer = asked => answer,
        error = broken => Err(error),
    }
}

fn client_config() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    // Probes ask a pod by its address: its certificate names something else.
    let verifier = tls::unverified(&provider);
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn server(answers: Vec<&'static str>) -> u16 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("accept");
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.expect("read");
                let asked = String::from_utf8_lossy(&buffer[..read]).to_lowercase();
                assert!(asked.contains("user-agent: kube-probe/") && asked.contains("accept: */*"), "{asked}");
                stream.write_all(answer.as_bytes()).await.expect("write");
            }
        });
        port
    }

    async fn ask(port: u16) -> Result<(u16, String), String> {
        let action: HTTPGetAction = yaml(&format!("{{port: {port}, path: /x, host: 127.0.0.1}}"));
        let target = Target::new(&action, &Container::default(), "", "kube-probe/1.37")?;
        get(target).await.map(|answer| (answer.status, answer.body))
    }

    #[tokio::test]
    async fn answers_redirects_and_refusals() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let port = server(vec![ok]).await;
        assert_eq!(ask(port).await, Ok((200, "hi".into())));
        let port = server(vec!["HTTP/1.1 302 Found\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n", ok]).await;
        assert_eq!(ask(port).await, Ok((200, "hi".into())));
        let port =
            server(vec!["HTTP/1.1 302 Found\r\nlocation: http://example.test/\r\ncontent-length: 0\r\n\r\n"]).await;
        assert_eq!(ask(port).await, Ok((302, String::new())));
        let error = ask(1).await.expect_err("nobody listens");
        assert_eq!(error, "Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: connect: connection refused");
    }

    #[test]
    fn ports() {
        let container: Container = yaml("{name: a, ports: [{name: web, containerPort: 80}]}");
        assert_eq!(port(&IntOrString::Int(8080), &container), Ok(8080));
        assert_eq!(port(&IntOrString::String("web".into()), &container), Ok(80));
        assert!(port(&IntOrString::String("x".into()), &container).is_err());
        assert!(port(&IntOrString::Int(70000), &container).is_err());
    }
}
