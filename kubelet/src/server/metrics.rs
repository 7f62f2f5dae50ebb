//! /metrics, /metrics/cadvisor and /metrics/resource in Prometheus' text format
//! (pkg/kubelet/metrics/metrics.go, metrics/collectors/resource_metrics.go@v1.37.2;
//! github.com/google/cadvisor/metrics/prometheus.go).

use http::Response;
use k8s_openapi::jiff::Timestamp;
use serving::{Labels, Page};

use super::Server;
use super::respond::{self, Body};
use super::usage::{self, PodUsage, Usage};
use crate::node::status::VERSION;

const NANOS: f64 = 1e9;

fn seconds(at: Option<Timestamp>) -> Option<f64> {
    at.map(|at| at.as_nanosecond() as f64 / NANOS)
}

pub(super) async fn kubelet(server: &Server) -> Response<Body> {
    let usage = usage::measure(server).await;
    let access = &server.access;
    let mut page = Page::default();
    let containers: usize = usage.pods.iter().map(|pod| pod.containers.len()).sum();
    let config = access.config();
    let one = |value: f64| [(vec![], value)];
    page.family(
        "kubernetes_build_info",
        "gauge",
        "[BETA] A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
        [(vec![("git_version", VERSION), ("platform", "linux")], 1.0)],
    );
    page.family(
        "kubelet_node_name",
        "gauge",
        "[ALPHA] The node's name. The count is always 1.",
        [(vec![("node", config.node_name.as_str())], 1.0)],
    );
    page.family(
        "kubelet_running_pods",
        "gauge",
        "[ALPHA] Number of pods that have a running pod sandbox",
        one(usage.pods.len() as f64),
    );
    page.family(
        "kubelet_running_containers",
        "gauge",
        "[ALPHA] Number of containers currently running",
        [(vec![("container_state", "running")], containers as f64)],
    );
    page.family(
        "kubelet_desired_pods",
        "gauge",
        "[ALPHA] The number of pods the kubelet is being instructed to run. static is true if the pod is not from the apiserver.",
        one(access.pods().len() as f64),
    );
    let started = seconds(Some(access.started())).unwrap_or_default();
    page.family(
        "process_start_time_seconds",
        "gauge",
        "[ALPHA] Start time of the process since unix epoch in seconds.",
        one(started),
    );
    respond::metrics(page.0)
}

fn of_pods<'a>(
    usage: &'a Usage,
    get: impl Fn(&PodUsage) -> Option<f64> + 'a,
) -> impl Iterator<Item = (Labels<'a>, f64)> {
    let pods = usage.pods.iter();
    pods.filter_map(move |pod| Some((vec![("namespace", &*pod.namespace), ("pod", &*pod.name)], get(pod)?)))
}

fn of_containers<'a>(
    usage: &'a Usage,
    full: bool,
    get: impl Fn(&usage::ContainerUsage) -> Option<f64> + Copy + 'a,
) -> impl Iterator<Item = (Labels<'a>, f64)> {
    let all = usage.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    all.filter_map(move |(pod, container)| {
        let mut labels = vec![("container", &*container.name)];
        if full {
            labels.extend([("id", &*container.id), ("image", &*container.image), ("name", &*container.id)]);
        }
        labels.extend([("namespace", &*pod.namespace), ("pod", &*pod.name)]);
        Some((labels, get(container)?))
    })
}

pub(super) async fn resource(server: &Server) -> Response<Body> {
    respond::metrics(resource_page(&usage::measure(server).await).0)
}

fn resource_page(usage: &Usage) -> Page {
    let mut page = Page::default();
    let cpu = |sample: &usage::Sample| sample.cpu_nanos.map(|nanos| nanos as f64 / NANOS);
    let memory = |sample: &usage::Sample| sample.working_set.map(|bytes| bytes as f64);
    page.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        of_containers(usage, false, |container| cpu(&container.sample)),
    );
    page.family(
        "container_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the container in bytes",
        of_containers(usage, false, |container| memory(&container.sample)),
    );
    page.family(
        "container_start_time_seconds",
        "gauge",
        "[STABLE] Start time of the container since unix epoch in seconds",
        of_containers(usage, false, |container| seconds(container.started)),
    );
    let one = |value: Option<f64>| value.map(|value| (vec![], value));
    page.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        one(cpu(&usage.node)),
    );
    page.family(
        "node_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the node in bytes",
        one(memory(&usage.node)),
    );
    page.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        of_pods(usage, move |pod| cpu(&pod.sample)),
    );
    page.family(
        "pod_memory_working_set_bytes",
        "gauge",
        "[STABLE] Current working set of the pod in bytes",
        of_pods(usage, move |pod| memory(&pod.sample)),
    );
    let failed = f64::from(u8::from(usage.failed));
    for (name, stability) in [("resource_scrape_error", "STABLE"), ("scrape_error", "ALPHA")] {
        let help = format!("[{stability}] 1 if there was an error while getting container metrics, 0 otherwise");
        page.family(name, "gauge", &help, one(Some(failed)));
    }
    page
}

