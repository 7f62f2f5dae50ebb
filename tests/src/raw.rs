//! Bytes on a TLS connection to an API server, for what no well-behaved client sends.
//!
//! Invariant: nothing is added to what the caller says, but a Host header and the end of the connection after the answer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// How long an answer may take on a machine that does much else.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// An API server of 127.0.0.1.
#[derive(Clone)]
pub struct Server {
    dir: PathBuf,
    port: u16,
}

/// Status code and body.
#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: String,
}

impl Server {
    /// With the certificates that `xtask::plane::certificates` made in `dir`.
    pub fn new(dir: &Path, port: u16) -> Self {
        Server { dir: dir.to_owned(), port }
    }

    /// A connection that says nothing.
    pub async fn connect(&self) -> Result<TcpStream> {
        Ok(TcpStream::connect(("127.0.0.1", self.port)).await?)
    }

    /// A connection of the administrator, for one protocol of ALPN.
    pub async fn secure(&self, protocol: &str) -> Result<TlsStream<TcpStream>> {
        let file = |name: &str| self.dir.join(name);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.crt"))?)?;
        let chain = vec![CertificateDer::from_pem_file(file("admin.crt"))?];
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let key = PrivateKeyDer::from_pem_file(file("admin.key"))?;
        let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = self.connect().await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }

    /// The answer to one request of HTTP/1.1: `GET /path`, header lines, body.
    pub async fn send(&self, request: &str, headers: &[String], body: &[u8]) -> Result<Answer> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.exchange(request, headers, body)).await;
        let shown: String = request.chars().take(80).collect();
        answer.context("no answer").flatten().with_context(|| shown)
    }

    async fn exchange(&self, request: &str, headers: &[String], body: &[u8]) -> Result<Answer> {
        let (mut reader, mut writer) = tokio::io::split(self.secure("http/1.1").await?);
        let mut head = format!("{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let sending = async {
            // A server need not read what it refuses.
            let _ = writer.write_all(head.as_bytes()).await;
            let _ = writer.write_all(body).await;
            let _ = writer.flush().await;
        };
        let receiving = async {
            let mut answer = Vec::new();
            // So far as it goes: a server that refuses may close without TLS's goodbye.
            let _ = reader.read_to_end(&mut answer).await;
            answer
        };
        let ((), answer) = tokio::join!(sending, receiving);
        parse(&answer)
    }
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {text:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| head.to_owned())?;
    Ok(Answer { code, body: body.to_owned() })
}

/// Frames of HTTP/2 as bytes.
pub mod http2 {
    pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RESET: u8 = 3;
    pub const PING: u8 = 6;
    pub const CONTINUATION: u8 = 9;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    /// One frame.
    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// The header block of `GET /path` (RFC 7541: names and values of the static table, other values as they are).
    pub fn get(path: &str) -> Vec<u8> {
        let mut block = vec![0x82, 0x87];
        for (name, value) in [(4, path), (1, "127.0.0.1")] {
            block.extend([name, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
            block.extend(value.as_bytes());
        }
        block
    }
}
