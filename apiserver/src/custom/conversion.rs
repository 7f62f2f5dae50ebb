//! Conversion between the versions of a custom resource by its webhook
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/conversion@v0.37.2).
//!
//! Invariant: a webhook is asked for what is in another version than wanted, and for nothing else; what comes back is
//! brought into the schema of its new version.

use std::sync::Arc;
use std::time::Duration;

use api::facts::{api_version, split_api_version};
use api::status::Status;
use api::value::Map;

use crate::admission::Reader;
use crate::strategy::Strategy;
use crate::webhook::Version;
use crate::webhook::client::Clients;
use crate::webhook::conversion_review as review;
use crate::webhook::place::Place;

/// How long a webhook may take (k8s.io/apiserver/pkg/util/webhook/authentication.go@v0.37.2: setGlobalDefaults).
const TIMEOUT: Duration = Duration::from_secs(30);
/// Objects of one review.
const OBJECTS_MAX: usize = 500;

/// The webhook of a definition.
pub(crate) struct Converter {
    clients: Arc<Clients>,
    place: Place,
    review: Option<Version>,
    /// The apiVersions that objects may have.
    versions: Vec<String>,
}

/// A failed conversion has no Status of its own.
fn failed(message: String) -> Status {
    Status { code: 500, message, ..Status::default() }
}

impl Converter {
    /// Of a definition whose strategy is Webhook.
    pub(crate) fn of(definition: &Map, clients: &Arc<Clients>) -> Option<Self> {
        let spec = definition.map("spec")?;
        let webhook =
            spec.map("conversion").filter(|conversion| conversion.str("strategy") == "Webhook")?.map("webhook")?;
        let mut place = Place::of(webhook.map("clientConfig").unwrap_or(Map::EMPTY));
        if place.ca.iter().all(u8::is_ascii_whitespace) {
            place.ca.clear();
        }
        let versions = spec.maps("versions").map(|version| api_version(spec.str("group"), version.str("name")));
        Some(Converter {
            clients: clients.clone(),
            place,
            review: Version::chosen(webhook.list("conversionReviewVersions")),
            versions: versions.collect(),
        })
    }

    /// The objects in the desired version, in their order; `strategy` is that version's.
    ///
    /// # Errors
    /// Upstream's texts: no answer, a refusal, objects that are others than those that were sent.
    pub(crate) async fn convert(
        &self,
        mut given: Vec<Map>,
        desired: &str,
        strategy: &dyn Strategy,
        objects: &dyn Reader,
    ) -> Result<Vec<Map>, Status> {
        let at: Vec<usize> = (0..given.len()).filter(|at| given[*at].str("apiVersion") != desired).collect();
        for chunk in at.chunks(OBJECTS_MAX) {
            let sent: Vec<&Map> = chunk.iter().map(|at| &given[*at]).collect();
            let converted = self.asked(&sent, desired, objects).await.map_err(failed)?;
            for (at, mut object) in chunk.iter().zip(converted) {
                if let Err(error) = strategy.settle(&mut object) {
                    tracing::error!(name = given[*at].str("kind"), error, "converted object does not fit its schema");
                }
                given[*at] = object;
            }
        }
        Ok(given)
    }

    async fn asked(&self, sent: &[&Map], desired: &str, objects: &dyn Reader) -> Result<Vec<Map>, String> {
        for object in sent {
            let from = object.str("apiVersion");
            if !self.versions.iter().any(|version| version == from) {
                let (group, version) = split_api_version(from);
                return Err(format!("request to convert CR from an invalid group/version: {group}/{version}"));
            }
        }
        let review = self.review.ok_or("no supported conversion review versions")?;
        let uid = uuid::Uuid::new_v4().to_string();
        let asked = review::asked(review, &uid, desired, sent);
        let answered = self.clients.post(&self.place, objects, &asked, TIMEOUT).await;
        let what = sent.first().map(|object| review::shown(object)).unwrap_or_default();
        let answered = answered.map_err(|failure| format!("conversion webhook for {what} failed: {}", failure.text))?;
        review::answered(review, &uid, desired, sent, answered)
    }
}
