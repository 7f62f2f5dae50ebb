//! Components under their upstream names: `keelson kube-scheduler ...`, or a link of that name.
//!
//! Invariant: flags, error texts, exit codes (0 and 1; of etcd also 2) and log lines are upstream's. A flag that has no
//! effect here is accepted and named once. Non-goal: what components do.

mod access;
mod etcd;
mod klog;
mod kube_apiserver;
mod kube_controller_manager;
mod kube_proxy;
mod kube_scheduler;
mod kubelet;
mod secure;
mod zap;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use client::connector::Connector;
use futures::future::BoxFuture;

use crate::flags::{self, Values};

/// One component: its name, upstream's flags, those that change something here, and what runs it.
struct Component {
    name: &'static str,
    flags: &'static str,
    honoured: &'static [&'static [&'static str]],
    run: for<'v> fn(&'v Values) -> BoxFuture<'v, Result<()>>,
    /// How upstream tells a wrong flag.
    wrong_flag: WrongFlag,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WrongFlag {
    Line,
    UsageAndLine,
    Log,
    /// As Go's flag package, whose flags and whose program this is: not one of Kubernetes.
    Go,
}

const COMPONENTS: [Component; 6] = [
    Component {
        name: "kube-apiserver",
        flags: kube_apiserver::FLAGS,
        honoured: &[kube_apiserver::HONOURED, &access::OIDC, &access::LEGACY],
        run: |values| Box::pin(kube_apiserver::run(values)),
        wrong_flag: WrongFlag::Line,
    },
    Component {
        name: "kube-controller-manager",
        flags: include_str!("../flags/kube-controller-manager.txt"),
        honoured: &[kube_controller_manager::HONOURED, secure::HONOURED],
        run: |values| Box::pin(kube_controller_manager::run(values)),
        wrong_flag: WrongFlag::UsageAndLine,
    },
    Component {
        name: "kube-scheduler",
        flags: include_str!("../flags/kube-scheduler.txt"),
        honoured: &[kube_scheduler::HONOURED, secure::HONOURED],
        run: |values| Box::pin(kube_scheduler::run(values)),
        wrong_flag: WrongFlag::UsageAndLine,
    },
    Component {
        name: "kubelet",
        flags: include_str!("../flags/kubelet.txt"),
        honoured: &[kubelet::HONOURED],
        run: |values| Box::pin(kubelet::run(values)),
        wrong_flag: WrongFlag::Log,
    },
    Component {
        name: "kube-proxy",
        flags: include_str!("../flags/kube-proxy.txt"),
        honoured: &[kube_proxy::HONOURED],
        run: |values| Box::pin(kube_proxy::run(values)),
        wrong_flag: WrongFlag::UsageAndLine,
    },
    Component {
        name: "etcd",
        flags: etcd::FLAGS,
        honoured: &[etcd::HONOURED],
        run: |values| Box::pin(etcd::run(values)),
        wrong_flag: WrongFlag::Go,
    },
];

/// The exit code of a Go program with a wrong flag.
const GO_FLAG_ERROR: u8 = 2;

/// Runs the component of a name; `None` when there is none of that name.
pub(crate) fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    COMPONENTS.iter().find(|component| component.name == name).map(|component| component.main(arguments))
}

