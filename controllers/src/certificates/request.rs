//! The certificate request inside a CertificateSigningRequest, and which ones a kubelet may make
//! (pkg/apis/certificates/helpers.go@v1.37.2).

use std::collections::BTreeSet;

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

const NODES_GROUP: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// A request, decoded. Names are kept as their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) der: Vec<u8>,
    pub(super) common_name: String,
    pub(super) organizations: Vec<String>,
    pub(super) dns: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) addresses: Vec<Vec<u8>>,
    pub(super) uris: Vec<String>,
}

/// Decodes PEM text; the error is upstream's where it is not the decoder's.
pub(super) fn parse(pem: &[u8]) -> Result<Request, String> {
    let wrong_type = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let (_, block) = x509_parser::pem::parse_x509_pem(pem).map_err(|_| wrong_type())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(wrong_type());
    }
    let (_, parsed) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &parsed.certification_request_info.subject;
    let texts = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| part.as_str().unwrap_or("").to_owned();
    let mut request = Request {
        common_name: subject.iter_common_name().last().map(texts).unwrap_or_default(),
        organizations: subject.iter_organization().map(texts).collect(),
        ..Request::default()
    };
    for extension in parsed.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => request.dns.push((*name).into()),
                GeneralName::RFC822Name(name) => request.emails.push((*name).into()),
                GeneralName::IPAddress(address) => request.addresses.push(address.to_vec()),
                GeneralName::URI(uri) => request.uris.push((*uri).into()),
                _ => {}
            }
        }
    }
    request.der = block.contents;
    Ok(request)
}

fn same(usages: &[String], wanted: &[&str]) -> bool {
    let set: BTreeSet<&str> = usages.iter().map(String::as_str).collect();
    set == wanted.iter().copied().collect()
}

/// Usages of a certificate that a kubelet uses as `role`: key encipherment is for RSA keys only.
fn check_usages(usages: &[String], role: &str) -> Result<(), String> {
    let mut full = ["digital signature", "key encipherment", role];
    if same(usages, &full) || same(usages, &["digital signature", role]) {
        return Ok(());
    }
    full.sort_unstable();
    Err(format!("usages did not match [{}]", full.join(" ")))
}

fn check_group(request: &Request) -> Result<(), String> {
    if request.organizations == [NODES_GROUP] { Ok(()) } else { Err("subject organization is not system:nodes".into()) }
}

fn check_name(request: &Request) -> Result<(), String> {
    if request.common_name.starts_with(NODE_PREFIX) {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:".into())
}

fn forbid(present: bool, what: &str) -> Result<(), String> {
    if present { Err(format!("{what} subjectAltNames are not allowed")) } else { Ok(()) }
}

/// The certificate with which a kubelet speaks to the API server.
pub(super) fn check_kubelet_client(request: &Request, usages: &[String]) -> Result<(), String> {
    check_group(request)?;
    forbid(!request.dns.is_empty(), "DNS")?;
    forbid(!request.emails.is_empty(), "Email")?;
    forbid(!request.addresses.is_empty(), "IP")?;
    forbid(!request.uris.is_empty(), "URI")?;
    check_name(request)?;
    check_usages(usages, "client auth")
}

/// The certificate of a kubelet's own server.
pub(super) fn check_kubelet_serving(request: &Request, usages: &[String]) -> Result<(), String> {
    check_group(request)?;
    if request.dns.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    forbid(!request.emails.is_empty(), "Email")?;
    forbid(!request.uris.is_empty(), "URI")?;
    check_usages(usages, "server auth")?;
    check_name(request)
}

/// A certificate of any other client of the API server.
pub(super) fn check_client(usages: &[String]) -> Result<(), String> {
    let optional = ["digital signature", "key encipherment"];
    let allowed = |usage: &String| usage == "client auth" || optional.contains(&usage.as_str());
    if let Some(usage) = usages.iter().find(|usage| !allowed(usage)) {
        return Err(format!("invalid usage for client certificate: {usage}"));
    }
    if usages.iter().any(|usage| usage == "client auth") {
        return Ok(());
    }
    Err("missing required usage for client certificate: client auth".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn node() -> Request {
        Request { common_name: "system:node:a".into(), organizations: texts(&["system:nodes"]), ..Request::default() }
    }

    #[test]
    fn kubelet_requests() {
        let client = texts(&["client auth", "digital signature"]);
        let serving = texts(&["digital signature", "key encipherment", "server auth"]);
        let with_dns = Request { dns: texts(&["a"]), ..node() };
        let other = Request { organizations: texts(&["system:nodes", "system:masters"]), ..node() };
        let unnamed = Request { common_name: "a".into(), ..node() };
        for (request, usages, expected) in [
            (node(), &client, ""),
            (node(), &serving, "usages did not match [client auth digital signature key encipherment]"),
            (with_dns.clone(), &client, "DNS subjectAltNames are not allowed"),
            (other.clone(), &client, "subject organization is not system:nodes"),
            (unnamed, &client, "subject common name does not begin with system:node:"),
        ] {
            assert_eq!(check_kubelet_client(&request, usages).err().unwrap_or_default(), expected, "{request:?}");
        }
        for (request, usages, expected) in [
            (with_dns.clone(), &serving, ""),
            (with_dns, &client, "usages did not match [digital signature key encipherment server auth]"),
            (node(), &serving, "DNS or IP subjectAltName is required"),
            (other, &serving, "subject organization is not system:nodes"),
        ] {
            assert_eq!(check_kubelet_serving(&request, usages).err().unwrap_or_default(), expected, "{request:?}");
        }
    }

    #[test]
    fn client_usages() {
        for (usages, expected) in [
            (vec!["client auth"], ""),
            (vec!["client auth", "key encipherment"], ""),
            (vec!["digital signature"], "missing required usage for client certificate: client auth"),
            (vec!["client auth", "server auth"], "invalid usage for client certificate: server auth"),
        ] {
            assert_eq!(check_client(&texts(&usages)).err().unwrap_or_default(), expected, "{usages:?}");
        }
    }

    #[test]
    fn what_is_no_request() {
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"] {
            assert_eq!(
                parse(pem.as_bytes()).err().as_deref(),
                Some("PEM block type must be CERTIFICATE REQUEST"),
                "{pem}"
            );
        }
    }
}
