//! Command lines of the components, as upstream's pflag reads them.
//!
//! Invariant: the names and types of the flags are upstream's, from tables made of its `--help`; an unknown
//! flag is an error in upstream's words. Non-goal: what a flag means; each component's file says that.

mod types;
mod version;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Flags given, by name with dashes; each with its values in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<String, Vec<String>>);

/// Reads arguments against a table of `name type` lines.
///
/// # Errors
/// An unknown flag, a flag without its argument, a word that is no flag: pflag's and cobra's texts.
pub(crate) fn parse(component: &str, table: &str, arguments: &[String]) -> Result<Values, String> {
    let mut values = Values::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            words.extend(rest.by_ref().cloned());
        } else if let Some(flag) = argument.strip_prefix("--") {
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_string())),
                None => (flag, None),
            };
            if name.is_empty() || name.starts_with('-') {
                return Err(format!("bad flag syntax: {argument}"));
            }
            let kind = kind(table, name).ok_or_else(|| format!("unknown flag: --{name}"))?;
            let value = match (inline, kind) {
                (Some(value), _) => value,
                (None, "bool" | "optional") => "true".into(),
                // pflag writes a default for the bare flag like this.
                (None, kind) if kind.ends_with("[=true]") => "true".into(),
                (None, _) => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
            };
            let name = name.replace('_', "-");
            types::check(component, &name, kind, &value).map_err(|why| wrong_value(&name, &value, &why))?;
            values.0.entry(name).or_default().push(value);
        } else if let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) {
            shorthand(component, short, &mut rest, &mut values)?;
        } else {
            words.push(argument.clone());
        }
    }
    let Some(first) = words.first() else { return Ok(values) };
    if component == "kubelet" {
        return Err(format!("unknown command {first}"));
    }
    let list: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    Err(format!("{:?} does not take any arguments, got [{}]", component, list.join(" ")))
}

/// `-v 2`, `-v=2`, `-v2`, `-h`.
fn shorthand<'a>(
    component: &str,
    short: &str,
    rest: &mut impl Iterator<Item = &'a String>,
    values: &mut Values,
) -> Result<(), String> {
    let (name, after) = short.split_at(1);
    let name = match name {
        "v" => "v",
        "h" => "help",
        other => return Err(format!("unknown shorthand flag: '{other}' in -{short}")),
    };
    let value = match after.strip_prefix('=').unwrap_or(after) {
        "" if name == "help" => "true".to_string(),
        "" => rest.next().cloned().ok_or_else(|| format!("flag needs an argument: '{name}' in -{short}"))?,
        value => value.to_string(),
    };
    if name == "v" {
        types::check(component, name, "Level", &value).map_err(|why| wrong_value(name, &value, &why))?;
    }
    values.0.entry(name.into()).or_default().push(value);
    Ok(())
}

fn wrong_value(name: &str, value: &str, why: &str) -> String {
    let shown = match name {
        "v" => "-v, --v".to_owned(),
        "help" => "-h, --help".to_owned(),
        _ => format!("--{name}"),
    };
    format!("invalid argument {value:?} for \"{shown}\" flag: {why}")
}

/// The type of a flag; `_` and `-` are the same in names.
fn kind<'t>(table: &'t str, name: &str) -> Option<&'t str> {
    let name = name.replace('_', "-");
    let rows = table.lines().filter_map(|line| line.split_once(' '));
    rows.into_iter().find(|row| row.0 == name).map(|row| row.1).or(match name.as_str() {
        "help" => Some("bool"),
        "version" => Some("optional"),
        _ => None,
    })
}

impl Values {
    /// The last value given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.last()).map(String::as_str)
    }

    /// Every value given, in order.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// A duration, in seconds unless it is given.
    ///
    /// # Errors
    /// A duration that is negative.
    pub(crate) fn duration(&self, name: &str, default: u64) -> anyhow::Result<Duration> {
        let Some(text) = self.get(name) else { return Ok(Duration::from_secs(default)) };
        let nanos = api::duration::parse(text).map_err(|error| anyhow::anyhow!("--{name}: {error}"))?;
        let nanos = u64::try_from(nanos).map_err(|_| anyhow::anyhow!("--{name} can not be negative value"))?;
        Ok(Duration::from_nanos(nanos))
    }

    /// A file or folder, if one is named.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    pub(crate) fn text(&self, name: &str, default: &str) -> String {
        self.get(name).unwrap_or(default).to_string()
    }

    /// A comma-separated flag that may be given several times.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.0.get(name).into_iter().flatten();
        values
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(Into::into)
            .collect()
    }

    /// The version that the component goes by (k8s.io/component-base/version/verflag@v0.37.2).
    pub(crate) fn version(&self) -> &str {
        self.get("version").filter(|version| version.starts_with('v')).unwrap_or(crate::VERSION)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True"))
    }

    /// `key=value,key=value` flags; a key without a value is true.
    pub(crate) fn pairs(&self, name: &str) -> BTreeMap<String, String> {
        let split = |part: String| match part.split_once('=') {
            Some((key, value)) => (key.to_string(), value.to_string()),
            None => (part, "true".into()),
        };
        self.list(name).into_iter().map(split).collect()
    }

    /// Names of flags given that are not among those honoured.
    pub(crate) fn others(&self, honoured: &[&str]) -> Vec<String> {
        self.0.keys().filter(|name| !honoured.contains(&name.as_str())).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "etcd-servers strings\nallow-privileged bool\nsecure-port int\nevent-ttl duration\n";

    fn check_parse(arguments: &str, expect: Result<&str, &str>) {
        let arguments: Vec<String> = arguments.split_whitespace().map(Into::into).collect();
        let got = parse("kube-apiserver", TABLE, &arguments).map(|values| format!("{:?}", values.0));
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{arguments:?}");
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        check_parse(
            "--etcd-servers=a,b --allow-privileged",
            Ok(r#"{"allow-privileged": ["true"], "etcd-servers": ["a,b"]}"#),
        );
        check_parse("--etcd_servers a", Ok(r#"{"etcd-servers": ["a"]}"#));
        check_parse("--allow-privileged=false -v=2", Ok(r#"{"allow-privileged": ["false"], "v": ["2"]}"#));
        check_parse("--nosuch", Err("unknown flag: --nosuch"));
        check_parse("--etcd-servers", Err("flag needs an argument: --etcd-servers"));
        check_parse("extra-arg", Err(r#""kube-apiserver" does not take any arguments, got ["extra-arg"]"#));
        check_parse(
            "--secure-port=x",
            Err(r#"invalid argument "x" for "--secure-port" flag: strconv.ParseInt: parsing "x": invalid syntax"#),
        );
        check_parse("--event-ttl=1h30m", Ok(r#"{"event-ttl": ["1h30m"]}"#));
        check_parse(
            "--event-ttl=soon",
            Err(r#"invalid argument "soon" for "--event-ttl" flag: time: invalid duration "soon""#),
        );
        check_parse("--allow-privileged maybe", Err(r#""kube-apiserver" does not take any arguments, got ["maybe"]"#));
    }
}
