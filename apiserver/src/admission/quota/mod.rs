//! ResourceQuota: what a request uses is charged to the namespace's quotas before the object is written
//! (k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go@v0.37.2).
//!
//! Invariant: usage is raised by compare-and-write of the quota's status, so that no two servers give
//! the same rest twice. A write that fails afterwards leaves the charge; the quota controller counts anew.

pub(super) mod usage;

use api::object::Meta;
use api::status::Status;
use api::value::Map;
use futures::future::BoxFuture;

use super::amounts;
use super::{Attributes, Operation, Plugin, Reader};
use crate::resources::core::pod::resources::{Amounts, add};

/// Kinds that quotas do not count (pkg/quota/v1/install/registry.go@v1.37.2).
const IGNORED: &[(&str, &str)] = &[
    ("", "bindings"),
    ("", "componentstatuses"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("", "events"),
    ("events.k8s.io", "events"),
];

pub(crate) struct ResourceQuota;

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validate<'a>(
        &'a self,
        attributes: &'a Attributes<'_>,
        objects: &'a dyn Reader,
    ) -> BoxFuture<'a, Result<(), Status>> {
        Box::pin(async move {
            let ignored = IGNORED.contains(&(attributes.group, attributes.resource));
            let namespace_creation = attributes.is("", "namespaces", &[""]);
            if attributes.namespace.is_empty() || namespace_creation || ignored || !usage::handles(attributes) {
                return Ok(());
            }
            charge_all(attributes, objects).await
        })
    }
}

