//! One scenario (CRUD, apply, watch, chunks, election) by stock clients of three languages, against Keelson's API
//! server: conformance/scenario. kube-rs does it in tests/tests/scenario.rs.
//!
//! Invariant: the clients are the versions that conformance/scenario pins; theirs are installed below conformance/bin.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::plane::Side;
use crate::process::Server;
use crate::{cluster, paths, plane, process, upstream};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Whose API server the clients see
    #[arg(long, value_enum, default_value = "keelson")]
    side: Side,
    /// Only these clients (default: all)
    #[arg(value_enum)]
    clients: Vec<Client>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Client {
    ClientGo,
    Python,
    Javascript,
}

const ALL: [Client; 3] = [Client::ClientGo, Client::Python, Client::Javascript];

/// Runs the clients one after the other and returns how many saw what they should and how many did not.
pub(crate) fn run(options: &Options) -> Result<(u64, u64)> {
    let dir = tempfile::Builder::new().prefix("keelson-scenario-").tempdir()?;
    let (_servers, kubeconfig) = serve(options.side, dir.path())?;
    let mut tally = (0, 0);
    for client in if options.clients.is_empty() { &ALL[..] } else { &options.clients } {
        println!("== {client:?}");
        // One that cannot be run is a failure; the others are still worth knowing.
        match client.command().and_then(|mut command| process::run(command.arg(&kubeconfig))) {
            Ok(()) => tally.0 += 1,
            Err(error) => {
                println!("{client:?}: {error:#}");
                tally.1 += 1;
            }
        }
    }
    Ok(tally)
}

/// Starts an API server; the kubeconfig is the administrator's.
fn serve(side: Side, dir: &Path) -> Result<(Vec<Server>, PathBuf)> {
    plane::certificates(dir)?;
    match side {
        Side::Keelson => cluster::build_keelson()?,
        Side::Upstream => upstream::build(&["etcd", "kube-apiserver"])?,
    }
    upstream::build(&["kubectl"])?;
    let ports = process::free_ports()?;
    let mut servers = plane::apiserver(side, dir, ports)?;
    let kubeconfig = plane::kubeconfig(dir, "admin", ports[0])?;
    plane::ready(&mut servers[0], dir, &kubeconfig)?;
    Ok((servers, kubeconfig))
}

impl Client {
    /// The command that does the scenario; its client is installed when it is not there.
    fn command(self) -> Result<Command> {
        let sources = paths::conformance().join("scenario");
        match self {
            Client::ClientGo => {
                upstream::build(&["scenario"])?;
                Ok(Command::new(paths::upstream("scenario")))
            }
            Client::Python => {
                let place = installed("python", &[sources.join("requirements.txt")], |place| {
                    process::run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
                    let mut pip = Command::new(place.join("bin/pip"));
                    process::run(pip.args(["install", "--quiet", "-r"]).arg(sources.join("requirements.txt")))
                })?;
                let mut command = Command::new(place.join("bin/python"));
                command.arg(sources.join("scenario.py"));
                Ok(command)
            }
            Client::Javascript => {
                let locks = ["package.json", "package-lock.json"].map(|name| sources.join(name));
                let place = installed("javascript", &locks, |place| {
                    process::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(place))
                })?;
                // A module finds others beside itself.
                let program = place.join("scenario.mjs");
                std::fs::copy(sources.join("scenario.mjs"), &program)?;
                let mut command = Command::new("node");
                command.arg(program);
                Ok(command)
            }
        }
    }
}

/// The place of a client of another language, with the files that pin it; made again when they change.
fn installed(name: &str, pins: &[PathBuf], install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = paths::upstream(name);
    let same = |pin: &PathBuf| {
        let copy = pin.file_name().and_then(|file| std::fs::read(place.join(file)).ok());
        copy.is_some_and(|copy| std::fs::read(pin).is_ok_and(|text| text == copy))
    };
    let stamp = place.join(".installed");
    if stamp.exists() && pins.iter().all(same) {
        return Ok(place);
    }
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    std::fs::create_dir_all(&place)?;
    for pin in pins {
        std::fs::copy(pin, place.join(pin.file_name().context("a file")?))?;
    }
    install(&place)?;
    std::fs::write(stamp, "")?;
    Ok(place)
}
