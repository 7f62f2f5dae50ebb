//! apiserver_flowcontrol_* with upstream's names, help texts and labels
//! (k8s.io/apiserver/pkg/util/flowcontrol/metrics/metrics.go@v0.37.2). Made from what the levels count, when asked.

use flow::control::Report;
use flow::histogram;
use flow::queueset::{Refusal, Tally};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::{Flow, Gate};
use crate::flow::marks::Marks;

type Labels<'a> = &'a [(&'a str, &'a str)];

const LEVEL: &str = "priority_level";
const SCHEMA: &str = "flow_schema";
const KINDS: [&str; 2] = ["readOnly", "mutating"];

fn metric(labels: Labels<'_>) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_string());
        pair.set_value(value.to_string());
        pair
    };
    let mut pairs: Vec<LabelPair> = labels.iter().map(pair).collect();
    pairs.sort_by(|one, other| one.name().cmp(other.name()));
    Metric::from_label(pairs)
}

fn counter(labels: Labels<'_>, value: u64) -> Metric {
    let mut metric = metric(labels);
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Labels<'_>, value: f64) -> Metric {
    let mut metric = metric(labels);
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn histogram(labels: Labels<'_>, own: &histogram::Histogram) -> Metric {
    let mut metric = metric(labels);
    let mut histogram = Histogram::default();
    let bucket = |(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    histogram.set_bucket(own.cumulative().map(bucket).collect());
    histogram.set_sample_count(own.count);
    histogram.set_sample_sum(own.sum);
    metric.set_histogram(histogram);
    metric
}

/// The families that have metrics.
struct Families(Vec<MetricFamily>);

impl Families {
    fn add(&mut self, kind: MetricType, name: &str, help: &str, metrics: Vec<Metric>) {
        if metrics.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(format!("apiserver_{name}"));
        family.set_help(help.to_string());
        family.set_field_type(kind);
        family.set_metric(metrics);
        self.0.push(family);
    }
}

/// Everything that is known of the gate.
pub(crate) fn families(flow: &Flow) -> Vec<MetricFamily> {
    let mut families = Families(Vec::new());
    let now = flow.clock.now();
    let mut marks = flow.marks.lock();
    marks.pass(now);
    let snapshot = marks.clone();
    drop(marks);
    in_flight(&mut families, &snapshot);
    if let Gate::Fair(fair) = &flow.gate {
        let reports = fair.control.report(now);
        limits(&mut families, &reports);
        let fair_fraction = vec![gauge(&[], fair.control.sums().fair_fraction)];
        let help = "[ALPHA] Fair fraction of server's concurrency to allocate to each priority level that can use it";
        families.add(MetricType::GAUGE, "flowcontrol_seat_fair_frac", help, fair_fraction);
        progress(&mut families, &reports);
        shares(&mut families, &reports, &snapshot);
        requests(&mut families, &reports);
        durations(&mut families, &reports);
    }
    families.0
}

fn in_flight(families: &mut Families, marks: &Marks) {
    let of = |marks: &[super::marks::Mark; 2]| {
        let kinds = KINDS.iter().zip(marks);
        kinds.map(|(kind, mark)| gauge(&[("request_kind", kind)], mark.watermark() as f64)).collect()
    };
    let help = "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last second.";
    families.add(MetricType::GAUGE, "current_inflight_requests", help, of(&marks.executing));
    let help = "[ALPHA] Maximal number of queued requests in this apiserver per request kind in last second.";
    families.add(MetricType::GAUGE, "current_inqueue_requests", help, of(&marks.waiting));
}

/// Name, help and value of a level's gauge.
type LevelGauge = (&'static str, &'static str, fn(&Report) -> f64);

const LIMITS: [LevelGauge; 9] = [
    ("nominal_limit_seats", "[BETA] Nominal number of execution seats configured for each priority level", |level| {
        level.limits.nominal as f64
    }),
    (
        "lower_limit_seats",
        "[ALPHA] Configured lower bound on number of execution seats available to each priority level",
        |level| level.limits.min as f64,
    ),
    (
        "upper_limit_seats",
        "[ALPHA] Configured upper bound on number of execution seats available to each priority level",
        |level| level.limits.max as f64,
    ),
    (
        "current_limit_seats",
        "[ALPHA] current derived number of execution seats available to each priority level",
        |level| level.current as f64,
    ),
    ("demand_seats_high_watermark", "[ALPHA] High watermark, over last adjustment period, of demand_seats", |level| {
        level.demand.high as f64
    }),
    ("demand_seats_average", "[ALPHA] Time-weighted average, over last adjustment period, of demand_seats", |level| {
        level.demand.average
    }),
    (
        "demand_seats_stdev",
        "[ALPHA] Time-weighted standard deviation, over last adjustment period, of demand_seats",
        |level| level.demand.deviation,
    ),
    ("demand_seats_smoothed", "[ALPHA] Smoothed seat demands", |level| level.demand.smoothed),
    ("target_seats", "[ALPHA] Seat allocation targets", |level| level.target),
];

const PROGRESS: [LevelGauge; 3] = [
    ("current_r", "[ALPHA] R(time of last change)", |level| level.current_r.as_f64()),
    ("dispatch_r", "[ALPHA] R(time of last dispatch)", |level| level.gauges.dispatch_r.as_f64()),
    ("latest_s", "[ALPHA] S(most recently dispatched request)", |level| level.gauges.latest_s.as_f64()),
];

fn level_gauges(families: &mut Families, reports: &[Report], gauges: &[LevelGauge]) {
    for (name, help, value) in gauges {
        let metrics = reports.iter().map(|level| gauge(&[(LEVEL, &level.name)], value(level))).collect();
        families.add(MetricType::GAUGE, &format!("flowcontrol_{name}"), help, metrics);
    }
}

fn limits(families: &mut Families, reports: &[Report]) {
    level_gauges(families, reports, &LIMITS);
}

fn progress(families: &mut Families, reports: &[Report]) {
    level_gauges(families, reports, &PROGRESS);
    let bounds = [
        ("next_s_bounds", "[ALPHA] min and max, over queues, of S(oldest waiting request in queue)"),
        (
            "next_discounted_s_bounds",
            "[ALPHA] min and max, over queues, of S(oldest waiting request in queue) - estimated work in progress",
        ),
    ];
    for (at, (name, help)) in bounds.into_iter().enumerate() {
        let of = |level: &Report| {
            let (min, max) = [level.gauges.next_s, level.gauges.next_discounted_s][at];
            [("min", min), ("max", max)]
                .map(|(bound, value)| gauge(&[(LEVEL, &level.name), ("bound", bound)], value.as_f64()))
        };
        families.add(MetricType::GAUGE, &format!("flowcontrol_{name}"), help, reports.iter().flat_map(of).collect());
    }
    let epochs = |level: &Report| {
        let counts = ["false", "true"].into_iter().zip(level.gauges.epochs).filter(|(_, count)| *count > 0);
        let one = |(success, count)| counter(&[(LEVEL, &level.name), ("success", success)], count);
        counts.map(one).collect::<Vec<_>>()
    };
    let help = "[ALPHA] Number of times the queueset's progress meter jumped backward";
    let epochs = reports.iter().flat_map(epochs).collect();
    families.add(MetricType::COUNTER, "flowcontrol_epoch_advance_total", help, epochs);
}

fn shares(families: &mut Families, reports: &[Report], marks: &Marks) {
    let levels = |labels: Labels<'_>, of: fn(&Report) -> &histogram::Histogram| {
        let one = |level: &Report| {
            let labels: Vec<_> = labels.iter().copied().chain([(LEVEL, &*level.name)]).collect();
            histogram(&labels, of(level))
        };
        reports.iter().map(one).collect::<Vec<_>>()
    };
    let seats = levels(&[("phase", "executing")], |level| &level.gauges.seats);
    let help = "[ALPHA] Observations, at the end of every nanosecond, of utilization of seats for any stage of execution (but only initial stage for WATCHes)";
    families.add(MetricType::HISTOGRAM, "flowcontrol_priority_level_seat_utilization", help, seats);
    let mut requests = levels(&[("phase", "waiting")], |level| &level.gauges.waiting);
    requests.extend(levels(&[("phase", "executing")], |level| &level.gauges.executing));
    let help = "[ALPHA] Observations, at the end of every nanosecond, of number of requests (as a fraction of the relevant limit) waiting or in any stage of execution (but only initial stage for WATCHes)";
    families.add(MetricType::HISTOGRAM, "flowcontrol_priority_level_request_utilization", help, requests);
    let demand = levels(&[], |level| &level.gauges.demand);
    let help = "[ALPHA] Observations, at the end of every nanosecond, of (the number of seats each priority level could use) / (nominal number of seats for that level)";
    families.add(MetricType::HISTOGRAM, "flowcontrol_demand_seats", help, demand);
    let kinds = |phase: &'static str, marks: &[super::marks::Mark; 2]| {
        let one = |(kind, mark): (&&str, &super::marks::Mark)| {
            histogram(&[("phase", phase), ("request_kind", kind)], &mark.shares)
        };
        KINDS.iter().zip(marks).map(one).collect::<Vec<_>>()
    };
    let all = [kinds("waiting", &marks.waiting), kinds("executing", &marks.executing)].concat();
    let help = "[ALPHA] Observations, at the end of every nanosecond, of the number of requests (as a fraction of the relevant limit) waiting or in regular stage of execution";
    families.add(MetricType::HISTOGRAM, "flowcontrol_read_vs_write_current_requests", help, all);
}