async fn charge_all(attributes: &Attributes<'_>, objects: &dyn Reader) -> Result<(), Status> {
    let Some(object) = attributes.object.as_deref() else { return Ok(()) };
    let cached = objects.list("", "resourcequotas", attributes.namespace);
    if cached.is_empty() {
        return Ok(());
    }
    let request = Request::of(attributes, object);
    let mut charged = Vec::new();
    for quota in &cached {
        // The cache may lag behind what was used a moment ago.
        let Some(live) = objects.live("", "resourcequotas", attributes.namespace, quota.name()).await? else {
            continue;
        };
        if request.charge(&live).map_err(|why| attributes.forbidden(&why))?.is_some() {
            charged.push(quota.name());
        }
    }
    if attributes.dry_run {
        return Ok(());
    }
    for name in charged {
        let mut change = |quota: &mut Map| match request.charge(quota).map_err(|why| attributes.forbidden(&why))? {
            Some(used) => {
                quota.map_mut("status").set("used", amounts::value(&used));
                Ok(true)
            }
            None => Ok(false),
        };
        match objects.update("", "resourcequotas", attributes.namespace, name, &mut change).await {
            Err(status) if status.code == 404 => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

/// What is asked, and what it uses.
struct Request<'a> {
    group: &'a str,
    resource: &'a str,
    subresource: &'a str,
    object: &'a Map,
    old: Option<&'a Map>,
    usage: Amounts,
    old_usage: Amounts,
}

impl<'a> Request<'a> {
    fn of(attributes: &'a Attributes<'_>, object: &'a Map) -> Self {
        let (group, resource) = (attributes.group, attributes.resource);
        let now = jiff::Timestamp::now();
        let usage = usage::of(group, resource, object, now);
        let old = attributes.old.filter(|_| attributes.operation == Operation::Update);
        let old_usage = old.map(|old| usage::of(group, resource, old, now)).unwrap_or_default();
        Request { group, resource, subresource: attributes.subresource, object, old, usage, old_usage }
    }

    /// What the quota has used once this is written; `None` when it does not concern the quota.
    fn charge(&self, quota: &Map) -> Result<Option<Amounts>, String> {
        let hard = amounts::of(quota.at(&["status", "hard"]));
        let used = amounts::of(quota.at(&["status", "used"]));
        let restricted: Vec<&str> =
            hard.keys().map(String::as_str).filter(|name| usage::counts(self.group, self.resource, name)).collect();
        if restricted.is_empty() || !self.in_scope(quota, self.object) {
            return Ok(None);
        }
        let name = quota.name();
        if (self.group, self.resource) == ("", "pods") {
            usage::constraints(&restricted, self.object).map_err(|why| format!("failed quota: {name}: {why}"))?;
        }
        if restricted.iter().any(|resource| !used.contains_key(*resource)) {
            return Err(format!("status unknown for quota: {name}, resources: {}", restricted.join(",")));
        }
        let negative: Vec<_> = self.usage.iter().filter(|row| row.1.sign() < 0).map(|row| row.0.as_str()).collect();
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        let mut asked = match self.old.filter(|old| self.in_scope(quota, old)) {
            Some(_) => amounts::less(&self.usage, &self.old_usage),
            None => self.usage.clone(),
        };
        asked.retain(|resource, amount| !amount.is_zero() && hard.contains_key(resource));
        if asked.is_empty() {
            return Ok(None);
        }
        let mut after = used.clone();
        add(&mut after, &asked);
        let exceeded: Vec<&String> =
            asked.keys().filter(|resource| after.get(*resource) > hard.get(*resource)).collect();
        if self.subresource != "status" && !exceeded.is_empty() {
            let show = |list: &Amounts| {
                let entries = exceeded.iter().filter_map(|name| Some(format!("{name}={}", list.get(*name)?)));
                entries.collect::<Vec<_>>().join(",")
            };
            return Err(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                show(&asked),
                show(&used),
                show(&hard)
            ));
        }
        Ok(Some(after))
    }

    /// Every scope of the quota matches.
    fn in_scope(&self, quota: &Map, object: &Map) -> bool {
        let spec = quota.map("spec").unwrap_or(Map::EMPTY);
        let plain = spec.list("scopes").iter().filter_map(|scope| scope.as_str());
        let exists = |scope: &str| usage::in_scope(self.group, self.resource, scope, "Exists", &[], object);
        if !plain.into_iter().all(exists) {
            return false;
        }
        spec.map("scopeSelector").into_iter().flat_map(|selector| selector.maps("matchExpressions")).all(|selector| {
            let (scope, operator) = (selector.str("scopeName"), selector.str("operator"));
            usage::in_scope(self.group, self.resource, scope, operator, selector.list("values"), object)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Map {
        let (value, _) = api::json::decode_any(json.as_bytes(), api::json::Strictness::Lenient).expect("JSON");
        value.as_map().expect("object").clone()
    }

    /// A pod that asks for `cpu`, against a quota.
    fn check(quota: &str, pod: &str, expect: Result<Option<&str>, &str>) {
        let (quota, pod) = (parse(quota), parse(pod));
        let usage = usage::of("", "pods", &pod, jiff::Timestamp::UNIX_EPOCH);
        let request = Request {
            group: "",
            resource: "pods",
            subresource: "",
            object: &pod,
            old: None,
            usage,
            old_usage: Amounts::new(),
        };
        let shown = request.charge(&quota).map(|used| {
            used.map(|used| used.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(","))
        });
        assert_eq!(shown.as_ref().map(Option::as_deref).map_err(String::as_str), expect);
    }

    const POD: &str =
        r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"500m","memory":"1Gi"}}}]}}"#;

    #[test]
    fn pods_are_charged_or_refused() {
        let quota = |hard: &str, used: &str, spec: &str| {
            format!(r#"{{"metadata":{{"name":"q"}},"spec":{spec},"status":{{"hard":{hard},"used":{used}}}}}"#)
        };
        check(
            &quota(r#"{"pods":"2","cpu":"1"}"#, r#"{"pods":"1","cpu":"250m"}"#, "{}"),
            POD,
            Ok(Some("cpu=750m,pods=2")),
        );
        check(
            &quota(r#"{"pods":"1","requests.cpu":"1"}"#, r#"{"pods":"1","requests.cpu":"600m"}"#, "{}"),
            POD,
            Err(
                "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=1,requests.cpu=600m, limited: pods=1,requests.cpu=1",
            ),
        );
        check(
            &quota(r#"{"limits.cpu":"1","limits.memory":"1"}"#, r#"{"limits.cpu":"0","limits.memory":"0"}"#, "{}"),
            POD,
            Err("failed quota: q: must specify limits.cpu for: c; limits.memory for: c"),
        );
        check(&quota(r#"{"pods":"1"}"#, "{}", "{}"), POD, Err("status unknown for quota: q, resources: pods"));
        check(&quota(r#"{"pods":"1"}"#, r#"{"pods":"1"}"#, r#"{"scopes":["BestEffort"]}"#), POD, Ok(None));
        check(&quota(r#"{"services":"0"}"#, r#"{"services":"0"}"#, "{}"), POD, Ok(None));
        let by_class = r#"{"scopeSelector":{"matchExpressions":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}}"#;
        check(&quota(r#"{"pods":"1"}"#, r#"{"pods":"1"}"#, by_class), POD, Ok(None));
        let high = r#"{"spec":{"priorityClassName":"high","containers":[{"name":"c"}]}}"#;
        check(
            &quota(r#"{"pods":"1"}"#, r#"{"pods":"1"}"#, by_class),
            high,
            Err("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"),
        );
    }
}
