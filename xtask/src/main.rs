//! Keelson's only build tool: `cargo xtask tidy | gen | ci | build-upstream | conformance | podsecurity |
//! bench | swap | diff | fuzz | refusals | envtest | scenario | test-cmd`.
//!
//! Must not know: how any crate of the workspace works. It starts programs and reads what they print
//! and what /proc says of them.

mod bench;
mod ci;
mod cluster;
mod conformance;
mod diff;
mod envtest;
mod fuzz;
mod generate;
mod podsecurity;
mod refusals;
mod scenario;
mod swap;
mod test_cmd;
mod tidy;
mod upstream;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{paths, plane, process};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Keelson's build tool", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the house rules (DESIGN section 8); also run by `cargo test -p xtask`
    Tidy {
        /// Write the crate edges as they are to xtask/edges.txt
        #[arg(long)]
        update: bool,
    },
    /// Run every check and test, and print `N passed, N failed`
    Ci(ci::Options),
    /// Write the facts of every kind (api/src/generated) from the published Go modules
    Gen {
        /// Only say whether the committed files are what would be written
        #[arg(long)]
        check: bool,
    },
    /// Build upstream's programs from their Go modules into conformance/bin
    BuildUpstream {
        /// Names of programs (default: all)
        names: Vec<String>,
    },
    /// Run upstream's e2e suite, unchanged, against Keelson and compare with conformance/known-green.txt
    Conformance(conformance::Options),
    /// Run upstream's fixtures of the Pod Security Standards against Keelson's API server
    Podsecurity(podsecurity::Options),
    /// Run one load against Keelson's API server and against upstream's on etcd, and print the ratios
    Bench(bench::Options),
    /// Record how upstream's components refuse wrong command lines (src/flags/refusals)
    Refusals,
    /// Put upstream's components and ours in each other's places, on one etcd
    Swap,
    /// Send the same requests to upstream's kube-apiserver and to ours and compare the answers
    Diff(diff::Options),
    /// Fuzz what parses bytes
    Fuzz(fuzz::Options),
    /// Run controller-runtime's suites that start an etcd and an API server on our binary under both names
    Envtest(envtest::Options),
    /// Do one scenario with client-go, the Python client and the JavaScript client
    Scenario(scenario::Options),
    /// Run upstream's kubectl integration cases, unchanged, with upstream's other programs
    TestCmd(test_cmd::Options),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Tidy { update } => tidy::run(update),
        Command::Gen { check } => generate::run(check),
        Command::Ci(options) => ci::run(&options),
        Command::BuildUpstream { names } => upstream::build(&names).map(|()| true),
        Command::Conformance(options) => conformance::run(&options).map(|outcome| outcome.ok()),
        Command::Bench(options) => bench::run(&options).map(|()| true),
        Command::Diff(options) => diff::run(&options),
        Command::Fuzz(options) => fuzz::run(&options).map(all_held),
        Command::Envtest(options) => envtest::run(&options).map(all_held),
        Command::Podsecurity(options) => podsecurity::run(&options).map(all_held),
        Command::Refusals => refusals::record().map(|()| true),
        Command::Scenario(options) => scenario::run(&options).map(all_held),
        Command::TestCmd(options) => test_cmd::run(&options),
        Command::Swap => swap::run().map(all_held),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn all_held((held, failed): (u64, u64)) -> bool {
    println!("{held} held, {failed} did not");
    failed == 0
}
