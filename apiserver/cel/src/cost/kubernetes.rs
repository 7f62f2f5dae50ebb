//! Estimates of Kubernetes' functions, and of others that it estimates itself.
//!
//! Invariant: the sums of `k8s.io/apiserver/pkg/cel/library/cost.go@v0.37.2` (`EstimateCallCost`).

use std::sync::Arc;

use super::estimate::SizeEstimator;
use super::functions::{CallCost, View, matching};
use super::{AUTHORIZATION_CHECK, LIST_CREATE, REGEX_FACTOR, Range, STRING_FACTOR, STRUCT_CREATE};
use crate::library::named_format::{MAX_NAME_SIZE, MAX_REGEX_SIZE};
use crate::types::Type;
use crate::value::Value;

/// The bytes of an address.
const ADDRESS: Range = Range { min: 4, max: 16 };

struct Sizes<'a>(&'a dyn SizeEstimator);

impl Sizes<'_> {
    fn of(&self, view: &View<'_>) -> Range {
        view.size.or_else(|| self.0.size(&view.path)).unwrap_or(Range::UNKNOWN)
    }

    /// The elements of a list; None of what is no list.
    fn element<'v>(&self, list: &View<'_>) -> Option<View<'v>> {
        let of = list.of.parameters().first().map(|of| (*of).clone())?;
        let mut path = list.path.clone();
        if !path.is_empty() {
            path.push(Arc::from("@items"));
        }
        Some(View { path, of, expr: None, size: None })
    }
}

/// Functions that cost one, whatever they are given.
#[rustfmt::skip]
const SMALL: [&str; 38] = [
    "serviceAccount", "path", "group", "resource", "subresource", "namespace", "name", "allowed", "reason", "error",
    "errored", "masked", "prefixLength", "family", "isUnspecified", "isLoopback", "isLinkLocalMulticast",
    "isLinkLocalUnicast", "isGlobalUnicast", "format.named", "sign", "asInteger", "isInteger", "asApproximateFloat",
    "isGreaterThan", "isLessThan", "compareTo", "add", "sub", "major", "minor", "patch", "getScheme", "getHostname",
    "getHost", "getPort", "getEscapedPath", "getQuery",
];

pub(super) fn call(
    sizes: &dyn SizeEstimator,
    function: &str,
    overload: &str,
    target: Option<&View<'_>>,
    args: &[View<'_>],
) -> Option<CallCost> {
    let sizes = Sizes(sizes);
    let first = || args.first().map(|arg| sizes.of(arg));
    let on_target = || target.map(|target| sizes.of(target));
    Some(match function {
        "check" => CallCost::of(Range::fixed(AUTHORIZATION_CHECK)),
        _ if SMALL.contains(&function) => CallCost::of(Range::fixed(1)),
        "fieldSelector" | "labelSelector" => CallCost::of(selector(first()?)),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "includes" => {
            CallCost::of(compared(&sizes, function, target?))
        }
        "url" | "jsonpatch.escapeKey" => CallCost::sized(first()?.scaled(STRING_FACTOR), first()?),
        "lowerAscii" | "upperAscii" | "substring" | "trim" => {
            CallCost::sized(on_target()?.scaled(STRING_FACTOR), on_target()?)
        }
        "replace" => {
            let [old, new, ..] = args else { return None };
            let text = on_target()?;
            CallCost::sized(text.scaled(2.0 * STRING_FACTOR), replaced(text, sizes.of(old), sizes.of(new)))
        }
        "split" => split(on_target()?, args),
        "join" => join(&sizes, target?, args),
        "find" | "findAll" => {
            let (text, pattern) = (on_target()?, first()?);
            CallCost::sized(matching(text, pattern), Range { min: 0, max: text.max })
        }
        "ip" if overload == "cidr_ip" => CallCost::of(Range::fixed(1)),
        "cidr" | "isIP" | "isCIDR" | "ip" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
            CallCost::of(first()?.scaled(STRING_FACTOR))
        }
        "ip.isCanonical" => CallCost::of(first()?.scaled(2.0 * STRING_FACTOR)),
        "containsIP" | "containsCIDR" => CallCost::of(contains(function, overload, first()?)),
        "validate" => CallCost::of(first()?.scaled(STRING_FACTOR).scaled(MAX_REGEX_SIZE * REGEX_FACTOR)),
        "_==_" => return equality(args),
        _ => return None,
    })
}

