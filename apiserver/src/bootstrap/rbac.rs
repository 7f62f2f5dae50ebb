//! Upstream's bootstrap roles and bindings, reconciled at each start
//! (pkg/registry/rbac/rest/storage_rbac.go@v1.37.2: PolicyData.EnsureRBACPolicy).

use api::status::Status;
use api::value::Map;
use api::{object, view};
use futures::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::named;
use crate::admission::Reader;
use crate::authz::bootstrap;
use crate::authz::reconcile::{self, Operation};
use crate::chain::Core;
use crate::system;

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// Creates what is missing and adds what was taken away, unless an object opts out.
pub(crate) async fn reconcile(core: &Core) -> Result<(), Status> {
    let policy = bootstrap::policy();
    prime(core, &policy).await?;
    try_join_all(policy.cluster_roles.iter().map(|role| one(core, "ClusterRole", role, reconcile::role))).await?;
    try_join_all(policy.roles.iter().map(|role| one(core, "Role", role, reconcile::role))).await?;
    let bindings = &policy.cluster_role_bindings;
    try_join_all(bindings.iter().map(|binding| one(core, "ClusterRoleBinding", binding, reconcile::binding))).await?;
    try_join_all(policy.role_bindings.iter().map(|binding| one(core, "RoleBinding", binding, reconcile::binding)))
        .await?;
    Ok(())
}

/// Before the rest: what older versions had under other names lives on
/// (primeAggregatedClusterRoles, primeSplitClusterRoleBindings).
async fn prime(core: &Core, policy: &bootstrap::Policy) -> Result<(), Status> {
    for (old, new) in bootstrap::CLUSTER_ROLES_TO_AGGREGATE {
        let found = (live(core, "clusterroles", old).await?, live(core, "clusterroles", new).await?);
        if let Some(role) = reconcile::prime_aggregated(found.0.as_ref(), found.1.as_ref(), new) {
            system::ensure(core, typed("ClusterRole", &role)?).await?;
        }
    }
    let bindings = &policy.cluster_role_bindings;
    for (old, new) in bootstrap::CLUSTER_ROLE_BINDINGS_TO_SPLIT {
        let found = (live(core, "clusterrolebindings", old).await?, live(core, "clusterrolebindings", new).await?);
        let wanted = bindings.iter().find(|binding| binding.metadata.name.as_deref() == Some(new));
        let Some(wanted) = wanted else { continue };
        if let Some(binding) = reconcile::prime_split(found.0.as_ref(), found.1.as_ref(), wanted) {
            system::ensure(core, typed("ClusterRoleBinding", &binding)?).await?;
        }
    }
    Ok(())
}

async fn live<T: DeserializeOwned>(core: &Core, plural: &str, name: &str) -> Result<Option<T>, Status> {
    let found = core.api.hub.live("rbac.authorization.k8s.io", plural, "", name).await?;
    Ok(found.and_then(|object| view::of(&object).ok()))
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
