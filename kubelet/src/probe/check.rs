//! Asks a container once how it is (pkg/kubelet/prober/prober.go, pkg/probe/*@v1.37.2).

use std::time::Duration;

use cri::v1::ExecSyncRequest;
use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::net::TcpStream;

use super::{grpc, http};
use crate::env::expand;
use crate::kubelet::Kubelet;
use crate::pod::backoff::go_duration;

const AGENT: &str = "kube-probe/1.37";
/// Bytes of an exec probe's output that an event shows.
const OUTPUT_BYTES_MAX: usize = 10 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    Warning(String),
    Failure(String),
}

/// The verdict; an error means that the question could not be put.
pub(crate) async fn check(
    kubelet: &Kubelet,
    probe: &Probe,
    container: &Container,
    id: &str,
    ip: &str,
) -> Result<Verdict, String> {
    let seconds = probe.timeout_seconds.unwrap_or(1).max(1);
    let limit = Duration::from_secs(u64::from(seconds.unsigned_abs()));
    if let Some(action) = &probe.exec {
        let command = action.command.as_deref().unwrap_or(&[]);
        return exec(kubelet, container, id, command, limit).await;
    }
    if kubelet.runtime.is_fake() {
        // There is no process to ask; it runs as well as it ever will.
        return Ok(Verdict::Success);
    }
    if let Some(action) = &probe.http_get {
        let target = http::Target::new(action, container, ip, AGENT)?;
        let url = target.url();
        let late =
            || Err(format!("Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"));
        return Ok(judge(tokio::time::timeout(limit, http::get(target)).await.unwrap_or_else(|_| late())));
    }
    if let Some(action) = &probe.tcp_socket {
        let port = http::port(&action.port, container)?;
        let host = action.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ip);
        return Ok(tcp(host, port, limit).await);
    }
    if let Some(action) = &probe.grpc {
        let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
        return Ok(grpc::check(ip, port, action.service.as_deref().unwrap_or(""), limit).await);
    }
    Err(format!("missing probe handler for {}", container.name))
}

fn judge(answer: Result<http::Answer, String>) -> Verdict {
    match answer {
        Err(text) => Verdict::Failure(text),
        Ok(answer) => match answer.status {
            200..=299 => Verdict::Success,
            300..=399 => Verdict::Warning(format!("Probe terminated redirects, Response body: {}", answer.body)),
            status => Verdict::Failure(format!("HTTP probe failed with statuscode: {status}")),
        },
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Verdict {
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Verdict::Success,
        Ok(Err(error)) => Verdict::Failure(format!("dial tcp {address}: {}", http::dial_text(&error))),
        Err(_) => Verdict::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

async fn exec(
    kubelet: &Kubelet,
    container: &Container,
    id: &str,
    command: &[String],
    limit: Duration,
) -> Result<Verdict, String> {
    // Only plain values: those from objects are not known here, as upstream.
    let lookup = |name: &str| {
        let plain = container.env.iter().flatten().rev().find(|var| var.name == name && var.value_from.is_none());
        plain.map(|var| var.value.clone().unwrap_or_default())
    };
    let cmd: Vec<String> = command.iter().map(|word| expand(word, lookup)).collect();
    let shown = cmd.join(" ");
    let timeout = i64::try_from(limit.as_secs()).unwrap_or(1);
    match kubelet.runtime.exec_sync(ExecSyncRequest { container_id: id.into(), cmd, timeout }).await {
        Ok(answer) if answer.exit_code == 0 => Ok(Verdict::Success),
        Ok(answer) => {
            let output = [answer.stdout, answer.stderr].concat();
            let output = &output[..output.len().min(OUTPUT_BYTES_MAX)];
            Ok(Verdict::Failure(String::from_utf8_lossy(output).into_owned()))
        }
        Err(error) if error.is_deadline() => {
            Ok(Verdict::Failure(format!("command timed out: {shown:?} timed out after {}", go_duration(limit))))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        let answer = |status| judge(Ok(http::Answer { status, body: "b".into() }));
        assert_eq!(answer(200), Verdict::Success);
        assert_eq!(answer(302), Verdict::Warning("Probe terminated redirects, Response body: b".into()));
        assert_eq!(answer(503), Verdict::Failure("HTTP probe failed with statuscode: 503".into()));
    }

    #[tokio::test]
    async fn a_port_that_is_open_and_one_that_is_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("address").port();
        let limit = Duration::from_secs(1);
        assert_eq!(tcp("127.0.0.1", port, limit).await, Verdict::Success);
        let refused = Verdict::Failure("dial tcp 127.0.0.1:1: connect: connection refused".into());
        assert_eq!(tcp("127.0.0.1", 1, limit).await, refused);
    }
}
