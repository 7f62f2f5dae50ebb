//! The ciphers whose keys are in the configuration, and the one whose keys are derived from a seed
//! (k8s.io/apiserver/pkg/storage/value/encrypt/{aes,secretbox}@v0.37.2).
//!
//! Invariant: every call makes its own random nonce. Non-goal: prefixes.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::iv::FixedLength;
use crypto_secretbox::{AeadInPlace, KeyInit, XSalsa20Poly1305};

use crate::Error;

/// Bytes of AES' blocks and of CBC's initialization vector.
const BLOCK_BYTES: usize = 16;
/// Bytes of GCM's nonce and tag.
const GCM_NONCE_BYTES: usize = 12;
/// Bytes of secretbox' nonce and of the tag that follows it.
const SECRETBOX_NONCE_BYTES: usize = 24;
const SECRETBOX_TAG_BYTES: usize = 16;
/// Bytes of a seed at least, of what is mixed with it for one encryption, and of the key that comes out.
pub(crate) const SEED_BYTES: usize = 32;
const INFO_BYTES: usize = 32;
const DERIVED_KEY_BYTES: usize = 32;

fn too_short() -> Error {
    Error::new("the stored data was shorter than the required size")
}

/// `count` random bytes at the end of `out`.
fn push_random(out: &mut Vec<u8>, count: usize) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + count, 0);
    aws_lc_rs::rand::fill(&mut out[start..]).map_err(|_| Error::new("unable to read sufficient random bytes"))
}

/// A new random key of `count` bytes.
pub(crate) fn random_key(count: usize) -> Result<Vec<u8>, Error> {
    let mut key = Vec::with_capacity(count);
    push_random(&mut key, count)?;
    Ok(key)
}

/// One key of one provider.
pub(crate) enum Cipher {
    Cbc(Cbc),
    Gcm(Gcm),
    Secretbox(Secretbox),
}

impl Cipher {
    /// Decrypts what was stored under `key`.
    pub(crate) fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Cipher::Cbc(cipher) => cipher.open(stored),
            Cipher::Gcm(cipher) => cipher.open(key, stored),
            Cipher::Secretbox(cipher) => cipher.open(stored),
        }
    }

    /// Encrypts what is to be stored under `key`.
    pub(crate) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Cipher::Cbc(cipher) => cipher.seal(plain),
            Cipher::Gcm(cipher) => cipher.seal(key, plain),
            Cipher::Secretbox(cipher) => cipher.seal(plain),
        }
    }
}

/// AES-CBC: vector, then blocks with PKCS#7 padding. Nothing authenticates them.
pub(crate) struct Cbc {
    encrypting: EncryptingKey,
    decrypting: DecryptingKey,
}

impl Cbc {
    /// # Errors
    /// As Go's, for a key that is not of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self, Error> {
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            other => return Err(key_size(other)),
        };
        let unbound = || UnboundCipherKey::new(algorithm, key);
        let refused = |_| key_size(key.len());
        Ok(Cbc {
            encrypting: unbound().and_then(EncryptingKey::cbc).map_err(refused)?,
            decrypting: unbound().and_then(DecryptingKey::cbc).map_err(refused)?,
        })
    }

    fn open(&self, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let (vector, blocks) = stored.split_first_chunk::<BLOCK_BYTES>().ok_or_else(too_short)?;
        if blocks.len() % BLOCK_BYTES != 0 {
            return Err(Error::new("the stored data is not a multiple of the block size"));
        }
        let mut plain = blocks.to_vec();
        let context = DecryptionContext::Iv128(FixedLength::from(vector));
        let unpadded = || Error::new("invalid PKCS7 data (empty or not padded)");
        self.decrypting.decrypt(&mut plain, context).map_err(|_| unpadded())?;
        let padding = plain.last().copied().ok_or_else(unpadded)?;
        let size = plain.len().checked_sub(usize::from(padding)).filter(|_| padding != 0).ok_or_else(unpadded)?;
        if plain[size..].iter().any(|byte| *byte != padding) {
            return Err(Error::new("invalid padding on input"));
        }
        plain.truncate(size);
        Ok(plain)
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let padding = BLOCK_BYTES - plain.len() % BLOCK_BYTES;
        let mut out = Vec::with_capacity(BLOCK_BYTES + plain.len() + padding);
        push_random(&mut out, BLOCK_BYTES)?;
        out.extend_from_slice(plain);
        out.resize(out.len() + padding, padding as u8);
        let (vector, blocks) = out.split_first_chunk_mut::<BLOCK_BYTES>().ok_or_else(too_short)?;
        let context = EncryptionContext::Iv128(FixedLength::from(&*vector));
        self.encrypting.less_safe_encrypt(blocks, context).map_err(|_| Error::new("AES-CBC failed"))?;
        Ok(out)
    }
}