impl Component {
    fn main(&self, arguments: &[String]) -> ExitCode {
        let go = self.wrong_flag == WrongFlag::Go;
        let arguments = if go { etcd::arguments(arguments) } else { arguments.to_vec() };
        let values = match flags::parse(self.name, self.flags, &arguments) {
            Ok(values) => values,
            Err(error) => return self.refuse(&error),
        };
        if values.flag("help", false) {
            print!("{}", self.usage());
            return ExitCode::SUCCESS;
        }
        if values.flag("version", false) || values.get("version") == Some("raw") {
            println!("{}", if go { etcd::version() } else { format!("Kubernetes {}", crate::VERSION) });
            return ExitCode::SUCCESS;
        }
        if !go {
            klog::start(&values);
        } else if let Err(error) = zap::start(&values) {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        for name in values.others(&self.honoured.concat()) {
            tracing::warn!("flag --{name} is accepted but has no effect in this version");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        match runtime.context("runtime").and_then(|runtime| runtime.block_on((self.run)(&values))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!(err = format!("{error:#}"), "command failed");
                ExitCode::FAILURE
            }
        }
    }

    fn refuse(&self, error: &str) -> ExitCode {
        match self.wrong_flag {
            WrongFlag::Line => eprintln!("Error: {error}"),
            WrongFlag::UsageAndLine => eprintln!("{}\nError: {error}", self.usage()),
            WrongFlag::Log => {
                klog::start(&Values::default());
                tracing::error!(err = format!("failed to parse kubelet flag: {error}"), "command failed");
            }
            WrongFlag::Go => {
                eprintln!("{}\n{}", etcd::refusal(error), self.usage());
                return ExitCode::from(GO_FLAG_ERROR);
            }
        }
        ExitCode::FAILURE
    }

    /// One flag a line, as tools read it.
    fn usage(&self) -> String {
        let flag = |line: &str| match line.split_once(' ') {
            Some((name, "bool")) => format!("      --{name}\n"),
            Some((name, kind)) => format!("      --{name} {kind}\n"),
            None => String::new(),
        };
        let flags: String = self.flags.lines().map(flag).collect();
        format!("Usage:\n  {} [flags]\n\nFlags:\n{flags}", self.name)
    }
}

/// A connector of the `--kubeconfig`, or of what a configuration file names.
async fn connector(values: &Values, configured: &str) -> Result<Connector> {
    let path = values.get("kubeconfig").filter(|path| !path.is_empty()).unwrap_or(configured);
    if path.is_empty() {
        anyhow::bail!(
            "invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable"
        );
    }
    Ok(Connector::from_kubeconfig(path).await?)
}

/// The text of the file that a flag names.
fn file_text(values: &Values, flag: &str) -> Result<Option<String>> {
    let Some(path) = values.get(flag).filter(|path| !path.is_empty()) else { return Ok(None) };
    std::fs::read_to_string(Path::new(path)).with_context(|| format!("open {path}")).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_honoured_is_a_flag_of_upstream() {
        for component in &COMPONENTS {
            for name in component.honoured.iter().copied().flatten() {
                let known = component.flags.lines().any(|line| line.split(' ').next() == Some(*name));
                assert!(known, "{} --{name}", component.name);
            }
        }
    }

    /// What upstream's programs said (`cargo xtask refusals`): arguments, exit code, error.
    const REFUSALS: [(&str, &str); 5] = [
        ("kube-apiserver", include_str!("../flags/refusals/kube-apiserver.tsv")),
        ("kube-controller-manager", include_str!("../flags/refusals/kube-controller-manager.tsv")),
        ("kube-scheduler", include_str!("../flags/refusals/kube-scheduler.tsv")),
        ("kubelet", include_str!("../flags/refusals/kubelet.tsv")),
        ("kube-proxy", include_str!("../flags/refusals/kube-proxy.tsv")),
    ];

    #[test]
    fn wrong_command_lines_are_refused_as_upstream_refuses_them() {
        let mut different = Vec::new();
        for (name, recorded) in REFUSALS {
            let component = COMPONENTS.iter().find(|component| component.name == name).expect("a component");
            for line in recorded.lines() {
                let [arguments, "1", error] = line.split('\t').collect::<Vec<_>>()[..] else {
                    panic!("{name}: {line}")
                };
                let words: Vec<String> = arguments.split(' ').map(Into::into).collect();
                let told = flags::parse(component.name, component.flags, &words).err();
                if told.as_deref() != Some(error) {
                    different.push(format!("{name} {arguments}\n  upstream: {error}\n  here: {told:?}"));
                }
            }
        }
        assert!(different.is_empty(), "{} differ\n{}", different.len(), different.join("\n"));
    }

    #[test]
    fn each_flag_is_on_a_line_of_the_help() {
        let usage = COMPONENTS[2].usage();
        assert!(
            usage.contains("\n      --leader-elect\n") && usage.contains("\n      --kubeconfig string\n"),
            "{usage}"
        );
    }

    #[test]
    fn version_needs_no_argument() {
        for component in &COMPONENTS {
            let values = flags::parse(component.name, component.flags, &["--version".into()]).expect("a flag");
            assert_eq!(values.get("version"), Some("true"), "{}", component.name);
        }
    }
}
