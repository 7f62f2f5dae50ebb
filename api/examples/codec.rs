//! Times the codecs on a 10 KB pod: `cargo run --release -p api --example codec`.
//! The bar: decode + default + encode of it stays well under 200 us (validation takes the rest).

use std::fmt::Write as _;
use std::time::Instant;

use api::json::{self, Strictness};
use api::{defaults, facts, proto};

const ROUNDS: u32 = 2000;

fn pod() -> String {
    let mut containers = String::new();
    for at in 0..8 {
        let mut env = String::new();
        for n in 0..12 {
            let _ = write!(env, r#"{{"name":"VARIABLE_{n}","value":"some value of some length {n}"}},"#);
        }
        env.pop();
        let _ = write!(
            containers,
            r#"{{"name":"container-{at}","image":"example.invalid/team/image:{at}","command":["/bin/app","--flag=1"],"env":[{env}],"ports":[{{"name":"http","containerPort":80{at}0,"protocol":"TCP"}}],"resources":{{"limits":{{"cpu":"500m","memory":"128Mi"}},"requests":{{"cpu":"250m","memory":"64Mi"}}}},"livenessProbe":{{"httpGet":{{"path":"/healthz","port":8080}},"periodSeconds":10}},"volumeMounts":[{{"name":"data","mountPath":"/data"}},{{"name":"config","mountPath":"/etc/config","readOnly":true}}]}},"#
        );
    }
    containers.pop();
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-7d4b9c6f5-x2x4x","namespace":"default","labels":{{"app":"web","pod-template-hash":"7d4b9c6f5"}}}},"spec":{{"containers":[{containers}],"volumes":[{{"name":"data","emptyDir":{{}}}},{{"name":"config","configMap":{{"name":"web"}}}}],"restartPolicy":"Always","nodeSelector":{{"kubernetes.io/os":"linux"}}}}}}"#
    )
}

fn time<T>(what: &str, mut step: impl FnMut() -> T) -> T {
    let mut last = step();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        last = std::hint::black_box(step());
    }
    println!("{what:24} {:8.1} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
    last
}

fn main() {
    let text = pod();
    let ty = facts::kind("", "v1", "Pod").expect("Pod");
    println!("{} bytes of JSON", text.len());
    let value =
        time("JSON decode, strict", || json::decode(text.as_bytes(), ty, Strictness::Strict).expect("pod").value);
    let value = time("clone and default", || {
        let mut value = value.clone();
        defaults::apply(&mut value, ty);
        value
    });
    let bytes = time("protobuf encode", || proto::encode(&value, ty));
    println!("{} bytes of protobuf", bytes.len());
    time("protobuf decode", || proto::decode(&bytes, ty).expect("pod"));
    time("protobuf to JSON", || {
        let mut text = Vec::with_capacity(bytes.len() * 2);
        proto::to_json(&bytes, ty, &mut text).expect("pod");
        text
    });
    time("JSON encode", || json::encode(&value));
    time("typed view", || api::view::of::<k8s_openapi::api::core::v1::Pod>(&value).expect("view"));
}
