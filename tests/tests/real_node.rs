//! What people do with kubectl on a node whose containers are real, and that nothing of it stays behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::harness::{Cluster, Nodes};
use tests::kubectl::Kubectl;
use tests::{image, machine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PORT: &str = "8080";

/// Rules and a network of somebody else, which must outlive a cluster.
struct Foreign(String);

impl Foreign {
    fn make() -> Result<Self> {
        let name = format!("tests{}", std::process::id());
        let rules =
            format!("table inet {name} {{ chain in {{ type filter hook input priority 5; tcp dport 9 accept; }}; }}");
        tool("nft", &[&rules])?;
        tool("iptables", &["-N", &name])?;
        tool("iptables", &["-A", &name, "-p", "tcp", "--dport", "9", "-j", "RETURN"])?;
        // The usual range of pods is taken, as by a cluster that was stopped or a company's network.
        tool("ip", &["link", "add", &name, "type", "bridge"])?;
        tool("ip", &["address", "add", "10.244.0.1/24", "dev", &name])?;
        tool("ip", &["link", "set", &name, "up"])?;
        Ok(Foreign(name))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let name = &self.0;
        let undo = [
            tool("nft", &["delete", "table", "inet", name]),
            tool("iptables", &["-F", name]),
            tool("iptables", &["-X", name]),
            tool("ip", &["link", "delete", name]),
        ];
        for error in undo.into_iter().filter_map(Result::err) {
            eprintln!("{error:#}");
        }
    }
}

fn tool(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_string())?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// The body of the page at an address with a port.
async fn fetch(address: &str) -> Result<String> {
    let fetched = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), fetched).await.context("no answer")??;
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
    Ok(body.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_on_a_real_node() -> Result<()> {
    if !machine::has_real_nodes()? {
        return Ok(());
    }
    let images = tempfile::tempdir()?;
    let (one, two) = (image::web(images.path(), "web", "1", "one")?, image::web(images.path(), "web", "2", "two")?);
    let foreign = Foreign::make()?;
    let before = machine::Footprint::take()?;
    let cluster = Cluster::start(Nodes::Real(images.path().into())).await?;
    let kubectl = Kubectl { kubeconfig: cluster.kubeconfig() };

    deploy(&kubectl, &one).await.context("deploy")?;
    let client = reach(&kubectl, &one).await.context("reach")?;
    look_inside(&kubectl, &client).await.context("logs, exec")?;
    attach(&kubectl, &one).await.context("attach")?;
    copy(&kubectl, &client, images.path()).await.context("cp")?;
    forward(&kubectl).await.context("port-forward and proxy")?;
    roll(&kubectl, &two).await.context("roll out and back")?;
    read(&kubectl).await.context("get, describe, explain")?;
    remove(&kubectl).await.context("delete")?;

    cluster.reset()?;
    let differences = before.differences(&machine::Footprint::take()?);
    ensure!(differences.is_empty(), "left behind: {differences:#?}");
    drop(foreign);
    Ok(())
}

async fn deploy(kubectl: &Kubectl, image: &str) -> Result<()> {
    kubectl
        .shows(&["create", "deployment", "web", "--image", image, "--replicas=3"], "deployment.apps/web created")
        .await?;
    kubectl.shows(&["rollout", "status", "deployment/web"], "successfully rolled out").await?;
    kubectl
        .shows(&["expose", "deployment", "web", "--port=80", "--target-port", PORT, "--type=NodePort"], "exposed")
        .await?;
    Ok(())
}

/// The Service is reached by its name from another pod and by its port from the host; returns that pod.
async fn reach(kubectl: &Kubectl, image: &str) -> Result<String> {
    let name = "client";
    kubectl.run(&["run", name, "--image", image, "--command", "--", "sh", "-c", "echo up; exec sleep 3600"]).await?;
    kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]).await?;
    for host in ["web", "web.default.svc.cluster.local"] {
        kubectl.shows(&["exec", name, "--", "wget", "-q", "-O", "-", &format!("http://{host}")], "one").await?;
    }
    let port = kubectl.run(&["get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort}"]).await?;
    let address = kubectl.run(&["get", "nodes", "-o", "jsonpath={.items[0].status.addresses[0].address}"]).await?;
    ensure!(fetch(&format!("{address}:{port}")).await? == "one", "the NodePort answers otherwise");
    Ok(name.into())
}

