//! ServiceAccount (pkg/registry/core/serviceaccount/strategy.go@v1.37.2).

use api::object::Meta;
use api::value::Map;

use crate::strategy::{Context, MetaCheck, Strategy};

pub(crate) struct ServiceAccount;

/// pkg/serviceaccount/util.go@v1.37.2: EnforceMountableSecretsAnnotation
const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Of the secrets that belong to the account only their names are kept (cleanSecretReferences).
fn keep_secret_names(object: &mut Map) {
    if !object.contains("secrets") {
        return;
    }
    for secret in object.list_mut("secrets").iter_mut().filter_map(api::value::Value::as_map_mut) {
        secret.retain(|field, _| field == "name");
    }
}

impl Strategy for ServiceAccount {
    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        keep_secret_names(object);
    }

    fn prepare_for_update(&self, _: &Context, object: &mut Map, _: &Map) {
        keep_secret_names(object);
    }

    fn meta_checks(&self, _: &str) -> &'static [MetaCheck] {
        &[MetaCheck::Update, MetaCheck::Whole]
    }

    fn warnings(&self, object: &Map, old: Option<&Map>) -> Vec<String> {
        if object.annotation(MOUNTABLE).is_none() || old.is_some_and(|old| old.annotation(MOUNTABLE).is_some()) {
            return Vec::new();
        }
        let advice = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        vec![format!("metadata.annotations[{MOUNTABLE}]: {advice}")]
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
