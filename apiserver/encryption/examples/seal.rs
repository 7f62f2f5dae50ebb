//! Reads recorded outcomes and prints them with values that were stored here in place of upstream's; see
//! `testdata/README.md`.

#[path = "../tests/toy/mod.rs"]
mod toy;

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use toy::{Recorded, load, split};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut recorded: Recorded = serde_json::from_reader(io::stdin())?;
    for value in recorded.values.iter_mut().filter(|value| !value.is_random()) {
        let transformers = load(&value.writer, false)?;
        let (resource, group) = split(&value.resource);
        if let Some(transformer) = transformers.of(group, resource) {
            let plain = STANDARD.decode(&value.plain)?;
            value.stored = STANDARD.encode(transformer.write(&value.resource, value.key.as_bytes(), plain)?);
        }
    }
    serde_json::to_writer(io::stdout(), &recorded)?;
    Ok(())
}
