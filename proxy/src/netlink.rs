//! Just enough of netlink's wire format: messages of the netfilter family and their attributes.
//!
//! Invariant: malformed bytes end the iteration, they never panic. Non-goal: a general codec.

/// struct nlmsghdr, in bytes.
const HEADER_LENGTH: usize = 16;
/// struct nfgenmsg, in bytes.
const NFGEN_LENGTH: usize = 4;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
/// Nested and byte-order flags of an attribute's type.
const ATTRIBUTE_TYPE_MASK: u16 = 0x3fff;
pub(crate) const NESTED: u16 = 0x8000;

pub(crate) const FLAG_REQUEST: u16 = 0x1;
pub(crate) const FLAG_ACK: u16 = 0x4;
pub(crate) const FLAG_DUMP: u16 = 0x300;
pub(crate) const TYPE_ERROR: u16 = 2;
pub(crate) const TYPE_DONE: u16 = 3;

/// One message; `subsystem` and `operation` are the halves of its type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    /// The port (mostly the pid) of the socket whose request led to the message.
    pub(crate) port: u32,
    /// The NFPROTO of the nfgenmsg header.
    pub(crate) family: u8,
    /// What follows the nlmsghdr.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    pub(crate) fn subsystem(&self) -> u8 {
        (self.kind >> 8) as u8
    }

    pub(crate) fn operation(&self) -> u8 {
        (self.kind & 0xff) as u8
    }

    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(NFGEN_LENGTH..).unwrap_or_default())
    }

    /// The errno of an error message (0 for an acknowledgement).
    pub(crate) fn errno(&self) -> i32 {
        self.payload.first_chunk().map_or(0, |code| -i32::from_ne_bytes(*code))
    }
}

/// The messages of one datagram.
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let length = u32::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let message = self.0.get(..length).filter(|_| length >= HEADER_LENGTH)?;
        let kind = u16::from_ne_bytes(*message[4..].first_chunk()?);
        let port = u32::from_ne_bytes(*message[12..].first_chunk()?);
        let payload = &message[HEADER_LENGTH..];
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some(Message { kind, port, family: payload.first().copied().unwrap_or(0), payload })
    }
}

/// The attributes of a message or of another attribute: (type, value).
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let length = u16::from_ne_bytes(*self.0.first_chunk()?) as usize;
        let attribute = self.0.get(..length).filter(|_| length >= ATTRIBUTE_HEADER_LENGTH)?;
        let kind = u16::from_ne_bytes(*attribute[2..].first_chunk()?) & ATTRIBUTE_TYPE_MASK;
        self.0 = self.0.get(align(length)..).unwrap_or_default();
        Some((kind, &attribute[ATTRIBUTE_HEADER_LENGTH..]))
    }
}

impl<'a> Attributes<'a> {
    pub(crate) fn find(mut self, wanted: u16) -> Option<&'a [u8]> {
        self.find_map(|(kind, value)| (kind == wanted).then_some(value))
    }
}

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A request of the netfilter family with attributes, given as (type, value).
pub(crate) fn request(kind: u16, flags: u16, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut payload = vec![family, 0, 0, 0];
    for (kind, value) in attributes {
        let length = ATTRIBUTE_HEADER_LENGTH + value.len();
        payload.extend((length as u16).to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(*value);
        payload.resize(align(payload.len()), 0);
    }
    let mut message = ((HEADER_LENGTH + payload.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((FLAG_REQUEST | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_back() {
        let bytes = request(0x0102, FLAG_ACK, 2, &[(1 | NESTED, b"abc"), (2, b"")]);
        let twice = [bytes.clone(), bytes].concat();
        let found: Vec<Message<'_>> = Messages(&twice).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].subsystem(), found[1].operation(), found[1].family), (1, 2, 2));
        assert_eq!(found[1].attributes().collect::<Vec<_>>(), [(1, b"abc".as_slice()), (2, b"")]);
        assert_eq!(found[0].attributes().find(3), None);
    }

    #[test]
    fn garbage_ends_the_iteration() {
        for garbage in [vec![], vec![1], vec![255; 40], vec![0; 40], vec![16, 0, 0, 0]] {
            assert_eq!(Messages(&garbage).count(), 0, "{garbage:?}");
            let _ = Attributes(&garbage).count();
        }
    }
}
