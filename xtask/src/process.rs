//! Child processes: run one to its end, or keep one running and take it down whatever happens.
//!
//! Invariant: only processes started here are ever signalled, by their own id. Non-goal: supervision.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end after TERM before it is killed.
const TERM_GRACE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// Waits; the one place of this tool that sleeps.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Runs a command with this process's output; an exit code other than 0 is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if status.success() { Ok(()) } else { bail!("{shown}: {status}") }
}

/// Runs a command and returns its standard output; its standard error is passed on.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{shown}: output is not UTF-8"))
}

/// A command as a reader would type it, arguments cut to a readable length.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().chars().take(80).collect::<String>()).collect::<Vec<_>>().join(" ")
}

/// A server process of ours with its log file; dropped, it is stopped.
pub struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output at the end of `DIR/NAME.log`.
    ///
    /// # Errors
    /// The log cannot be written, or there is no such program.
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}: {}", shown(command)))?;
        Ok(Server { name: name.into(), child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error with the end of its log when the process has ended.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("{} ended: {status}\n{}", self.name, tail(&self.log))
    }

    /// Its name, and the last lines of its log.
    pub fn log_end(&self) -> String {
        format!("{}:\n{}", self.name, tail(&self.log))
    }

    /// Asks it to end (SIGTERM) and waits until it has, `limit` at most; returns how it ended.
    ///
    /// # Errors
    /// It goes on.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        kill(pid, Signal::SIGTERM)?;
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(POLL);
        }
        bail!("{} goes on {limit:?} after SIGTERM\n{}", self.name, tail(&self.log))
    }

    /// Ends it without warning (SIGKILL); it is gone when this returns.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(&mut self) -> Result<()> {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().with_context(|| self.name.clone()).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.terminate(TERM_GRACE).is_err() {
            // It fails only if the process has ended meanwhile, which is what is wanted.
            self.kill().ok();
        }
    }
}

/// The last lines of a log file.
pub fn tail(path: &Path) -> String {
    const LINES: usize = 20;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Ports of 127.0.0.1 that nothing listens on now.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are chosen, so that they differ.
    let held: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Ports of 127.0.0.1 that nothing listens on now and that no outgoing connection is given: a server that is started
/// again finds its port free.
///
/// # Errors
/// The kernel does not tell which ports it gives away, or there are too few others.
pub fn steady_ports(count: usize) -> Result<Vec<u16>> {
    const LOWEST: u16 = 10_000;
    let path = "/proc/sys/net/ipv4/ip_local_port_range";
    let range = std::fs::read_to_string(path).context(path)?;
    let given: u16 = range.split_whitespace().next().and_then(|low| low.parse().ok()).context(path)?;
    let mut all: Vec<u16> = (LOWEST..given).collect();
    // Runs side by side begin at different places.
    let begin = std::process::id() as usize * 64 % all.len().max(1);
    all.rotate_left(begin);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports: Vec<u16> = all.into_iter().filter(free).take(count).collect();
    if ports.len() == count { Ok(ports) } else { bail!("no {count} free ports from {LOWEST} to {given}") }
}

/// Memory of a process in KiB, one line of /proc/PID/status: `VmRSS` (now) or `VmHWM` (peak).
pub fn memory_kib(pid: u32, line: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    status_line(&status, line).with_context(|| format!("{path} has no {line}"))
}

fn status_line(status: &str, line: &str) -> Option<u64> {
    let rest = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_by_the_name_of_its_line() {
        let status = "Name:\tx\nVmHWM:\t   12 kB\nVmRSS:\t    9 kB\n";
        assert_eq!(status_line(status, "VmRSS"), Some(9));
        assert_eq!(status_line(status, "VmHWM"), Some(12));
        assert_eq!(status_line(status, "VmH"), None);
    }

    #[test]
    fn steady_ports_are_no_ports_of_outgoing_connections() {
        let ports = steady_ports(2).unwrap();
        let outgoing = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        assert!(ports[0] < ports[1] && ports[1] < outgoing, "{ports:?} {outgoing}");
    }

    #[test]
    fn free_ports_differ() {
        let [a, b] = free_ports::<2>().unwrap();
        assert_ne!(a, b);
    }

    #[test]
    fn a_server_that_ended_is_an_error_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start("sh", Command::new("sh").args(["-c", "echo why; exit 3"]), dir.path()).unwrap();
        server.child.wait().unwrap();
        let error = server.check().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("why"), "{error}");
    }

    #[test]
    fn a_server_that_does_not_end_is_told_of_and_can_be_killed() {
        let dir = tempfile::tempdir().unwrap();
        let stubborn = ["-c", "trap '' TERM; echo deaf; exec sleep 60"];
        let mut server = Server::start("sh", Command::new("sh").args(stubborn), dir.path()).unwrap();
        let log = dir.path().join("sh.log");
        while std::fs::read_to_string(&log).unwrap().is_empty() {
            sleep(POLL);
        }
        let error = server.terminate(Duration::from_millis(100)).unwrap_err().to_string();
        assert!(error.starts_with("sh goes on 100ms after SIGTERM") && error.ends_with("deaf"), "{error}");
        server.kill().unwrap();
        assert!(!server.terminate(Duration::ZERO).unwrap().success());
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start("sleep", Command::new("sleep").arg("60"), dir.path()).unwrap();
        let pid = Pid::from_raw(server.pid().cast_signed());
        drop(server);
        assert!(kill(pid, None).is_err());
    }
}
