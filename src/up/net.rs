//! Network things of the host that a node needs: the bridge, our table of nftables, sysctls.
//!
//! Invariant: each call makes what is missing and leaves what fits; the journal has it before.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::{Handle, LinkBridge, LinkUnspec};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::cni;
use super::journal::{Entry, Journal};

/// Makes the bridge with the range's first address.
pub(crate) async fn bridge(name: &str, range: Ipv4Net) -> Result<()> {
    with_netlink(async |handle| {
        let gateway = cni::gateway(range);
        let index = match index(&handle, name).await? {
            Some(index) => index,
            None => {
                let mac = cni::mac(gateway).to_vec();
                handle.link().add(LinkBridge::new(name).address(mac).build()).execute().await.context("bridge")?;
                index(&handle, name).await?.context("the bridge that was just made")?
            }
        };
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await.context("bridge up")?;
        for old in addresses(&handle, index).await?.into_iter().filter(|(ip, _)| *ip != gateway) {
            handle.address().del(old.1).execute().await.context("old address")?;
        }
        let added = handle.address().add(index, IpAddr::V4(gateway), range.prefix_len()).replace().execute().await;
        added.context("address of the bridge")
    })
    .await
}

pub(crate) async fn delete_link(name: &str) -> Result<()> {
    with_netlink(async |handle| match index(&handle, name).await? {
        Some(index) => handle.link().del(index).execute().await.context("link"),
        None => Ok(()),
    })
    .await
}

async fn with_netlink<T>(work: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    let (connection, handle, _) = rtnetlink::new_connection().context("netlink")?;
    tokio::select! {
        done = work(handle) => done,
        () = connection => bail!("netlink ended"),
    }
}

async fn index(handle: &Handle, name: &str) -> Result<Option<u32>> {
    // The kernel answers a name that is not there with an error.
    if !Path::new("/sys/class/net").join(name).exists() {
        return Ok(None);
    }
    let found = handle.link().get().match_name(name).execute().try_next().await.context("link")?;
    Ok(found.map(|link| link.header.index))
}

type Addressed = (Ipv4Addr, rtnetlink::packet_route::address::AddressMessage);

async fn addresses(handle: &Handle, index: u32) -> Result<Vec<Addressed>> {
    use rtnetlink::packet_route::address::AddressAttribute;
    let all: Vec<_> =
        handle.address().get().set_link_index_filter(index).execute().try_collect().await.context("addresses")?;
    let v4 = all.into_iter().filter_map(|message| {
        let ip = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => Some(*ip),
            _ => None,
        });
        ip.map(|ip| (ip, message))
    });
    Ok(v4.collect())
}

/// Runs a script of nft in one transaction.
pub(crate) async fn nft(script: &str) -> Result<()> {
    run("nft", &["-f", "-"], script).await.map(drop)
}

/// Runs a program with some input; its output.
pub(crate) async fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let path = super::plan::program(program).with_context(|| format!("there is no {program}"))?;
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| program.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Sets a value below /proc/sys, when it is there and another.
pub(crate) fn sysctl(journal: &Journal, name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    let Some(before) = super::files::read(&path)? else { return Ok(()) };
    let before = before.trim().to_string();
    if before == value {
        return Ok(());
    }
    journal.will_make(Entry::Sysctl { path: path.clone(), before, after: value.into() })?;
    std::fs::write(&path, value).with_context(|| path.display().to_string())
}
