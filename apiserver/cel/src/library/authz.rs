//! Authorization checks.
//!
//! Invariant: overloads and errors of `k8s.io/apiserver/pkg/cel/library/authz.go@v0.37.2`. Who decides is behind [`Authorizer`].
//! Non-goal: reading selectors; they go to the authorizer as written.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use super::strings::text;
use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Object, Outcome, Value};
use api::names;

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };
/// What came with 1.31.
pub(crate) const SELECTORS: Library = Library { declarations: SELECTOR_DECLARATIONS, compute };

const DECLARATIONS: &str = "
path authorizer_path kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.PathCheck
group authorizer_group kubernetes.authorization.Authorizer.(string) -> kubernetes.authorization.GroupCheck
serviceAccount authorizer_serviceaccount kubernetes.authorization.Authorizer.(string, string) -> kubernetes.authorization.Authorizer
resource groupcheck_resource kubernetes.authorization.GroupCheck.(string) -> kubernetes.authorization.ResourceCheck
subresource resourcecheck_subresource kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
namespace resourcecheck_namespace kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
name resourcecheck_name kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
check pathcheck_check kubernetes.authorization.PathCheck.(string) -> kubernetes.authorization.Decision
check resourcecheck_check kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.Decision
errored decision_errored kubernetes.authorization.Decision.() -> bool
error decision_error kubernetes.authorization.Decision.() -> string
allowed decision_allowed kubernetes.authorization.Decision.() -> bool
reason decision_reason kubernetes.authorization.Decision.() -> string
";

const SELECTOR_DECLARATIONS: &str = "
fieldSelector authorizer_fieldselector kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
labelSelector authorizer_labelselector kubernetes.authorization.ResourceCheck.(string) -> kubernetes.authorization.ResourceCheck
";

/// The name of the type of the variable `authorizer`.
pub const AUTHORIZER_TYPE: &str = "kubernetes.authorization.Authorizer";
/// The name of the type of the variable `authorizer.requestResource`.
pub const RESOURCE_CHECK_TYPE: &str = "kubernetes.authorization.ResourceCheck";
const PATH_CHECK_TYPE: &str = "kubernetes.authorization.PathCheck";
const GROUP_CHECK_TYPE: &str = "kubernetes.authorization.GroupCheck";
const DECISION_TYPE: &str = "kubernetes.authorization.Decision";

/// Decides checks.
pub trait Authorizer: Debug + Send + Sync {
    fn authorize(&self, check: &Check) -> Decision;
}

/// Who wants to do something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The user of the request.
    Requester,
    ServiceAccount {
        namespace: Arc<str>,
        name: Arc<str>,
    },
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub subject: Subject,
    pub verb: Arc<str>,
    pub target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Path(Arc<str>),
    Resource(Resource),
}

/// A resource of any version; what is empty is not restricted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource {
    pub group: Arc<str>,
    pub resource: Arc<str>,
    pub subresource: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub field_selector: Arc<str>,
    pub label_selector: Arc<str>,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// The value of the variable `authorizer`.
pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Value {
    Value::object(Builder { authorizer, subject: Subject::Requester, at: At::Start })
}

/// The value of the variable `authorizer.requestResource`.
pub fn resource_authorizer(authorizer: Arc<dyn Authorizer>, resource: Resource) -> Value {
    Value::object(Builder { authorizer, subject: Subject::Requester, at: At::Resource(resource) })
}

/// A check on its way.
#[derive(Debug, Clone)]
struct Builder {
    authorizer: Arc<dyn Authorizer>,
    subject: Subject,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Start,
    Path(Arc<str>),
    Group(Arc<str>),
    Resource(Resource),
}

impl Object for Builder {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object(match self.at {
            At::Start => AUTHORIZER_TYPE,
            At::Path(_) => PATH_CHECK_TYPE,
            At::Group(_) => GROUP_CHECK_TYPE,
            At::Resource(_) => RESOURCE_CHECK_TYPE,
        })
    }

    fn equals(&self, _: &Value) -> Result<bool, Fault> {
        Err(Fault::no_overload())
    }

    fn text(&self) -> String {
        self.cel_type().name().to_owned()
    }
}

