//! What a pod's node asks of a signer (pkg/registry/certificates/podcertificaterequest/strategy.go,
//! pkg/apis/certificates/validation/validation.go@v1.37.2: ValidatePodCertificateRequestCreate).

use api::field::{self, Errors, Path};
use api::names;
use api::value::Map;
use base64::Engine;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;

use super::signer_name;
use crate::admission::certificates::is_signed;
use crate::resources::check;
use crate::resources::common;
use crate::resources::policy::pod_disruption_budget::conditions;
use crate::resources::simple::Simple;

const UID_BYTES_MAX: usize = 128;
const REQUEST_BYTES_MAX: usize = 10 * 1024;
const SECONDS_MIN: i64 = 60 * 60;
const SECONDS_MAX: i64 = 91 * 24 * 60 * 60;
/// Of Kubernetes' own signers.
const KUBERNETES_SECONDS_MAX: i64 = 24 * 60 * 60;
const RSA_BITS: [usize; 2] = [3072, 4096];
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
const FINAL: [&str; 3] = ["Issued", "Denied", "Failed"];

pub(crate) const REQUEST: Simple = Simple {
    unconditional: false,
    fields: &["spec.signerName", "spec.podName", "spec.nodeName"],
    knows_namespace_field: false,
    check: checked,
    recheck: false,
    check_change: |new, old| {
        let mut errors = Errors::new();
        let name = "certificates.v1beta1.PodCertificateRequestSpec";
        check::fixed_struct(&Path::new("spec"), new.get("spec"), old.get("spec"), name, &mut errors);
        errors
    },
    check_status: status,
    ..Simple::OWN_STATUS
};

fn checked(request: &Map) -> Errors {
    let (spec, path) = (request.map("spec").unwrap_or(Map::EMPTY), Path::new("spec"));
    let mut errors = signer_name(spec.str("signerName"), &path.child("signerName"));
    if let Some(annotations) = spec.map("unverifiedUserAnnotations") {
        self::annotations(annotations, &path.child("unverifiedUserAnnotations"), &mut errors);
    }
    for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")] {
        let text = spec.str(name);
        common::each(&path.child(name), text, names::name_is_dns_subdomain(text, false), &mut errors);
        if spec.str(uid).is_empty() {
            errors.push(field::invalid(&path.child(uid), "", "must not be empty"));
        }
        if spec.str(uid).len() > UID_BYTES_MAX {
            errors.push(field::too_long(&path.child(uid), UID_BYTES_MAX));
        }
    }
    let at = path.child("maxExpirationSeconds");
    let Some(seconds) = spec.i64("maxExpirationSeconds") else {
        errors.push(field::required(&at, "must be set"));
        return errors;
    };
    let host = spec.str("signerName").split('/').next().unwrap_or_default();
    let own = host == "kubernetes.io" || host.ends_with(".kubernetes.io");
    let max = if own { KUBERNETES_SECONDS_MAX } else { SECONDS_MAX };
    if !(SECONDS_MIN..=max).contains(&seconds) {
        errors.push(field::invalid(&at, seconds, format!("must be in the range [{SECONDS_MIN}, {max}]")));
    }
    let [stub, key, proof] = ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"].map(|name| spec.str(name));
    match (stub.is_empty(), key.is_empty(), proof.is_empty()) {
        (false, true, true) => errors.extend(self::stub(stub, &path.child("stubPKCS10Request"))),
        (true, false, false) => errors.extend(self::key(key, spec, &path)),
        _ => {
            let why = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            errors.push(field::invalid_hidden(&path, why));
        }
    }
    errors
}

