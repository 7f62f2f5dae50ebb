//! The configuration file: kubescheduler.config.k8s.io/v1, KubeSchedulerConfiguration.
//!
//! Invariant: strict; a field we do not know or do not act on is an error, never silently dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::args::PluginArgs;
use super::{Config, PluginSet, ProfileConfig};
use crate::Error;

const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    #[serde(default)]
    profiles: Vec<FileProfile>,
    percentage_of_nodes_to_score: Option<i32>,
    pod_initial_backoff_seconds: Option<u64>,
    pod_max_backoff_seconds: Option<u64>,
    /// Filtering runs on one thread; accepted for upstream's files.
    #[serde(rename = "parallelism")]
    _parallelism: Option<i32>,
    #[serde(default)]
    leader_election: FileLeaderElection,
    #[serde(default)]
    client_connection: FileClientConnection,
    #[serde(rename = "enableProfiling")]
    _enable_profiling: Option<bool>,
    #[serde(rename = "enableContentionProfiling")]
    _enable_contention_profiling: Option<bool>,
    #[serde(default)]
    extenders: Vec<Value>,
    #[serde(default)]
    delay_cache_until_active: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct FileProfile {
    scheduler_name: Option<String>,
    percentage_of_nodes_to_score: Option<i32>,
    #[serde(default)]
    plugins: BTreeMap<String, PluginSet>,
    #[serde(default)]
    plugin_config: Vec<FilePluginConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePluginConfig {
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct FileLeaderElection {
    leader_elect: Option<bool>,
    resource_namespace: Option<String>,
    resource_name: Option<String>,
    resource_lock: Option<String>,
    lease_duration: Option<String>,
    renew_deadline: Option<String>,
    retry_period: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct FileClientConnection {
    kubeconfig: String,
    qps: Option<f64>,
    burst: Option<i32>,
    #[serde(rename = "acceptContentTypes")]
    _accept_content_types: String,
    #[serde(rename = "contentType")]
    _content_type: String,
}

pub(super) fn parse(text: &str) -> Result<Config, Error> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| Error::Config(error.to_string()))?;
    convert(file).map_err(Error::Config)
}

fn convert(file: File) -> Result<Config, String> {
    if (file.api_version.as_str(), file.kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("no kind {:?} is registered for version {:?}", file.kind, file.api_version));
    }
    if !file.extenders.is_empty() {
        return Err("extenders are not supported yet".into());
    }
    if file.delay_cache_until_active {
        return Err("delayCacheUntilActive is not supported yet".into());
    }
    let percentage = file.percentage_of_nodes_to_score.unwrap_or(0);
    check_percentage("percentageOfNodesToScore", percentage)?;
    let mut config = Config { percentage_of_nodes_to_score: percentage, ..Config::default() };
    if let Some(seconds) = file.pod_initial_backoff_seconds {
        config.pod_initial_backoff = Duration::from_secs(seconds);
    }
    if let Some(seconds) = file.pod_max_backoff_seconds {
        config.pod_max_backoff = Duration::from_secs(seconds);
    }
    if config.pod_max_backoff < config.pod_initial_backoff {
        return Err("podMaxBackoffSeconds: must be greater than or equal to PodInitialBackoffSeconds".into());
    }
    leader_election(&mut config, file.leader_election)?;
    let connection = file.client_connection;
    config.client_connection.kubeconfig = connection.kubeconfig;
    config.client_connection.qps = connection.qps.filter(|qps| *qps != 0.0).unwrap_or(config.client_connection.qps);
    config.client_connection.burst = connection.burst.filter(|b| *b != 0).unwrap_or(config.client_connection.burst);
    let alone = file.profiles.len() == 1;
    let profiles: Result<Vec<_>, _> = file.profiles.into_iter().map(|one| profile(one, alone)).collect();
    match profiles? {
        none if none.is_empty() => {}
        some => config.profiles = some,
    }
    Ok(config)
}

fn check_percentage(field: &str, value: i32) -> Result<(), String> {
    if (0..=100).contains(&value) { Ok(()) } else { Err(format!("{field}: not in valid range [0-100]")) }
}

fn leader_election(config: &mut Config, file: FileLeaderElection) -> Result<(), String> {
    let target = &mut config.leader_election;
    target.leader_elect = file.leader_elect.unwrap_or(true);
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(namespace) = set(file.resource_namespace) {
        target.resource_namespace = namespace;
    }
    if let Some(name) = set(file.resource_name) {
        target.resource_name = name;
    }
    if set(file.resource_lock).is_some_and(|lock| lock != "leases") {
        return Err("leaderElection.resourceLock: must be leases".into());
    }
    let durations = [(file.lease_duration, "15s"), (file.renew_deadline, "10s"), (file.retry_period, "2s")];
    match durations.into_iter().find(|(given, usual)| given.as_deref().is_some_and(|given| given != *usual)) {
        Some((_, usual)) => Err(format!("leaderElection: only the default durations are supported yet ({usual})")),
        None => Ok(()),
    }
}

fn profile(file: FileProfile, alone: bool) -> Result<ProfileConfig, String> {
    let name = file.scheduler_name.unwrap_or_default();
    if name.is_empty() && !alone {
        return Err("profiles: schedulerName is required".into());
    }
    if let Some(percentage) = file.percentage_of_nodes_to_score {
        check_percentage("profiles.percentageOfNodesToScore", percentage)?;
    }
    let mut profile = ProfileConfig::default();
    if !name.is_empty() {
        profile.scheduler_name = name;
    }
    profile.percentage_of_nodes_to_score = file.percentage_of_nodes_to_score;
    profile.plugins = file.plugins;
    for plugin in file.plugin_config {
        set_args(&mut profile.args, &plugin.name, plugin.args)
            .map_err(|error| format!("decoding .pluginConfig of {:?}: {error}", plugin.name))?;
    }
    Ok(profile)
}

