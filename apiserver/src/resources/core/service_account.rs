//! ServiceAccount (pkg/registry/core/serviceaccount/strategy.go@v1.37.2).

use api::value::Map;

use crate::strategy::{Context, Strategy};

pub(crate) struct ServiceAccount;

impl Strategy for ServiceAccount {
    fn prepare_for_create(&self, _: &Context, object: &mut Map) {
        object.remove("secrets");
    }

    fn returns_deleted_object(&self, _: &str) -> bool {
        true
    }
}