/// ValidateUserAnnotations.
fn annotations(annotations: &Map, path: &Path, errors: &mut Errors) {
    for key in annotations.keys() {
        errors.extend(names::is_domain_prefixed_key(path, &key.to_lowercase()));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(field::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
}

fn bytes(encoded: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default()
}

/// validateStubPKCS10Request.
fn stub(encoded: &str, path: &Path) -> Option<field::Error> {
    let bytes = bytes(encoded);
    if bytes.len() > REQUEST_BYTES_MAX {
        return Some(field::too_long(path, REQUEST_BYTES_MAX));
    }
    let Ok((_, request)) = X509CertificationRequest::from_der(&bytes) else {
        return Some(field::invalid_hidden(path, "must be a valid PKCS#10 CSR"));
    };
    let key = &request.certification_request_info.subject_pki;
    if let Ok(PublicKey::RSA(rsa)) = key.parsed()
        && !RSA_BITS.contains(&rsa.key_size())
    {
        let shown = format!("{}-bit modulus", rsa.key_size());
        return Some(field::invalid(path, shown, "RSA keys must have modulus size 3072 or 4096"));
    }
    (!is_signed(&request)).then(|| field::invalid_hidden(path, "invalid signature"))
}

/// validateDeprecatedPKIXPublicKey.
fn key(encoded: &str, spec: &Map, path: &Path) -> Option<field::Error> {
    let (bytes, proof) = (bytes(encoded), bytes(spec.str("proofOfPossession")));
    let at = path.child("pkixPublicKey");
    if bytes.len() > REQUEST_BYTES_MAX {
        return Some(field::too_long(&at, REQUEST_BYTES_MAX));
    }
    if proof.len() > REQUEST_BYTES_MAX {
        return Some(field::too_long(&path.child("proofOfPossession"), REQUEST_BYTES_MAX));
    }
    match x509_parser::x509::SubjectPublicKeyInfo::from_der(&bytes) {
        Ok(([], key)) if key.parsed().is_ok() => None,
        _ => Some(field::invalid(&at, encoded, "must be a valid PKIX-serialized public key")),
    }
}

fn is(request: &Map, kinds: &[&str]) -> bool {
    let conditions = request.map("status").into_iter().flat_map(|status| status.maps("conditions"));
    conditions.into_iter().any(|one| kinds.contains(&one.str("type")) && one.str("status") == "True")
}

/// ValidatePodCertificateRequestStatusUpdate: a status is set once, by an end.
fn status(request: &Map, old: &Map) -> Errors {
    let mut errors = Errors::new();
    let status = request.map("status").unwrap_or(Map::EMPTY);
    known(status, &mut errors);
    conditions(status, &Path::new("status").child("conditions"), &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let same = common::same(request.get("status"), old.get("status"));
    let mut refuse = |refused: bool, why: &str| {
        if refused {
            errors.push(field::invalid_hidden(&Path::new("status"), why));
        }
    };
    if is(old, &FINAL) {
        refuse(!same, "immutable after PodCertificateRequest is issued, denied, or failed");
    } else if is(request, &FINAL[1..]) {
        let more = status.iter().any(|(name, value)| name != "conditions" && !value.is_zero());
        refuse(more, "non-condition status fields must be empty when denying or failing the PodCertificateRequest");
    } else if is(request, &FINAL[..1]) {
        return issued(status);
    } else {
        refuse(!same, r#"status is immutable unless transitioning to "Issued", "Denied", or "Failed""#);
    }
    errors
}

/// At most one of the conditions there are.
fn known(status: &Map, errors: &mut Errors) {
    let mut count = 0;
    for (at, condition) in status.maps("conditions").enumerate() {
        // Upstream writes the index as a name of its own.
        let path = Path::new("status").child("conditions").child(&format!("[{at}]"));
        let kind = condition.str("type");
        if !FINAL.contains(&kind) {
            errors.push(field::not_supported(&path.child("type"), kind, &FINAL));
            continue;
        }
        count += 1;
        if count > 1 {
            let why = r#"There may be at most one condition with type "Issued", "Denied", or "Failed""#;
            errors.push(field::invalid(&path.child("type"), kind, why));
        }
        if condition.str("status") != "True" {
            errors.push(field::not_supported(&path.child("status"), condition.str("status"), &["True"]));
        }
    }
}

/// What is wrong with the chain of an issued certificate, or with its times.
fn issued(status: &Map) -> Errors {
    let mut errors = Errors::new();
    let (chain, path) = (status.str("certificateChain"), Path::new("status"));
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(chain.as_bytes()).map_while(Result::ok);
    let why = match blocks.next() {
        None => Some("issued certificate chain must contain at least one certificate"),
        Some(leaf) if leaf.label != "CERTIFICATE" => {
            Some("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
        }
        Some(leaf) => leaf.parse_x509().err().map(|_| "leaf certificate does not parse as valid X.509"),
    };
    if let Some(why) = why {
        return vec![field::invalid(&path.child("certificateChain"), chain, why)];
    }
    let refresh = "must be present and in the range [notbefore+10min, notafter-10min]";
    let consistent = "must be present and consistent with the issued certificate";
    for (name, why) in [("notBefore", consistent), ("notAfter", consistent), ("beginRefreshAt", refresh)] {
        if status.str(name).is_empty() {
            errors.push(field::required(&path.child(name), why));
        }
    }
    errors
}
