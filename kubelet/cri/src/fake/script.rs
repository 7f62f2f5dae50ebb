//! When a container that runs nothing ends: as its command would, where the command is one of the few whose end needs
//! no world (`sleep`, `exit`, `true`, `echo`, ... and a shell's list of them).
//!
//! Invariant: what is not understood goes on for ever, but for a Job's pods, which are there to end: they end well, as
//! other fake nodes have it (kustomize/stage/pod/fast/pod-complete.yaml@v0.8.0 of sigs.k8s.io/kwok). The pause image is
//! understood: all it does is to go on. Non-goal: a shell.

use std::time::Duration;

use crate::v1::{ContainerConfig, PodSandboxConfig};

/// The label of a Job's pods (batch/v1: JobNameLabel).
const JOB: &str = "batch.kubernetes.io/job-name";
/// The image that only waits (build/pause@v1.37.2).
const PAUSE: &str = "pause";
const SHELLS: [&str; 3] = ["sh", "bash", "ash"];

/// How a container ends: after this long, with this exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) after: Duration,
    pub(super) code: i32,
}

/// What one command of a script does.
enum Step {
    Wait(Duration),
    Status(i32),
    Exit(i32),
}

/// How this container ends; `None` when it goes on.
pub(super) fn end(pod: &PodSandboxConfig, container: &ContainerConfig) -> Option<End> {
    let words: Vec<&str> = container.command.iter().chain(&container.args).map(String::as_str).collect();
    let well = End { after: Duration::ZERO, code: 0 };
    let waits = words.is_empty() && container.image.as_ref().is_some_and(|image| is_pause(&image.user_specified_image));
    of_words(&words).or_else(|| (pod.labels.contains_key(JOB) && !waits).then_some(well))
}

fn is_pause(image: &str) -> bool {
    base(image).split([':', '@']).next() == Some(PAUSE)
}

fn of_words(words: &[&str]) -> Option<End> {
    match words {
        [shell, "-c", script, ..] if SHELLS.contains(&base(shell)) => of_script(script),
        words => run([step(words)?]),
    }
}

/// A list of commands, one after the other whatever they answer.
fn of_script(script: &str) -> Option<End> {
    // What branches, loops, expands, redirects or runs beside is not read.
    if script.contains(['$', '`', '|', '&', '<', '(', '{', '\\', '#', '*']) {
        return None;
    }
    let commands = script.split(['\n', ';']).map(str::trim).filter(|command| !command.is_empty());
    let steps: Option<Vec<Step>> =
        commands.map(|command| step(&command.split_whitespace().collect::<Vec<_>>())).collect();
    run(steps?)
}

fn run(steps: impl IntoIterator<Item = Step>) -> Option<End> {
    let mut end = End { after: Duration::ZERO, code: 0 };
    for step in steps {
        match step {
            Step::Wait(time) => end = End { after: end.after + time, code: 0 },
            Step::Status(code) => end.code = code,
            Step::Exit(code) => return Some(End { code, ..end }),
        }
    }
    Some(end)
}

fn step(words: &[&str]) -> Option<Step> {
    let (program, arguments) = words.split_first()?;
    match (base(program), arguments) {
        ("true" | ":", _) | ("echo" | "printf" | "date" | "hostname", _) => Some(Step::Status(0)),
        ("false", _) => Some(Step::Status(1)),
        ("exit", [code]) => code.parse::<i32>().ok().map(|code| Step::Exit(code & 0xff)),
        ("sleep", [time]) => duration(time).map(Step::Wait),
        _ => None,
    }
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// What `sleep` takes: seconds, or a number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds = match unit {
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => 1.0,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::ImageSpec;

    fn check(words: &[&str], expect: Option<(u64, i32)>) {
        let config = ContainerConfig {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..ContainerConfig::default()
        };
        let expect = expect.map(|(seconds, code)| End { after: Duration::from_secs(seconds), code });
        assert_eq!(end(&PodSandboxConfig::default(), &config), expect, "{words:?}");
    }

    #[test]
    fn commands_end_as_they_would() {
        check(&["true"], Some((0, 0)));
        check(&["/bin/false"], Some((0, 1)));
        check(&["sleep", "5"], Some((5, 0)));
        check(&["sleep", "2m"], Some((120, 0)));
        check(&["sh", "-c", "exit 0"], Some((0, 0)));
        check(&["/bin/sh", "-c", "echo hello; sleep 3; exit 7; sleep 9"], Some((3, 7)));
        check(&["sh", "-c", "sleep 1\nfalse\n"], Some((1, 1)));
    }

    #[test]
    fn what_is_not_understood_goes_on() {
        for words in [
            &["nginx"][..],
            &["sleep", "infinity"],
            &["sleep", "inf"],
            &["sh", "-c", "while true; do sleep 1; done"],
            &["sh", "-c", "true && exit 1"],
            &["sh", "-c", "echo $HOME"],
            &[],
        ] {
            check(words, None);
        }
    }

    #[test]
    fn pods_of_jobs_end() {
        let labels = [(JOB.to_owned(), "it".to_owned())].into();
        let pod = PodSandboxConfig { labels, ..PodSandboxConfig::default() };
        let container = |command: &[&str]| ContainerConfig {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            ..ContainerConfig::default()
        };
        let code = |command| end(&pod, &container(command)).map(|end| end.code);
        assert_eq!(code(&["perl", "-e", "..."]), Some(0));
        assert_eq!(code(&["sh", "-c", "exit 3"]), Some(3));
        let of_image = |image: &str| {
            let image = Some(ImageSpec { user_specified_image: image.into(), ..ImageSpec::default() });
            end(&pod, &ContainerConfig { image, ..ContainerConfig::default() }).map(|end| end.code)
        };
        assert_eq!(of_image("example.com/pause:3.10"), None);
        assert_eq!(of_image("example.com/pause-and-go:1"), Some(0));
    }
}
