//! NodeResourcesBalancedAllocation: a node whose resources are used evenly with the pod on it, or
//! more evenly than without it, is better
//! (pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go@v1.37.2).

use std::sync::Arc;

use super::{Amounts, amounts, asked};
use crate::config::args::{BalancedAllocationArgs, ResourceSpec};
use crate::framework::plugin::{MAX_NODE_SCORE, Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub(crate) const NAME: &str = "NodeResourcesBalancedAllocation";

pub(crate) struct BalancedAllocation {
    specs: Vec<ResourceSpec>,
}

#[derive(Clone)]
struct Asked(Vec<i64>);

impl BalancedAllocation {
    pub(crate) fn new(args: &BalancedAllocationArgs) -> Self {
        BalancedAllocation { specs: args.resources.clone() }
    }
}

/// 100 less the spread of the used fractions.
fn evenness(amounts: &[Amounts], used: fn(&Amounts) -> i64) -> i64 {
    let fraction = |a: &Amounts| (used(a) as f64 / a.allocatable as f64).min(1.0);
    let fractions: Vec<f64> = amounts.iter().map(fraction).collect();
    let spread = match fractions.as_slice() {
        [] | [_] => 0.0,
        [a, b] => ((a - b) / 2.0).abs(),
        all => {
            let count = all.len() as f64;
            let mean = all.iter().sum::<f64>() / count;
            (all.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / count).sqrt()
        }
    };
    ((1.0 - spread) * MAX_NODE_SCORE as f64) as i64
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::PreScore, Point::Score]
    }

    fn pre_score(&self, state: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>], _: &Snapshot) -> Outcome {
        let asked = asked(&pod.requests, &self.specs);
        // A pod that asks for nothing changes no balance: the best balanced node would get all of them.
        if asked.iter().all(|asked| *asked == 0) {
            return Err(Status::skip());
        }
        state.put(Asked(asked));
        Ok(())
    }

    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(Asked(asked)) = state.get() else { return 0 };
        let amounts: Vec<Amounts> = amounts(node, &self.specs, asked, false).collect();
        let gain = evenness(&amounts, |a| a.requested) - evenness(&amounts, |a| a.allocated);
        MAX_NODE_SCORE / 2 + (MAX_NODE_SCORE / 2 + gain) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::testing::scores;
    use crate::testing::{pod_info, snapshot};

    #[test]
    fn balance_scores() {
        let node = |name: &str| {
            format!(r#"{{"metadata":{{"name":"{name}"}},"status":{{"allocatable":{{"cpu":"10","memory":"10"}}}}}}"#)
        };
        let asking = |cpu: i64, memory: i64| {
            let requests = format!(r#"{{"cpu":"{cpu}","memory":"{memory}"}}"#);
            format!(r#"{{"spec":{{"containers":[{{"name":"c","resources":{{"requests":{requests}}}}}]}}}}"#)
        };
        let (much_cpu, much_memory) = (asking(6, 0), asking(0, 6));
        let nodes = [node("a"), node("b"), node("c")];
        let all = snapshot(&[(&nodes[0], &[]), (&nodes[1], &[&much_cpu]), (&nodes[2], &[&much_memory])]);
        let plugin = BalancedAllocation::new(&BalancedAllocationArgs::default());
        assert_eq!(scores(&plugin, &pod_info(&asking(3, 0)), &all), [67, 67, 82]);
        assert_eq!(scores(&plugin, &pod_info("{}"), &all), [0, 0, 0]);
    }
}
