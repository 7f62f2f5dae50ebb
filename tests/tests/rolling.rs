//! Two API servers behind one address are replaced one by one by the other side's and back, under load.

use std::time::Duration;

use anyhow::{Context, Result};
use tests::load::Load;
use tests::servers::Plane;
use xtask::plane::Side;

/// How long each pair serves together.
const TOGETHER: Duration = Duration::from_secs(4);
const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_swapped_one_by_one_and_nothing_is_lost() -> Result<()> {
    let mut plane = Plane::start(1, &[Side::Upstream; 2]).await?;
    let load = Load::start(plane.config(), SEED).await?;
    let mut endings = Vec::new();
    tokio::time::sleep(TOGETHER).await;
    for side in [Side::Keelson, Side::Upstream] {
        for at in 0..2 {
            endings.push(plane.replace(at, side).await?);
            tokio::time::sleep(TOGETHER).await;
            load.goes_on().await.with_context(|| plane.logs())?;
        }
    }
    for ending in endings {
        println!("{}", ending.ended().await?);
    }
    let summary = load.stop().await.with_context(|| plane.logs())?;
    println!("upstream -> keelson -> upstream: {summary}");
    summary.check().with_context(|| plane.logs())
}
