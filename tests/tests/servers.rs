//! Three API servers on three members of etcd behind one address: any of the six processes is killed under load, often.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tests::load::Load;
use tests::servers::Plane;
use xtask::plane::Side;

const ROUNDS: &str = "KEELSON_KILL_ROUNDS";
const DEFAULT_ROUNDS: u64 = 6;
const SEED: &str = "KEELSON_KILL_SEED";
const DEFAULT_SEED: u64 = 1;
const MEMBERS: usize = 3;
/// Between the end of one recovery and the next kill, in milliseconds.
const PAUSE: std::ops::Range<u64> = 0..1000;

fn number(variable: &str, default: u64) -> Result<u64> {
    std::env::var(variable).ok().map_or(Ok(default), |text| text.parse()).with_context(|| variable.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_process_may_be_killed_and_nothing_is_lost() -> Result<()> {
    let (rounds, seed) = (number(ROUNDS, DEFAULT_ROUNDS)?, number(SEED, DEFAULT_SEED)?);
    let mut random = StdRng::seed_from_u64(seed);
    let mut plane = Plane::start(MEMBERS, &[Side::Keelson; 3]).await?;
    let load = Load::start(plane.config(), seed).await?;
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
        let at = random.random_range(0..plane.processes());
        let name = plane.name(at).to_owned();
        let time = plane.kill(at).await.with_context(|| format!("round {round}: {name}"))?;
        println!("round {round}: {name} serves again after {:.2} s", time.as_secs_f64());
        slowest = slowest.max(time);
        load.goes_on().await.with_context(|| format!("round {round}: {name}\n{}", plane.logs()))?;
    }
    let summary = load.stop().await.with_context(|| plane.logs())?;
    println!("{rounds} rounds, {summary}, slowest recovery {:.2} s", slowest.as_secs_f64());
    summary.check().with_context(|| plane.logs())
}
