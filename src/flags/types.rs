//! Values of flags, by the type that upstream's `--help` shows: which are wrong, and why in upstream's words.
//!
//! Invariant: errors are those of pflag, of Go's strconv and of upstream's own types (k8s.io/component-base/cli/flag,
//! pkg/util/flag). Types without a rule take any text. Non-goal: what a value means.

use std::net::{IpAddr, Ipv4Addr};

use api::gostrconv::{self, Wrong};
use api::names;
use api::quantity::Quantity;

use super::version;

/// Flags of one pair, whose value may have commas (component-base/cli/flag/map_string_string.go: NoSplit).
const ONE_PAIR: &[&str] = &["cpu-manager-policy-options", "oidc-required-claim"];
/// Flags that take words without a value as well (component-base/cli/flag/configuration_map.go).
const FREE_PAIRS: &[&str] = &["node-labels", "runtime-config"];
/// Flags of thresholds (component-base/cli/flag/langle_separated_map_string_string.go).
const THRESHOLDS: &[&str] = &["eviction-hard", "eviction-soft"];
/// Components with upstream's own type for addresses (pkg/util/flag/flags.go: IPVar), which shows as pflag's.
const OWN_ADDRESS: &[&str] = &["kube-proxy", "kubelet"];
/// A flag of a library that reads its flags by Go's flag package (github.com/google/cadvisor).
const GO_DURATION: &str = "housekeeping-interval";

type Checked = Result<(), String>;

/// What is wrong with the value of a flag.
pub(super) fn check(component: &str, name: &str, kind: &str, value: &str) -> Checked {
    match kind {
        "bool" => boolean(value),
        "version[=true]" => version::check(value).unwrap_or_else(|| boolean(value)),
        "int" => integer(value, i64::MIN, i64::MAX),
        "int32" => integer(value, i32::MIN.into(), i32::MAX.into()),
        "int32Slice" => value.split(',').try_for_each(|part| integer(part, i32::MIN.into(), i32::MAX.into())),
        "Level" => verbosity(value),
        "float" | "float32" => float(value),
        "duration" if name == GO_DURATION => api::duration::parse(value).map(drop).map_err(|_| "parse error".into()),
        "duration" => api::duration::parse(value).map(drop).map_err(|error| error.to_string()),
        "quantity" => Quantity::parse(value).map(drop).map_err(|error| error.to_string()),
        "ip" if OWN_ADDRESS.contains(&component) => own_address(value),
        "ip" => pflag_address(value),
        "ipport" => address_and_port(value),
        "portRange" => port_range(value),
        "mapStringBool" => parts(value).try_for_each(gate),
        "mapStringString" if FREE_PAIRS.contains(&name) => Ok(()),
        "mapStringString" if THRESHOLDS.contains(&name) => parts(value).try_for_each(|part| pair(part, '<')),
        "mapStringString" if ONE_PAIR.contains(&name) => pair(value, '='),
        "mapStringString" => parts(value).try_for_each(|part| pair(part, '=')),
        // One with a default key, for which the rest is (NewColonSeparatedMultimapStringStringAllowDefaultEmptyKey).
        "colonSeparatedMultimapStringString" if name == "feature-gates" => Ok(()),
        "colonSeparatedMultimapStringString" => parts(value).try_for_each(|part| pair(part, ':')),
        "stringToString" => string_to_string(value),
        "namedCertKey" => named_certificate(value),
        "pattern=N,..." => parts(value).try_for_each(pattern),
        "[]v1.Taint" => parts(value).try_for_each(taint),
        "reserved-memory" if value.is_empty() => Ok(()),
        "reserved-memory" => value.split(';').try_for_each(reserved_memory),
        _ => Ok(()),
    }
}

fn parts(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').filter(|part| !part.is_empty())
}

fn syntax(function: &str, value: &str) -> String {
    format!("strconv.{function}: parsing {value:?}: invalid syntax")
}

fn range(function: &str, value: &str) -> String {
    format!("strconv.{function}: parsing {value:?}: value out of range")
}