fn set_args(all: &mut PluginArgs, plugin: &str, args: Value) -> Result<(), String> {
    let args = without_type(args);
    fn read<T: serde::de::DeserializeOwned>(args: Value) -> Result<T, String> {
        serde_json::from_value(args).map_err(|error| error.to_string())
    }
    match plugin {
        "DefaultPreemption" => all.default_preemption = read(args)?,
        "InterPodAffinity" => all.inter_pod_affinity = read(args)?,
        "NodeAffinity" => all.node_affinity = read(args)?,
        "NodeResourcesFit" => all.node_resources_fit = read(args)?,
        "NodeResourcesBalancedAllocation" => all.node_resources_balanced_allocation = read(args)?,
        "PodTopologySpread" => all.pod_topology_spread = read(args)?,
        _ => return Err("a plugin with these arguments is not supported".into()),
    }
    Ok(())
}

/// The arguments without their apiVersion and kind.
fn without_type(args: Value) -> Value {
    let Value::Object(mut fields) = args else { return Value::Object(serde_json::Map::new()) };
    fields.remove("apiVersion");
    fields.remove("kind");
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::ScoringStrategyType;
    use crate::config::profiles;
    use crate::framework::plugin::Point;
    use crate::handle::Handle;

    fn parse(body: &str) -> Result<Config, Error> {
        Config::parse(&format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{body}"))
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(parse("").unwrap(), Config::default());
    }

    #[test]
    fn fields_are_read() {
        let config = parse(
            "percentageOfNodesToScore: 70\npodInitialBackoffSeconds: 2\nleaderElection:\n  leaderElect: false\n\
             clientConnection:\n  kubeconfig: /k\n  qps: 5\nprofiles:\n- schedulerName: packer\n  pluginConfig:\n  \
             - name: NodeResourcesFit\n    args:\n      scoringStrategy:\n        type: MostAllocated\n        \
             resources: [{name: cpu, weight: 0}]\n",
        )
        .unwrap();
        assert_eq!((config.percentage_of_nodes_to_score, config.pod_initial_backoff.as_secs()), (70, 2));
        assert!(!config.leader_election.leader_elect);
        assert_eq!((config.client_connection.kubeconfig.as_str(), config.client_connection.qps), ("/k", 5.0));
        let strategy = &config.profiles[0].args.node_resources_fit.scoring_strategy;
        assert_eq!((strategy.type_, strategy.resources[0].weight), (ScoringStrategyType::MostAllocated, 1));
    }

    #[test]
    fn mistakes_are_refused() {
        for (body, what) in [
            ("nonsense: 1\n", "nonsense"),
            ("percentageOfNodesToScore: 101\n", "[0-100]"),
            ("extenders: [{urlPrefix: x}]\n", "extenders"),
            ("profiles: [{schedulerName: a}, {}]\n", "schedulerName"),
            ("podMaxBackoffSeconds: 0\n", "podMaxBackoffSeconds"),
            ("profiles: [{pluginConfig: [{name: NodeAffinity, args: {x: 1}}]}]\n", "NodeAffinity"),
        ] {
            let error = parse(body).unwrap_err().to_string();
            assert!(error.contains(what), "{body}: {error}");
        }
        assert!(Config::parse("apiVersion: v1\nkind: Pod\n").is_err());
    }

    #[test]
    fn plugins_are_switched_and_ordered_as_upstream_does() {
        let at = |plugins: &str, point: Point| -> Result<String, String> {
            let config = parse(&format!("profiles: [{{plugins: {plugins}}}]\n")).map_err(|e| e.to_string())?;
            let made = profiles::make(&config, &Handle::for_test()).map_err(|error| error.to_string())?;
            let list = made["default-scheduler"].at(point).map(|(name, weight)| format!("{name}={weight}"));
            Ok(list.collect::<Vec<_>>().join(" "))
        };
        let all = "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 PodTopologySpread=2 InterPodAffinity=2 \
                   NodeResourcesBalancedAllocation=1 ImageLocality=1";
        for (plugins, expected) in [
            ("{}", all.to_string()),
            (
                "{score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality, weight: 5}]}}",
                "ImageLocality=5".into(),
            ),
            (
                "{score: {enabled: [{name: ImageLocality, weight: 5}]}}",
                format!("ImageLocality=5 {}", all.replace(" ImageLocality=1", "")),
            ),
            (
                "{multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}}",
                all.replace("NodeAffinity=2", "NodeAffinity=9"),
            ),
            ("{multiPoint: {disabled: [{name: ImageLocality}]}}", all.replace(" ImageLocality=1", "")),
        ] {
            assert_eq!(at(plugins, Point::Score).as_deref(), Ok(expected.as_str()), "{plugins}");
        }
        for (plugins, what) in [
            ("{score: {enabled: [{name: Nothing}]}}", "does not exist"),
            ("{bind: {enabled: [{name: ImageLocality}]}}", "does not extend"),
            ("{multiPoint: {disabled: [{name: PrioritySort}]}}", "queue sort"),
            ("{bind: {disabled: [{name: '*'}]}}", "bind plugin"),
            ("{teatime: {}}", "not supported"),
        ] {
            let error = at(plugins, Point::Score).unwrap_err();
            assert!(error.contains(what), "{plugins}: {error}");
        }
    }
}
