//! Tables as text: object in, row out.

use api::json;
use api::map;
use api::value::{Map, Value};

use super::cells::Now;
use super::column::DEFAULT;
use super::{Printer, printers};

const NOW: &str = "2026-11-24T12:00:00Z";

fn find(group: &str, plural: &str) -> &'static Printer {
    printers().find(|printer| printer.group == group && printer.plural == plural).expect("a printer")
}

fn object(group: &str, plural: &str, text: &str) -> Map {
    let facts = api::facts::resources().iter().find(|r| r.group == group && r.plural == plural).expect("a resource");
    json::decode(text.as_bytes(), facts.ty, json::Strictness::Strict).expect("an object").value
}

fn cells(group: &str, plural: &str, text: &str) -> String {
    let cells = (find(group, plural).cells)(&object(group, plural, text), Now::of(NOW));
    let shown = cells.iter().map(|cell| match cell {
        Value::String(text) => text.to_string(),
        other => {
            let mut out = Vec::new();
            json::encode_value(&mut out, other);
            String::from_utf8(out).expect("UTF-8")
        }
    });
    shown.collect::<Vec<_>>().join(" | ")
}

const CREATED: &str = r#""metadata":{"name":"x","creationTimestamp":"2026-11-24T11:55:30Z"}"#;

/// A pod of two containers and what follows in its spec and status.
fn pod(spec: &str, status: &str) -> String {
    let containers = r#""containers":[{"name":"a","image":"i"},{"name":"b","image":"j"}]"#;
    cells("", "pods", &format!("{{{CREATED},\"spec\":{{{containers}{spec}}},\"status\":{{{status}}}}}"))
}

