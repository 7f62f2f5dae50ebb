//! FlowSchema and PriorityLevelConfiguration as far as they decide on requests.
//!
//! Invariant: read once from the object; matching and dispatching never look at objects.

use std::sync::Arc;

use api::object::Meta;
use api::value::{Map, Value};
use bytes::Bytes;

use crate::Error;

/// The level, and the FlowSchema, whose requests are never held up.
pub const EXEMPT: &str = "exempt";
/// The level, and the FlowSchema, of what nothing else is for.
pub const CATCH_ALL: &str = "catch-all";

/// Some names, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    All,
    These(Vec<Box<str>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    User(Names),
    Group(Names),
    ServiceAccount {
        namespace: Box<str>,
        name: Names,
    },
    /// One that matches nobody.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceRule {
    pub verbs: Names,
    pub groups: Names,
    pub resources: Names,
    pub namespaces: Names,
    pub cluster_scope: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    pub verbs: Names,
    pub paths: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub subjects: Vec<Subject>,
    pub resources: Vec<ResourceRule>,
    pub paths: Vec<PathRule>,
}

/// What tells the flows of a FlowSchema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    User,
    Namespace,
}

/// The spec of a FlowSchema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaSpec {
    pub precedence: i64,
    pub level: Box<str>,
    pub distinguisher: Option<Distinguisher>,
    pub rules: Vec<Rule>,
}

/// The condition `Dangling` of a FlowSchema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dangling {
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// A FlowSchema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    pub name: Arc<str>,
    pub uid: Bytes,
    pub spec: SchemaSpec,
    pub dangling: Dangling,
}

/// How requests wait at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queuing {
    pub queues: i64,
    pub hand: i64,
    pub length: i64,
}

/// The spec of a PriorityLevelConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelSpec {
    pub exempt: bool,
    pub shares: i64,
    pub lendable_percent: i64,
    pub borrowing_percent: Option<i64>,
    /// `None`: requests that cannot be executed at once are rejected.
    pub queuing: Option<Queuing>,
}

/// A PriorityLevelConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelConfig {
    pub name: Arc<str>,
    pub uid: Bytes,
    pub spec: LevelSpec,
}

fn texts(values: &[Value]) -> impl Iterator<Item = &str> {
    values.iter().filter_map(Value::as_str)
}

impl Names {
    /// A lone `*` is all; validation keeps it from standing beside others.
    fn of(values: &[Value]) -> Self {
        match values {
            [Value::String(all)] if all == "*" => Names::All,
            values => Names::These(texts(values).map(Into::into).collect()),
        }
    }

    fn one(name: &str) -> Self {
        if name == "*" { Names::All } else { Names::These(vec![name.into()]) }
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            Names::All => true,
            Names::These(names) => names.iter().any(|own| **own == *name),
        }
    }
}

impl Subject {
    fn of(subject: &Map) -> Self {
        match subject.str("kind") {
            "User" => subject.map("user").map_or(Subject::None, |user| Subject::User(Names::one(user.str("name")))),
            "Group" => {
                subject.map("group").map_or(Subject::None, |group| Subject::Group(Names::one(group.str("name"))))
            }
            "ServiceAccount" => subject.map("serviceAccount").map_or(Subject::None, |account| {
                let (namespace, name) = (account.str("namespace").into(), Names::one(account.str("name")));
                Subject::ServiceAccount { namespace, name }
            }),
            _ => Subject::None,
        }
    }
}

impl Rule {
    fn of(rule: &Map) -> Self {
        let resource = |rule: &Map| ResourceRule {
            verbs: Names::of(rule.list("verbs")),
            groups: Names::of(rule.list("apiGroups")),
            resources: Names::of(rule.list("resources")),
            namespaces: Names::of(rule.list("namespaces")),
            cluster_scope: rule.bool("clusterScope").unwrap_or(false),
        };
        let path = |rule: &Map| PathRule {
            verbs: Names::of(rule.list("verbs")),
            paths: texts(rule.list("nonResourceURLs")).map(Into::into).collect(),
        };
        Rule {
            subjects: rule.maps("subjects").map(Subject::of).collect(),
            resources: rule.maps("resourceRules").map(resource).collect(),
            paths: rule.maps("nonResourceRules").map(path).collect(),
        }
    }
}

