//! IP families: which a Service has, from what it asks and what the cluster has
//! (pkg/registry/core/service/storage/alloc.go@v1.37.2: initIPFamilyFields).

use api::field::{self, Errors, Path};
use api::value::{Map, Value};

use super::{NONE, needs_cluster_ip, set_texts, texts, validate};

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

pub(super) fn family_of(ip: &str) -> &'static str {
    if ip.contains(':') { "IPv6" } else { "IPv4" }
}

fn other(family: &str) -> String {
    if family == "IPv4" { "IPv6" } else { "IPv4" }.to_string()
}

/// Nothing about addresses changes, and the policy is to have two if there are two.
pub(super) fn is_settled(spec: &Map, old: Option<&Map>) -> bool {
    old.is_some_and(|old| {
        old.str("type") == spec.str("type")
            && matches!(spec.str("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
            && spec.str("ipFamilyPolicy") == PREFER
            && matches!(old.str("ipFamilyPolicy"), "" | PREFER)
            && texts(spec, "clusterIPs") == texts(old, "clusterIPs")
            && texts(spec, "ipFamilies") == texts(old, "ipFamilies")
    })
}

/// Settles policy and families; `cluster` are the families of the cluster, the default first.
pub(super) fn settle(object: &mut Map, old: Option<&Map>, cluster: &[&str]) -> Result<(), Errors> {
    let spec = object.map_mut("spec");
    if !needs_cluster_ip(spec) || is_settled(spec, old) || cluster.is_empty() {
        return Ok(());
    }
    let selectorless = spec.str("clusterIP") == NONE && spec.map("selector").is_none_or(Map::is_empty);
    if !spec.contains("ipFamilyPolicy") {
        let was = old.map_or("", |old| old.str("ipFamilyPolicy"));
        let policy = if !was.is_empty() {
            was
        } else if selectorless {
            REQUIRE
        } else {
            SINGLE
        };
        spec.set("ipFamilyPolicy", policy);
    }
    refuse(validate::cluster_ips(spec, old))?;
    refuse(release(spec, old, cluster))?;
    let policy = spec.str("ipFamilyPolicy").to_string();
    let mut families = texts(spec, "ipFamilies");
    if selectorless {
        if families.is_empty() {
            families.push(cluster[0].to_string());
        }
        if families.len() < 2 && policy != SINGLE {
            families.push(other(&families[0]));
        }
        set_texts(spec, "ipFamilies", &families);
        return Ok(());
    }
    refuse(configured(spec, cluster))?;
    if families.is_empty() {
        families.push(cluster[0].to_string());
    }
    if policy != SINGLE && families.len() == 1 && cluster.len() == 2 {
        families.push(other(&families[0]));
    }
    set_texts(spec, "ipFamilies", &families);
    Ok(())
}

fn refuse(errors: Errors) -> Result<(), Errors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Takes back the second family when the policy says so, and refuses to when it does not.
fn release(spec: &mut Map, old: Option<&Map>, cluster: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let policy = spec.str("ipFamilyPolicy").to_string();
    let at_policy = path.child("ipFamilyPolicy");
    let lists = [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")];
    for (name, words) in lists {
        let (now, was) = (texts(spec, name), old.map(|old| texts(old, name)).unwrap_or_default());
        if old.is_some() && policy == SINGLE && now == was && now.len() > 1 {
            set_texts(spec, name, &now[..1]);
        } else if old.is_some() && policy != SINGLE && !now.is_empty() && now.len() < was.len() {
            let why = format!("must be 'SingleStack' to release the secondary {words}");
            errors.push(field::invalid(&at_policy, policy.as_str(), why));
        }
    }
    for (name, words) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if policy == SINGLE && spec.list(name).len() == 2 {
            let why = format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {words} are specified");
            errors.push(field::invalid(&at_policy, policy.as_str(), why));
        }
    }
    let mut families = texts(spec, "ipFamilies");
    let ips = texts(spec, "clusterIPs");
    for (at, ip) in ips.iter().enumerate().take_while(|(_, ip)| *ip != NONE).skip(families.len()) {
        let family = family_of(ip);
        if cluster.contains(&family) {
            families.push(family.to_string());
        } else {
            let shown = Value::List(spec.list("clusterIPs").to_vec());
            let why = format!("{family} is not configured on this cluster");
            errors.push(field::invalid(&path.child("clusterIPs").index(at), shown, why));
        }
    }
    set_texts(spec, "ipFamilies", &families);
    errors
}

fn configured(spec: &Map, cluster: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("spec");
    let policy = spec.str("ipFamilyPolicy");
    if policy == REQUIRE && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(field::invalid(&path.child("ipFamilyPolicy"), policy, why));
    }
    for (at, family) in texts(spec, "ipFamilies").iter().enumerate() {
        if !cluster.contains(&family.as_str()) {
            let path = path.child("ipFamilies").index(at);
            errors.push(field::invalid(&path, family.as_str(), "not configured on this cluster"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Map {
        let (value, _) = api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        value.as_map().expect("object").clone()
    }

    fn check(spec: &str, cluster: &[&str], expect: Result<&str, &str>) {
        let mut object = parse(&format!(r#"{{"spec":{spec}}}"#));
        let outcome = settle(&mut object, None, cluster);
        let spec = object.map("spec").expect("spec");
        let got = outcome
            .map(|()| format!("{} {}", spec.str("ipFamilyPolicy"), texts(spec, "ipFamilies").join(",")))
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        assert_eq!(got.as_deref().map_err(String::as_str), expect);
    }

    #[test]
    fn families_follow_from_policy_and_cluster() {
        check(r#"{"type":"ClusterIP"}"#, &["IPv4"], Ok("SingleStack IPv4"));
        check(r#"{"type":"ClusterIP","ipFamilyPolicy":"PreferDualStack"}"#, &["IPv4"], Ok("PreferDualStack IPv4"));
        check(
            r#"{"type":"ClusterIP","ipFamilyPolicy":"PreferDualStack"}"#,
            &["IPv6", "IPv4"],
            Ok("PreferDualStack IPv6,IPv4"),
        );
        check(
            r#"{"type":"ClusterIP","clusterIP":"None","clusterIPs":["None"]}"#,
            &["IPv4"],
            Ok("RequireDualStack IPv4,IPv6"),
        );
        check(
            r#"{"type":"ClusterIP","ipFamilyPolicy":"RequireDualStack"}"#,
            &["IPv4"],
            Err(
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ),
        );
        check(
            r#"{"type":"ClusterIP","ipFamilyPolicy":""}"#,
            &["IPv4"],
            Err(concat!(
                r#"spec.ipFamilyPolicy: Unsupported value: "": supported values: "#,
                r#""PreferDualStack", "RequireDualStack", "SingleStack""#
            )),
        );
        check(
            r#"{"type":"ClusterIP","ipFamilies":["IPv6"]}"#,
            &["IPv4"],
            Err("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
        );
    }
}