#[test]
fn a_pod_says_what_its_containers_do() {
    let check = |spec: &str, status: &str, expect: &str| {
        let shown = pod(spec, status);
        assert_eq!(
            shown.strip_prefix("x | ").and_then(|rest| rest.strip_suffix(" | <none> | <none> | <none> | <none>")),
            Some(expect)
        );
    };
    check("", r#""phase":"Pending""#, "0/2 | Pending | 0 | 4m30s");
    let running = r#"{"name":"a","ready":true,"restartCount":2,"state":{"running":{}},"lastState":{"terminated":{"exitCode":1,"finishedAt":"2026-11-24T11:58:00Z"}}}"#;
    check("", &format!(r#""phase":"Running","containerStatuses":[{running}]"#), "1/2 | Running | 2 (2m ago) | 4m30s");
    let crash = r#"{"name":"b","restartCount":0,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}"#;
    check(
        "",
        &format!(r#""phase":"Running","containerStatuses":[{running},{crash}]"#),
        "1/2 | CrashLoopBackOff | 2 (2m ago) | 4m30s",
    );
    let done = r#"{"name":"b","restartCount":0,"state":{"terminated":{"exitCode":0,"reason":"Completed"}}}"#;
    check(
        "",
        &format!(r#""phase":"Running","containerStatuses":[{done},{running}]"#),
        "1/2 | NotReady | 2 (2m ago) | 4m30s",
    );
    let failed = r#"{"name":"a","restartCount":0,"state":{"terminated":{"exitCode":3}}}"#;
    check("", &format!(r#""phase":"Failed","containerStatuses":[{failed}]"#), "0/2 | ExitCode:3 | 0 | 4m30s");
    check("", r#""phase":"Failed","reason":"Evicted""#, "0/2 | Evicted | 0 | 4m30s");
    let gated =
        r#""phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"SchedulingGated"}]"#;
    check("", gated, "0/2 | SchedulingGated | 0 | 4m30s");
}

#[test]
fn a_pod_says_how_far_its_initialisation_is() {
    let init = r#","initContainers":[{"name":"i"},{"name":"s","restartPolicy":"Always"}]"#;
    let check = |status: &str, expect: &str| {
        let shown = pod(init, &format!(r#""phase":"Pending","initContainerStatuses":[{status}]"#));
        assert!(shown.starts_with(&format!("x | {expect} | ")), "{shown}");
    };
    check(r#"{"name":"i","state":{"running":{}}}"#, "0/3 | Init:0/2 | 0");
    check(r#"{"name":"i","state":{"terminated":{"exitCode":1,"reason":"Error"}}}"#, "0/3 | Init:Error | 0");
    check(r#"{"name":"i","state":{"terminated":{"exitCode":9,"signal":9}}}"#, "0/3 | Init:Signal:9 | 0");
    let done = r#"{"name":"i","restartCount":4,"state":{"terminated":{"exitCode":0}}}"#;
    check(
        &format!(r#"{done},{{"name":"s","state":{{"waiting":{{"reason":"ErrImagePull"}}}}}}"#),
        "0/3 | Init:ErrImagePull | 4",
    );
    let sidecar = r#"{"name":"s","started":true,"ready":true,"restartCount":1,"state":{"running":{}}}"#;
    check(&format!("{done},{sidecar}"), "1/3 | Pending | 1");
}

#[test]
fn a_pod_that_goes_away_is_terminating_and_one_that_is_over_is_marked() {
    let text = |phase: &str| {
        format!(
            r#"{{"metadata":{{"name":"x","deletionTimestamp":"2026-11-24T12:00:00Z"}},"spec":{{}},"status":{{"phase":"{phase}"}}}}"#
        )
    };
    assert!(cells("", "pods", &text("Running")).starts_with("x | 0/0 | Terminating | 0 | <unknown>"));
    assert!(cells("", "pods", &text("Succeeded")).starts_with("x | 0/0 | Succeeded | 0"));
    let conditions = |phase: &str| (find("", "pods").conditions)(&object("", "pods", &text(phase)));
    assert_eq!(conditions("Running"), []);
    let succeeded = conditions("Succeeded");
    let condition = succeeded[0].as_map().expect("a condition");
    assert_eq!((condition.str("type"), condition.str("reason")), ("Completed", "Succeeded"));
}

#[test]
fn other_kinds_show_their_own() {
    let check = |group: &str, plural: &str, rest: &str, expect: &str| {
        assert_eq!(cells(group, plural, &format!("{{{CREATED},{rest}}}")), expect, "{plural}");
    };
    let node = r#""spec":{"unschedulable":true},"status":{"conditions":[{"type":"Ready","status":"True"}],"nodeInfo":{"kubeletVersion":"v1","kernelVersion":"6","architecture":"amd64"},"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}"#;
    check(
        "",
        "nodes",
        node,
        "x | Ready,SchedulingDisabled | <none> | 4m30s | v1 | 10.0.0.1 | <none> | <unknown> | 6 (amd64) | <unknown>",
    );
    let service = r#""spec":{"type":"NodePort","clusterIPs":["10.0.0.9"],"ports":[{"port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}],"selector":{"b":"2","a":"1"}}"#;
    check("", "services", service, "x | NodePort | 10.0.0.9 | <none> | 80:30080/TCP,53/UDP | 4m30s | a=1,b=2");
    let deployment = r#""spec":{"replicas":3,"selector":{"matchLabels":{"a":"1"}},"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}},"status":{"readyReplicas":2,"updatedReplicas":3,"availableReplicas":2}"#;
    check("apps", "deployments", deployment, "x | 2/3 | 3 | 2 | 4m30s | c | i | a=1");
    let job = r#""spec":{"completions":2,"template":{"spec":{"containers":[]}}},"status":{"succeeded":1,"startTime":"2026-11-24T11:59:00Z"}"#;
    check("batch", "jobs", job, "x | Running | 1/2 | 60s | 4m30s |  |  | <none>");
    let quota = r#""status":{"hard":{"pods":"10","limits.cpu":"2"},"used":{"pods":"3"}}"#;
    check("", "resourcequotas", quota, "x | pods: 3/10 | limits.cpu: 0/2 | 4m30s");
    let slice =
        r#""addressType":"IPv4","ports":[{"port":80}],"endpoints":[{"addresses":["1","2"]},{"addresses":["3","4"]}]"#;
    check("discovery.k8s.io", "endpointslices", slice, "x | IPv4 | 80 | 1,2,3 + 1 more... | 4m30s");
    let event = r#""involvedObject":{"kind":"Pod","name":"p"},"type":"Normal","reason":"R","message":" m ","lastTimestamp":"2026-11-24T11:59:50Z","firstTimestamp":"2026-11-24T11:59:00Z","count":3,"source":{"component":"c","host":"h"}"#;
    check("", "events", event, "10s | Normal | R | pod/p |  | c, h | m | 60s | 3 | x");
    let claim = r#""spec":{"volumeName":"v","storageClassName":"s"},"status":{"phase":"Bound","accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"}}"#;
    check("", "persistentvolumeclaims", claim, "x | Bound | v | 1Gi | RWO | s | <unset> | 4m30s | <unset>");
}

#[test]
fn lists_order_and_mark_their_rows() {
    let check = |group: &str, plural: &str, objects: &[&str], expect: &[&str]| {
        let printer = find(group, plural);
        let objects: Vec<Map> = objects.iter().map(|text| object(group, plural, text)).collect();
        let row = |object: &Map| Value::Map(map! { "cells" => (printer.cells)(object, Now::of(NOW)) });
        let mut rows: Vec<Value> = objects.iter().map(row).collect();
        (printer.listed)(&mut rows, &objects);
        let first = |row: &Value| row.as_map().map(|row| row.list("cells")[0].clone());
        let names: Vec<Option<Value>> = rows.iter().map(first).collect();
        assert_eq!(names, expect.iter().map(|name| Some(Value::from(*name))).collect::<Vec<_>>(), "{plural}");
    };
    let class = |name: &str, created: &str, default: &str| {
        let annotation = "storageclass.kubernetes.io/is-default-class";
        format!(
            r#"{{"metadata":{{"name":"{name}","creationTimestamp":"2026-11-24T{created}Z","annotations":{{"{annotation}":"{default}"}}}},"provisioner":"p"}}"#
        )
    };
    let classes = [
        class("a", "11:00:00", "true"),
        class("b", "11:30:00", "true"),
        class("c", "11:30:00", "true"),
        class("d", "11:40:00", "false"),
    ];
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    check("storage.k8s.io", "storageclasses", &classes, &["a", "b (default)", "c", "d"]);
    let flow = |name: &str, precedence: u16| {
        format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"matchingPrecedence":{precedence}}}}}"#)
    };
    let flows = [flow("a", 900), flow("c", 50), flow("b", 50)];
    let flows: Vec<&str> = flows.iter().map(String::as_str).collect();
    check("flowcontrol.apiserver.k8s.io", "flowschemas", &flows, &["b", "c", "a"]);
}

#[test]
fn every_printer_has_a_cell_for_every_column() {
    for printer in printers() {
        let cells = (printer.cells)(&Map::new(), Now::of(NOW)).len();
        // Upstream's IPAddress row has an age that no column is for.
        let columns = printer.columns.len() + usize::from(printer.plural == "ipaddresses");
        assert_eq!(cells, columns, "{}", printer.plural);
        assert!(
            api::facts::resources().iter().any(|r| r.group == printer.group && r.plural == printer.plural),
            "{}",
            printer.plural
        );
    }
    let name = DEFAULT[0].definition();
    assert_ne!(name.as_map().expect("a definition").str("description"), "");
}