/// Go's crypto/aes: KeySizeError.
fn key_size(bytes: usize) -> Error {
    Error::new(format!("crypto/aes: invalid key size {bytes}"))
}

/// AES-GCM: nonce, ciphertext, tag; the store's key is authenticated with it.
pub(crate) struct Gcm(LessSafeKey);

impl Gcm {
    /// # Errors
    /// As Go's, for a key that is not of 16, 24 or 32 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self, Error> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            24 => &AES_192_GCM,
            32 => &AES_256_GCM,
            other => return Err(key_size(other)),
        };
        UnboundKey::new(algorithm, key).map(|key| Gcm(LessSafeKey::new(key))).map_err(|_| key_size(key.len()))
    }

    pub(crate) fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Error> {
        let (nonce, sealed) = stored.split_first_chunk::<GCM_NONCE_BYTES>().ok_or_else(too_short)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(key), &mut plain).map(|plain| plain.len());
        let len = opened.map_err(|_| Error::new("cipher: message authentication failed"))?;
        plain.truncate(len);
        Ok(plain)
    }

    fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(GCM_NONCE_BYTES + plain.len() + self.0.algorithm().tag_len());
        self.seal_after(&mut out, key, plain)?;
        Ok(out)
    }

    /// Appends nonce, ciphertext and tag to what is in `out`.
    fn seal_after(&self, out: &mut Vec<u8>, key: &[u8], plain: &[u8]) -> Result<(), Error> {
        let start = out.len();
        push_random(out, GCM_NONCE_BYTES)?;
        out.extend_from_slice(plain);
        let (head, text) = out[start..].split_first_chunk_mut::<GCM_NONCE_BYTES>().ok_or_else(too_short)?;
        let nonce = Nonce::assume_unique_for_key(*head);
        let sealed = self.0.seal_in_place_separate_tag(nonce, Aad::from(key), text);
        out.extend_from_slice(sealed.map_err(|_| Error::new("AES-GCM failed"))?.as_ref());
        Ok(())
    }
}

/// XSalsa20 and Poly1305: nonce, tag, ciphertext. The store's key is not authenticated.
pub(crate) struct Secretbox(XSalsa20Poly1305);

impl Secretbox {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Secretbox(XSalsa20Poly1305::new(key.into()))
    }

    fn open(&self, stored: &[u8]) -> Result<Vec<u8>, Error> {
        let (nonce, rest) = stored.split_first_chunk::<SECRETBOX_NONCE_BYTES>().ok_or_else(too_short)?;
        let (tag, sealed) = rest.split_first_chunk::<SECRETBOX_TAG_BYTES>().ok_or_else(too_short)?;
        let mut plain = sealed.to_vec();
        let opened = self.0.decrypt_in_place_detached(nonce.into(), b"", &mut plain, tag.into());
        // What upstream calls a box that does not open.
        opened.map_err(|_| Error::new("output array was not large enough for encryption"))?;
        Ok(plain)
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(SECRETBOX_NONCE_BYTES + SECRETBOX_TAG_BYTES + plain.len());
        push_random(&mut out, SECRETBOX_NONCE_BYTES)?;
        out.resize(out.len() + SECRETBOX_TAG_BYTES, 0);
        out.extend_from_slice(plain);
        let (nonce, rest) = out.split_first_chunk_mut::<SECRETBOX_NONCE_BYTES>().ok_or_else(too_short)?;
        let (tag, text) = rest.split_first_chunk_mut::<SECRETBOX_TAG_BYTES>().ok_or_else(too_short)?;
        let made = self.0.encrypt_in_place_detached((&*nonce).into(), b"", text);
        tag.copy_from_slice(&made.map_err(|_| Error::new("secretbox failed"))?);
        Ok(out)
    }
}

/// AES-GCM with a key of its own for every encryption: random bytes, then as [`Gcm`]. The key is what HKDF's expansion
/// makes of a seed and those bytes, so that one seed serves for any number of writes
/// (encrypt/aes/aes_extended_nonce.go). Deriving it is cheap; upstream's cache of derived keys has no counterpart here.
pub(crate) struct Seed(Vec<u8>);

struct DerivedKey;

impl KeyType for DerivedKey {
    fn len(&self) -> usize {
        DERIVED_KEY_BYTES
    }
}

impl Seed {
    pub(crate) fn new(seed: Vec<u8>) -> Result<Self, Error> {
        match seed.len() {
            // aws-lc takes no longer ones; upstream makes them of 32 bytes.
            SEED_BYTES..=64 => Ok(Seed(seed)),
            other => Err(Error::new(format!("invalid seed length {other} used for key generation"))),
        }
    }

