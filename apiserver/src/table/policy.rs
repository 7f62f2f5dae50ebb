//! Who may do what: rbac, certificates, admission, flow control; and the APIs themselves.

use api::object::Meta;
use api::value::{Map, Value};

use super::cells::{
    NONE, Now, UNSET, condition, count, human_seconds, is_true, joined, labels, maps, name, number, text, text_or,
};
use super::column::{AGE, CREATED_AT, Column, NAME, column, of};
use super::{Printer, printer};

const RBAC: &str = "rbac.authorization.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    printer(RBAC, "rolebindings", ROLE_BINDINGS, binding),
    printer(RBAC, "clusterrolebindings", CLUSTER_ROLE_BINDINGS, binding),
    printer(CERTIFICATES, "certificatesigningrequests", CERTIFICATE_SIGNING_REQUESTS, signing_request),
    printer(CERTIFICATES, "clustertrustbundles", CLUSTER_TRUST_BUNDLES, |object, _| {
        vec![name(object), text_or(object, &["spec", "signerName"], NONE).into()]
    }),
    printer(CERTIFICATES, "podcertificaterequests", POD_CERTIFICATE_REQUESTS, pod_certificate_request),
    printer(ADMISSION, "mutatingwebhookconfigurations", WEBHOOKS, webhooks),
    printer(ADMISSION, "validatingwebhookconfigurations", WEBHOOKS, webhooks),
    printer(ADMISSION, "validatingadmissionpolicies", VALIDATING_POLICIES, |object, now| {
        policy(object, count(object, &["spec", "validations"]), now)
    }),
    printer(ADMISSION, "mutatingadmissionpolicies", MUTATING_POLICIES, |object, now| {
        policy(object, count(object, &["spec", "mutations"]), now)
    }),
    printer(ADMISSION, "validatingadmissionpolicybindings", POLICY_BINDINGS, policy_binding),
    printer(ADMISSION, "mutatingadmissionpolicybindings", POLICY_BINDINGS, policy_binding),
    printer(FLOW_CONTROL, "flowschemas", FLOW_SCHEMAS, flow_schema),
    printer(FLOW_CONTROL, "prioritylevelconfigurations", PRIORITY_LEVELS, priority_level),
    printer("apiregistration.k8s.io", "apiservices", API_SERVICES, api_service),
    printer("apiextensions.k8s.io", "customresourcedefinitions", CUSTOM_RESOURCE_DEFINITIONS, definition),
];

fn binding(object: &Map, now: Now) -> Vec<Value> {
    let of = |kind: &str| {
        let subjects = object.maps("subjects").filter(|subject| subject.str("kind") == kind);
        let shown = subjects.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", subject.str("namespace"), subject.str("name")),
            _ => subject.str("name").into(),
        });
        Value::from(shown.collect::<Vec<_>>().join(", "))
    };
    let role = format!("{}/{}", text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
    vec![name(object), role.into(), now.age(object), of("User"), of("Group"), of("ServiceAccount")]
}

fn signing_request(object: &Map, now: Now) -> Vec<Value> {
    let has = |ty: &str| condition(object, ty).is_some();
    let mut status = match () {
        _ if has("Denied") => "Denied".to_string(),
        _ if has("Approved") => "Approved".into(),
        () => "Pending".into(),
    };
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !text(object, &["status", "certificate"]).is_empty() {
        status.push_str(",Issued");
    }
    let seconds = object.value_at(&["spec", "expirationSeconds"]).and_then(Value::as_i64);
    vec![
        name(object),
        now.age(object),
        text_or(object, &["spec", "signerName"], NONE).into(),
        text(object, &["spec", "username"]).into(),
        seconds.map_or(NONE.into(), human_seconds).into(),
        status.into(),
    ]
}

fn pod_certificate_request(object: &Map, _: Now) -> Vec<Value> {
    let mut conditions = maps(object, &["status", "conditions"]).map(|condition| condition.str("type"));
    let state = conditions.rfind(|ty| matches!(*ty, "Issued" | "Denied" | "Failed"));
    let spec = |field: &str| Value::from(text(object, &["spec", field]));
    vec![
        name(object),
        spec("podName"),
        spec("serviceAccountName"),
        spec("nodeName"),
        spec("signerName"),
        state.unwrap_or("Pending").into(),
        labels(object.at(&["spec", "unverifiedUserAnnotations"])).into(),
    ]
}

fn webhooks(object: &Map, now: Now) -> Vec<Value> {
    vec![name(object), count(object, &["webhooks"]), now.age(object)]
}

