//! Records how upstream's components refuse wrong command lines: `src/flags/refusals/COMPONENT.tsv`, which the tests of
//! the components' command lines replay on ours.
//!
//! A line is arguments, exit code and error, separated by tabs. Each flag is given a wrong value, or none where it needs
//! one; the first flag of a type is given values of every form. A flag that is never wrong is followed by one that is
//! unknown, so that no component starts.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, process, upstream};

const COMPONENTS: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];

/// No component has a flag of this name.
const UNKNOWN: &str = "--no-such-flag";
/// No type takes this, other than text.
const WRONG: &str = "x";
/// A value of each form that a type may take.
const FORMS: &[&str] =
    &["", "1", "-1", "1.5", "99999999999", "true", "1h", "1Mi", "a=b", "a=true", "10.0.0.1", "10.0.0.1:80", "1-2"];
/// Command lines that are wrong whatever the flags are.
const GENERAL: &[&str] =
    &["--no-such-flag=1", "word", "word other", "-z", "-v", "-v=x", "--v=x", "-", "--=x", "--v --v"];
const LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);

/// Runs upstream's programs and writes what they say.
pub(crate) fn record() -> Result<()> {
    upstream::build(COMPONENTS)?;
    let flags = paths::root().join("src/flags");
    for component in COMPONENTS {
        let table = std::fs::read_to_string(flags.join(format!("{component}.txt")))?;
        let mut lines = String::new();
        for arguments in command_lines(&table) {
            let (code, error) = refused(component, &arguments).with_context(|| format!("{component} {arguments}"))?;
            lines.push_str(&format!("{arguments}\t{code}\t{error}\n"));
        }
        let path = flags.join("refusals").join(format!("{component}.tsv"));
        std::fs::create_dir_all(flags.join("refusals"))?;
        std::fs::write(&path, &lines).with_context(|| path.display().to_string())?;
        println!("{component}: {} command lines", lines.lines().count());
    }
    Ok(())
}

/// What to try, from the table of a component's flags and their types.
fn command_lines(table: &str) -> Vec<String> {
    let mut all: Vec<String> = GENERAL.iter().map(|line| (*line).to_owned()).collect();
    let mut seen = BTreeSet::new();
    for (name, kind) in table.lines().filter_map(|line| line.split_once(' ')) {
        all.push(format!("--{name}={WRONG} {UNKNOWN}"));
        let optional = kind == "bool" || kind.contains('[');
        all.push(if optional { format!("--{name} {UNKNOWN}") } else { format!("--{name}") });
        if seen.insert(kind) {
            all.extend(FORMS.iter().map(|form| format!("--{name}={form} {UNKNOWN}")));
        }
    }
    all
}

/// The exit code and the error of a component that is started with these arguments.
fn refused(component: &str, arguments: &str) -> Result<(i32, String)> {
    let mut command = Command::new(paths::upstream(component));
    command.args(arguments.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stderr = child.stderr.take().context("no standard error")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it did not end");
        }
        process::sleep(POLL);
    };
    let Ok(text) = reader.join() else { bail!("its output could not be read") };
    let error = error_of(&text?);
    ensure!(!error.is_empty(), "it said nothing");
    Ok((status.code().context("it was killed")?, error))
}

/// The error among what a component wrote: the last line, without what says that it is one.
fn error_of(text: &str) -> String {
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if let Some((_, quoted)) = last.split_once(" err=\"") {
        let unquoted: Option<String> = serde_json::from_str(&format!("\"{quoted}")).ok();
        let error = unquoted.unwrap_or_default();
        return error.strip_prefix("failed to parse kubelet flag: ").unwrap_or(&error).to_owned();
    }
    last.strip_prefix("Error: ").or(last.strip_prefix("error: ")).unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_in_the_last_line() {
        for text in [
            "Usage:\n  x [flags]\n\nError: unknown flag: --\"a\"\n",
            "E1201 10:00:00.000000   12 run.go:72] \"command failed\" err=\"failed to parse kubelet flag: unknown flag: --\\\"a\\\"\"\n",
            "unknown flag: --\"a\"\n\n",
        ] {
            assert_eq!(error_of(text), "unknown flag: --\"a\"");
        }
    }

    #[test]
    fn each_flag_is_wrong_and_each_type_is_tried() {
        let lines = command_lines("a bool\nb int\nc int\n");
        let of = |name: &str| lines.iter().filter(|line| line.starts_with(&format!("--{name}"))).count();
        assert_eq!((of("a"), of("b"), of("c")), (2 + FORMS.len(), 2 + FORMS.len(), 2));
        assert!(lines.contains(&"--c".to_owned()) && lines.contains(&format!("--a {UNKNOWN}")), "{lines:?}");
    }
}