/// One metric for every FlowSchema of every level.
fn tallies(reports: &[Report], one: impl Fn(Labels<'_>, &Tally) -> Metric) -> Vec<Metric> {
    let of = |level: &Report| {
        let labelled = level.tallies.iter().map(|tally| one(&[(LEVEL, &level.name), (SCHEMA, &tally.schema)], tally));
        labelled.collect::<Vec<_>>()
    };
    reports.iter().flat_map(of).collect()
}

/// Name, help and value of a FlowSchema's gauge.
type SchemaGauge = (&'static str, &'static str, fn(&Tally) -> u64);

const REQUESTS: [SchemaGauge; 4] = [
    (
        "current_inqueue_requests",
        "[BETA] Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        |tally| tally.waiting_requests,
    ),
    (
        "current_inqueue_seats",
        "[ALPHA] Number of seats currently pending in queues of the API Priority and Fairness subsystem",
        |tally| tally.waiting_seats,
    ),
    (
        "current_executing_requests",
        "[BETA] Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
        |tally| tally.executing_requests,
    ),
    (
        "current_executing_seats",
        "[BETA] Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
        |tally| tally.executing_seats,
    ),
];

fn requests(families: &mut Families, reports: &[Report]) {
    for (name, help, value) in REQUESTS {
        let metrics = tallies(reports, |labels, tally| gauge(labels, value(tally) as f64));
        families.add(MetricType::GAUGE, &format!("flowcontrol_{name}"), help, metrics);
    }
    let mut rejected = Vec::new();
    for level in reports {
        for tally in &level.tallies {
            for (refusal, count) in Refusal::ALL.into_iter().zip(tally.rejected).filter(|(_, count)| *count > 0) {
                let labels = [(LEVEL, &*level.name), (SCHEMA, &*tally.schema), ("reason", refusal.text())];
                rejected.push(counter(&labels, count));
            }
        }
    }
    let help = "[BETA] Number of requests rejected by API Priority and Fairness subsystem";
    families.add(MetricType::COUNTER, "flowcontrol_rejected_requests_total", help, rejected);
    let dispatched = tallies(reports, |labels, tally| counter(labels, tally.dispatched));
    let help = "[BETA] Number of requests executed by API Priority and Fairness subsystem";
    families.add(MetricType::COUNTER, "flowcontrol_dispatched_requests_total", help, dispatched);
    let put_off = tallies(reports, |labels, tally| counter(labels, tally.unaccommodated));
    let help =
        "[ALPHA] Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats";
    families.add(MetricType::COUNTER, "flowcontrol_request_dispatch_no_accommodation_total", help, put_off);
}

/// Name and help of a FlowSchema's histogram, and one for each value of a further label.
type SchemaHistogram =
    (&'static str, &'static str, fn(&Tally) -> Vec<(Option<(&'static str, &'static str)>, &histogram::Histogram)>);

const HISTOGRAMS: [SchemaHistogram; 5] = [
    (
        "request_queue_length_after_enqueue",
        "[ALPHA] Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued",
        |tally| vec![(None, &tally.queue_length)],
    ),
    ("request_wait_duration_seconds", "[BETA] Length of time a request spent waiting in its queue", |tally| {
        vec![(Some(("execute", "false")), &tally.wait[0]), (Some(("execute", "true")), &tally.wait[1])]
    }),
    (
        "request_execution_seconds",
        "[ALPHA] Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
        |tally| vec![(Some(("type", "regular")), &tally.execution[0]), (Some(("type", "watch")), &tally.execution[1])],
    ),
    ("watch_count_samples", "[ALPHA] count of watchers for mutating requests in API Priority and Fairness", |tally| {
        vec![(None, &tally.watches)]
    }),
    (
        "work_estimated_seats",
        "[ALPHA] Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness",
        |tally| vec![(None, &tally.estimated_seats)],
    ),
];

fn durations(families: &mut Families, reports: &[Report]) {
    for (name, help, of) in HISTOGRAMS {
        let mut metrics = Vec::new();
        for level in reports {
            for tally in &level.tallies {
                for (more, own) in of(tally).into_iter().filter(|(_, own)| own.count > 0) {
                    let labels = [(LEVEL, &*level.name), (SCHEMA, &*tally.schema)];
                    metrics.push(histogram(&labels.into_iter().chain(more).collect::<Vec<_>>(), own));
                }
            }
        }
        families.add(MetricType::HISTOGRAM, &format!("flowcontrol_{name}"), help, metrics);
    }
}
