//! Texts with a format as values of CEL
//! (k8s.io/kube-openapi/pkg/validation/strfmt as k8s.io/apiserver/pkg/cel/common/valuesunstructured.go@v0.37.2 uses it).
//!
//! Invariant: errors are Go's. Non-goal: whether the format admits the text, which is validation's.

use api::time;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cel::value::{Fault, Outcome, Timestamp, Value};

/// Base64 for URLs as Go's decoder takes it: padded, whatever the bits that are left over.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Duration,
    Date,
    DateTime,
    Byte,
}

impl Format {
    pub(crate) fn of(name: &str) -> Format {
        match name {
            "duration" => Format::Duration,
            "date" => Format::Date,
            "date-time" => Format::DateTime,
            "byte" => Format::Byte,
            _ => Format::Text,
        }
    }

    pub(crate) fn value(self, text: &str) -> Outcome {
        match self {
            Format::Text => Ok(Value::from(text)),
            Format::Duration => structural::schema::parse_duration(text)
                .map(Value::Duration)
                .map_err(|error| Fault::new(format!("Invalid duration {text}: {error}"))),
            Format::Date => {
                date(text).map_err(|error| Fault::new(format!("Invalid date formatted string {text}: {error}")))
            }
            Format::DateTime => date_time(text)
                .map_err(|error| Fault::new(format!("Invalid date-time formatted string {text}: {error}"))),
            Format::Byte => {
                bytes(text).map_err(|error| Fault::new(format!("Invalid byte formatted string {text}: {error}")))
            }
        }
    }
}

fn timestamp(seconds: i64, nanos: u32) -> Result<Value, String> {
    Timestamp::new(seconds, nanos).map(Value::Timestamp).ok_or_else(|| "timestamp overflow".to_owned())
}

fn date(text: &str) -> Result<Value, String> {
    timestamp(time::parse_date(text).map_err(|error| error.to_string())?, 0)
}

/// With a zone or without one; no text is the epoch.
fn date_time(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return timestamp(0, 0);
    }
    if let Some(time) = Timestamp::parse(text) {
        return Ok(Value::Timestamp(time));
    }
    // The last layout that is tried says why none fits.
    let (seconds, nanos) = time::parse_local(text).map_err(|error| error.to_string())?;
    timestamp(seconds, nanos.unsigned_abs())
}

fn bytes(text: &str) -> Result<Value, String> {
    // Go does not see line breaks.
    let plain: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let decoded = BASE64.decode(&plain).map_err(|error| {
        let at = match error {
            base64::DecodeError::InvalidByte(at, _) => at,
            base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
        };
        format!("illegal base64 data at input byte {at}")
    })?;
    Ok(Value::Bytes(decoded.into()))
}
