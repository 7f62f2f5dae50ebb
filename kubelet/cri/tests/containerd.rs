//! The client against a real containerd of its own: answers, refusals, and a restart in between.
//!
//! Needs `containerd` and root; without them it says so and passes, since nothing of it can run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cri::grpc::Grpc;
use cri::runtime::Runtime;
use cri::v1::*;

struct Containerd {
    dir: PathBuf,
    child: Child,
}

fn start(dir: &Path) -> Child {
    let log = std::fs::File::create(dir.join("log")).expect("a log file");
    let errors = log.try_clone().expect("the same file");
    let mut command = Command::new("containerd");
    command.arg("-c").arg(dir.join("config.toml")).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.spawn().expect("containerd starts")
}

impl Containerd {
    /// Nothing when this machine cannot run one.
    fn new() -> Option<Self> {
        let has = Command::new("containerd").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
        let root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
        if !has || !root {
            eprintln!("containerd or root is missing: the client is not tested against a real runtime");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("cri-test-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("cni")).expect("a folder");
        let base = dir.display();
        let config = format!(
            "version = 2\nroot = \"{base}/root\"\nstate = \"{base}/state\"\n[grpc]\naddress = \"{base}/c.sock\"\n\
             [ttrpc]\naddress = \"{base}/t.sock\"\n[plugins.\"io.containerd.internal.v1.opt\"]\npath = \"{base}/opt\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"{base}/cni\"\n"
        );
        std::fs::write(dir.join("config.toml"), config).expect("a configuration");
        let child = start(&dir);
        Some(Containerd { dir, child })
    }

    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn answers(client: &Grpc) -> VersionResponse {
    let began = Instant::now();
    loop {
        match client.version(VersionRequest::default()).await {
            Ok(version) => return version,
            Err(error) if began.elapsed() > Duration::from_secs(20) => panic!("containerd does not answer: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn image(name: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: name.into(), ..ImageSpec::default() })
}

#[tokio::test]
async fn a_real_runtime_answers_refuses_and_comes_back() {
    let Some(mut containerd) = Containerd::new() else { return };
    let endpoint = format!("unix://{}/c.sock", containerd.dir.display());
    let client = Grpc::new(&endpoint, Duration::from_secs(10)).expect("a client");
    let version = answers(&client).await;
    assert_eq!((version.runtime_name.as_str(), version.runtime_api_version.as_str()), ("containerd", "v1"));

    let status = client.status(StatusRequest::default()).await.expect("status").status.expect("set");
    let of = |kind: &str| status.conditions.iter().find(|c| c.r#type == kind).map(|c| c.status);
    assert_eq!((of("RuntimeReady"), of("NetworkReady")), (Some(true), Some(false)), "no CNI is configured");

    let request = ImageStatusRequest { image: image("absent.invalid/x:1"), verbose: false };
    assert_eq!(client.image_status(request).await.expect("no error").image, None);
    let request = PullImageRequest { image: image("absent.invalid/x:1"), ..PullImageRequest::default() };
    let error = client.pull_image(request).await.expect_err("nobody is there").to_string();
    assert!(error.contains("failed to pull and unpack image \"absent.invalid/x:1\""), "{error}");

    let request = ContainerStatusRequest { container_id: "nobody".into(), verbose: false };
    let error = client.container_status(request).await.expect_err("unknown");
    assert!(error.is_not_found(), "{error}");
    let request = StopPodSandboxRequest { pod_sandbox_id: "nobody".into() };
    // CRI says idempotent; containerd 1.6 says not found. Both mean that it does not run.
    let stopped = client.stop_pod_sandbox(request).await;
    assert!(stopped.as_ref().map_or_else(|error| error.is_not_found(), |_| true), "{stopped:?}");
    for refusal in
        [client.runtime_config(RuntimeConfigRequest {}).await.map(drop), client.container_events().await.map(drop)]
    {
        assert!(refusal.as_ref().map_or_else(|error| error.is_unimplemented(), |()| true), "{refusal:?}");
    }

    containerd.kill();
    let error = client.version(VersionRequest::default()).await.expect_err("it is dead");
    assert!(!error.is_not_found(), "{error}");
    containerd.child = start(&containerd.dir);
    answers(&client).await;
    assert!(client.list_containers(ListContainersRequest::default()).await.expect("listed").containers.is_empty());
}
