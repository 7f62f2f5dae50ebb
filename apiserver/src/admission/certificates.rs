//! Certificates: who may approve, sign and vouch for which signer, and who may not be asked for
//! (plugin/pkg/admission/certificates, pkg/registry/certificates/.../authorization.go@v1.37.2).

use std::sync::Arc;

use api::field::go_quote;
use api::status::Status;
use api::value::Map;
use aws_lc_rs::signature;
use base64::Engine;
use futures::future::BoxFuture;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::{Attributes, Operation, Plugin, Reader};
use crate::authn::User;
use crate::authz::{self, Authorizers};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

/// The subject of a CertificateSigningRequest's PEM.
pub(crate) struct Subject {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
}

pub(crate) fn subject(csr: &Map) -> Result<Subject, String> {
    let encoded = csr.map("spec").map_or("", |spec| spec.str("request"));
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let wrong = || "PEM block type must be CERTIFICATE REQUEST".to_string();
    let (_, block) = parse_x509_pem(&pem).map_err(|_| wrong())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(wrong());
    }
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    let texts = |found: Vec<&x509_parser::x509::AttributeTypeAndValue<'_>>| -> Vec<String> {
        found.iter().filter_map(|value| value.as_str().ok()).map(str::to_string).collect()
    };
    let common_name = texts(subject.iter_common_name().collect()).pop().unwrap_or_default();
    Ok(Subject { common_name, organizations: texts(subject.iter_organization().collect()) })
}

/// True when a request is signed with its own key.
pub(crate) fn is_signed(request: &X509CertificationRequest<'_>) -> bool {
    let info = &request.certification_request_info;
    let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let curve = curve.map(|oid| oid.to_id_string()).unwrap_or_default();
    let algorithm: &dyn signature::VerificationAlgorithm =
        match (request.signature_algorithm.algorithm.to_id_string().as_str(), curve.as_str()) {
            ("1.3.101.112", _) => &signature::ED25519,
            ("1.2.840.10045.4.3.2", "1.2.840.10045.3.1.7") => &signature::ECDSA_P256_SHA256_ASN1,
            ("1.2.840.10045.4.3.3", "1.2.840.10045.3.1.7") => &signature::ECDSA_P256_SHA384_ASN1,
            ("1.2.840.10045.4.3.2", "1.3.132.0.34") => &signature::ECDSA_P384_SHA256_ASN1,
            ("1.2.840.10045.4.3.3", "1.3.132.0.34") => &signature::ECDSA_P384_SHA384_ASN1,
            ("1.2.840.10045.4.3.4", "1.3.132.0.35") => &signature::ECDSA_P521_SHA512_ASN1,
            ("1.2.840.113549.1.1.11", _) => &signature::RSA_PKCS1_2048_8192_SHA256,
            ("1.2.840.113549.1.1.12", _) => &signature::RSA_PKCS1_2048_8192_SHA384,
            ("1.2.840.113549.1.1.13", _) => &signature::RSA_PKCS1_2048_8192_SHA512,
            _ => return false,
        };
    let key = signature::UnparsedPublicKey::new(algorithm, &info.subject_pki.subject_public_key.data);
    key.verify(info.raw, &request.signature_value.data).is_ok()
}

/// What is wrong with the PEM of a signed certificate and those above it; none at all is fine.
pub(crate) fn chain(encoded: &str) -> Result<(), String> {
    if encoded.is_empty() {
        return Ok(());
    }
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).map_err(|error| error.to_string())?;
    let mut blocks = 0;
    for block in x509_parser::pem::Pem::iter_from_buffer(&pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {}", go_quote(&block.label)));
        }
        blocks += 1;
        block.parse_x509().map_err(|error| error.to_string())?;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

/// The verb on the signer itself, or on all of its domain.
pub(crate) fn may(authorizers: &Authorizers, user: &User, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    let all = format!("{domain}/*");
    [signer, &all].iter().any(|name| {
        let resource = authz::ResourceAttributes {
            group: GROUP,
            version: "*",
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
            field_selector: &[],
            label_selector: &[],
        };
        authorizers.decide(&authz::Attributes { user, verb, resource: Some(resource), path: "" }).is_allow()
    })
}

fn signer(object: &Map) -> &str {
    object.map("spec").map_or("", |spec| spec.str("signerName"))
}

pub(crate) struct CertificateApproval(pub(crate) Arc<Authorizers>);

impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let Some(old) =
                attributes.old.filter(|_| attributes.is(GROUP, "certificatesigningrequests", &["approval"]))
            else {
                return Ok(());
            };
            if may(&self.0, attributes.user, "approve", signer(old)) {
                return Ok(());
            }
            let signer = go_quote(signer(old));
            Err(attributes.forbidden(&format!("user not permitted to approve requests with signerName {signer}")))
        })
    }
}

pub(crate) struct CertificateSigning(pub(crate) Arc<Authorizers>);

impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let is_status = attributes.is(GROUP, "certificatesigningrequests", &["status"]);
            let (Some(new), Some(old)) = (attributes.object.as_deref().filter(|_| is_status), attributes.old) else {
                return Ok(());
            };
            let part = |csr: &Map, name: &str| csr.value_at(&["status", name]).cloned();
            let changed = |name| part(new, name) != part(old, name);
            if !(changed("certificate") || changed("conditions")) || may(&self.0, attributes.user, "sign", signer(old))
            {
                return Ok(());
            }
            let signer = go_quote(signer(old));
            Err(attributes.forbidden(&format!("user not permitted to sign requests with signerName {signer}")))
        })
    }
}

pub(crate) struct ClusterTrustBundleAttest(pub(crate) Arc<Authorizers>);

impl Plugin for ClusterTrustBundleAttest {
    fn name(&self) -> &'static str {
        "ClusterTrustBundleAttest"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let bundle = attributes.object.as_deref();
            let Some(bundle) = bundle.filter(|_| attributes.is(GROUP, "clustertrustbundles", &[""])) else {
                return Ok(());
            };
            let unchanged = attributes.old.is_some_and(|old| old.get("spec") == bundle.get("spec"));
            if unchanged || signer(bundle).is_empty() || may(&self.0, attributes.user, "attest", signer(bundle)) {
                return Ok(());
            }
            let signer = go_quote(signer(bundle));
            Err(attributes.forbidden(&format!("user not permitted to attest for signerName {signer}")))
        })
    }
}

pub(crate) struct CertificateSubjectRestriction;

impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn validate<'a>(&'a self, attributes: &'a Attributes<'_>, _: &'a dyn Reader) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let csr = attributes.object.as_deref();
            let Some(csr) = csr.filter(|_| attributes.is(GROUP, "certificatesigningrequests", &[""])) else {
                return Ok(());
            };
            if signer(csr) != CLIENT_SIGNER {
                return Ok(());
            }
            let subject = subject(csr).map_err(|why| attributes.forbidden(&format!("failed to parse CSR: {why}")))?;
            if subject.organizations.iter().any(|group| group == MASTERS) {
                let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
                return Err(attributes.forbidden(&why));
            }
            Ok(())
        })
    }
}
