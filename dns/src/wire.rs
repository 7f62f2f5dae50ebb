//! Messages as bytes: what is refused before anyone looks at it, and how a reply is made to fit.
//!
//! Invariant: whatever comes in, what goes out is a valid message no longer than the client takes.

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record};

use crate::answer::Reply;

/// Header bytes: less is no DNS message at all.
const HEADER_LENGTH: usize = 12;
/// What every client takes by UDP, in bytes.
const UDP_LENGTH_MIN: usize = 512;
const LENGTH_MAX: usize = u16::MAX as usize;
/// What an IPv4 datagram holds, in bytes.
const UDP_LENGTH_MAX: usize = 65_507;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A request that can be answered.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) message: Message,
    pub(crate) query: Query,
}

/// Reads a request; the error is the reply to send, if any.
pub(crate) fn read(bytes: &[u8]) -> Result<Request, Option<Vec<u8>>> {
    let message = match Message::from_vec(bytes) {
        Ok(message) => message,
        Err(_) => return Err(malformed(bytes)),
    };
    if message.metadata.message_type == MessageType::Response {
        // Answering an answer makes loops.
        return Err(None);
    }
    if message.metadata.op_code != OpCode::Query {
        return Err(refusal(&message, ResponseCode::NotImp));
    }
    let Some(query) = message.queries.first().cloned() else {
        return Err(refusal(&message, ResponseCode::ServFail));
    };
    if query.query_class() != DNSClass::IN {
        return Err(refusal(&message, ResponseCode::Refused));
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return Err(refusal(&message, ResponseCode::BADVERS));
    }
    Ok(Request { message, query })
}

fn malformed(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_query = bytes.len() >= HEADER_LENGTH && bytes[2] & 0x80 == 0;
    let id = u16::from_be_bytes(*bytes.first_chunk()?);
    let reply = is_query.then(|| Message::error_msg(id, OpCode::Query, ResponseCode::FormErr));
    reply.and_then(|reply| reply.to_vec().ok())
}

/// A reply that has nothing but a code.
pub(crate) fn refusal(request: &Message, code: ResponseCode) -> Option<Vec<u8>> {
    header(request, code).to_vec().ok()
}

fn header(request: &Message, code: ResponseCode) -> Message {
    let metadata = Metadata::response_from_request(&request.metadata);
    let mut message = Message::new(metadata.id, MessageType::Response, metadata.op_code);
    message.metadata = metadata;
    message.metadata.response_code = code;
    message.add_queries(request.queries.iter().cloned());
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(asked.max_payload());
        edns.set_dnssec_ok(asked.flags().dnssec_ok);
        message.set_edns(edns);
    }
    message
}

/// The most bytes that the client takes.
pub(crate) fn length_max(request: &Message, transport: Transport) -> usize {
    let asked = request.edns.as_ref().map_or(0, |edns| usize::from(edns.max_payload()));
    match transport {
        Transport::Tcp => LENGTH_MAX,
        Transport::Udp => asked.clamp(UDP_LENGTH_MIN, UDP_LENGTH_MAX),
    }
}

/// An authoritative reply as bytes, cut and marked so if it does not fit.
pub(crate) fn write(request: &Message, reply: Reply, transport: Transport) -> Option<Vec<u8>> {
    let mut whole = header(request, reply.code);
    whole.metadata.authoritative = reply.code != ResponseCode::Refused;
    whole.answers = reply.answers;
    whole.authorities = reply.authorities;
    whole.additionals = reply.additionals;
    let max = length_max(request, transport);
    let bytes = whole.to_vec().ok().filter(|bytes| bytes.len() <= max);
    bytes.or_else(|| cut(&whole, max))
}

/// The longest prefix of the records that fits.
fn cut(whole: &Message, max: usize) -> Option<Vec<u8>> {
    let total = whole.answers.len() + whole.authorities.len() + whole.additionals.len();
    let (mut fits, mut too_many) = (0, total);
    let mut best = with_records(whole, 0).to_vec().ok()?;
    while too_many - fits > 1 {
        let middle = fits.midpoint(too_many);
        match with_records(whole, middle).to_vec() {
            Ok(bytes) if bytes.len() <= max => (fits, best) = (middle, bytes),
            _ => too_many = middle,
        }
    }
    Some(best)
}

fn with_records(whole: &Message, count: usize) -> Message {
    let mut left = count;
    let mut some = |records: &[Record]| {
        let taken = records.len().min(left);
        left -= taken;
        records[..taken].to_vec()
    };
    let mut message = whole.clone();
    message.metadata.truncation = true;
    message.answers = some(&whole.answers);
    message.authorities = some(&whole.authorities);
    message.additionals = some(&whole.additionals);
    message
}

/// Another server's answer for this client: with the client's id, and without records if it is too
/// long.
pub(crate) fn relay(request: &Message, mut answer: Vec<u8>, transport: Transport) -> Option<Vec<u8>> {
    if answer.len() > length_max(request, transport) {
        let mut empty = header(request, ResponseCode::NoError);
        empty.metadata.truncation = true;
        empty.metadata.recursion_available = true;
        return empty.to_vec().ok();
    }
    answer.get_mut(..2)?.copy_from_slice(&request.metadata.id.to_be_bytes());
    Some(answer)
}
