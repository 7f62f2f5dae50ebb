//! `keelson up`: a whole cluster in one background process.
//!
//! The walk: `plan` decides, `preflight` checks, then the waiting process starts the background one and
//! shows its events (`launch`), which makes identities (`identities`), the API server and its components
//! (`cluster`), and the node (`node`). Everything made outside the store is in the `journal` first.
//! Invariant: exit 0 means that the first pod can run. Non-goal: what components do.

pub(crate) mod cluster;
pub(crate) mod cni;
pub(crate) mod containerd;
pub(crate) mod files;
pub(crate) mod identities;
pub(crate) mod journal;
pub(crate) mod kubeconfig;
pub(crate) mod launch;
pub(crate) mod lock;
pub(crate) mod names;
pub(crate) mod net;
pub(crate) mod node;
pub(crate) mod pause;
pub(crate) mod pki;
pub(crate) mod place;
pub(crate) mod plan;
pub(crate) mod preflight;
pub(crate) mod process;
pub(crate) mod processes;
pub(crate) mod routes;
pub(crate) mod steps;
pub(crate) mod transport;
pub(crate) mod undo;
pub(crate) mod wait;

use std::time::Instant;

use anyhow::Result;

use crate::cli;
use crate::failure::Failure;
use place::Place;
use plan::Plan;
use steps::{Event, Form, Reporter};

/// `keelson up`, in whichever of its processes.
pub(crate) fn run(up: &cli::Up, started: Instant) -> Result<()> {
    let place = Place::of(&up.place)?;
    let form = if up.output == cli::Output::Json || up.detached { Form::Json } else { Form::Text };
    let report = Reporter::new(form, started);
    if up.detached {
        // A session of its own: the terminal that started it may go.
        nix::unistd::setsid()?;
        let plan = Plan::of(&place, &lock::remembered(&place))?;
        return process::run(plan, report);
    }
    if let Some(pid) = lock::owner(&place) {
        return already(&place, pid, up.options.clone().absolute()?, &report);
    }
    let (given, before) = (up.options.clone().absolute()?, lock::remembered(&place));
    if let (Some(new), Some(old)) = (given.cluster_cidr, before.cluster_cidr)
        && new != old
    {
        let why = format!("--cluster-cidr {new}: the cluster was made with {old}");
        return Err(Failure::new(109, why).fix("keelson reset, to start anew").into());
    }
    let plan = Plan::of(&place, &given.over(before))?;
    let found = preflight::check(&plan, false);
    if let Some(failure) = found.iter().find_map(preflight::Finding::failure) {
        return Err(failure.into());
    }
    place.make().map_err(|error| Failure::new(101, format!("{}: {error}", place.dir.display())))?;
    lock::remember(&place, &plan.options)?;
    let passed = found.iter().filter(|finding| finding.code.is_none()).count();
    report.step("checks", format!("{passed} passed, cluster {:?}, {}", place.name, plan.nodes_text()));
    let notes = found.iter().filter(|finding| finding.note).map(|finding| {
        let fix = finding.fix.as_deref().unwrap_or_default();
        format!("{} (KEEL-{}): {fix}", finding.fact, finding.code.unwrap_or_default())
    });
    notes.chain(plan.notes.clone()).for_each(|note| report.note(note));
    if up.foreground { process::run(plan, report) } else { launch::run(&place, &report) }
}

/// A second `up`: nothing to do, when it is the same.
fn already(place: &Place, pid: u32, options: cli::Options, report: &Reporter) -> Result<()> {
    let Some(running) = lock::running(place) else {
        return Err(Failure::new(106, format!("process {pid} is starting the cluster or stopping it")).into());
    };
    if options.over(running.options.clone()) != running.options {
        report.note("it runs with other flags; `keelson down` first to change them".to_string());
    }
    report.step("up", format!("already, process {pid}, {}, {}", running.server, running.nodes));
    report.show(&Event::Ready {
        seconds: report.seconds(),
        memory_bytes: steps::memory_of(pid),
        server: running.server,
        context: running.context,
        kubeconfig: place.admin_kubeconfig().display().to_string(),
    });
    Ok(())
}
