//! The numbers that etcd gives a member and its cluster (`server/etcdserver/api/membership@v3.7.3`, computeMemberID and genID).
//!
//! Invariant: a function of the peer URLs and the cluster's token alone, so they stay from start to start.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster: u64,
    pub(crate) member: u64,
}

impl Identity {
    pub(crate) fn new(peer_urls: &[String], token: &str) -> Identity {
        let mut urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
        urls.sort_unstable();
        urls.push(token);
        let member = first_eight(urls.concat().as_bytes());
        Identity { cluster: first_eight(&member.to_be_bytes()), member }
    }
}

fn first_eight(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    digest.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etcd_without_flags_has_these_numbers() {
        let found = Identity::new(&["http://localhost:2380".into()], "etcd-cluster");
        assert_eq!(found, Identity { cluster: 0xcdf8_1819_4e3a_8c32, member: 0x8e9e_05c5_2164_694d });
    }
}
