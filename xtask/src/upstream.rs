//! Builds upstream's programs, unchanged, from their published Go modules into conformance/bin.
//!
//! Invariant: flags and versions are written here once, and a program is linked again only when they,
//! the pinned module versions or our own entry points changed. Go's build cache does the rest.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{paths, process};

const VERSION: &str = "1.37.2";

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A component of Kubernetes: `--version` and `kubectl version` show [`VERSION`].
    Component,
    /// A program without a Kubernetes version.
    Plain,
    /// A test binary with a Kubernetes version.
    Suite,
}

struct Program {
    name: &'static str,
    /// Directory of its module below conformance/.
    module: &'static str,
    package: &'static str,
    kind: Kind,
}

const fn program(name: &'static str, module: &'static str, package: &'static str, kind: Kind) -> Program {
    Program { name, module, package, kind }
}

/// Every program; the order is the order of building.
const PROGRAMS: &[Program] = &[
    program("load", ".", "./load", Kind::Plain),
    program("etcd", "etcd", ".", Kind::Plain),
    program("storage", ".", "./storage", Kind::Component),
    program("scenario", ".", "./scenario", Kind::Plain),
    program("kube-apiserver", ".", "k8s.io/kubernetes/cmd/kube-apiserver", Kind::Component),
    program("kubectl", ".", "k8s.io/kubernetes/cmd/kubectl", Kind::Component),
    program("kubectl-convert", ".", "k8s.io/kubernetes/cmd/kubectl-convert", Kind::Component),
    program("ginkgo", ".", "github.com/onsi/ginkgo/v2/ginkgo", Kind::Plain),
    program("e2e.test", ".", "./e2e", Kind::Suite),
    program("podsecurity.test", ".", "./podsecurity", Kind::Suite),
    program("kube-controller-manager", ".", "k8s.io/kubernetes/cmd/kube-controller-manager", Kind::Component),
    program("kube-scheduler", ".", "k8s.io/kubernetes/cmd/kube-scheduler", Kind::Component),
    program("kubelet", ".", "k8s.io/kubernetes/cmd/kubelet", Kind::Component),
    program("kube-proxy", ".", "k8s.io/kubernetes/cmd/kube-proxy", Kind::Component),
    program("agnhost", ".", "k8s.io/kubernetes/test/images/agnhost", Kind::Plain),
    program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", Kind::Plain),
    program("kwokctl", "kwok", "sigs.k8s.io/kwok/cmd/kwokctl", Kind::Plain),
    program("helm", "helm", "helm.sh/helm/v4/cmd/helm", Kind::Plain),
];

/// What kwok does to nodes and pods, from kwok's own module.
const KWOK_STAGES: &[&str] = &[
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-delete.yaml",
];

/// Builds the named programs that are not up to date; no name means all.
pub(crate) fn build<S: AsRef<str>>(names: &[S]) -> Result<()> {
    for name in names {
        if !PROGRAMS.iter().any(|program| program.name == name.as_ref()) {
            let known: Vec<_> = PROGRAMS.iter().map(|program| program.name).collect();
            bail!("no program named {}; there are {}", name.as_ref(), known.join(", "));
        }
    }
    std::fs::create_dir_all(paths::conformance().join("bin"))?;
    let wanted = |program: &&Program| names.is_empty() || names.iter().any(|name| name.as_ref() == program.name);
    PROGRAMS.iter().filter(wanted).try_for_each(build_one)
}

fn build_one(program: &Program) -> Result<()> {
    let output = paths::upstream(program.name);
    let stamp = output.with_file_name(format!(".{}.stamp", program.name));
    let inputs = fingerprint(program)?;
    if output.exists() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == inputs) {
        return Ok(());
    }
    let start = Instant::now();
    eprintln!("building {} ...", program.name);
    process::run(&mut go(program, &output))?;
    if program.name == "kwok" {
        write_kwok_stages()?;
    }
    std::fs::write(stamp, inputs)?;
    eprintln!("built {} in {:.0} s", program.name, start.elapsed().as_secs_f64());
    Ok(())
}

