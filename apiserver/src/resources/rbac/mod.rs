//! rbac.authorization.k8s.io: roles and bindings (pkg/registry/rbac, pkg/apis/rbac/validation@v1.37.2).

use crate::strategy::Strategy;

/// ClusterRole, ClusterRoleBinding, Role and RoleBinding: any path segment is a name, and PUT may create.
pub(crate) struct Rbac;

impl Strategy for Rbac {
    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        if prefix { api::names::is_path_segment_prefix(name) } else { api::names::is_path_segment_name(name) }
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}
