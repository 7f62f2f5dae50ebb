//! One HTTP/1.1 connection to an API server, as the administrator.
//!
//! Invariant: requests on a connection go out one after the other; a connection that the server has closed between
//! two requests is opened again, once. Non-goal: speed; the servers are what works here.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::sequence::Step;

/// How long a server may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Where a server is and how to talk to it.
#[derive(Clone)]
pub(super) struct Endpoint {
    port: u16,
    tls: Arc<ClientConfig>,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// `Warning` headers in their order.
    pub(super) warnings: Vec<String>,
    /// A string when it is no JSON.
    pub(super) body: Value,
}

impl Answer {
    /// What stands for no answer: the error as its body, and no status.
    pub(super) fn none(error: String) -> Self {
        Answer { status: 0, content_type: String::new(), warnings: Vec::new(), body: error.into() }
    }

    pub(super) fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Endpoint {
    /// The server at `port`, spoken to with `admin.crt` of `dir`.
    pub(super) fn new(dir: &Path, port: u16) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(dir.join("ca.crt"))? {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_file_iter(dir.join("admin.crt"))?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(dir.join("admin.key"))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut tls = builder.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Endpoint { port, tls: Arc::new(tls) })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

pub(super) struct Connection {
    endpoint: Endpoint,
    open: Option<Open>,
}

/// A connection with the task that moves its bytes, which ends with it.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Connection {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Connection { endpoint: endpoint.clone(), open: None }
    }

    /// Sends a step whose placeholders are filled in.
    pub(super) async fn send(&mut self, step: &Step) -> Result<Answer> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.exchange(step)).await;
        if !matches!(answer, Ok(Ok(_))) {
            self.open = None;
        }
        answer.with_context(|| format!("no answer in time: {} {}", step.method, step.target))?
    }

    async fn exchange(&mut self, step: &Step) -> Result<Answer> {
        let response = self.response(step).await?;
        let (parts, body) = response.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = text(http::header::CONTENT_TYPE).to_owned();
        let warnings = parts.headers.get_all(http::header::WARNING).iter();
        let warnings = warnings.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let body = body.collect().await?.to_bytes();
        let body = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        Ok(Answer { status: parts.status.as_u16(), content_type, warnings, body })
    }

    async fn response(&mut self, step: &Step) -> Result<http::Response<Incoming>> {
        if let Some(open) = &mut self.open
            && open.sender.ready().await.is_ok()
            && let Ok(response) = open.sender.send_request(self.endpoint.request(step)?).await
        {
            return Ok(response);
        }
        let open = self.open.insert(self.endpoint.connect().await?);
        Ok(open.sender.send_request(self.endpoint.request(step)?).await?)
    }

    /// The JSON at a path; any other answer than 200 is an error.
    pub(super) async fn document(&mut self, path: &str) -> Result<Value> {
        let answer = self.send(&Step::new("GET", path, "")).await?;
        ensure!(answer.status == 200, "GET {path}: {}: {}", answer.status, answer.body);
        Ok(answer.body)
    }

    /// Reads a watch until an object of an event is as wanted, or the server ends it.
    pub(super) async fn watch(&mut self, target: &str, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let mut body = self.response(&Step::new("GET", target, "")).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            rest.extend_from_slice(frame?.data_ref().map_or(&[][..], |data| &data[..]));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap_or_default();
                if wanted(&event["object"]) {
                    // The rest of the watch is not read, so the connection is of no more use.
                    self.open = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Endpoint {
    fn request(&self, step: &Step) -> Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder().method(step.method).uri(&step.target);
        request = request.header("host", format!("127.0.0.1:{}", self.port)).header("user-agent", "differ/1");
        request = request.header("accept", step.accept.unwrap_or("application/json"));
        if let Some(content_type) = step.content_type {
            request = request.header("content-type", content_type);
        }
        let body = step.body.clone().unwrap_or_default();
        request.body(Full::new(Bytes::from(body))).with_context(|| format!("{} {}", step.method, step.target))
    }

    async fn connect(&self) -> Result<Open> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever waits for an answer hears of the error.
            connection.await.ok();
        });
        Ok(Open { sender, _driver: driver })
    }
}
