//! Bundles of trust (pkg/registry/certificates/clustertrustbundle/strategy.go,
//! pkg/apis/certificates/validation/validation.go@v1.37.2: ValidateClusterTrustBundle).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;
use x509_parser::pem::Pem;

use super::signer_name;
use crate::resources::check;
use crate::resources::simple::Simple;
use crate::strategy::MetaCheck;

const BUNDLE_BYTES_MAX: usize = 1024 * 1024;
const OMITTED: &str = "<value omitted>";

pub(crate) const BUNDLE: Simple = Simple {
    meta: &[MetaCheck::Whole, MetaCheck::Update],
    unconditional: false,
    fields: &["spec.signerName"],
    name_in: Some(|bundle, name, prefix| {
        self::name(name, bundle.map("spec").map_or("", |spec| spec.str("signerName")), prefix)
    }),
    check: |bundle| checked(bundle, true),
    recheck: false,
    check_change: |new, old| {
        let text = |bundle: &Map, name: &str| bundle.map("spec").map_or("", |spec| spec.str(name)).to_string();
        let mut errors = checked(new, text(new, "trustBundle") != text(old, "trustBundle"));
        let path = Path::new("spec").child("signerName");
        check::fixed_text(&path, &text(new, "signerName"), &text(old, "signerName"), &mut errors);
        errors
    },
    ..Simple::BASE
};

fn checked(bundle: &Map, parse: bool) -> Errors {
    let mut errors = Errors::new();
    let (spec, path) = (bundle.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    let signer = spec.str("signerName");
    if !signer.is_empty() {
        errors.extend(signer_name(signer, &path.child("signerName")));
    }
    if parse {
        trusted(spec.str("trustBundle"), &path.child("trustBundle"), &mut errors);
    }
    errors
}

/// ValidateClusterTrustBundleName: the signer's bundles begin with its name.
fn name(name: &str, signer: &str, is_prefix: bool) -> Vec<String> {
    if signer.is_empty() {
        if name.contains(':') {
            return vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_string()];
        }
        return names::name_is_dns_subdomain(name, is_prefix);
    }
    let prefix = format!("{}:", signer.replace('/', ":"));
    match name.strip_prefix(&prefix) {
        Some(rest) => names::name_is_dns_subdomain(rest, is_prefix),
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
    }
}

/// validateTrustBundle: certificates of authorities, each once.
fn trusted(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > BUNDLE_BYTES_MAX {
        return errors.push(field::too_long(path, BUNDLE_BYTES_MAX));
    }
    let mut seen: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    let before = errors.len();
    for (at, block) in Pem::iter_from_buffer(text.as_bytes()).map_while(Result::ok).enumerate() {
        match anchor(&block) {
            Err(why) => errors.push(field::invalid(path, OMITTED, format!("entry {at} {why}"))),
            Ok(()) => match seen.iter_mut().find(|row| row.0 == block.contents) {
                Some(row) => row.1.push(at),
                None => seen.push((block.contents, vec![at])),
            },
        }
    }
    if errors.len() > before {
        return;
    }
    if seen.is_empty() {
        errors.push(field::invalid(path, OMITTED, "at least one trust anchor must be provided"));
    }
    for (_, places) in seen.iter().filter(|row| row.1.len() > 1) {
        let places: Vec<String> = places.iter().map(usize::to_string).collect();
        let why = format!("duplicate trust anchor (indices [{}])", places.join(" "));
        errors.push(field::invalid(path, OMITTED, why));
    }
}

/// What is wrong with a block that should be an authority's certificate.
fn anchor(block: &Pem) -> Result<(), String> {
    if block.label != "CERTIFICATE" {
        return Err(format!("has bad block type: {}", block.label));
    }
    let certificate = block.parse_x509().map_err(|_| "does not parse as X.509".to_string())?;
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if constraints.value.ca => Ok(()),
        _ => Err("does not have the CA bit set".to_string()),
    }
}
