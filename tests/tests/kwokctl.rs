//! A cluster that stock kwokctl makes of our etcd, API server, controller manager and scheduler: links of our binary
//! under upstream's names, each with its own process, flags and certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use tests::harness::{self, until};
use tokio::process::Command;
use xtask::{paths, process};

const LIMIT: Duration = Duration::from_secs(120);
const COMPONENTS: [&str; 4] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// kwokctl with its files in a directory; the cluster is gone when dropped.
struct Kwokctl {
    dir: tempfile::TempDir,
}

impl Drop for Kwokctl {
    fn drop(&mut self) {
        let ended = self.command(&["delete", "cluster"]).into_std().output();
        if let Err(error) = ended {
            eprintln!("kwokctl delete cluster: {error}");
        }
    }
}

impl Kwokctl {
    fn new() -> Result<Self> {
        for program in ["kwokctl", "kwok", "kubectl"] {
            let path = paths::upstream(program);
            ensure!(path.exists(), "no {}; `cargo xtask build-upstream {program}` makes it", path.display());
        }
        let dir = tempfile::Builder::new().prefix("keelson-kwokctl-").tempdir()?;
        let binary = std::path::absolute(harness::binary()?)?;
        for component in COMPONENTS {
            std::os::unix::fs::symlink(&binary, dir.path().join(component))?;
        }
        Ok(Kwokctl { dir })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let home = self.dir.path();
        let mut command = Command::new(paths::upstream("kwokctl"));
        command.args(arguments).env("HOME", home).env("KWOK_WORKDIR", home.join("kwok")).env("KWOK_RUNTIME", "binary");
        command.env("KUBECONFIG", self.kubeconfig()).env("KWOK_KUBECTL_BINARY", paths::upstream("kubectl"));
        command.kill_on_drop(true);
        command
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = arguments.join(" ");
        let output = tokio::time::timeout(LIMIT, self.command(arguments).output()).await;
        let output = output.with_context(|| format!("kwokctl {what} does not end"))??;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kwokctl {what}: {}: {told}\n{}", output.status, self.logs());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The ends of what the components log.
    fn logs(&self) -> String {
        let logs = self.dir.path().join("kwok/clusters/kwok/logs");
        let ends = COMPONENTS.iter().map(|name| process::tail(&logs.join(format!("{name}.log"))));
        COMPONENTS.iter().zip(ends).map(|(name, end)| format!("{name}:\n{end}\n")).collect()
    }
}

/// The configuration of the administrator's client.
async fn administrator(kubeconfig: &Path) -> Result<Config> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)
}

/// What the own server of a component answers at a path.
async fn ask(mut config: Config, port: u16, path: &str) -> Result<String, kube::Error> {
    config.cluster_url = format!("https://127.0.0.1:{port}").parse().expect("an address");
    // Its certificate is signed by itself.
    config.accept_invalid_certs = true;
    config.root_cert = None;
    let request = http::Request::get(path).body(Vec::new()).expect("a path");
    Client::try_from(config)?.request_text(request).await
}

/// What the controller manager and the scheduler, which work by now, say of themselves and to whom.
async fn own_servers(config: &Config, controllers: u16, scheduler: u16) -> Result<()> {
    let mut nobody = Config::new(config.cluster_url.clone());
    nobody.accept_invalid_certs = true;
    for (port, endpoints) in [(controllers, &["/healthz"][..]), (scheduler, &["/healthz", "/livez", "/readyz"])] {
        for endpoint in endpoints {
            assert_eq!(ask(nobody.clone(), port, endpoint).await?, "ok", "{port}{endpoint}");
        }
        let metrics = ask(nobody.clone(), port, "/metrics").await?;
        assert!(metrics.contains("\nkubernetes_healthcheck{"), "{metrics}");
        // Nobody vouches for anybody here: kwokctl gives no --authentication-kubeconfig.
        let refused = ask(config.clone(), port, "/configz").await.expect_err("refused").to_string();
        assert!(refused.contains(r#"User "system:anonymous" cannot get path "/configz""#), "{refused}");
    }
    Ok(())
}

fn ready(replicas: i32) -> impl Fn(Option<&Deployment>) -> bool {
    move |deployment: Option<&Deployment>| {
        let status = deployment.and_then(|deployment| deployment.status.as_ref());
        status.and_then(|status| status.ready_replicas).unwrap_or_default() == replicas
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kwokctl_makes_a_cluster_of_our_binaries() -> Result<()> {
    let kwokctl = Kwokctl::new()?;
    let [controllers, scheduler] = process::free_ports()?;
    let mut create: Vec<String> = ["create", "cluster", "--wait", "60s"].map(String::from).to_vec();
    for component in COMPONENTS {
        create.push(format!("--{component}-binary={}", kwokctl.dir.path().join(component).display()));
    }
    create.push(format!("--kwok-controller-binary={}", paths::upstream("kwok").display()));
    create.push(format!("--kubeconfig={}", kwokctl.kubeconfig().display()));
    create.push(format!("--kube-controller-manager-port={controllers}"));
    create.push(format!("--kube-scheduler-port={scheduler}"));
    kwokctl.run(&create.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let config = administrator(&kwokctl.kubeconfig()).await?;
    let client = Client::try_from(config.clone())?;

    kwokctl.run(&["scale", "node", "--replicas", "2"]).await?;
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "web:1"}]},
            },
        },
    });
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.create(&PostParams::default(), &serde_json::from_value(web)?).await?;
    until(&deployments, "web", ready(3)).await.with_context(|| kwokctl.logs())?;
    own_servers(&config, controllers, scheduler).await?;
    let scale = Patch::Merge(json!({"spec": {"replicas": 5}}));
    deployments.patch_scale("web", &PatchParams::default(), &scale).await?;
    until(&deployments, "web", ready(5)).await.with_context(|| kwokctl.logs())?;
    assert_eq!(Api::<Node>::all(client).list(&ListParams::default()).await?.items.len(), 2);

    kwokctl.run(&["delete", "cluster"]).await?;
    assert!(kwokctl.run(&["get", "clusters"]).await?.trim().is_empty());
    Ok(())
}