fn policy(object: &Map, rules: Value, now: Now) -> Vec<Value> {
    let kind = match object.at(&["spec", "paramKind"]) {
        Some(kind) => format!("{}/{}", kind.str("apiVersion"), kind.str("kind")),
        None => UNSET.into(),
    };
    vec![name(object), rules, kind.into(), now.age(object)]
}

fn policy_binding(object: &Map, now: Now) -> Vec<Value> {
    let param = object.at(&["spec", "paramRef"]);
    let param = match param.map(|param| (param.str("name"), param.str("namespace"), param.map("selector"))) {
        Some(("", _, Some(by))) => go_selector(by),
        None | Some(("", _, None)) => UNSET.into(),
        // Whether the parameter has a namespace cannot be told from here.
        Some((name, "", _)) => format!("*/{name}"),
        Some((name, namespace, _)) => format!("{namespace}/{name}"),
    };
    vec![name(object), text(object, &["spec", "policyName"]).into(), param.into(), now.age(object)]
}

/// A label selector as Go's generated String writes it.
fn go_selector(selector: &Map) -> String {
    let mut labels: Vec<String> = selector
        .map("matchLabels")
        .into_iter()
        .flat_map(Map::iter)
        .map(|(k, v)| format!("{k}: {},", v.as_str().unwrap_or("")))
        .collect();
    labels.sort_unstable();
    let expressions = selector.maps("matchExpressions").map(|one| {
        let (key, operator, values) = (one.str("key"), one.str("operator"), joined(one, &["values"], " "));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    });
    let expressions: String = expressions.collect();
    let labels = labels.concat();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

fn flow_schema(object: &Map, now: Now) -> Vec<Value> {
    vec![
        name(object),
        text(object, &["spec", "priorityLevelConfiguration", "name"]).into(),
        number(object, &["spec", "matchingPrecedence"]).into(),
        text_or(object, &["spec", "distinguisherMethod", "type"], NONE).into(),
        now.age(object),
        condition(object, "Dangling").map_or("?", |condition| condition.str("status")).into(),
    ]
}

fn priority_level(object: &Map, now: Now) -> Vec<Value> {
    let limited = object.at(&["spec", "limited"]);
    let queuing = limited.and_then(|limited| limited.at(&["limitResponse", "queuing"]));
    let of = |map: Option<&Map>, field: &str| map.map_or(NONE.into(), |map| Value::from(number(map, &[field])));
    vec![
        name(object),
        text(object, &["spec", "type"]).into(),
        of(limited, "nominalConcurrencyShares"),
        of(queuing, "queues"),
        of(queuing, "handSize"),
        of(queuing, "queueLengthLimit"),
        now.age(object),
    ]
}

/// k8s.io/kube-aggregator/pkg/registry/apiservice/etcd/etcd.go@v0.37.2
fn api_service(object: &Map, now: Now) -> Vec<Value> {
    let service = match object.at(&["spec", "service"]) {
        Some(service) => format!("{}/{}", service.str("namespace"), service.str("name")),
        None => "Local".into(),
    };
    let available = match condition(object, "Available").map(|one| (one.str("status"), one.str("reason"))) {
        None => "Unknown".into(),
        Some(("True", _)) => "True".into(),
        Some((status, "")) => status.into(),
        Some((status, reason)) => format!("{status} ({reason})"),
    };
    vec![name(object), service.into(), available.into(), now.age(object)]
}

/// k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition/tableconvertor@v0.37.2
fn definition(object: &Map, _: Now) -> Vec<Value> {
    let served = maps(object, &["spec", "versions"]).filter(|version| version.bool("served") == Some(true));
    let mut versions: Vec<String> = served
        .map(|version| {
            format!("{}{}", version.str("name"), if version.bool("storage") == Some(true) { "(storage)" } else { "" })
        })
        .collect();
    versions.sort_unstable();
    vec![
        name(object),
        text(object, &["spec", "scope"]).into(),
        versions.join(",").into(),
        object.meta().str("creationTimestamp").into(),
        text(object, &["spec", "group"]).into(),
        text(object, &["spec", "names", "kind"]).into(),
        joined(object, &["spec", "names", "shortNames"], ",").into(),
        is_true(object, "Established").into(),
    ]
}

const CUSTOM_RESOURCE_DEFINITIONS: &[Column] = &[
    NAME,
    column("Scope", "Cluster/Namespaced"),
    column("Versions", "Served versions"),
    CREATED_AT,
    column("Group", "API group").wide(),
    column("Kind", "CustomResource kind").wide(),
    column("ShortNames", "Short names").wide(),
    column("Established", "Established status").boolean().wide(),
];

const API_SERVICES: &[Column] = &[
    NAME,
    column("Service", "The reference to the service that hosts this API endpoint."),
    column("Available", "Whether this service is available."),
    AGE,
];

const ROLE_BINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        "roleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    column("Users", "Users in the roleBinding").wide(),
    column("Groups", "Groups in the roleBinding").wide(),
    column("ServiceAccounts", "ServiceAccounts in the roleBinding").wide(),
];