fn boolean(value: &str) -> Checked {
    match value {
        "true" | "false" | "1" | "0" | "t" | "f" | "T" | "F" | "TRUE" | "FALSE" | "True" | "False" => Ok(()),
        _ => Err(syntax("ParseBool", value)),
    }
}

/// Of base 0: decimal, or with a prefix of their base, and underscores between digits.
fn integer(value: &str, lowest: i64, highest: i64) -> Checked {
    let number = gostrconv::signed(value).map_err(|wrong| told(wrong, "ParseInt", value))?;
    if number < lowest || number > highest { Err(range("ParseInt", value)) } else { Ok(()) }
}

/// k8s.io/klog/v2: Level, an unsigned integer of base 10.
fn verbosity(value: &str) -> Checked {
    decimal(value, i32::MAX as u64).map_err(|wrong| told(wrong, "ParseUint", value))
}

fn told(wrong: Wrong, function: &str, value: &str) -> String {
    match wrong {
        Wrong::Syntax => syntax(function, value),
        Wrong::Range => range(function, value),
    }
}

fn decimal(value: &str, highest: u64) -> Result<(), Wrong> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Syntax);
    }
    value.parse::<u64>().ok().filter(|number| *number <= highest).map(drop).ok_or(Wrong::Range)
}

fn float(value: &str) -> Checked {
    value.parse::<f64>().map(drop).map_err(|_| syntax("ParseFloat", value))
}

/// Go's older reading of addresses, which lets numbers begin with zeros (k8s.io/utils/internal/third_party/forked/golang).
fn sloppy(value: &str) -> Option<IpAddr> {
    let part = |part: &str| part.parse::<u8>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()));
    let four: Option<Vec<u8>> = value.split('.').map(part).collect();
    match four.map(<[u8; 4]>::try_from) {
        Some(Ok(four)) => Some(Ipv4Addr::from(four).into()),
        _ => value.parse().ok(),
    }
}

fn pflag_address(value: &str) -> Checked {
    let text = value.trim();
    if text.is_empty() || sloppy(text).is_some() { Ok(()) } else { Err(format!("failed to parse IP: {value:?}")) }
}

fn own_address(value: &str) -> Checked {
    if value.is_empty() || sloppy(value).is_some() {
        Ok(())
    } else {
        Err(format!("{value:?} is not a valid IP address"))
    }
}

/// pkg/util/flag/flags.go@v1.37.2: IPPortVar.
fn address_and_port(value: &str) -> Checked {
    if value.is_empty() || sloppy(value).is_some() {
        return Ok(());
    }
    let (host, port) = api::gonet::split_host_port(value)
        .map_err(|error| format!("{value:?} is not in a valid format (ip or ip:port): {error}"))?;
    own_address(host)?;
    decimal(port, u16::MAX.into()).map_err(|_| format!("{port:?} is not a valid number"))
}

/// k8s.io/apimachinery/pkg/util/net/port_range.go@v0.37.2: Set.
fn port_range(value: &str) -> Checked {
    let value = value.trim();
    let (low, high) = match (value.split_once('-'), value.split_once('+')) {
        _ if value.is_empty() => return Ok(()),
        (Some(_), Some(_)) => return Err(format!("unable to parse port range: {value}")),
        (Some((low, high)), None) => (atoi(low)?, atoi(high)?),
        (None, Some((low, offset))) => {
            let low = atoi(low)?;
            (low, low.saturating_add(atoi(offset)?))
        }
        (None, None) => (atoi(value)?, atoi(value)?),
    };
    if low > 65535 || high > 65535 {
        return Err(format!("the port range cannot be greater than 65535: {value}"));
    }
    if high < low {
        return Err(format!("end port cannot be less than start port: {value}"));
    }
    Ok(())
}

fn atoi(value: &str) -> Result<i64, String> {
    let digits = value.strip_prefix(['-', '+']).unwrap_or(value);
    decimal(digits, i64::MAX as u64).map_err(|wrong| told(wrong, "Atoi", value))?;
    value.parse().map_err(|_| range("Atoi", value))
}

