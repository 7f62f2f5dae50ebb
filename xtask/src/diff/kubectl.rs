//! Upstream's kubectl, asked the same of both servers.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::servers::{Both, Servers};
use crate::{paths, plane};

/// Where kubectl of each side is at home: its kubeconfig and what it keeps of discovery.
pub(super) struct Kubectl {
    homes: Both<PathBuf>,
    ports: Both<u16>,
}

/// Lines around a difference.
const CONTEXT: usize = 1;
const HUNK_LINES: usize = 60;

impl Kubectl {
    pub(super) fn new(servers: &Servers) -> Result<Self> {
        let home = |side: &str, port: u16| -> Result<PathBuf> {
            let home = servers.dir().join(side);
            std::fs::create_dir_all(&home)?;
            let written = plane::kubeconfig(servers.dir(), "admin", port)?;
            std::fs::rename(written, home.join("kubeconfig"))?;
            Ok(home)
        };
        let (upstream, keelson) = (servers.endpoints.upstream.port(), servers.endpoints.keelson.port());
        Ok(Kubectl {
            homes: Both { upstream: home("upstream", upstream)?, keelson: home("ours", keelson)? },
            ports: Both { upstream, keelson },
        })
    }

    /// What kubectl prints, errors after output, of both servers at the same time.
    pub(super) fn ask(&self, arguments: &[&str]) -> Result<Both<String>> {
        let (theirs, ours) = (start(&self.homes.upstream, arguments)?, start(&self.homes.keelson, arguments)?);
        Ok(Both { upstream: printed(theirs)?, keelson: printed(ours)? })
    }

    /// What was printed, with a mark for the port that the server itself listens on.
    pub(super) fn without_ports(&self, texts: Both<String>) -> Both<String> {
        let marked = |text: String, port: u16| text.replace(&port.to_string(), "<port>");
        Both {
            upstream: marked(texts.upstream, self.ports.upstream),
            keelson: marked(texts.keelson, self.ports.keelson),
        }
    }
}

fn start(home: &PathBuf, arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(paths::upstream("kubectl"));
    command.arg("--kubeconfig").arg(home.join("kubeconfig")).arg("--cache-dir").arg(home.join("cache"));
    command.args(arguments).env("HOME", home).env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("cannot run kubectl")
}

fn printed(child: Child) -> Result<String> {
    let output = child.wait_with_output()?;
    let [out, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(out + &error)
}

/// The lines that differ, upstream's with a minus and ours with a plus, from the first to the last; empty when all are
/// the same.
pub(super) fn hunk(theirs: &str, ours: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (theirs.split('\n').collect(), ours.split('\n').collect());
    let before = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let rest = (a.len() - before).min(b.len() - before);
    let after = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    if before == a.len() && before == b.len() {
        return String::new();
    }
    let some = |sign: char, lines: &[&str]| -> String {
        let shown: String = lines.iter().take(HUNK_LINES).map(|line| format!("{sign}{line}\n")).collect();
        match lines.len().saturating_sub(HUNK_LINES) {
            0 => shown,
            more => format!("{shown}{sign}... {more} more lines\n"),
        }
    };
    let end = a.len() - after;
    let (from, to) = (before.saturating_sub(CONTEXT), (end + CONTEXT).min(a.len()));
    let head = format!("@@ line {} @@\n{}", before + 1, some(' ', &a[from..before]));
    head + &some('-', &a[before..end]) + &some('+', &b[before..b.len() - after]) + &some(' ', &a[end..to])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunk_is_the_lines_that_differ() {
        for (theirs, ours, expect) in [
            ("a\nb", "a\nb", ""),
            ("a\nb\nc\nd", "a\nx\nc\nd", "@@ line 2 @@\n a\n-b\n+x\n c\n"),
            ("a\na", "a", "@@ line 2 @@\n a\n-a\n"),
            ("", "b", "@@ line 1 @@\n-\n+b\n"),
        ] {
            assert_eq!(hunk(theirs, ours), expect, "{theirs:?} {ours:?}");
        }
    }
}
