//! The name of this server among its like (k8s.io/apiserver/pkg/server/config.go@v0.37.2: APIServerID).

use sha2::{Digest, Sha256};

/// Bytes of the digest that are shown.
const SHOWN_BYTES: usize = 16;
/// RFC 4648, in small letters.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The name of the server on this machine.
pub(crate) fn here() -> String {
    // Where there is no such file, nothing is told apart but metrics.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    of(host.trim_end())
}

fn of(host: &str) -> String {
    let mut digest = Sha256::new();
    for part in [host, "kube-apiserver"] {
        digest.update((part.len() as u16).to_be_bytes());
        digest.update(part);
    }
    format!("apiserver-{}", base32(&digest.finalize()[..SHOWN_BYTES]))
}

/// Without padding.
fn base32(bytes: &[u8]) -> String {
    let (mut out, mut bits, mut kept) = (String::new(), 0u32, 0);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        kept += 8;
        while kept >= 5 {
            kept -= 5;
            out.push(char::from(ALPHABET[(bits >> kept) as usize & 31]));
        }
        bits &= (1 << kept) - 1;
    }
    if kept > 0 {
        out.push(char::from(ALPHABET[(bits << (5 - kept)) as usize & 31]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_hosts() {
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
        assert_eq!(of("node-1"), "apiserver-lgabes5ywnaqeagh5dny4zlzs4");
    }
}