    fn derived(&self, info: &[u8]) -> Result<Gcm, Error> {
        let mut key = [0; DERIVED_KEY_BYTES];
        let seed = Prk::new_less_safe(HKDF_SHA256, &self.0);
        let info = [info];
        let filled = seed.expand(&info, DerivedKey).and_then(|okm| okm.fill(&mut key));
        filled.map_err(|_| Error::new("failed to derive read key from KDF"))?;
        Gcm::new(&key)
    }

    pub(crate) fn open(&self, key: &[u8], stored: &[u8]) -> Result<Vec<u8>, Error> {
        let (info, sealed) = stored.split_first_chunk::<INFO_BYTES>().ok_or_else(too_short)?;
        self.derived(info)?.open(key, sealed)
    }

    pub(crate) fn seal(&self, key: &[u8], plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(INFO_BYTES + GCM_NONCE_BYTES + plain.len() + BLOCK_BYTES);
        push_random(&mut out, INFO_BYTES)?;
        self.derived(&out)?.seal_after(&mut out, key, plain)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers() -> Vec<(&'static str, Cipher, bool)> {
        let mut all = vec![("secretbox", Cipher::Secretbox(Secretbox::new(&[7; 32])), false)];
        for bytes in [16, 24, 32] {
            all.push(("aescbc", Cipher::Cbc(Cbc::new(&vec![1; bytes]).expect("a key")), false));
            all.push(("aesgcm", Cipher::Gcm(Gcm::new(&vec![1; bytes]).expect("a key")), true));
        }
        all
    }

    #[test]
    fn what_is_sealed_opens_and_a_moved_value_opens_only_where_nothing_authenticates_the_key() {
        for (name, cipher, bound) in ciphers() {
            for plain in [&b""[..], b"x", b"0123456789abcdef", &[9; 1000]] {
                let sealed = cipher.seal(b"/registry/secrets/a/b", plain).expect("sealed");
                assert_eq!(cipher.open(b"/registry/secrets/a/b", &sealed).as_deref(), Ok(plain), "{name}");
                assert_eq!(cipher.open(b"/registry/secrets/a/c", &sealed).is_err(), bound, "{name}");
                assert_ne!(
                    sealed,
                    cipher.seal(b"/registry/secrets/a/b", plain).expect("sealed"),
                    "{name}: a nonce twice"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_refused_with_upstreams_words() {
        let short = "the stored data was shorter than the required size";
        for (name, cipher, _) in ciphers() {
            assert_eq!(cipher.open(b"k", b"short").map_err(|e| e.to_string()), Err(short.into()), "{name}");
        }
        let text = |cipher: &Cipher, change: fn(&mut Vec<u8>)| {
            let mut sealed = cipher.seal(b"k", b"0123456789abcdef").expect("sealed");
            change(&mut sealed);
            cipher.open(b"k", &sealed).map_err(|error| error.to_string())
        };
        let gcm = Cipher::Gcm(Gcm::new(&[1; 32]).expect("a key"));
        assert_eq!(text(&gcm, |s| s[20] ^= 1), Err("cipher: message authentication failed".into()));
        let secretbox = Cipher::Secretbox(Secretbox::new(&[1; 32]));
        assert_eq!(text(&secretbox, |s| s[50] ^= 1), Err("output array was not large enough for encryption".into()));
        let cbc = Cipher::Cbc(Cbc::new(&[1; 32]).expect("a key"));
        assert_eq!(text(&cbc, |s| s.truncate(40)), Err("the stored data is not a multiple of the block size".into()));
        assert_eq!(text(&cbc, |s| s.truncate(16)), Err("invalid PKCS7 data (empty or not padded)".into()));
        // The block before the padding decides what the padding decrypts to.
        assert_eq!(text(&cbc, |s| s[31] ^= 16), Err("invalid PKCS7 data (empty or not padded)".into()));
        assert_eq!(text(&cbc, |s| s[31] ^= 16 ^ 2), Err("invalid padding on input".into()));
    }

    #[test]
    fn a_seed_is_bound_to_the_key_and_long_enough() {
        let seed = Seed::new(vec![3; 32]).expect("a seed");
        let sealed = seed.seal(b"k", b"plain").expect("sealed");
        assert_eq!(sealed.len(), 32 + 12 + 5 + 16);
        assert_eq!(seed.open(b"k", &sealed).as_deref(), Ok(&b"plain"[..]));
        assert!(seed.open(b"other", &sealed).is_err());
        let short = Seed::new(vec![3; 31]).err().map(|error| error.to_string());
        assert_eq!(short.as_deref(), Some("invalid seed length 31 used for key generation"));
    }
}
