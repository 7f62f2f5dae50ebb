//! What this API server calls itself (k8s.io/apiserver/pkg/server/config.go@v0.37.2: NewConfig).

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// `apiserver-` and the digest of the host's name: the same after a restart, another on another machine.
pub(crate) fn of_host() -> String {
    let name = rustix::system::uname();
    of(name.nodename().to_bytes())
}

fn of(host: &[u8]) -> String {
    let mut hash = Sha256::new();
    for part in [host, b"kube-apiserver"] {
        let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
        hash.update(length.to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// Without padding.
fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let digit = |at: usize| (at..at + 5).fold(0, |digit, at| digit << 1 | usize::from(bit(at)));
    (0..bytes.len() * 8).step_by(5).map(|at| char::from(ALPHABET[digit(at)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_digests() {
        // RFC 4648, section 10.
        for (bytes, expect) in [("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foobar", "mzxw6ytboi")] {
            assert_eq!(base32(bytes.as_bytes()), expect);
        }
        let name = of(b"host");
        assert_eq!((name.len(), name.starts_with("apiserver-")), (36, true), "{name}");
        assert_ne!(name, of(b"other"));
    }
}