impl Object for Decision {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object(DECISION_TYPE)
    }

    fn equals(&self, _: &Value) -> Result<bool, Fault> {
        Err(Fault::no_overload())
    }

    fn text(&self) -> String {
        DECISION_TYPE.to_owned()
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "authorizer_path" => |args| match text(args, 1)? {
            path if path.trim().is_empty() => Err(Fault::new("path must not be empty")),
            path => moved(args, At::Path(Arc::from(path))),
        },
        "authorizer_group" => |args| moved(args, At::Group(Arc::from(text(args, 1)?))),
        "authorizer_serviceaccount" => service_account,
        "groupcheck_resource" => resource,
        "resourcecheck_subresource" => |args| set(args, |resource| &mut resource.subresource),
        "resourcecheck_namespace" => |args| set(args, |resource| &mut resource.namespace),
        "resourcecheck_name" => |args| set(args, |resource| &mut resource.name),
        "authorizer_fieldselector" => |args| set(args, |resource| &mut resource.field_selector),
        "authorizer_labelselector" => |args| set(args, |resource| &mut resource.label_selector),
        "pathcheck_check" | "resourcecheck_check" => check,
        "decision_errored" => |args| decided(args, |decision| Value::Bool(decision.error.is_some())),
        "decision_error" => |args| decided(args, |decision| Value::from(decision.error.clone().unwrap_or_default())),
        "decision_allowed" => |args| decided(args, |decision| Value::Bool(decision.allowed)),
        "decision_reason" => |args| decided(args, |decision| Value::from(decision.reason.clone())),
        _ => return None,
    })
}

fn builder(args: &[Value]) -> Result<&Builder, Fault> {
    args[0].downcast::<Builder>().ok_or_else(Fault::no_overload)
}

fn moved(args: &[Value], at: At) -> Outcome {
    Ok(Value::object(Builder { at, ..builder(args)?.clone() }))
}

fn service_account(args: &[Value]) -> Outcome {
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    if !names::name_is_dns_subdomain(name, false).is_empty() {
        return Err(Fault::new("Invalid service account name"));
    }
    if !names::name_is_dns_label(namespace, false).is_empty() {
        return Err(Fault::new("Invalid service account namespace"));
    }
    let subject = Subject::ServiceAccount { namespace: Arc::from(namespace), name: Arc::from(name) };
    Ok(Value::object(Builder { subject, ..builder(args)?.clone() }))
}

fn resource(args: &[Value]) -> Outcome {
    let resource = text(args, 1)?;
    let At::Group(group) = &builder(args)?.at else { return Err(Fault::no_overload()) };
    if resource.trim().is_empty() {
        return Err(Fault::new("resource must not be empty"));
    }
    let resource = Resource { group: group.clone(), resource: Arc::from(resource), ..Resource::default() };
    moved(args, At::Resource(resource))
}

fn set(args: &[Value], part: fn(&mut Resource) -> &mut Arc<str>) -> Outcome {
    let At::Resource(resource) = &builder(args)?.at else { return Err(Fault::no_overload()) };
    let mut resource = resource.clone();
    *part(&mut resource) = Arc::from(text(args, 1)?);
    moved(args, At::Resource(resource))
}

fn check(args: &[Value]) -> Outcome {
    let builder = builder(args)?;
    let target = match &builder.at {
        At::Path(path) => Target::Path(path.clone()),
        At::Resource(resource) => Target::Resource(resource.clone()),
        At::Start | At::Group(_) => return Err(Fault::no_overload()),
    };
    let check = Check { subject: builder.subject.clone(), verb: Arc::from(text(args, 1)?), target };
    Ok(Value::object(builder.authorizer.authorize(&check)))
}

fn decided(args: &[Value], answer: fn(&Decision) -> Value) -> Outcome {
    args[0].downcast::<Decision>().map(answer).ok_or_else(Fault::no_overload)
}
