//! Names and addresses that a pod brings into its resolver (pkg/apis/core/validation/validation.go@v1.37.2:
//! validatePodDNSConfig, ValidateHostAliases).

use api::field::{self, Errors, Path};
use api::names;
use api::value::{Map, Value};

use crate::resources::common;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
/// All searches with a space between them, in bytes.
const SEARCH_BYTES_MAX: usize = 2048;

pub(super) fn check(spec: &Map, path: &Path, errors: &mut Errors) {
    let config = spec.map("dnsConfig");
    if spec.str("dnsPolicy") == "None" {
        let Some(config) = config else {
            errors.push(field::required(path, "must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        };
        if config.list("nameservers").is_empty() {
            let why = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(field::required(&path.child("nameservers"), why));
            return;
        }
    }
    let Some(config) = config else { return };
    let (servers, searches) = (config.list("nameservers"), config.list("searches"));
    let at = path.child("nameservers");
    if servers.len() > NAMESERVERS_MAX {
        let why = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.push(field::invalid(&at, Value::List(servers.to_vec()), why));
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        common::each(&at.index(index), server, names::is_valid_ip_for_legacy_field(server), errors);
    }
    self::searches(searches, &path.child("searches"), errors);
    for (index, option) in config.maps("options").enumerate() {
        if option.str("name").is_empty() {
            errors.push(field::required(&path.child("options").index(index), "must not be empty"));
        }
    }
}

fn searches(searches: &[Value], path: &Path, errors: &mut Errors) {
    let all: Vec<&str> = searches.iter().filter_map(Value::as_str).collect();
    let mut too_much = |why: String| errors.push(field::invalid(path, Value::List(searches.to_vec()), why));
    if all.len() > SEARCHES_MAX {
        too_much(format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    if all.join(" ").len() > SEARCH_BYTES_MAX {
        too_much(format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"
        ));
    }
    for (index, search) in all.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        common::each(&path.index(index), search, names::is_dns1123_subdomain_with_underscore(search), errors);
    }
}

pub(super) fn host_aliases(spec: &Map, path: &Path, errors: &mut Errors) {
    for (at, alias) in spec.maps("hostAliases").enumerate() {
        let (path, ip) = (path.index(at), alias.str("ip"));
        common::each(&path.child("ip"), ip, names::is_valid_ip_for_legacy_field(ip), errors);
        for (index, name) in alias.list("hostnames").iter().filter_map(Value::as_str).enumerate() {
            common::dns_subdomain(name, &path.child("hostnames").index(index), errors);
        }
    }
}
