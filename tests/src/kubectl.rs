//! Stock kubectl on a cluster.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

/// How long one command may take.
const LIMIT: Duration = Duration::from_secs(90);

/// $KUBECTL, or the one on the search path, with a kubeconfig.
pub struct Kubectl {
    pub kubeconfig: PathBuf,
}

/// A kubectl that goes on running.
pub struct Running {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Running {
    /// The next line of its output.
    pub async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await.context("no line in time")??;
        line.context("its output ended")
    }

    /// Ends it.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("kill")
    }
}

impl Kubectl {
    fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command; its output, whatever its exit code is.
    pub async fn output(&self, arguments: &[&str]) -> Result<Output> {
        let output = tokio::time::timeout(LIMIT, self.command(arguments).output()).await;
        output.with_context(|| format!("kubectl {} does not end", arguments.join(" ")))?.context("kubectl")
    }

    /// Runs a command that must succeed; its standard output.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments).await?;
        let what = arguments.join(" ");
        if !output.status.success() {
            bail!("kubectl {what}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        String::from_utf8(output.stdout).context(what)
    }

    /// Runs a command, whose output must have a text in it.
    pub async fn shows(&self, arguments: &[&str], text: &str) -> Result<String> {
        let shown = self.run(arguments).await?;
        ensure!(shown.contains(text), "kubectl {}: no {text:?} in {shown}", arguments.join(" "));
        Ok(shown)
    }

    /// Runs a command with something on its standard input.
    pub async fn feed(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("no standard input")?;
        let write = async move { stdin.write_all(input).await };
        let both = async { tokio::join!(write, child.wait_with_output()) };
        let (written, output) = tokio::time::timeout(LIMIT, both).await.context("it does not end")?;
        written.context("its standard input")?;
        Ok(output?)
    }

    /// Starts a command that goes on.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        let mut child = self.command(arguments).stdout(Stdio::piped()).spawn().context("kubectl")?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Running { child, lines })
    }
}
