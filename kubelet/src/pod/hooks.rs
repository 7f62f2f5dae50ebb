//! Lifecycle hooks (pkg/kubelet/lifecycle/handlers.go@v1.37.2).

use std::time::Duration;

use cri::v1::ExecSyncRequest;
use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};

use super::shape;
use crate::kubelet::Kubelet;
use crate::probe::http;

const AGENT: &str = "kube-lifecycle/1.37";
/// How long an HTTP hook may take; upstream's client has no deadline but the pod's grace.
const HTTP_MAX: Duration = Duration::from_secs(30);

/// Runs a hook; the error is the message of the container's state.
pub(crate) async fn run(
    kubelet: &Kubelet,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ip: &str,
    hook: &LifecycleHandler,
) -> Result<(), String> {
    let place = format!("Container {:?} in Pod {:?} failed - error", container.name, shape::display(pod));
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let request = ExecSyncRequest { container_id: id.into(), cmd: command.clone(), timeout: 0 };
        let (error, output) = match kubelet.runtime.exec_sync(request).await {
            Ok(answer) if answer.exit_code == 0 => return Ok(()),
            Ok(answer) => {
                let output = [answer.stdout, answer.stderr].concat();
                let text = format!(
                    "command '{}' exited with {}: {}",
                    command.join(" "),
                    answer.exit_code,
                    String::from_utf8_lossy(&output)
                );
                (text, String::from_utf8_lossy(&output).into_owned())
            }
            Err(error) => (error.to_string(), String::new()),
        };
        let shown = command.join(" ");
        return Err(format!("Exec lifecycle hook ([{shown}]) for {place}: {error}, message: {output:?}"));
    }
    if let Some(action) = &hook.http_get {
        if kubelet.runtime.is_fake() {
            return Ok(());
        }
        let asked = async { http::get(http::Target::new(action, container, pod_ip, AGENT)?).await };
        let answer =
            tokio::time::timeout(HTTP_MAX, asked).await.unwrap_or_else(|_| Err("context deadline exceeded".into()));
        let path = action.path.as_deref().unwrap_or("");
        return answer.map(drop).map_err(|error| format!("HTTP lifecycle hook ({path}) for {place}: {error}"));
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".into())
}
