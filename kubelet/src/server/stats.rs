//! /stats/summary (k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go@v0.37.2).

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Server;
use super::usage::{self, ContainerUsage, Disk, PodUsage, Sample, Traffic, Usage};

/// metav1.Time has whole seconds.
fn time(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into())
}

fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let known = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(known.collect::<Map<String, Value>>())
}

fn number(value: Option<u64>) -> Option<Value> {
    value.map(Value::from)
}

fn cpu(sample: &Sample, at: Timestamp) -> Option<Value> {
    sample.cpu_nanos?;
    Some(object([
        ("time", Some(time(Some(at)))),
        ("usageNanoCores", number(sample.nano_cores)),
        ("usageCoreNanoSeconds", number(sample.cpu_nanos)),
    ]))
}

fn memory(sample: &Sample, at: Timestamp) -> Option<Value> {
    sample.working_set?;
    Some(object([
        ("time", Some(time(Some(at)))),
        ("availableBytes", number(sample.available)),
        ("usageBytes", number(sample.usage)),
        ("workingSetBytes", number(sample.working_set)),
        ("rssBytes", number(sample.rss)),
        ("pageFaults", number(sample.page_faults)),
        ("majorPageFaults", number(sample.major_page_faults)),
    ]))
}

fn network(traffic: &Traffic, at: Timestamp) -> Value {
    let one = [
        ("name", Some(traffic.name.clone().into())),
        ("rxBytes", number(traffic.rx_bytes)),
        ("rxErrors", number(traffic.rx_errors)),
        ("txBytes", number(traffic.tx_bytes)),
        ("txErrors", number(traffic.tx_errors)),
    ];
    let interfaces = json!([object(one.clone())]);
    object(one.into_iter().chain([("time", Some(time(Some(at)))), ("interfaces", Some(interfaces))]))
}

fn filesystem(disk: &Disk, used: Option<u64>, inodes_used: Option<u64>, at: Timestamp) -> Value {
    object([
        ("time", Some(time(Some(at)))),
        ("availableBytes", number(Some(disk.available))),
        ("capacityBytes", number(Some(disk.capacity))),
        ("usedBytes", number(used)),
        ("inodesFree", number(Some(disk.inodes_free))),
        ("inodes", number(Some(disk.inodes))),
        ("inodesUsed", number(inodes_used)),
    ])
}

fn container(one: &ContainerUsage, disk: Option<&Disk>, at: Timestamp, brief: bool) -> Value {
    let rootfs = disk.map(|disk| filesystem(disk, one.layer_bytes, one.layer_inodes, at));
    object([
        ("name", Some(one.name.clone().into())),
        ("startTime", Some(time(one.started))),
        ("cpu", cpu(&one.sample, at)),
        ("memory", memory(&one.sample, at)),
        ("rootfs", rootfs.filter(|_| !brief)),
    ])
}

fn pod(one: &PodUsage, disk: Option<&Disk>, at: Timestamp, brief: bool) -> Value {
    let containers: Vec<Value> = one.containers.iter().map(|one| container(one, disk, at, brief)).collect();
    let layers = one.containers.iter().filter_map(|container| container.layer_bytes).reduce(|a, b| a + b);
    let inodes = one.containers.iter().filter_map(|container| container.layer_inodes).reduce(|a, b| a + b);
    let storage = disk.map(|disk| filesystem(disk, layers, inodes, at));
    object([
        ("podRef", Some(json!({ "name": one.name, "namespace": one.namespace, "uid": one.uid }))),
        ("startTime", Some(time(one.started))),
        ("containers", Some(containers.into())),
        ("cpu", cpu(&one.sample, at)),
        ("memory", memory(&one.sample, at)),
        ("network", one.traffic.as_ref().filter(|_| !brief).map(|traffic| network(traffic, at))),
        ("ephemeral-storage", storage.filter(|_| !brief)),
        ("process_stats", one.processes.filter(|_| !brief).map(|count| json!({ "process_count": count }))),
    ])
}

fn document(node: &str, usage: &Usage, brief: bool) -> Value {
    let at = usage.at;
    let disk = usage.disk.as_ref();
    let whole = disk.map(|disk| filesystem(disk, Some(disk.used), Some(disk.inodes_used), at));
    let images = disk.map(|disk| json!({ "imageFs": filesystem(disk, usage.images_used, None, at) }));
    let limits = usage.max_pid.map(|max| json!({ "time": time(Some(at)), "maxpid": max, "curproc": usage.processes }));
    let node = object([
        ("nodeName", Some(node.into())),
        ("startTime", Some(time(usage.booted))),
        ("cpu", cpu(&usage.node, at)),
        ("memory", memory(&usage.node, at)),
        ("network", usage.traffic.as_ref().filter(|_| !brief).map(|traffic| network(traffic, at))),
        ("fs", whole.filter(|_| !brief)),
        ("runtime", images.filter(|_| !brief)),
        ("rlimit", limits.filter(|_| !brief)),
    ]);
    let pods: Vec<Value> = usage.pods.iter().map(|one| pod(one, disk, at, brief)).collect();
    json!({ "node": node, "pods": pods })
}

pub(super) async fn summary(server: &Server, brief: bool) -> Value {
    let usage = usage::measure(server).await;
    document(&server.access.config().node_name, &usage, brief)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said() {
        let sample = Sample { cpu_nanos: Some(7), working_set: Some(9), ..Sample::default() };
        let container = ContainerUsage { name: "c".into(), sample: sample.clone(), ..ContainerUsage::default() };
        let pod = PodUsage { name: "p".into(), containers: vec![container], sample, ..PodUsage::default() };
        let usage = Usage {
            at: Timestamp::UNIX_EPOCH,
            booted: None,
            node: Sample::default(),
            traffic: None,
            disk: Some(Disk { capacity: 100, ..Disk::default() }),
            images_used: None,
            max_pid: None,
            processes: None,
            pods: vec![pod],
            failed: false,
        };
        let full = document("n", &usage, false);
        assert_eq!(full["node"]["nodeName"], "n");
        assert_eq!(full["node"].get("cpu"), None);
        assert_eq!(full["pods"][0]["cpu"], json!({ "time": "1970-01-01T00:00:00Z", "usageCoreNanoSeconds": 7 }));
        assert_eq!(full["pods"][0]["containers"][0]["rootfs"]["capacityBytes"], 100);
        let brief = document("n", &usage, true);
        assert_eq!((brief["node"].get("fs"), brief["pods"][0]["containers"][0].get("rootfs")), (None, None));
    }
}
