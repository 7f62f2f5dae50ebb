//! Runs the scheduler alone against any API server: `run KUBECONFIG [CONFIG.yaml]`.

use client::connector::Connector;
use client::health::Health;
use client::task::Tasks;
use scheduler::config::Config;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().ok_or("usage: run KUBECONFIG [CONFIG.yaml]")?;
    let config = match arguments.next() {
        Some(file) => Config::parse(&std::fs::read_to_string(file)?)?,
        None => Config::default(),
    };
    let connector = Connector::from_kubeconfig(&kubeconfig).await?;
    let tasks = Tasks::new();
    let stop = tasks.clone();
    tasks.run("signal", async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    scheduler::run(config, connector, tasks.clone(), Health::default()).await?;
    tasks.cancel();
    tasks.join().await;
    Ok(())
}
