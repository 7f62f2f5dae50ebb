//! matchConditions of an authorization webhook (k8s.io/apiserver/pkg/authorization/cel@v0.37.2).
//!
//! Invariant: `request` is the spec of a SubjectAccessReview of version v1; its texts are all there, empty or not. One
//! condition that is false decides, whatever those before it failed of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use api::field::{self, Errors, Path};
use api::value::Map;
use cel::declaration::{Declaration, DeclaredTypes};
use cel::types::Type;
use cel::{Env, Minor, Program};
use rules::open::{self, Origin};

use crate::authn::aggregate;
use crate::authn::jwt::expression::{COST_MAX, Unusable, compile};

const SPEC_TYPE: &str = "kubernetes.SubjectAccessReviewSpec";

static TYPES: LazyLock<Arc<DeclaredTypes>> = LazyLock::new(|| Arc::new(DeclaredTypes::new([&spec_type()])));

fn object(name: &str, fields: impl IntoIterator<Item = (&'static str, Declaration)>) -> Declaration {
    Declaration::object(fields.into_iter().map(|(name, of)| (Arc::from(name), of)), 0).named(name)
}

fn text() -> Declaration {
    Declaration::simple(Type::String, 0, 0)
}

fn texts() -> Declaration {
    Declaration::list(text(), 0)
}

/// buildRequestType.
fn spec_type() -> Declaration {
    let requirement =
        || object("kubernetes.SelectorRequirement", [("key", text()), ("operator", text()), ("values", texts())]);
    let selector =
        |name| object(name, [("rawSelector", text()), ("requirements", Declaration::list(requirement(), 0))]);
    let plain = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let selectors = [
        ("fieldSelector", selector("kubernetes.FieldSelectorAttributes")),
        ("labelSelector", selector("kubernetes.LabelSelectorAttributes")),
    ];
    let resource =
        object("kubernetes.ResourceAttributes", plain.map(|name| (name, text())).into_iter().chain(selectors));
    let path = object("kubernetes.NonResourceAttributes", [("path", text()), ("verb", text())]);
    object(
        SPEC_TYPE,
        [
            ("resourceAttributes", resource),
            ("nonResourceAttributes", path),
            ("user", text()),
            ("groups", texts()),
            ("extra", Declaration::map(text(), texts(), 0)),
            ("uid", text()),
        ],
    )
}

/// Conditions that compiled.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<(String, Program)>);

impl Conditions {
    /// compileMatchConditions; `path` is that of the list.
    pub(super) fn compile(expressions: &[String], path: &Path, errors: &mut Errors) -> Self {
        let env = Env::kubernetes(Minor::MAX).variable("request", Type::object(SPEC_TYPE)).types(TYPES.clone());
        let (mut seen, mut compiled) = (HashSet::new(), Vec::new());
        for (at, expression) in expressions.iter().enumerate() {
            let at = path.index(at).child("expression");
            if expression.trim().is_empty() {
                errors.push(field::required(&at, ""));
                continue;
            }
            if !seen.insert(expression) {
                errors.push(field::duplicate(&at, expression));
                continue;
            }
            match compile(&env, expression, Some(&Type::Bool), |of| format!("must evaluate to bool but got {of}")) {
                Ok(program) => compiled.push((expression.clone(), program)),
                Err(Unusable::Invalid(why)) => errors.push(field::invalid(&at, expression, why)),
                Err(Unusable::Internal(why)) => errors.push(field::internal(&at, why)),
            }
        }
        Conditions(compiled)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the webhook is to be asked about what the spec says.
    ///
    /// # Errors
    /// Conditions that failed, where none was false.
    pub(super) fn match_(&self, spec: Map) -> Result<bool, String> {
        let request = open::value(Arc::new(spec.into()), Origin::Tree);
        let values = HashMap::from([("request".to_owned(), request)]);
        let mut failed = Vec::new();
        for (expression, program) in &self.0 {
            match program.eval(&values, COST_MAX).map(|(value, _)| value.as_bool()) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Ok(false),
                Ok(None) => failed
                    .push(format!("cel evaluation error: expression '{expression}' eval result type should be bool")),
                Err(error) => {
                    failed.push(format!("cel evaluation error: expression '{expression}' resulted in error: {error}"))
                }
            }
        }
        if failed.is_empty() { Ok(true) } else { Err(aggregate(&failed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::User;
    use crate::authz::selector::{FieldRequirement, LabelRequirement};
    use crate::authz::webhook::spec;
    use crate::authz::{Attributes, ResourceAttributes};

    fn check(conditions: &[&str], expect: Result<bool, &str>) {
        let extra = [("example.org/x".to_owned(), vec!["y".to_owned()])].into();
        let user = User { name: "jane".into(), groups: vec!["dev".into()], extra, ..User::default() };
        let fields = [FieldRequirement { field: "spec.nodeName".into(), equal: true, value: "n".into() }];
        let labels = [LabelRequirement { key: "app".into(), operator: "Exists".into(), values: Vec::new() }];
        let resource = ResourceAttributes {
            resource: "pods",
            namespace: "kube-system",
            field_selector: &fields,
            label_selector: &labels,
            ..Default::default()
        };
        let attributes = Attributes { user: &user, verb: "list", resource: Some(resource), path: "" };
        let expressions: Vec<String> = conditions.iter().map(|text| (*text).to_owned()).collect();
        let mut errors = Errors::new();
        let compiled = Conditions::compile(&expressions, &Path::default(), &mut errors);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(compiled.match_(spec::for_conditions(&attributes)), expect.map_err(str::to_owned), "{conditions:?}");
    }

    #[test]
    fn requests_are_what_they_are_reviewed_as() {
        check(&["request.user == 'jane' && 'dev' in request.groups && request.uid == ''"], Ok(true));
        check(&["has(request.resourceAttributes) && request.resourceAttributes.namespace == 'kube-system'"], Ok(true));
        check(&["request.resourceAttributes.name == '' && !has(request.nonResourceAttributes)"], Ok(true));
        check(&["request.extra['example.org/x'] == ['y']"], Ok(true));
        let field = "request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'spec.nodeName' && r.operator == 'In' && r.values == ['n'])";
        let label = "request.resourceAttributes.labelSelector.requirements[0].operator == 'Exists'";
        check(&[field, label], Ok(true));
        check(&["request.user == 'joe'", "true"], Ok(false));
    }

    #[test]
    fn false_decides_before_failures_do() {
        let fails = "request.nonResourceAttributes.path == '/'";
        let why = "cel evaluation error: expression 'request.nonResourceAttributes.path == '/'' resulted in error: no such key: nonResourceAttributes";
        check(&[fails], Err(why));
        check(&[fails, "true"], Err(why));
        check(&[fails, "false"], Ok(false));
    }
}