/// component-base/cli/flag/map_string_bool.go: Set.
fn gate(part: &str) -> Checked {
    let (key, value) = part.split_once('=').ok_or("malformed pair, expect string=bool")?;
    let (key, value) = (key.trim(), value.trim());
    boolean(value).map_err(|error| format!("invalid value of {key}: {value}, err: {error}"))
}

fn pair(part: &str, separator: char) -> Checked {
    if part.contains(separator) { Ok(()) } else { Err(format!("malformed pair, expect string{separator}string")) }
}

/// pflag: stringToStringValue.
fn string_to_string(value: &str) -> Checked {
    let told = |part: &str| Err(format!("{part} must be formatted as key=value"));
    match value.matches('=').count() {
        0 => told(value),
        1 => Ok(()),
        _ => value.split(',').find(|part| !part.contains('=')).map_or(Ok(()), told),
    }
}

/// component-base/cli/flag/namedcertkey_flag.go: Set.
fn named_certificate(value: &str) -> Checked {
    let (files, names) = value.split_once(':').map_or((value, None), |(files, names)| (files, Some(names)));
    if names.is_some_and(|names| names.trim().is_empty()) {
        return Err("empty names list is not allowed".into());
    }
    let two = files.trim().split(',').count() == 2;
    if two { Ok(()) } else { Err("expected comma separated certificate and key file paths".into()) }
}

/// component-base/logs/api/v1/pflags.go: --vmodule.
fn pattern(part: &str) -> Checked {
    let form = || format!("{part:?} does not have the pattern=N format");
    let (_, level) = part.split_once('=').filter(|(_, level)| !level.contains('=')).ok_or_else(form)?;
    verbosity(level).map_err(|error| format!("parsing verbosity in {part:?}: {error}"))
}

/// pkg/util/taints/taints.go@v1.37.2: ParseTaints.
fn taint(given: &str) -> Checked {
    let (spec, removed) = given.strip_suffix('-').map_or((given, false), |spec| (spec, true));
    let invalid = |errors: Vec<String>| match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("invalid taint spec: {spec}, {}", errors.join("; "))),
    };
    let form = || format!("invalid taint spec: {spec}");
    let (key, effect) = match spec.split(':').collect::<Vec<_>>()[..] {
        [key] => (key, None),
        [pair, effect] => {
            if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
            }
            let key = match pair.split('=').collect::<Vec<_>>()[..] {
                [key] => key,
                [key, value] => {
                    invalid(names::is_valid_label_value(value))?;
                    key
                }
                _ => return Err(form()),
            };
            (key, Some(effect))
        }
        _ => return Err(form()),
    };
    invalid(names::is_qualified_name(key))?;
    if effect.is_none() && !removed { Err(form()) } else { Ok(()) }
}

/// pkg/util/flag/flags.go@v1.37.2: ReservedMemoryVar.
fn reserved_memory(part: &str) -> Checked {
    let form = || {
        format!(
            "the reserved memory has incorrect format, expected numaNodeID:type=quantity[,type=quantity...], got {part}"
        )
    };
    let (node, limits) = part.split_once(':').filter(|(_, limits)| !limits.contains(':')).ok_or_else(form)?;
    atoi(node).map_err(|_| format!("failed to convert the NUMA node ID, expected integer, got {node}"))?;
    for limit in limits.split(',') {
        let (kind, quantity) = limit
            .split_once('=')
            .filter(|(_, quantity)| !quantity.contains('='))
            .ok_or_else(|| format!("the reserved limit has incorrect value, expected type=quantity, got {limit}"))?;
        if kind != "memory" && !kind.starts_with("hugepages-") {
            return Err(format!("memory type conversion error, unknown type: {kind:?}"));
        }
        Quantity::parse(quantity).map_err(|_| format!("failed to parse the quantity: {quantity}"))?;
    }
    Ok(())
}