const CLUSTER_ROLE_BINDINGS: &[Column] = &[
    NAME,
    column(
        "Role",
        "roleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error.",
    ),
    AGE,
    column("Users", "Users in the clusterRoleBinding").wide(),
    column("Groups", "Groups in the clusterRoleBinding").wide(),
    column("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding").wide(),
];

/// As v1beta1 has it, which upstream's printer goes by (pkg/printers/internalversion/printers.go@v1.37.2).
const SIGNER_NAME: &str = concat!(
    "Requested signer for the request. It is a qualified name in the form: `scope-hostname.io/name`. \
     If empty, it will be defaulted:\n",
    " 1. If it's a kubelet client certificate, it is assigned\n",
    "    \"kubernetes.io/kube-apiserver-client-kubelet\".\n",
    " 2. If it's a kubelet serving certificate, it is assigned\n",
    "    \"kubernetes.io/kubelet-serving\".\n",
    " 3. Otherwise, it is assigned \"kubernetes.io/legacy-unknown\".\n",
    "Distribution of trust for signers happens out of band. You can select on this field using `spec.signerName`.",
);

const CERTIFICATE_SIGNING_REQUESTS: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", SIGNER_NAME),
    column("Requestor", "Base64-encoded PKCS#10 CSR data"),
    of("RequestedDuration", "io.k8s.api.certificates.v1.CertificateSigningRequestSpec", "expirationSeconds"),
    column("Condition", "Conditions applied to the request, such as approval or denial."),
];

const CLUSTER_TRUST_BUNDLES: &[Column] =
    &[NAME, of("SignerName", "io.k8s.api.certificates.v1.ClusterTrustBundleSpec", "signerName")];

const POD_CERTIFICATE_REQUESTS: &[Column] = &[
    NAME,
    of("PodName", "io.k8s.api.certificates.v1.PodCertificateRequestSpec", "podName"),
    of("ServiceAccountName", "io.k8s.api.certificates.v1.PodCertificateRequestSpec", "serviceAccountName"),
    of("NodeName", "io.k8s.api.certificates.v1.PodCertificateRequestSpec", "nodeName"),
    of("SignerName", "io.k8s.api.certificates.v1.PodCertificateRequestSpec", "signerName"),
    column("State", "Is the request Pending, Issued, Denied, or Failed?"),
    of(
        "UnverifiedUserAnnotations",
        "io.k8s.api.certificates.v1.PodCertificateRequestSpec",
        "unverifiedUserAnnotations",
    ),
];

const WEBHOOKS: &[Column] = &[
    NAME,
    column("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration").integer(),
    AGE,
];

const VALIDATING_POLICIES: &[Column] = &[
    NAME,
    column("Validations", "Validations indicates the number of validation rules defined in this configuration")
        .integer(),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

const POLICY_BINDINGS: &[Column] = &[
    NAME,
    column("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
    column("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
    AGE,
];

const MUTATING_POLICIES: &[Column] = &[
    NAME,
    column("Mutations", "Mutation indicates the number of mutations rules defined in this configuration").integer(),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

const FLOW_SCHEMAS: &[Column] = &[
    NAME,
    of("PriorityLevel", "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference", "name"),
    of("MatchingPrecedence", "io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence"),
    of("DistinguisherMethod", "io.k8s.api.flowcontrol.v1.FlowSchemaSpec", "distinguisherMethod"),
    AGE,
    column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];

const PRIORITY_LEVELS: &[Column] = &[
    NAME,
    of("Type", "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec", "type"),
    of(
        "NominalConcurrencyShares",
        "io.k8s.api.flowcontrol.v1.LimitedPriorityLevelConfiguration",
        "nominalConcurrencyShares",
    ),
    of("Queues", "io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queues"),
    of("HandSize", "io.k8s.api.flowcontrol.v1.QueuingConfiguration", "handSize"),
    of("QueueLengthLimit", "io.k8s.api.flowcontrol.v1.QueuingConfiguration", "queueLengthLimit"),
    AGE,
];
