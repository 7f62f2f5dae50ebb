//! The envelope: what may stand in it (kmsv2/envelope.go: ValidateEncryptedObject).

use api::field::Path;
use prost::Message;
use sha2::{Digest, Sha256};

use super::messages::{AES_GCM_KEY, Annotations, EncryptedObject, HKDF_SHA256_XNONCE_AES_GCM_SEED};
use crate::Error;

/// Bytes of annotations, of a key ID and of an encrypted source at the most.
const ANNOTATIONS_BYTES_MAX: usize = 32 * 1024;
const KEY_ID_BYTES_MAX: usize = 1024;
const SOURCE_BYTES_MAX: usize = 1024;

/// What is stored behind a plugin's prefix.
pub(super) fn decode(stored: &[u8]) -> Result<EncryptedObject, Error> {
    let object = EncryptedObject::decode(stored);
    let object = object.map_err(|_| Error::new("proto: cannot parse invalid wire-format data"))?;
    validate(&object)?;
    Ok(object)
}

pub(super) fn encode(object: &EncryptedObject) -> Result<Vec<u8>, Error> {
    validate(object)?;
    Ok(object.encode_to_vec())
}

fn validate(object: &EncryptedObject) -> Result<(), Error> {
    let kind = object.encrypted_dek_source_type;
    if !matches!(kind, AES_GCM_KEY | HKDF_SHA256_XNONCE_AES_GCM_SEED) {
        return Err(Error::new(format!("unknown encryptedDEKSourceType: {kind}")));
    }
    if object.encrypted_data.is_empty() {
        return Err(Error::new("encrypted data is empty"));
    }
    validate_source(&object.encrypted_dek_source, &object.key_id, &object.annotations)
}

/// What a plugin has answered to a new seed.
pub(super) fn validate_source(source: &[u8], key_id: &str, annotations: &Annotations) -> Result<(), Error> {
    let text = |why: String| Err(Error::new(why));
    let len = source.len();
    if len == 0 {
        return text("failed to validate encrypted DEK source: encrypted DEK source is empty".into());
    }
    if len > SOURCE_BYTES_MAX {
        return text(format!(
            "failed to validate encrypted DEK source: encrypted DEK source is {len} bytes, which exceeds the max size of {SOURCE_BYTES_MAX}"
        ));
    }
    if let Err((_, why)) = validate_key_id(key_id) {
        return text(format!("failed to validate key id: {why}"));
    }
    match annotation_errors(annotations) {
        Some(error) => Err(error.within("failed to validate annotations: ")),
        None => Ok(()),
    }
}

/// The error has its code as metrics show it, and its text.
pub(super) fn validate_key_id(key_id: &str) -> Result<(), (&'static str, String)> {
    match key_id.len() {
        0 => Err(("empty", "keyID is empty".into())),
        1..=KEY_ID_BYTES_MAX => Ok(()),
        len => Err(("too_long", format!("keyID is {len} bytes, which exceeds the max size of {KEY_ID_BYTES_MAX}"))),
    }
}

fn annotation_errors(annotations: &Annotations) -> Option<Error> {
    let path = Path::new("annotations");
    let names = annotations.keys().flat_map(|name| api::names::is_fully_qualified_domain_name(&path, name));
    let mut errors: Vec<Error> = names.map(|error| Error::new(error.to_string())).collect();
    let size: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::new(format!(
            "total size of annotations is {size}, which exceeds the max size of {ANNOTATIONS_BYTES_MAX}"
        )));
    }
    Error::all(errors)
}

/// What tells one encrypted source from all others.
pub(super) type SourceId = [u8; 32];

/// Of everything that decides what a source decrypts to; lengths keep the parts apart (kmsv2/envelope.go: generateCacheKey).
pub(super) fn source_id(kind: i32, source: &[u8], key_id: &str, annotations: &Annotations) -> SourceId {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(&kind.to_be_bytes());
    part(source);
    part(key_id.as_bytes());
    for (name, value) in annotations {
        part(name.as_bytes());
        part(value);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: fn(&mut EncryptedObject), expect: Option<&str>) {
        let mut object = EncryptedObject {
            encrypted_data: vec![1],
            key_id: "1".into(),
            encrypted_dek_source: vec![2],
            annotations: Annotations::from([("kms.example.com".into(), vec![3])]),
            encrypted_dek_source_type: HKDF_SHA256_XNONCE_AES_GCM_SEED,
        };
        change(&mut object);
        assert_eq!(encode(&object).err().map(|error| error.to_string()).as_deref(), expect);
        assert_eq!(decode(&object.encode_to_vec()).err().map(|error| error.to_string()).as_deref(), expect);
    }

    #[test]
    fn what_may_not_stand_in_an_envelope() {
        check(|_| {}, None);
        check(|o| o.encrypted_dek_source_type = AES_GCM_KEY, None);
        check(|o| o.encrypted_dek_source_type = 2, Some("unknown encryptedDEKSourceType: 2"));
        check(|o| o.encrypted_data.clear(), Some("encrypted data is empty"));
        check(
            |o| o.encrypted_dek_source.clear(),
            Some("failed to validate encrypted DEK source: encrypted DEK source is empty"),
        );
        check(
            |o| o.encrypted_dek_source = vec![0; 1025],
            Some(
                "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
            ),
        );
        check(|o| o.key_id.clear(), Some("failed to validate key id: keyID is empty"));
        check(
            |o| o.key_id = "x".repeat(1025),
            Some("failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024"),
        );
        check(
            |o| drop(o.annotations.insert("plain".into(), vec![])),
            Some(
                "failed to validate annotations: annotations: Invalid value: \"plain\": should be a domain with at least two segments separated by dots",
            ),
        );
        check(
            |o| drop(o.annotations.insert("a.b".into(), vec![0; 32 * 1024])),
            Some(
                "failed to validate annotations: total size of annotations is 32787, which exceeds the max size of 32768",
            ),
        );
    }
}
