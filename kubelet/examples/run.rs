//! Runs kubelets against an API server, for trying things out:
//!
//! `cargo run -p kubelet --example run -- kubeconfig=K node=N runtime=unix:///run/containerd/containerd.sock root=/tmp/k cgroup-root=k`
//! `cargo run -p kubelet --example run -- kubeconfig=K node=N runtime=fake count=3`
//!
//! With `count`, `{}` in `kubeconfig` and `node` is the number of the kubelet.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use client::connector::Connector;
use client::task::Tasks;
use kubelet::config::{Capacity, Config};

type Settings = HashMap<String, String>;

#[tokio::main]
async fn main() -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings: Settings =
        std::env::args().skip(1).filter_map(|arg| arg.split_once('=').map(|(k, v)| (k.into(), v.into()))).collect();
    let count: usize = settings.get("count").map_or(Ok(1), |count| count.parse())?;
    let tasks = Tasks::new();
    for number in 0..count {
        let connector = Connector::from_kubeconfig(&text(&settings, "kubeconfig", number)?).await?;
        let config = config(&settings, number)?;
        let runtime = runtime(&settings, &config)?;
        tasks.spawn(
            "kubelet",
            client::task::OnError::Shutdown,
            kubelet::run(config, connector, runtime, tasks.clone()),
        );
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = tasks.token().cancelled_owned() => {}
    }
    tasks.cancel();
    tasks.join().await;
    Ok(())
}

fn text(settings: &Settings, key: &str, number: usize) -> Result<String> {
    Ok(settings.get(key).with_context(|| format!("{key}= is missing"))?.replace("{}", &number.to_string()))
}

fn config(settings: &Settings, number: usize) -> Result<Config> {
    let mut config = Config::new(&text(settings, "node", number)?);
    config.pod_cidr = format!("10.{}.0.0/16", 200 + number);
    config.capacity = Capacity::default();
    if settings.get("runtime").is_none_or(|runtime| runtime == "fake") {
        // Many of one process cannot share a port.
        config.port = 0;
    }
    if let Some(root) = settings.get("root") {
        config.root_dir = root.into();
        config.pod_logs_dir = format!("{root}-logs").into();
        config.container_logs_dir = Some(format!("{root}-containers").into());
    }
    if let Some(root) = settings.get("cgroup-root") {
        config.cgroup_root.clone_from(root);
    }
    if let Some(path) = settings.get("static") {
        config.static_pod_path = Some(path.into());
        config.file_check_frequency = std::time::Duration::from_secs(1);
    }
    if let Some(path) = settings.get("config") {
        config.apply_file(&std::fs::read_to_string(path)?)?;
    }
    Ok(config)
}

fn runtime(settings: &Settings, config: &Config) -> Result<cri::RuntimeHandle> {
    let endpoint = settings.get("runtime").map(String::as_str).unwrap_or("fake");
    if endpoint != "fake" {
        return Ok(Arc::new(cri::grpc::Grpc::new(endpoint, cri::grpc::REQUEST_TIMEOUT)?));
    }
    let absent_images = cri::fake::Options::absent(settings.get("absent").map(String::as_str).unwrap_or(""));
    let options = cri::fake::Options { pod_cidr: config.pod_cidr.clone(), absent_images };
    Ok(Arc::new(cri::fake::Fake::new(options)?))
}
