//! The set of node ports in use: one RangeAllocation whose data is the bytes of a Go big.Int, bit i for
//! the port i above the first (pkg/registry/core/service/allocator@v1.37.2).

use api::map;
use api::status::Status;
use api::value::{Map, Value};
use api::{facts, proto};
use base64::Engine;
use bytes::Bytes;
use store::{Outcome, Write};

use crate::hub::{Hub, store_failure};

const KEY: &str = "/registry/ranges/servicenodeports";
/// Races lost before an allocation gives up.
const RETRIES_MAX: usize = 50;

/// Big-endian bits, lowest last, as big.Int's Bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u8>);

impl Bits {
    pub(super) fn get(&self, at: usize) -> bool {
        let Some(byte) = self.0.len().checked_sub(1 + at / 8) else { return false };
        self.0[byte] & (1 << (at % 8)) != 0
    }

    pub(super) fn set(&mut self, at: usize, on: bool) {
        let wanted = at / 8 + 1;
        if self.0.len() < wanted {
            let missing = wanted - self.0.len();
            self.0.splice(0..0, std::iter::repeat_n(0, missing));
        }
        let byte = self.0.len() - 1 - at / 8;
        if on {
            self.0[byte] |= 1 << (at % 8)
        } else {
            self.0[byte] &= !(1 << (at % 8))
        }
        let zeros = self.0.iter().take_while(|byte| **byte == 0).count();
        self.0.drain(..zeros);
    }
}

/// Changes the set by `change` with compare-and-write; gives what `change` gave.
pub(super) async fn update<T>(
    hub: &Hub,
    mut change: impl FnMut(&mut Bits) -> Result<T, Status> + Send,
) -> Result<T, Status> {
    let ty = facts::kind("", "v1", "RangeAllocation").ok_or_else(|| Status::internal("no RangeAllocation"))?;
    let engine = base64::engine::general_purpose::STANDARD;
    for _ in 0..RETRIES_MAX {
        let got = hub.store.get(KEY.as_bytes(), 0).await.map_err(|error| store_failure(&error))?;
        let (mut object, revision) = match got.kv {
            Some(kv) => {
                let unknown = proto::unwrap(&kv.value)
                    .ok()
                    .flatten()
                    .ok_or_else(|| Status::internal("undecodable node port range"))?;
                let object = proto::decode(unknown.raw, ty).map_err(|error| Status::internal(&error.to_string()))?;
                (object, kv.mod_revision)
            }
            None => (Map::new(), 0),
        };
        let mut bits = Bits(engine.decode(object.str("data")).unwrap_or_default());
        let outcome = change(&mut bits)?;
        let (first, last) = hub.network.node_ports;
        object.set("range", format!("{first}-{last}"));
        object.set("data", engine.encode(&bits.0));
        if !object.contains("metadata") {
            object.set("metadata", Value::Map(map! {}));
        }
        let value = proto::wrap("v1", "RangeAllocation", &proto::encode(&object, ty));
        let write = Write {
            key: Bytes::from_static(KEY.as_bytes()),
            value: Some(value.into()),
            expect: Some(revision),
            lease: 0,
        };
        if let Outcome::Done { .. } = hub.store.write(write).await.map_err(|error| store_failure(&error))? {
            return Ok(outcome);
        }
    }
    Err(Status::server_timeout("", "services", "allocate node port", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_big_endian_integer_without_leading_zeros() {
        let mut bits = Bits::default();
        bits.set(0, true);
        assert_eq!(bits.0, [1]);
        bits.set(9, true);
        assert_eq!(bits.0, [2, 1]);
        assert!(bits.get(9) && bits.get(0) && !bits.get(8) && !bits.get(100));
        bits.set(9, false);
        assert_eq!(bits.0, [1]);
        bits.set(0, false);
        assert!(bits.0.is_empty());
    }
}
