//! The debug pages (k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go@v0.37.2).

use std::fmt::Write;
use std::sync::Arc;

use crate::Nanos;
use crate::control::{Control, Wake};
use crate::level::Level;
use crate::queueset::Shown;

/// A column is at least that wide, and that much wider than its texts.
const COLUMN_MIN: usize = 8;
const PADDING: usize = 1;

/// How a request is shown beyond what the queues know of it.
pub trait Describe {
    fn distinguisher(&self) -> &str;
    /// User, verb, path, namespace, name, API version, resource, subresource.
    fn details(&self) -> [String; 8];
}

/// Rows as Go's text/tabwriter aligns them; the last column is as wide as it is.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, at: usize| row.get(at).map_or(0, |cell| cell.chars().count() + 1);
    let width = |at| rows.iter().map(|row| cell(row, at) + PADDING).max().unwrap_or(0).max(COLUMN_MIN);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match at + 1 == row.len() {
                true => writeln!(text, "{cell}"),
                false => write!(text, "{:<width$}", format!("{cell},"), width = widths[at]),
            };
        }
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_string).to_vec()
}

/// A row for every level.
pub fn priority_levels<T, W: Wake>(control: &Control<T, W>) -> String {
    let mut rows = vec![row([
        "PriorityLevelName",
        "ActiveQueues",
        "IsIdle",
        "IsQuiescing",
        "WaitingRequests",
        "ExecutingRequests",
        "DispatchedRequests",
        "RejectedRequests",
        "TimedoutRequests",
        "CancelledRequests",
    ])];
    for level in control.levels() {
        let state = level.state.lock();
        let totals = state.set.totals();
        let active = state.set.queues().filter(|queue| queue.waiting > 0).count();
        rows.push(vec![
            level.config.name.to_string(),
            active.to_string(),
            state.set.is_idle().to_string(),
            state.quiescing.to_string(),
            totals.waiting.to_string(),
            totals.executing.to_string(),
            totals.dispatched.to_string(),
            totals.rejected.to_string(),
            // Upstream counts what times out among the cancelled.
            "0".into(),
            totals.cancelled.to_string(),
        ]);
    }
    aligned(&rows)
}

/// A row for every queue.
pub fn queues<T, W: Wake>(control: &Control<T, W>) -> String {
    let mut rows = vec![row([
        "PriorityLevelName",
        "Index",
        "PendingRequests",
        "ExecutingRequests",
        "SeatsInUse",
        "NextDispatchR",
        "InitialSeatsSum",
        "MaxSeatsSum",
        "TotalWorkSum",
    ])];
    for level in control.levels() {
        let state = level.state.lock();
        rows.extend(state.set.queues().enumerate().map(|(at, queue)| {
            vec![
                level.config.name.to_string(),
                at.to_string(),
                queue.waiting.to_string(),
                queue.executing.to_string(),
                queue.seats_in_use.to_string(),
                queue.next_dispatch_r.to_string(),
                queue.initial_seats.to_string(),
                queue.max_seats.to_string(),
                queue.work.to_string(),
            ]
        }));
    }
    aligned(&rows)
}

/// A row for every request; `time` writes a time, or that there is none.
pub fn requests<T: Describe, W: Wake>(
    control: &Control<T, W>,
    details: bool,
    time: impl Fn(Option<Nanos>) -> String,
) -> String {
    let mut header = row([
        "PriorityLevelName",
        "FlowSchemaName",
        "QueueIndex",
        "RequestIndexInQueue",
        "FlowDistingsher",
        "ArriveTime",
        "InitialSeats",
        "FinalSeats",
        "AdditionalLatency",
        "StartTime",
    ]);
    if details {
        let more = ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];
        header.extend(row(more));
    }
    let mut rows = vec![header];
    for level in control.levels() {
        let state = level.state.lock();
        rows.extend(state.set.shown().iter().map(|shown| request(&level, shown, details, &time)));
    }
    aligned(&rows)
}

fn request<T: Describe, W>(
    level: &Arc<Level<T, W>>,
    shown: &Shown<'_, T>,
    details: bool,
    time: &impl Fn(Option<Nanos>) -> String,
) -> Vec<String> {
    let place = |at: Option<usize>| at.map_or("-1".to_string(), |at| at.to_string());
    let mut cells = vec![
        level.config.name.to_string(),
        shown.schema.to_string(),
        place(shown.queue),
        place(shown.place),
        shown.about.distinguisher().to_string(),
        time(Some(shown.arrived)),
        shown.work.initial_seats.to_string(),
        shown.work.final_seats.to_string(),
        api::duration::format(shown.work.additional_latency as i64),
        time(shown.started),
    ];
    if details {
        cells.extend(shown.about.details());
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_as_go_does() {
        let rows = [row(["a", "long-name", "x"]), row(["bbbbbbbb", "c", "yyyyyyyyyyyy"])];
        assert_eq!(aligned(&rows), "a,        long-name, x\nbbbbbbbb, c,         yyyyyyyyyyyy\n");
    }
}
