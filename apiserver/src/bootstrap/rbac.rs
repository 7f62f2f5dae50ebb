//! Upstream's bootstrap roles and bindings, reconciled at each start
//! (pkg/registry/rbac/rest/storage_rbac.go@v1.37.2: PolicyData.EnsureRBACPolicy).

use api::status::Status;
use api::value::Map;
use api::{object, view};
use futures::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::named;
use crate::authz::bootstrap;
use crate::authz::reconcile::{self, Operation};
use crate::chain::Core;
use crate::system;

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Creates what is missing and adds what was taken away, unless an object opts out.
pub(crate) async fn reconcile(core: &Core) -> Result<(), Status> {
    let policy = bootstrap::policy();
    try_join_all(policy.cluster_roles.iter().map(|role| one(core, "ClusterRole", role, reconcile::role))).await?;
    try_join_all(policy.roles.iter().map(|role| one(core, "Role", role, reconcile::role))).await?;
    let bindings = &policy.cluster_role_bindings;
    try_join_all(bindings.iter().map(|binding| one(core, "ClusterRoleBinding", binding, reconcile::binding))).await?;
    try_join_all(policy.role_bindings.iter().map(|binding| one(core, "RoleBinding", binding, reconcile::binding)))
        .await?;
    Ok(())
}

async fn one<T: Serialize + DeserializeOwned + Sync>(
    core: &Core,
    kind: &str,
    wanted: &T,
    decide: fn(Option<&T>, &T) -> Operation<T>,
) -> Result<(), Status> {
    let wanted_object = typed(kind, wanted)?;
    let meta = object::Meta::meta(&wanted_object);
    let identity = named(API_VERSION, kind, meta.str("namespace"), meta.str("name"));
    let mut recreate = false;
    let mut make = |existing: Option<&Map>| {
        let existing: Option<T> = existing.and_then(|object| view::of(object).ok());
        match decide(existing.as_ref(), wanted) {
            Operation::None => None,
            Operation::Create(object) | Operation::Update(object) => typed(kind, &object).ok(),
            Operation::Recreate(_) => {
                recreate = true;
                None
            }
        }
    };
    system::apply(core, &identity, &mut make).await?;
    if recreate {
        system::remove(core, &identity).await?;
        system::ensure(core, wanted_object).await?;
    }
    Ok(())
}

fn typed<T: Serialize>(kind: &str, value: &T) -> Result<Map, Status> {
    let mut object = view::object(value).map_err(|error| Status::internal(&error.to_string()))?;
    object::set_kind(&mut object, API_VERSION, kind);
    Ok(object)
}