fn uid(object: &Map) -> Bytes {
    Bytes::copy_from_slice(object.meta().str("uid").as_bytes())
}

impl SchemaSpec {
    fn of(spec: &Map) -> Self {
        let distinguisher = spec.map("distinguisherMethod").and_then(|method| match method.str("type") {
            "ByUser" => Some(Distinguisher::User),
            "ByNamespace" => Some(Distinguisher::Namespace),
            _ => None,
        });
        SchemaSpec {
            precedence: spec.i64("matchingPrecedence").unwrap_or(0),
            level: spec.map("priorityLevelConfiguration").map_or("", |level| level.str("name")).into(),
            distinguisher,
            rules: spec.maps("rules").map(Rule::of).collect(),
        }
    }
}

impl Schema {
    pub fn of(object: &Map) -> Self {
        let conditions = object.map("status").into_iter().flat_map(|status| status.maps("conditions"));
        let dangling = conditions.into_iter().find(|condition| condition.str("type") == "Dangling");
        let text = |name: &str| dangling.map_or("", |condition| condition.str(name)).to_string();
        Schema {
            name: object.name().into(),
            uid: uid(object),
            spec: SchemaSpec::of(object.map("spec").unwrap_or(Map::EMPTY)),
            dangling: Dangling { status: text("status"), reason: text("reason"), message: text("message") },
        }
    }
}

impl Dangling {
    /// What the condition is to say of a reference.
    pub fn wanted(level: &str, found: bool) -> Self {
        let named = format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?}");
        match found {
            true => {
                Dangling { status: "False".into(), reason: "Found".into(), message: format!("{named} and it exists") }
            }
            false => Dangling {
                status: "True".into(),
                reason: "NotFound".into(),
                message: format!("{named} but there is no such object"),
            },
        }
    }
}

impl LevelConfig {
    /// # Errors
    /// An object whose parts do not fit together.
    pub fn of(object: &Map) -> Result<Self, Error> {
        let spec = object.map("spec").unwrap_or(Map::EMPTY);
        Ok(LevelConfig { name: object.name().into(), uid: uid(object), spec: LevelSpec::of(object.name(), spec)? })
    }
}

impl LevelSpec {
    fn of(name: &str, spec: &Map) -> Result<Self, Error> {
        let (limited, exempt) = (spec.map("limited"), spec.map("exempt"));
        let is = |kind: &str| spec.str("type") == kind;
        if is("Limited") != limited.is_some() {
            return Err(Error::Broken("broken union structure at the top, for Limited"));
        }
        if is("Exempt") != exempt.is_some() {
            return Err(Error::Broken("broken union structure at the top, for Exempt"));
        }
        if is("Exempt") != (name == EXEMPT) {
            return Err(Error::Broken("non-alignment between name and type"));
        }
        let part = limited.or(exempt).unwrap_or(Map::EMPTY);
        Ok(LevelSpec {
            exempt: exempt.is_some(),
            shares: part.i64("nominalConcurrencyShares").unwrap_or(0),
            lendable_percent: part.i64("lendablePercent").unwrap_or(0),
            borrowing_percent: part.i64("borrowingLimitPercent").filter(|_| limited.is_some()),
            queuing: limited.map_or(Ok(None), queuing)?,
        })
    }
}

fn queuing(limited: &Map) -> Result<Option<Queuing>, Error> {
    let response = limited.map("limitResponse").unwrap_or(Map::EMPTY);
    let queuing = response.map("queuing");
    if (response.str("type") == "Reject") != queuing.is_none() {
        return Err(Error::Broken("broken union structure for limit response"));
    }
    let Some(queuing) = queuing else { return Ok(None) };
    let number = |name: &str| queuing.i64(name).unwrap_or(0);
    let queuing = Queuing { queues: number("queues"), hand: number("handSize"), length: number("queueLengthLimit") };
    if queuing.queues > 0 {
        crate::dealer::Dealer::new(queuing.queues, queuing.hand)?;
    }
    Ok(Some(queuing))
}
