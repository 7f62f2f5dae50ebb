//! `keelson kube-scheduler` (cmd/kube-scheduler/app/options@v1.37.2).

use anyhow::Result;
use client::health::Health;
use client::task::Tasks;
use scheduler::config::Config;

use super::{connector, file_text, secure};
use crate::flags::Values;

pub(super) const HONOURED: &[&str] = &[
    "config",
    "kubeconfig",
    "leader-elect",
    "leader-elect-resource-name",
    "leader-elect-resource-namespace",
    "v",
    "logging-format",
];

/// pkg/scheduler/apis/config/types.go@v1.37.2
const SERVER: secure::Server = secure::Server { component: "kube-scheduler", port: 10259 };

/// Runs until told to end, or until leadership is lost.
pub(super) async fn run(values: &Values) -> Result<()> {
    let mut config = match file_text(values, "config")? {
        Some(text) => Config::parse(&text)?,
        None => Config::default(),
    };
    let election = &mut config.leader_election;
    election.leader_elect = values.flag("leader-elect", election.leader_elect);
    election.resource_name = values.text("leader-elect-resource-name", &election.resource_name);
    election.resource_namespace = values.text("leader-elect-resource-namespace", &election.resource_namespace);
    let connector = connector(values, &config.client_connection.kubeconfig).await?;
    let (tasks, health) = (Tasks::new(), Health::new(&scheduler::ENDPOINTS));
    secure::serve(values, &SERVER, health.clone(), &tasks).await?;
    let run = scheduler::run(config, connector, tasks.clone(), health);
    tokio::select! {
        ended = run => return Ok(ended?),
        () = crate::signals::terminated() => {}
    }
    tasks.cancel();
    tasks.join().await;
    Ok(())
}
