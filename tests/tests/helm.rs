//! The life of a Helm release: a chart with a definition, its resource and hooks is installed, upgraded, rolled back
//! and uninstalled by stock Helm, which waits for everything by watches.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tests::harness::{Cluster, Nodes};
use tokio::process::Command;

const RELEASE: &str = "web";
/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(90);

/// Stock Helm on a cluster.
struct Helm {
    home: tempfile::TempDir,
    kubeconfig: PathBuf,
}

impl Helm {
    fn new(cluster: &Cluster) -> Result<Self> {
        let program = xtask::paths::upstream("helm");
        ensure!(program.exists(), "no {}; `cargo xtask build-upstream helm` makes it", program.display());
        Ok(Helm { home: tempfile::tempdir()?, kubeconfig: cluster.kubeconfig() })
    }

    async fn output(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(xtask::paths::upstream("helm"));
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).kill_on_drop(true);
        for home in ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, self.home.path());
        }
        let output = tokio::time::timeout(LIMIT, command.output()).await;
        output.with_context(|| format!("helm {} does not end", arguments.join(" ")))?.context("helm")
    }

    /// Runs a command that must succeed; its standard output.
    async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm {}: {}: {errors}", arguments.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs a command that must fail with this in its words.
    async fn fails(&self, arguments: &[&str], why: &str) -> Result<()> {
        let output = self.output(arguments).await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && errors.contains(why), "helm {}: {errors}", arguments.join(" "));
        Ok(())
    }

    /// The revisions of the release with their states, as `helm history` tells them.
    async fn history(&self) -> Result<Vec<(i64, String)>> {
        let revisions: Vec<Value> = serde_json::from_str(&self.run(&["history", RELEASE, "-o", "json"]).await?)?;
        let of = |one: &Value| Some((one["revision"].as_i64()?, one["status"].as_str()?.to_owned()));
        revisions.iter().map(|one| of(one).with_context(|| one.to_string())).collect()
    }
}

fn states(of: &[(i64, &str)]) -> Vec<(i64, String)> {
    of.iter().map(|(revision, state)| (*revision, (*state).to_owned())).collect()
}

/// What a revision of the chart comes to.
struct Expected {
    image: &'static str,
    replicas: i32,
    colour: &'static str,
    /// The hooks that have run to their end.
    hooks: &'static [&'static str],
}

async fn check(client: &Client, expected: &Expected) -> Result<()> {
    // `--wait` means that it is so now.
    let deployment = Api::<Deployment>::default_namespaced(client.clone()).get(RELEASE).await?;
    let status = deployment.status.context("a status")?;
    let (ready, updated) = (status.ready_replicas.unwrap_or_default(), status.updated_replicas.unwrap_or_default());
    assert_eq!((ready, updated), (expected.replicas, expected.replicas));
    let spec = deployment.spec.template.spec.context("a template")?;
    assert_eq!(spec.containers[0].image.as_deref(), Some(expected.image));
    let map = Api::<ConfigMap>::default_namespaced(client.clone()).get(RELEASE).await?;
    assert_eq!(map.data.context("data")?["colour"], expected.colour);
    // The shade is the definition's default.
    assert_eq!(tints(client).get(RELEASE).await?.data["spec"], json!({"colour": expected.colour, "shade": 5}));
    for hook in expected.hooks {
        let job = Api::<Job>::default_namespaced(client.clone()).get(&format!("{RELEASE}-{hook}")).await?;
        assert_eq!(job.status.context("a status")?.succeeded, Some(1), "{hook}");
    }
    Ok(())
}

fn tints(client: &Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "helm.keelson.example".into(),
        version: "v1".into(),
        api_version: "helm.keelson.example/v1".into(),
        kind: "Tint".into(),
        plural: "tints".into(),
    };
    Api::default_namespaced_with(client.clone(), &resource)
}

const FIRST: Expected =
    Expected { image: "web:1", replicas: 2, colour: "blue", hooks: &["pre-install", "post-install"] };

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_upgraded_rolled_back_and_uninstalled() -> Result<()> {
    let cluster = Cluster::start(Nodes::Fake(2)).await?;
    let (helm, client) = (Helm::new(&cluster)?, cluster.client());
    let chart = xtask::paths::conformance().join("helm/chart").display().to_string();
    let upgrade = |more: &[&'static str]| [&["upgrade", RELEASE, &chart, "--wait"], more].concat();

    helm.run(&["install", RELEASE, &chart, "--wait"]).await?;
    check(&client, &FIRST).await.context("install")?;
    helm.run(&["test", RELEASE]).await?;

    helm.run(&upgrade(&["--set", "image=web:2,replicas=3,colour=green"])).await?;
    let hooks = &["pre-upgrade", "post-upgrade"];
    check(&client, &Expected { image: "web:2", replicas: 3, colour: "green", hooks }).await.context("upgrade")?;

    // A hook that fails, and values that the definition forbids, leave everything as it was.
    helm.fails(&upgrade(&["--set", "hook=exit 1"]), "pre-upgrade hooks failed").await?;
    helm.fails(&upgrade(&["--set", "colour=red"]), "Unsupported value: \"red\"").await?;
    // Who changed a field owns it until Helm is told to take it.
    let scale = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 4}});
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    deployments.patch(RELEASE, &PatchParams::apply("scaler").force(), &Patch::Apply(scale)).await?;
    helm.fails(&upgrade(&["--set", "replicas=1"]), "conflict with \"scaler\"").await?;
    let failed = [(1, "superseded"), (2, "deployed"), (3, "failed"), (4, "failed"), (5, "failed")];
    assert_eq!(helm.history().await?, states(&failed));

    helm.run(&["rollback", RELEASE, "1", "--wait", "--force-conflicts"]).await?;
    check(&client, &Expected { hooks: &["pre-rollback", "post-rollback"], ..FIRST }).await.context("rollback")?;
    let last = helm.history().await?.pop();
    assert_eq!(last, Some((6, "deployed".into())));

    helm.run(&["uninstall", RELEASE, "--wait", "--cascade", "foreground"]).await?;
    gone(&client).await.context("uninstall")?;
    ensure!(helm.run(&["list", "-q"]).await?.trim().is_empty());
    Ok(())
}

/// Nothing of the release is left but its definition and its last hook.
async fn gone(client: &Client) -> Result<()> {
    assert!(Api::<Deployment>::default_namespaced(client.clone()).get_opt(RELEASE).await?.is_none());
    assert!(Api::<ConfigMap>::default_namespaced(client.clone()).get_opt(RELEASE).await?.is_none());
    assert!(tints(client).get_opt(RELEASE).await?.is_none());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    assert_eq!(pods.list(&ListParams::default().labels("app=web")).await?.items.len(), 0);
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    assert!(definitions.get_opt("tints.helm.keelson.example").await?.is_some());
    let job = Api::<Job>::default_namespaced(client.clone()).get(&format!("{RELEASE}-post-delete")).await?;
    assert_eq!(job.status.context("a status")?.succeeded, Some(1));
    Ok(())
}
