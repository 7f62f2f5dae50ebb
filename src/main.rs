//! The combined binary: `keelson up`, `keelson kube-apiserver ...`, and argv[0] dispatch (a link named
//! kubelet is a kubelet).

mod cli;
mod commands;
mod component;
mod failure;
mod flags;
mod signals;
mod up;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser;
use cli::{Cli, Command, Output};
use failure::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"), "+keelson");

/// What the cluster's process logs.
const CLUSTER_LOG: &str = "info,kube=warn,hyper=warn,tower=warn";

/// mimalloc.h: mi_option_purge_delay, in milliseconds; where it is among the options.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Lets free memory go back to the system at once: what a large answer took is not kept for the next ten seconds.
fn give_memory_back() {
    // SAFETY: no other thread runs yet, and the option is a number that the allocator looks at when it frees pages.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, 0) };
}

/// Takes as many files and connections as the system lets a process have, as a Go program does when it starts
/// (Go's os/rlimit.go).
fn open_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused stays as it was, which may be enough.
    let _ = setrlimit(Resource::Nofile, limit);
}

fn main() -> ExitCode {
    let started = Instant::now();
    give_memory_back();
    open_many_files();
    let arguments: Vec<String> = std::env::args().collect();
    let called = arguments.first().and_then(|path| path.rsplit('/').next()).unwrap_or("keelson").to_string();
    if let Some(code) = component::run(&called, arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    if let Some(code) = arguments.get(1).and_then(|name| component::run(name, &arguments[2..])) {
        return code;
    }
    let cli = Cli::parse();
    log(if matches!(&cli.command, Command::Up(up) if up.detached || up.foreground) {
        CLUSTER_LOG
    } else {
        "warn,kube=error"
    });
    match run(&cli.command, started) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = Failure::of(error);
            failure.print();
            ExitCode::from(failure.entry.exit as u8)
        }
    }
}

/// Logs to stderr, as $RUST_LOG says.
fn log(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
}

fn run(command: &Command, started: Instant) -> Result<()> {
    match command {
        Command::Up(up) => up::run(up, started),
        Command::Version(version) => {
            match version.output {
                Output::Text => println!("keelson {VERSION}"),
                Output::Json => println!("{}", serde_json::json!({ "gitVersion": VERSION })),
            }
            Ok(())
        }
        Command::Status(status) => commands::status(status),
        Command::Down(place) => commands::down(place),
        Command::Reset(reset) => commands::reset(reset),
        Command::Doctor(doctor) => commands::doctor(doctor),
        Command::Kubeconfig(place) => commands::kubeconfig(place),
        Command::Explain { code } => commands::explain(code),
    }
}
