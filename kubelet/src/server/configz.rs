//! /configz: the configuration that counts, as KubeletConfiguration
//! (k8s.io/component-base/configz@v0.37.2).

use std::time::Duration;

use serde_json::{Value, json};

use super::Authorization;
use crate::config::Config;

/// As Go prints a duration.
fn go(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, duration.subsec_millis()) {
        (0, 0) => "0s".into(),
        (0, milliseconds) => format!("{milliseconds}ms"),
        (..60, _) => format!("{seconds}s"),
        (..3600, _) => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

pub(super) fn document(config: &Config) -> Value {
    let server = &config.server;
    let mode = match server.authorization {
        Authorization::AlwaysAllow => "AlwaysAllow",
        Authorization::Webhook => "Webhook",
    };
    let mut all = json!({
        "enableServer": config.port != 0,
        "staticPodPath": config.static_pod_path,
        "podLogsDir": config.pod_logs_dir,
        "syncFrequency": go(config.sync_frequency),
        "fileCheckFrequency": go(config.file_check_frequency),
        "address": server.address.to_string(),
        "port": config.port,
        "tlsCertFile": server.tls_cert_file,
        "tlsPrivateKeyFile": server.tls_private_key_file,
        "authentication": {
            "x509": { "clientCAFile": server.client_ca_file },
            "webhook": { "enabled": server.token_review, "cacheTTL": go(server.token_review_ttl) },
            "anonymous": { "enabled": server.anonymous },
        },
        "authorization": {
            "mode": mode,
            "webhook": {
                "cacheAuthorizedTTL": go(server.authorized_ttl),
                "cacheUnauthorizedTTL": go(server.unauthorized_ttl),
            },
        },
        "enableDebuggingHandlers": server.debugging_handlers,
        "enableSystemLogHandler": server.system_log_handler,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "nodeStatusUpdateFrequency": go(config.node_status_update_frequency),
        "nodeStatusReportFrequency": go(config.node_status_report_frequency),
        "nodeLeaseDurationSeconds": config.node_lease_duration.as_secs(),
        "cgroupRoot": config.cgroup_root,
        "cgroupsPerQOS": config.cgroups_per_qos,
        "maxPods": config.max_pods,
        "podsPerCore": config.pods_per_core,
        "podPidsLimit": config.pod_pids_limit,
        "podCIDR": config.pod_cidr,
        "resolvConf": config.resolv_conf,
        "cpuCFSQuota": config.cpu_cfs_quota,
        "cpuCFSQuotaPeriod": go(config.cpu_cfs_quota_period),
        "seccompDefault": config.seccomp_default,
        "allowedUnsafeSysctls": config.allowed_unsafe_sysctls,
        "serializeImagePulls": config.serialize_image_pulls,
        "maxParallelImagePulls": config.max_parallel_image_pulls,
        "evictionHard": config.eviction_hard,
        "kubeReserved": config.kube_reserved,
        "systemReserved": config.system_reserved,
        "containerLogMaxSize": config.container_log_max_size.to_string(),
        "containerLogMaxFiles": config.container_log_max_files,
        "enableControllerAttachDetach": config.enable_controller_attach_detach,
        "registerNode": config.register_node,
        "providerID": config.provider_id,
        "crashLoopBackOff": { "maxContainerRestartPeriod": go(config.max_container_restart_period) },
    });
    if let Value::Object(fields) = &mut all {
        fields.retain(|_, value| !value.is_null() && value.as_str() != Some(""));
    }
    json!({ "kubeletconfig": all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (milliseconds, expect) in
            [(0, "0s"), (100, "100ms"), (20_000, "20s"), (60_000, "1m0s"), (300_000, "5m0s"), (3_661_000, "1h1m1s")]
        {
            assert_eq!(go(Duration::from_millis(milliseconds)), expect);
        }
    }
}
