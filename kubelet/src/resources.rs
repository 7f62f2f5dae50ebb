//! Quantities, and what a pod's containers ask for in sum
//! (k8s.io/component-helpers/resource/helpers.go@v0.37.2, pkg/apis/core/v1/helper/qos/qos.go@v1.37.2).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod::shape;

/// A list of resources as the API has it.
pub(crate) type List = BTreeMap<String, Quantity>;

/// Amounts by resource name, in thousandths.
pub(crate) type Amounts = BTreeMap<String, i128>;

const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const NANO: i128 = 1_000_000_000;
/// Digits that a quantity may have before arithmetic here would overflow.
const DIGITS_MAX: usize = 19;

/// The value in billionths, or nothing when it is no quantity.
fn nanos(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > DIGITS_MAX {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let value = whole * NANO + fraction.parse::<i128>().ok()?;
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        return Some(sign * (value << bits));
    }
    let exponent = match DECIMAL.iter().find(|(name, _)| *name == suffix) {
        Some((_, exponent)) => *exponent,
        None => suffix.strip_prefix(['e', 'E'])?.parse().ok()?,
    };
    let factor = 10i128.checked_pow(exponent.unsigned_abs())?;
    Some(sign * if exponent < 0 { ceil_div(value, factor) } else { value.checked_mul(factor)? })
}

fn ceil_div(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

/// In thousandths, rounded up as upstream's `MilliValue`; 0 for what is no quantity.
pub(crate) fn milli(quantity: &Quantity) -> i128 {
    ceil_div(nanos(&quantity.0).unwrap_or(0), NANO / 1000)
}

/// In whole units, rounded up as upstream's `Value`.
pub(crate) fn value(quantity: &Quantity) -> i64 {
    i64::try_from(ceil_div(nanos(&quantity.0).unwrap_or(0), NANO)).unwrap_or(i64::MAX)
}

/// Bytes in the largest binary unit that is exact.
pub(crate) fn bytes(count: u64) -> Quantity {
    let unit = BINARY.iter().rev().find(|(_, bits)| count != 0 && count.is_multiple_of(1 << bits));
    Quantity(match unit {
        Some((name, bits)) => format!("{}{name}", count >> bits),
        None => count.to_string(),
    })
}

/// Thousandths as a decimal quantity: `2`, `1500m`.
pub(crate) fn from_milli(milli: i128) -> Quantity {
    Quantity(if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") })
}

pub(crate) fn requests(resources: Option<&ResourceRequirements>) -> Amounts {
    amounts(resources.and_then(|resources| resources.requests.as_ref()))
}

pub(crate) fn limits(resources: Option<&ResourceRequirements>) -> Amounts {
    amounts(resources.and_then(|resources| resources.limits.as_ref()))
}

pub(crate) fn amounts(list: Option<&List>) -> Amounts {
    list.into_iter().flatten().map(|(name, quantity)| (name.clone(), milli(quantity))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    more.iter().for_each(|(name, amount)| *to.entry(name.clone()).or_default() += amount);
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = to.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

/// What the pod needs at its worst moment: running containers with their sidecars, or an init
/// container with the sidecars before it; plus overhead; pod-level values win.
fn total(pod: &Pod, of: fn(Option<&ResourceRequirements>) -> Amounts) -> Amounts {
    let spec = shape::spec(pod);
    let mut sum = Amounts::new();
    spec.containers.iter().for_each(|container| add(&mut sum, &of(container.resources.as_ref())));
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in shape::init_containers(pod) {
        let own = of(container.resources.as_ref());
        if shape::is_sidecar(container) {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut moment = sidecars.clone();
            add(&mut moment, &own);
            raise(&mut peak, &moment);
        }
    }
    raise(&mut sum, &peak);
    sum.extend(of(spec.resources.as_ref()));
    sum
}

pub(crate) fn pod_requests(pod: &Pod) -> Amounts {
    let mut sum = total(pod, requests);
    add(&mut sum, &amounts(shape::spec(pod).overhead.as_ref()));
    sum
}

/// Limits in sum; overhead only where there is a limit.
pub(crate) fn pod_limits(pod: &Pod) -> Amounts {
    let mut sum = total(pod, limits);
    for (name, amount) in amounts(shape::spec(pod).overhead.as_ref()) {
        if let Some(limit) = sum.get_mut(&name) {
            *limit += amount;
        }
    }
    sum
}

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn qos_class(pod: &Pod) -> &'static str {
    if let Some(class) = pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        return ["Guaranteed", "Burstable"].into_iter().find(|known| *known == class).unwrap_or("BestEffort");
    }
    computed_qos(pod)
}

fn computed_qos(pod: &Pod) -> &'static str {
    let positive = |amounts: &Amounts| {
        let chosen = amounts.iter().filter(|(name, amount)| COMPUTE.contains(&name.as_str()) && **amount > 0);
        chosen.map(|(name, amount)| (name.clone(), *amount)).collect::<Amounts>()
    };
    let level = shape::spec(pod).resources.as_ref();
    let lists: Vec<Option<&ResourceRequirements>> = match level {
        Some(_) => vec![level],
        None => shape::long_lived(pod).map(|container: &Container| container.resources.as_ref()).collect(),
    };
    let (mut any, mut guaranteed) = (false, true);
    for list in lists {
        let (requests, limits) = (positive(&requests(list)), positive(&limits(list)));
        any |= !requests.is_empty() || !limits.is_empty();
        let limited: BTreeSet<&str> = limits.keys().map(String::as_str).collect();
        let equal = requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
        guaranteed &= COMPUTE.iter().all(|name| limited.contains(name)) && equal;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn quantities() {
        for (text, milli_value, whole) in [
            ("100m", 100, 1),
            ("2", 2000, 2),
            ("1.5", 1500, 2),
            ("1Ki", 1_024_000, 1024),
            ("1.5Gi", 1_610_612_736_000, 1_610_612_736),
            ("1e3", 1_000_000, 1000),
            ("1k", 1_000_000, 1000),
            ("100n", 1, 1),
            ("0", 0, 0),
            ("x", 0, 0),
        ] {
            let quantity = Quantity(text.into());
            assert_eq!((milli(&quantity), value(&quantity)), (milli_value, whole), "{text}");
        }
        assert_eq!(bytes(8 << 20).0, "8Mi");
        assert_eq!(bytes(1025).0, "1025");
        assert_eq!(bytes(0).0, "0");
        assert_eq!(from_milli(1500).0, "1500m");
        assert_eq!(from_milli(2000).0, "2");
    }

    #[test]
    fn sums_and_classes() {
        let guaranteed = "{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}";
        let burstable = "{requests: {cpu: 100m}}";
        let of = |resources: &str| pod(&format!("{{containers: [{{name: a, resources: {resources}}}]}}"));
        assert_eq!(qos_class(&of(guaranteed)), "Guaranteed");
        assert_eq!(qos_class(&of(burstable)), "Burstable");
        assert_eq!(qos_class(&of("{}")), "BestEffort");
        let pod = pod(
            "{overhead: {cpu: 10m}, initContainers: [{name: s, restartPolicy: Always, resources: {requests: {cpu: 50m}}}, \
             {name: x, resources: {requests: {cpu: 500m}}}], containers: [{name: a, resources: {requests: {cpu: 100m}}}]}",
        );
        assert_eq!(pod_requests(&pod).get("cpu"), Some(&560));
    }
}