async fn look_inside(kubectl: &Kubectl, pod: &str) -> Result<()> {
    kubectl.shows(&["logs", "-l", "app=web", "--tail=1"], "serving one").await?;
    let mut follow = kubectl.start(&["logs", "-f", pod])?;
    ensure!(follow.line().await? == "up");
    follow.kill().await?;

    let failed = kubectl.output(&["exec", pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).await?;
    ensure!(failed.status.code() == Some(7) && failed.stdout == b"out\n", "{failed:?}");
    ensure!(String::from_utf8_lossy(&failed.stderr).contains("err\n"), "{failed:?}");
    let fed = kubectl.feed(&["exec", "-i", pod, "--", "tr", "a-z", "A-Z"], b"over spdy or websocket").await?;
    ensure!(fed.stdout == b"OVER SPDY OR WEBSOCKET", "{fed:?}");
    let wrong = kubectl.output(&["exec", pod, "-c", "nobody", "--", "true"]).await?;
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(text.contains("container nobody is not valid for pod client"), "{text}");
    Ok(())
}

/// A pod whose standard input and output are the caller's, for as long as it runs.
async fn attach(kubectl: &Kubectl, image: &str) -> Result<()> {
    let run = ["run", "echo", "-i", "--rm", "--restart=Never", "--image", image, "--command", "--", "cat"];
    let output = kubectl.feed(&run, b"said and heard\n").await?;
    ensure!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("said and heard"),
        "{output:?}"
    );
    Ok(())
}

async fn copy(kubectl: &Kubectl, pod: &str, dir: &Path) -> Result<()> {
    const BYTES: usize = 300_000;
    let (there, back) = (dir.join("there"), dir.join("back"));
    let content: Vec<u8> = (0..BYTES).map(|number| (number % 251) as u8).collect();
    std::fs::write(&there, &content)?;
    let inside = format!("{pod}:/tmp/copied");
    kubectl.run(&["cp", &there.display().to_string(), &inside]).await?;
    kubectl.run(&["cp", &inside, &back.display().to_string()]).await?;
    ensure!(std::fs::read(&back)? == content, "the copy of the copy differs");
    Ok(())
}

async fn forward(kubectl: &Kubectl) -> Result<()> {
    let mut forward = kubectl.start(&["port-forward", "deployment/web", &format!(":{PORT}"), "--address=127.0.0.1"])?;
    let line = forward.line().await?;
    let at = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next()).context(line.clone())?;
    for _ in 0..2 {
        ensure!(fetch(at).await? == "one");
    }
    forward.kill().await?;
    kubectl.shows(&["get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/"], "one").await?;
    Ok(())
}

async fn roll(kubectl: &Kubectl, image: &str) -> Result<()> {
    kubectl.shows(&["scale", "deployment/web", "--replicas=2"], "scaled").await?;
    kubectl.run(&["set", "image", "deployment/web", &format!("web={image}")]).await?;
    kubectl.shows(&["rollout", "status", "deployment/web"], "successfully rolled out").await?;
    kubectl.shows(&["get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/"], "two").await?;
    kubectl.shows(&["rollout", "undo", "deployment/web"], "rolled back").await?;
    kubectl.shows(&["rollout", "status", "deployment/web"], "successfully rolled out").await?;
    kubectl.shows(&["get", "--raw", "/api/v1/namespaces/default/services/web:80/proxy/"], "one").await?;
    Ok(())
}

async fn read(kubectl: &Kubectl) -> Result<()> {
    kubectl.shows(&["get", "pods", "-o", "wide"], "Running").await?;
    kubectl.shows(&["get", "deployment", "web", "-o", "yaml"], "kind: Deployment").await?;
    kubectl.shows(&["get", "deployment", "web", "-o", "json"], "\"kind\": \"Deployment\"").await?;
    kubectl.shows(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"], "2").await?;
    let described = kubectl.shows(&["describe", "deployment", "web"], "ScalingReplicaSet").await?;
    ensure!(described.contains("2 desired | 2 updated | 2 total | 2 available | 0 unavailable"), "{described}");
    kubectl.shows(&["describe", "pod", "client"], "Container started").await?;
    kubectl.shows(&["explain", "pod.spec.containers"], "FIELD: containers <[]Container>").await?;
    Ok(())
}

async fn remove(kubectl: &Kubectl) -> Result<()> {
    kubectl
        .run(&["delete", "service/web", "deployment/web", "pod/client", "--timeout=80s", "--grace-period=1"])
        .await?;
    kubectl.run(&["wait", "--for=delete", "pod", "-l", "app=web", "--timeout=60s"]).await?;
    let left = kubectl.run(&["get", "pods", "-o", "name"]).await?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}
