//! `keelson status`, `down`, `reset`, `doctor`, `kubeconfig`, `explain`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use client::connector::Connector;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cli::{self, Output};
use crate::failure::{Failure, find};
use crate::up::place::Place;
use crate::up::plan::Plan;
use crate::up::{journal, lock, preflight, steps, undo, wait};

/// How long the cluster's process may take to end.
const END_LIMIT: Duration = Duration::from_secs(30);
/// How long `status` waits for the API.
const ASK_LIMIT: Duration = Duration::from_secs(5);

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("runtime")
}

pub(crate) fn status(status: &cli::Status) -> Result<()> {
    let place = Place::of(&status.place)?;
    let Some(pid) = lock::owner(&place) else {
        return Err(not_running(&place).into());
    };
    let Some(running) = lock::running(&place) else {
        return Err(Failure::new(105, format!("process {pid} is starting it or stopping it")).into());
    };
    let seen = runtime()?.block_on(async { tokio::time::timeout(ASK_LIMIT, look(&place)).await });
    let seen = seen.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", ASK_LIMIT.as_secs())));
    let memory = steps::memory_of(pid);
    match (status.output, seen) {
        (Output::Json, seen) => {
            let (nodes, pods) = seen.as_ref().map_or((None, None), |seen| (Some(seen.0), Some(seen.1)));
            let nodes = nodes.map(|(ready, all)| json!({ "ready": ready, "all": all }));
            println!("{}", json!({ "cluster": running, "nodes": nodes, "pods": pods, "memoryBytes": memory }));
        }
        (Output::Text, Ok(((ready, all), pods))) => {
            println!("{}   up since {}   {}", place.name, running.started, running.version);
            println!("api {} ok, {ready} of {all} nodes Ready, {pods} pods, {} MB", running.server, memory >> 20);
            println!("process {pid}, data {}", place.dir.display());
        }
        (Output::Text, Err(error)) => {
            return Err(Failure::new(105, format!("{} does not answer: {error:#}", running.server)).into());
        }
    }
    Ok(())
}

/// Ready nodes, nodes, pods.
async fn look(place: &Place) -> Result<((usize, usize), usize)> {
    let path = place.admin_kubeconfig().display().to_string();
    let client = Connector::from_kubeconfig(&path).await?.client();
    let (nodes, pods): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::all(client));
    let nodes = nodes.list(&ListParams::default()).await?.items;
    let pods = pods.list_metadata(&ListParams::default()).await?.items.len();
    Ok(((nodes.iter().filter(|node| wait::is_ready(node)).count(), nodes.len()), pods))
}

fn not_running(place: &Place) -> Failure {
    Failure::new(111, format!("no process has {}", place.dir.display()))
}

/// Ends the cluster's process and takes the directory.
fn end(place: &Place) -> Result<lock::Lock> {
    if let Some(pid) = lock::owner(place).and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        kill_process(pid, Signal::TERM)
            .map_err(|error| Failure::new(102, format!("process {}: {error}", pid.as_raw_nonzero())))?;
        lock::wait_free(place, END_LIMIT)?;
    }
    lock::take(place)
}

pub(crate) fn down(place: &cli::Place) -> Result<()> {
    let place = Place::of(place)?;
    if !place.at("state/lock").exists() {
        return Err(not_running(&place).into());
    }
    let started = Instant::now();
    let _lock = end(&place)?;
    lock::tell(&place, None)?;
    let undone = runtime()?.block_on(undo::replay(&place, false))?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("Stopped the control plane and {} pods in {seconds:.2} s.", undone.pods);
    eprintln!("The data is kept in {}; `keelson up` continues.", place.dir.display());
    Ok(())
}

pub(crate) fn reset(reset: &cli::Reset) -> Result<()> {
    let place = Place::of(&reset.place)?;
    if !place.at("state").exists() {
        return Err(not_running(&place).into());
    }
    let entries = journal::read(&place.at("state/journal"))?;
    if !reset.yes {
        confirm(&place, entries.len())?;
    }
    let lock = end(&place)?;
    let undone = runtime()?.block_on(undo::replay(&place, true))?;
    undo::remove_data(&place)?;
    drop(lock);
    eprintln!("Removed {} pods, {} things of the journal, and {}.", undone.pods, undone.entries, place.dir.display());
    Ok(())
}

fn confirm(place: &Place, entries: usize) -> Result<()> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::new(151, "there is no terminal to ask on").into());
    }
    eprintln!("Will remove all pods, {entries} things of the journal, and {} with all data.", place.dir.display());
    eprint!("Type the cluster's name to go on: ");
    std::io::stderr().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if line.trim() == place.name {
        Ok(())
    } else {
        Err(Failure::new(151, "that was not its name; nothing was removed").into())
    }
}

pub(crate) fn doctor(doctor: &cli::Doctor) -> Result<()> {
    let place = Place::of(&doctor.place)?;
    let plan = Plan::of(&place, &doctor.options.clone().over(lock::remembered(&place)))?;
    let found = preflight::check(&plan, lock::owner(&place).is_some());
    if doctor.output == Output::Json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        for finding in &found {
            let mark = if finding.code.is_none() {
                "ok"
            } else if finding.note {
                "! "
            } else {
                "x "
            };
            let code = finding.code.map(|code| format!("   KEEL-{code}")).unwrap_or_default();
            println!("  {mark} {:<12} {}{code}", finding.check, finding.fact);
            if let Some(fix) = &finding.fix {
                println!("     fix: {fix}");
            }
        }
        plan.notes.iter().for_each(|note| println!("  !  {note}"));
        let problems = found.iter().filter(|finding| finding.code.is_some()).count();
        println!("{} checks, {problems} problems.", found.len());
    }
    match found.iter().find_map(preflight::Finding::failure) {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

pub(crate) fn kubeconfig(place: &cli::Place) -> Result<()> {
    let place = Place::of(place)?;
    match std::fs::read_to_string(place.admin_kubeconfig()) {
        Ok(text) => {
            print!("{text}");
            Ok(())
        }
        Err(error) => Err(Failure::new(111, format!("{}: {error}", place.admin_kubeconfig().display())).into()),
    }
}

pub(crate) fn explain(code: &str) -> Result<()> {
    let number = code.to_uppercase().trim_start_matches("KEEL-").parse::<u16>().ok();
    let unknown = || {
        Failure::new(109, format!("{code:?} is no code of ours; they look like KEEL-104"))
            .fix("keelson explain KEEL-104")
    };
    let entry = number.and_then(find).ok_or_else(unknown)?;
    println!("KEEL-{}: {} (exit code {})", entry.number, entry.what, entry.exit as u8);
    if !entry.more.is_empty() {
        println!("{}", entry.more);
    }
    println!("fix: {}", entry.fix);
    Ok(())
}
