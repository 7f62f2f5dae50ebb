//! The scenario of conformance/scenario/main.go with kube-rs: what must hold of any API server, as one client sees it.

use std::collections::BTreeMap;
use std::pin::pin;

use anyhow::{Context, Result, ensure};
use futures::{Stream, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tests::harness::{Cluster, Nodes};

type Maps = Api<ConfigMap>;

fn named(name: &str, value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.into());
    map.data = Some(BTreeMap::from([("a".to_owned(), value.to_owned())]));
    map
}

/// The Status of a call that must be refused.
fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> Result<Status> {
    match result {
        Err(kube::Error::Api(status)) => Ok(*status),
        other => anyhow::bail!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_rs_sees_an_api_server() -> Result<()> {
    let cluster = Cluster::start(Nodes::Fake(1)).await?;
    let client = cluster.client();
    let maps: Maps = Api::default_namespaced(client.clone());
    crud(&maps).await.context("crud")?;
    apply(&maps).await.context("apply")?;
    watches(&maps).await.context("watch")?;
    chunks(&maps).await.context("chunks")?;
    election(&client).await.context("election")
}

async fn crud(maps: &Maps) -> Result<()> {
    let params = PostParams::default();
    let first = maps.create(&params, &named("crud", "1")).await?;
    assert_eq!(refused(maps.create(&params, &named("crud", "1")).await)?.reason, "AlreadyExists");
    let mut second = first.clone();
    second.data = named("crud", "2").data;
    maps.replace("crud", &params, &second).await?;
    assert_eq!(refused(maps.replace("crud", &params, &first).await)?.reason, "Conflict");
    let patch = Patch::Merge(json!({"data": {"b": "3"}}));
    maps.patch("crud", &PatchParams::default(), &patch).await?;
    let read = maps.get("crud").await?;
    let expected = BTreeMap::from([("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())]);
    assert_eq!((read.uid(), read.data), (first.uid(), Some(expected)));
    maps.delete("crud", &DeleteParams::default()).await?;
    assert_eq!(refused(maps.get("crud").await)?.reason, "NotFound");
    Ok(())
}

async fn apply(maps: &Maps) -> Result<()> {
    let wanted = |value: &str| {
        Patch::Apply(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "apply"}, "data": {"a": value.to_owned()},
        }))
    };
    maps.patch("apply", &PatchParams::apply("one"), &wanted("1")).await?;
    let conflict = refused(maps.patch("apply", &PatchParams::apply("two"), &wanted("2")).await)?;
    assert_eq!(conflict.reason, "Conflict");
    assert!(conflict.message.contains("conflict with \"one\": .data.a"), "{}", conflict.message);
    let taken = maps.patch("apply", &PatchParams::apply("two").force(), &wanted("2")).await?;
    let owners: Vec<_> = taken.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect();
    assert_eq!(owners, ["two"]);
    Ok(())
}

/// So many events of a watch, as words, and the version of the last.
async fn events(
    watch: impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>>,
    count: usize,
) -> Result<(Vec<String>, String)> {
    let mut watch = pin!(watch);
    let (mut seen, mut version) = (Vec::new(), String::new());
    while seen.len() < count {
        let event = watch.try_next().await?.with_context(|| format!("{seen:?} and no more"))?;
        let (kind, object) = match event {
            WatchEvent::Added(object) => ("ADDED", object),
            WatchEvent::Modified(object) => ("MODIFIED", object),
            WatchEvent::Deleted(object) => ("DELETED", object),
            other => anyhow::bail!("{seen:?} and then {other:?}"),
        };
        version = object.resource_version().context("a version")?;
        seen.push(format!("{kind} {}", object.data.context("data")?["a"]));
    }
    Ok((seen, version))
}

async fn watches(maps: &Maps) -> Result<()> {
    let start = maps.list(&ListParams::default().labels("none=such")).await?;
    let only = WatchParams::default().fields("metadata.name=watch").disable_bookmarks();
    let watch = maps.watch(&only, &start.metadata.resource_version.context("a version")?).await?;
    let mut made = maps.create(&PostParams::default(), &named("watch", "1")).await?;
    made.data = named("watch", "2").data;
    maps.replace("watch", &PostParams::default(), &made).await?;
    let (seen, version) = events(watch, 2).await?;
    assert_eq!(seen, ["ADDED 1", "MODIFIED 2"]);
    // While nobody watches.
    maps.delete("watch", &DeleteParams::default()).await?;
    let (seen, _) = events(maps.watch(&only, &version).await?, 1).await?;
    assert_eq!(seen, ["DELETED 2"]);
    Ok(())
}

async fn chunks(maps: &Maps) -> Result<()> {
    for number in 0..25 {
        let mut object = named(&format!("chunk-{number:02}"), "1");
        object.labels_mut().insert("step".into(), "chunks".into());
        maps.create(&PostParams::default(), &object).await?;
    }
    let (mut names, mut versions) = (Vec::new(), Vec::new());
    let mut params = ListParams::default().limit(10);
    loop {
        let list = maps.list(&params).await?;
        versions.push(list.metadata.resource_version.clone());
        names.extend(list.items.iter().filter(|item| item.labels().contains_key("step")).map(ResourceExt::name_any));
        // What is made between two chunks is in none of them.
        let mut late = named(&format!("chunk-late-{}", versions.len()), "1");
        late.labels_mut().insert("step".into(), "chunks".into());
        maps.create(&PostParams::default(), &late).await?;
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    assert_eq!(names, (0..25).map(|number| format!("chunk-{number:02}")).collect::<Vec<_>>());
    ensure!(versions.len() == 3 && versions.iter().all(|version| *version == versions[0]), "{versions:?}");
    Ok(())
}

/// Two candidates that both read a free lease: the version of what they read lets one of them in.
async fn election(client: &Client) -> Result<()> {
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let lease = json!({"metadata": {"name": "election"}, "spec": {"leaseDurationSeconds": 4}});
    let free = leases.create(&PostParams::default(), &serde_json::from_value(lease)?).await?;
    let claim = |by: &str, read: &Lease| {
        let mut claimed = read.clone();
        claimed.spec.get_or_insert_default().holder_identity = Some(by.into());
        claimed
    };
    let params = PostParams::default();
    let (one, two) = (claim("one", &free), claim("two", &free));
    let both = tokio::join!(leases.replace("election", &params, &one), leases.replace("election", &params, &two));
    let (winner, loser) = match both {
        (Ok(lease), lost) | (lost, Ok(lease)) => (lease, refused(lost)?),
        (Err(error), _) => anyhow::bail!("nobody leads: {error}"),
    };
    assert_eq!(loser.reason, "Conflict");
    // It gives up, and the other one, who has looked again, leads.
    let freed = leases.replace("election", &params, &claim("", &winner)).await?;
    let next = leases.replace("election", &params, &claim("two", &freed)).await?;
    assert_eq!(next.spec.and_then(|spec| spec.holder_identity).as_deref(), Some("two"));
    Ok(())
}