/// A requirement for every two characters at worst.
fn selector(length: Range) -> Range {
    let requirements = length.scaled(0.5).scaled((LIST_CREATE + STRUCT_CREATE) as f64);
    Range::fixed(LIST_CREATE).plus(length.scaled(STRING_FACTOR)).plus(requirements)
}

/// Each element of a list is compared with something; texts are read for it.
fn compared(sizes: &Sizes<'_>, function: &str, target: &View<'_>) -> Range {
    let size = sizes.of(target);
    match sizes.element(target) {
        Some(element) => {
            let text = matches!(element.of.unwrapped(), Type::String | Type::Bytes);
            let reading = if text { sizes.of(&element).scaled(STRING_FACTOR) } else { Range::ZERO };
            size.times(Range::fixed(1).plus(reading))
        }
        None if function == "includes" => size.times(Range::fixed(1)),
        // A string.
        None => size.scaled(STRING_FACTOR),
    }
}

/// The size of a text in which one part is replaced by another.
fn replaced(text: Range, old: Range, new: Range) -> Range {
    let times = |text: u64, old: u64| (text as f64 / old as f64).ceil() as u64;
    let (mut count, mut kept) = (Range::ZERO, Range::ZERO);
    if old.min == 0 {
        (count.max, kept.max) = (text.max.saturating_add(1), text.max);
    } else if new.max <= old.min {
        kept.max = text.max;
    } else {
        count.max = times(text.max, old.min);
    }
    if old.max == 0 {
        (count.min, kept.min) = (text.min.saturating_add(1), text.min);
    } else if old.max <= new.min {
        kept.min = text.min;
    } else {
        count.min = times(text.min, old.max);
    }
    count.times(new).plus(kept)
}

fn split(text: Range, args: &[View<'_>]) -> CallCost {
    let max = match args.get(1).and_then(View::literal) {
        Some(Value::Int(limit)) => *limit as u64,
        _ => text.max,
    };
    CallCost::sized(text.scaled(2.0 * STRING_FACTOR), Range { min: 0, max })
}

fn join(sizes: &Sizes<'_>, list: &View<'_>, args: &[View<'_>]) -> CallCost {
    let count = sizes.of(list);
    let mut size = sizes.element(list).map_or(Range::ZERO, |element| count.times(sizes.of(&element)));
    if let Some(separator) = args.first() {
        let separators = Range { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
        size = size.plus(sizes.of(separator).times(separators));
    }
    CallCost::sized(size.scaled(STRING_FACTOR), size)
}

fn contains(function: &str, overload: &str, other: Range) -> Range {
    let mut cost = ADDRESS.plus(ADDRESS).scaled(STRING_FACTOR);
    if function == "containsCIDR" {
        cost = cost.plus(ADDRESS.scaled(STRING_FACTOR)).plus(Range::fixed(1));
    }
    if overload.ends_with("_string") {
        cost = cost.plus(other.scaled(STRING_FACTOR));
    }
    cost
}

fn equality(args: &[View<'_>]) -> Option<CallCost> {
    let [left, right] = args else { return None };
    if left.of.name() != right.of.name() {
        return None;
    }
    let max = match left.of.name() {
        "kubernetes.NamedFormat" => MAX_NAME_SIZE,
        "kubernetes.URL" => right.size.map_or(1, |size| size.max),
        "net.IP" | "net.CIDR" | "kubernetes.Quantity" | "kubernetes.Semver" => {
            return Some(CallCost::of(Range::fixed(1)));
        }
        name if name.starts_with("kubernetes.authorization.") => return Some(CallCost::of(Range::fixed(1))),
        _ => return None,
    };
    Some(CallCost::of(Range { min: 1, max }.scaled(STRING_FACTOR)))
}
