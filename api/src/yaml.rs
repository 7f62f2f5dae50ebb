//! YAML in and out, by way of JSON, as upstream's serializer does it (sigs.k8s.io/yaml).

/// Nodes in one document; large lists need many.
const NODES_MAX: usize = 5_000_000;

#[derive(Debug, thiserror::Error)]
#[error("error converting YAML to JSON: yaml: {0}")]
pub struct Error(String);

/// The first document as JSON text.
pub fn to_json(text: &[u8]) -> Result<Vec<u8>, Error> {
    let text = std::str::from_utf8(text).map_err(|error| Error(error.to_string()))?;
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    let mut budget = serde_saphyr::Budget::default();
    budget.max_nodes = NODES_MAX;
    budget.max_events = NODES_MAX * 2;
    options.budget = Some(budget);
    let value: serde_json::Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| Error(error.to_string()))?;
    serde_json::to_vec(&value).map_err(|error| Error(error.to_string()))
}

/// JSON text as YAML.
pub fn from_json(text: &[u8]) -> Result<String, Error> {
    let value: serde_json::Value = serde_json::from_slice(text).map_err(|error| Error(error.to_string()))?;
    serde_saphyr::to_string(&value).map_err(|error| Error(error.to_string()))
}
