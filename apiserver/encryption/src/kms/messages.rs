//! What is said to a KMS plugin, and what stands in the store: field numbers as in k8s.io/kms/apis/v2/api.proto and
//! k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto @v0.37.2. Written by hand, so that no build needs
//! protoc.

use std::collections::BTreeMap;

/// What a plugin adds to an encrypted key, in the clear.
pub type Annotations = BTreeMap<String, Vec<u8>>;

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    /// `v2` or `v2beta1`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Anything but `ok` is a failure.
    #[prost(string, tag = "2")]
    pub healthz: String,
    #[prost(string, tag = "3")]
    pub key_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: Annotations,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub uid: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub annotations: Annotations,
}

/// `EncryptedDEKSourceType`: the decrypted source is the key itself.
pub(crate) const AES_GCM_KEY: i32 = 0;
/// The decrypted source is a seed from which keys are derived.
pub(crate) const HKDF_SHA256_XNONCE_AES_GCM_SEED: i32 = 1;

/// An object as it is stored behind the prefix of a plugin.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) encrypted_data: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) encrypted_dek_source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub(crate) annotations: Annotations,
    #[prost(int32, tag = "5")]
    pub(crate) encrypted_dek_source_type: i32,
}