fn go_in(module: &str) -> Command {
    let mut command = Command::new("go");
    command.current_dir(paths::conformance().join(module)).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false");
    command
}

fn go(program: &Program, output: &Path) -> Command {
    let mut command = go_in(program.module);
    match program.kind {
        Kind::Suite => command.args(["test", "-vet=off", "-c"]),
        Kind::Component | Kind::Plain => command.arg("build"),
    };
    command.args(["-ldflags", &linker_flags(program.kind), "-o"]).arg(output).arg(program.package);
    command
}

fn linker_flags(kind: Kind) -> String {
    const STRIP: &str = "-s -w";
    if kind == Kind::Plain {
        return STRIP.into();
    }
    let minor = VERSION.split('.').nth(1).unwrap_or_default();
    let commit = "0".repeat(40);
    let facts = [
        ("gitVersion", format!("v{VERSION}")),
        ("gitMajor", "1".into()),
        ("gitMinor", minor.into()),
        ("gitTreeState", "clean".into()),
        ("gitCommit", commit),
        ("buildDate", "2026-01-01T00:00:00Z".into()),
    ];
    let set = |(name, value): &(&str, String)| format!(" -X k8s.io/component-base/version.{name}={value}");
    STRIP.to_owned() + &facts.iter().map(set).collect::<String>()
}

/// A text that changes when a rebuild could give another program.
fn fingerprint(program: &Program) -> Result<String> {
    let module = paths::conformance().join(program.module);
    let mut files = vec![module.join("go.mod"), module.join("go.sum")];
    if program.package.starts_with('.') {
        let sources = std::fs::read_dir(module.join(program.package))?;
        files.extend(sources.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_go(path)));
    }
    files.sort();
    let mut hash = DefaultHasher::new();
    for file in files {
        std::fs::read(&file).with_context(|| file.display().to_string())?.hash(&mut hash);
    }
    Ok(format!("{} {} {:016x}\n", program.package, linker_flags(program.kind), hash.finish()))
}

fn is_go(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "go")
}

/// The files of a module, at the version that the module in a directory below conformance/ pins.
pub(crate) fn module(dir: &str, path: &str) -> Result<PathBuf> {
    let download = ["mod", "download", path];
    process::run(go_in(dir).args(download))?;
    Ok(process::output(go_in(dir).args(["list", "-m", "-f", "{{.Dir}}", path]))?.trim().into())
}

fn write_kwok_stages() -> Result<()> {
    let stages = module("kwok", "sigs.k8s.io/kwok")?.join("kustomize/stage");
    let mut documents = Vec::new();
    for name in KWOK_STAGES {
        let path = stages.join(name);
        let files = if path.is_dir() { yaml_files(&path)? } else { vec![path] };
        for file in files {
            documents.push(std::fs::read_to_string(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok(std::fs::write(paths::upstream("kwok-stages.yaml"), documents.join("\n---\n"))?)
}

fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    // A kustomization lists the files; it is no stage itself.
    files.retain(|path| {
        path.extension().is_some_and(|extension| extension == "yaml") && !path.ends_with("kustomization.yaml")
    });
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_carry_the_version_and_others_do_not() {
        assert!(linker_flags(Kind::Component).contains("version.gitVersion=v1.37.2 "));
        assert!(linker_flags(Kind::Suite).contains("version.gitMinor=37 "));
        assert_eq!(linker_flags(Kind::Plain), "-s -w");
    }

    #[test]
    fn an_unknown_program_is_refused_with_the_list() {
        let error = build(&["etdc"]).unwrap_err().to_string();
        assert!(error.starts_with("no program named etdc; there are load, etcd, "), "{error}");
    }

    #[test]
    fn the_pinned_version_is_the_one_of_go_mod() {
        let text = std::fs::read_to_string(paths::conformance().join("go.mod")).unwrap();
        assert!(text.contains(&format!("k8s.io/kubernetes v{VERSION}\n")));
    }
}