pub(super) async fn cadvisor(server: &Server) -> Response<Body> {
    let usage = usage::measure(server).await;
    let mut page = cadvisor_page(&usage);
    let (cores, memory) = server.access.machine();
    page.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.", [(vec![], cores)]);
    page.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.", [(vec![], memory)]);
    respond::metrics(page.0)
}

fn cadvisor_page(usage: &Usage) -> Page {
    let mut page = Page::default();
    type Get = fn(&usage::ContainerUsage) -> Option<f64>;
    let families: [(&str, &str, &str, Get); 7] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |one| {
            one.sample.cpu_nanos.map(|nanos| nanos as f64 / NANOS)
        }),
        (
            "container_fs_usage_bytes",
            "gauge",
            "Number of bytes that are consumed by the container on this filesystem.",
            |one| one.layer_bytes.map(|bytes| bytes as f64),
        ),
        ("container_fs_inodes_total", "gauge", "Number of Inodes", |one| one.layer_inodes.map(|count| count as f64)),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |one| one.sample.rss.map(|bytes| bytes as f64)),
        (
            "container_memory_usage_bytes",
            "gauge",
            "Current memory usage in bytes, including all memory regardless of when it was accessed",
            |one| one.sample.usage.map(|bytes| bytes as f64),
        ),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |one| {
            one.sample.working_set.map(|bytes| bytes as f64)
        }),
        ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.", |one| {
            seconds(one.started)
        }),
    ];
    for (name, kind, help, get) in families {
        page.family(name, kind, help, of_containers(usage, true, get));
    }
    type Flow = fn(&usage::Traffic) -> Option<u64>;
    let flows: [(&str, &str, Flow); 4] = [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received", |flow| flow.rx_bytes),
        ("container_network_receive_errors_total", "Cumulative count of errors encountered while receiving", |flow| {
            flow.rx_errors
        }),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |flow| flow.tx_bytes),
        (
            "container_network_transmit_errors_total",
            "Cumulative count of errors encountered while transmitting",
            |flow| flow.tx_errors,
        ),
    ];
    for (name, help, get) in flows {
        let samples = usage.pods.iter().filter_map(|pod| {
            let flow = pod.traffic.as_ref()?;
            let labels = vec![("interface", &*flow.name), ("namespace", &*pod.namespace), ("pod", &*pod.name)];
            Some((labels, get(flow)? as f64))
        });
        page.family(name, "counter", help, samples);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::usage::{ContainerUsage, Sample};

    #[test]
    fn families_and_labels() {
        let sample = Sample { cpu_nanos: Some(1_500_000_000), working_set: Some(9), ..Sample::default() };
        let container = ContainerUsage { name: "c\"".into(), sample: sample.clone(), ..ContainerUsage::default() };
        let pod = PodUsage {
            name: "p".into(),
            namespace: "n".into(),
            sample,
            containers: vec![container],
            ..PodUsage::default()
        };
        let usage = Usage {
            at: Timestamp::UNIX_EPOCH,
            booted: None,
            node: Sample::default(),
            traffic: None,
            disk: None,
            images_used: None,
            max_pid: None,
            processes: None,
            pods: vec![pod],
            failed: false,
        };
        let page = resource_page(&usage).0;
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            "container_cpu_usage_seconds_total{container=\"c\\\"\",namespace=\"n\",pod=\"p\"} 1.5",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 9",
            "resource_scrape_error 0",
        ] {
            assert!(page.lines().any(|has| has == line), "{line}\n{page}");
        }
        assert!(!page.contains("node_cpu"), "{page}");
        assert!(!cadvisor_page(&usage).0.contains("container_network"));
    }
}
