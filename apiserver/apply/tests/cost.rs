//! What a write costs: a 10 KB pod, compared and its owners encoded (run with --release to see the budget's numbers).

use std::borrow::Cow;
use std::time::{Duration, Instant};

use api::json::{self, Strictness};
use api::value::Map;
use apply::manager::FieldManager;
use apply::schema::Ref;
use apply::updater::Versions;

struct Pods(&'static api::facts::Struct);

impl Versions for Pods {
    fn schema(&self, _version: &str) -> Option<Ref<'_>> {
        Some(Ref::Struct(self.0))
    }

    fn convert<'o>(&self, object: &'o Map, _from: &str, _to: &str) -> Option<Cow<'o, Map>> {
        Some(Cow::Borrowed(object))
    }
}

/// Budget for one write in a release build; debug builds and busy machines get a large factor.
const WRITE_MAX: Duration = Duration::from_micros(100);
const FACTOR: u32 = if cfg!(debug_assertions) { 60 } else { 5 };
const ROUNDS: u32 = 200;

fn decode(text: &str, ty: &'static api::facts::Struct) -> Map {
    let mut object = json::decode(text.as_bytes(), ty, Strictness::Lenient).unwrap().value;
    api::object::set_kind(&mut object, "v1", "Pod");
    object
}

/// A pod of some 10 KB.
fn pod(ty: &'static api::facts::Struct) -> Map {
    let container = |n: usize| {
        let env: Vec<_> =
            (0..12).map(|e| format!(r#"{{"name":"VARIABLE_{e}","value":"some value {e} of {n}"}}"#)).collect();
        let env = env.join(",");
        format!(
            r#"{{"name":"c{n}","image":"example/image:{n}","args":["--flag={n}","--other"],"env":[{env}],
            "ports":[{{"name":"http","containerPort":{},"protocol":"TCP"}},{{"name":"metrics","containerPort":{},"protocol":"TCP"}}],
            "resources":{{"requests":{{"cpu":"100m","memory":"64Mi"}},"limits":{{"cpu":"1","memory":"128Mi"}}}},
            "volumeMounts":[{{"name":"data","mountPath":"/data"}},{{"name":"config","mountPath":"/config","readOnly":true}}],
            "livenessProbe":{{"httpGet":{{"path":"/healthz","port":"http","scheme":"HTTP"}},"periodSeconds":10,"timeoutSeconds":1,
            "successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log",
            "terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}}"#,
            8000 + n,
            9000 + n
        )
    };
    let containers: Vec<_> = (0..6).map(container).collect();
    let text = format!(
        r#"{{"metadata":{{"name":"web","namespace":"default","labels":{{"app":"web","tier":"front"}},
        "annotations":{{"example.com/one":"1","example.com/two":"2"}}}},
        "spec":{{"containers":[{}],"volumes":[{{"name":"data","emptyDir":{{}}}},{{"name":"config","configMap":{{"name":"config","defaultMode":420}}}}],
        "restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{{}},
        "schedulerName":"default-scheduler","enableServiceLinks":true}}}}"#,
        containers.join(",")
    );
    decode(&text, ty)
}

fn measure(name: &str, mut act: impl FnMut()) {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let started = Instant::now();
        act();
        best = best.min(started.elapsed());
    }
    println!("{name}: {best:?}");
    assert!(best < WRITE_MAX * FACTOR, "{name} takes {best:?}");
}

#[test]
fn a_write_of_a_large_pod_is_cheap() {
    let ty = api::facts::kind("", "v1", "Pod").unwrap();
    let fields = FieldManager {
        versions: &Pods(ty),
        version: "v1",
        kind: "Pod",
        subresource: "",
        ignored: None,
        now: "2026-11-24T08:00:00Z",
    };
    let (empty, new) = (decode("{}", ty), pod(ty));
    println!("{} bytes of JSON", json::encode(&new).len());
    let mut created = new.clone();
    fields.update(&empty, &mut created, "test");
    created.map_mut("metadata").set("uid", "1");
    assert_eq!(created.map("metadata").unwrap().list("managedFields").len(), 1);
    measure("create", || {
        let mut object = new.clone();
        fields.update(&empty, &mut object, "test");
    });
    measure("compare alone", || {
        let typed = |value| apply::typed::Typed { value, ty: Ref::Struct(ty) };
        typed(&empty).compare(typed(&new)).unwrap();
    });
    let set = apply::managed::decode(created.map("metadata").unwrap().list("managedFields")).unwrap();
    measure("encode alone", || drop(apply::managed::encode(&set)));
    measure("decode alone", || {
        apply::managed::decode(created.map("metadata").unwrap().list("managedFields")).unwrap();
    });
    measure("update, one label", || {
        let mut object = created.clone();
        object.map_mut("metadata").map_mut("labels").set("app", "other");
        fields.update(&created, &mut object, "other");
    });
    measure("update, nothing changed", || {
        let mut object = created.clone();
        fields.update(&created, &mut object, "other");
    });
    measure("clone", || drop(created.clone()));
}
