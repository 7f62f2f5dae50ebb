//! The server's own duties around priority and fairness: digesting the configuration, dividing the seats
//! every ten seconds, releasing seats in time, keeping the objects it begins with.
//!
//! Invariant: everything follows events; the one clock is that of the seats.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use api::map;
use api::object::Meta;
use api::status::Status;
use api::value::{Map, Value};
use flow::bootstrap::{self, Kept};
use flow::control::ADJUSTMENT_PERIOD_SECONDS;
use flow::schema::Dangling;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::{Alarm, Fair, Flow, Gate};
use crate::chain::Core;
use crate::system;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
/// Who sets the condition of FlowSchemas, and who keeps the objects, among the owners of fields.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";
const PRODUCER: &str = "api-priority-and-fairness-config-producer-v1";

/// Updates of one FlowSchema's status in a minute; with more, servers of two minds are at work.
const UPDATES_MAX: usize = 6;
const MINUTE: Duration = Duration::from_secs(60);
/// How long to leave such a FlowSchema alone, in seconds.
const TRUCE_SECONDS: std::ops::Range<u64> = 30..75;
/// Between tries of updates that failed, first and at most.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// What the server keeps is looked at this often at most, and only after changes.
const KEEP_PERIOD: Duration = Duration::from_secs(60);

/// Runs until it is dropped.
pub(crate) async fn run(core: Arc<Core>) {
    let fair = async {
        let Gate::Fair(fair) = &core.flow.gate else { return };
        tokio::join!(digest(&core, fair), keep(&core, fair));
    };
    tokio::join!(fair, alarms(&core.flow), rebalance(&core.flow));
}

/// Creates what the server begins with and brings it up to date.
pub(crate) async fn ensure(core: &Core) -> Result<(), Status> {
    for kept in bootstrap::kept() {
        one(core, &kept).await?;
    }
    let Gate::Fair(fair) = &core.flow.gate else { return Ok(()) };
    for (kind, object) in fair.views.all() {
        if bootstrap::is_unwanted(kind, &object) {
            system::remove(core, &object).await?;
        }
    }
    Ok(())
}

async fn one(core: &Core, kept: &Kept) -> Result<(), Status> {
    let mut make = |current: Option<&Map>| match current {
        None => Some(kept.object.clone()),
        Some(current) => kept.revised(current),
    };
    system::apply_as(core, PRODUCER, &kept.object, &mut make).await
}

async fn keep(core: &Core, fair: &Fair) {
    loop {
        // Changes meanwhile are seen by the next turn.
        tokio::time::sleep(KEEP_PERIOD).await;
        fair.kept.notified().await;
        if let Err(status) = ensure(core).await {
            tracing::warn!(%status, "priority and fairness objects are not up to date, will retry");
            fair.kept.notify_one();
        }
    }
}

/// Divides the seats anew, and takes back those that an answer has held for too long.
async fn rebalance(flow: &Flow) {
    let period = Duration::from_secs(ADJUSTMENT_PERIOD_SECONDS);
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = flow.clock.now();
        flow.release_overdue(now);
        if let Gate::Fair(fair) = &flow.gate {
            fair.control.rebalance(now);
        }
    }
}

/// Advances levels in which requests wait for seats that are given back at a known time.
async fn alarms(flow: &Flow) {
    let Some(mut alarmed) = flow.alarmed.lock().take() else { return };
    let ring = |(at, level): Alarm| async move {
        tokio::time::sleep_until((flow.clock.start + Duration::from_nanos(at)).into()).await;
        level.ring(flow.clock.now()).map(|next| (next, level))
    };
    let mut pending = FuturesUnordered::new();
    loop {
        let alarm = tokio::select! {
            Some(alarm) = alarmed.recv() => Some(alarm),
            Some(next) = pending.next() => next,
            else => return,
        };
        pending.extend(alarm.map(ring));
    }
}

/// Times at which the status of each FlowSchema was updated in the last minute.
#[derive(Default)]
struct Updates(BTreeMap<Arc<str>, VecDeque<Instant>>);

impl Updates {
    /// Whether one more is in order; notes it if so.
    fn may(&mut self, name: &Arc<str>, now: Instant) -> bool {
        self.0.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) <= MINUTE);
            !times.is_empty()
        });
        let times = self.0.entry(name.clone()).or_default();
        let may = times.len() < UPDATES_MAX;
        if may {
            times.push_back(now);
        }
        may
    }
}

/// Follows the configuration, and tells FlowSchemas whether their levels exist.
async fn digest(core: &Core, fair: &Fair) {
    let (mut updates, mut retry) = (Updates::default(), RETRY);
    loop {
        let now = core.flow.clock.now();
        let news = fair.control.digest(now, fair.views.levels(), fair.views.schemas());
        let sums = fair.control.sums();
        core.flow.marks.lock().set_limits(now, sums.waiting, sums.nominal);
        let (mut failed, mut put_off) = (false, false);
        for (name, dangling) in news {
            if !updates.may(&name, Instant::now()) {
                put_off = true;
            } else if let Err(status) = tell(core, &name, &dangling).await {
                tracing::warn!(%name, %status, "failed to set a status.condition for FlowSchema");
                failed = true;
            }
        }
        let again = match (failed, put_off) {
            (true, _) => Some(retry),
            (false, true) => Some(Duration::from_secs(rand::random_range(TRUCE_SECONDS))),
            (false, false) => None,
        };
        retry = if failed { (retry * 2).min(RETRY_MAX) } else { RETRY };
        let changed = fair.changed.notified();
        match again {
            Some(again) => drop(tokio::time::timeout(again, changed).await),
            None => changed.await,
        }
    }
}

/// Applies the condition.
async fn tell(core: &Core, name: &str, dangling: &Dangling) -> Result<(), Status> {
    let condition = map! {
        "type" => "Dangling",
        "status" => dangling.status.as_str(),
        "lastTransitionTime" => system::now(),
        "reason" => dangling.reason.as_str(),
        "message" => dangling.message.as_str(),
    };
    let mut object =
        map! { "kind" => "FlowSchema", "apiVersion" => API_VERSION, "metadata" => map! { "name" => name } };
    object.set("status", map! { "conditions" => vec![Value::Map(condition)] });
    debug_assert_eq!(object.name(), name);
    match system::apply_status(core, CONSUMER, &object).await {
        // It was deleted: a change is on its way.
        Err(status) if status.code == 404 => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_updated_so_often_in_a_minute() {
        let (mut updates, name, start) = (Updates::default(), Arc::from("a"), Instant::now());
        for second in 0..6 {
            assert!(updates.may(&name, start + Duration::from_secs(second)));
        }
        assert!(!updates.may(&name, start + MINUTE));
        assert!(updates.may(&Arc::from("b"), start + MINUTE));
        assert!(updates.may(&name, start + MINUTE + Duration::from_millis(1)));
    }
}
