//! `cargo xtask diff`: the same requests to upstream's kube-apiserver and to ours, the answers compared.
//!
//! Both start from nothing with equal flags and no controllers. The requests come from templates written by hand
//! (conformance/diff), from upstream's own discovery, schemas and files, and from a seed. What may differ between two
//! servers that do the same is normalised (`normal`); everything else that differs is counted by kind, field and
//! cause, and can be replayed alone. Non-goal: watches, connections to nodes, protobuf.

mod catalog;
mod choice;
mod compare;
mod corpus;
mod documents;
mod explain;
mod kubectl;
mod mutate;
mod normal;
mod path;
mod play;
mod reasons;
mod report;
mod schema;
mod sequence;
mod servers;
mod shown;
mod template;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{cluster, paths, upstream};
use catalog::Catalog;
use corpus::{Plan, Source};
use play::Played;
use reasons::Reasons;
use report::Report;
use servers::Servers;
use wire::{Answer, Connection};

/// Upstream's programs that this needs.
const PROGRAMS: &[&str] = &["etcd", "kube-apiserver", "kubectl"];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Decides which mutations are paired, how they are sent and in which order
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Play about so many requests
    #[arg(long, default_value_t = u64::MAX)]
    limit: u64,
    /// Only kinds whose name (`apps.v1.Deployment`) contains this
    #[arg(long, default_value = "")]
    kind: String,
    /// Play these alone and print request and answers; an id is one of the report
    #[arg(long)]
    replay: Vec<String>,
    /// Serve every version, not only those that are on by default
    #[arg(long)]
    all: bool,
    /// Compare discovery, OpenAPI and what `kubectl explain` says instead of playing requests
    #[arg(long)]
    documents: bool,
    /// Compare what `kubectl get` and `kubectl describe` show of each kind's rich object instead of playing requests
    #[arg(long, conflicts_with = "documents")]
    shown: bool,
    /// A further flag for both servers, such as --flag=--feature-gates=AllAlpha=true
    #[arg(long)]
    flag: Vec<String>,
    /// Where the report goes
    #[arg(long, default_value = "target/diff")]
    out: PathBuf,
}

/// Runs; true when every difference has a reason.
pub(crate) fn run(options: &Options) -> Result<bool> {
    upstream::build(PROGRAMS)?;
    cluster::build_keelson()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(differ(options))
}

async fn differ(options: &Options) -> Result<bool> {
    let mut servers = Servers::start(options.all, &options.flag).await?;
    let catalog = Catalog::read(&mut Connection::new(&servers.endpoints.upstream)).await?;
    if options.documents {
        return described(options, &servers, &catalog).await;
    }
    let source = Source::new(catalog, options.seed)?;
    if options.shown {
        return shown::compare(options, &mut servers, &source).await;
    }
    if options.replay.is_empty() {
        compare(options, &mut servers, &source).await
    } else {
        replay(options, &servers, &source).await
    }
}

/// What both servers say of themselves.
async fn described(options: &Options, servers: &Servers, catalog: &Catalog) -> Result<bool> {
    let mut all = true;
    let compared = [
        ("documents.txt", documents::compare(servers).await?),
        ("explain.txt", explain::compare(options, servers, catalog)?),
    ];
    std::fs::create_dir_all(&options.out)?;
    for (name, (report, same)) in compared {
        let path = options.out.join(name);
        std::fs::write(&path, &report)?;
        println!("{}\nreport: {}", report.lines().next().unwrap_or_default(), path.display());
        all &= same;
    }
    Ok(all)
}

async fn compare(options: &Options, servers: &mut Servers, source: &Source) -> Result<bool> {
    let mut report = Report::new(&options.out, Reasons::read(&paths::conformance().join("diff-reasons.txt"))?)?;
    let plans = chosen(source.plans(&options.kind), options.seed, options.limit);
    let planned: usize = plans.iter().map(|plan| plan.requests).sum();
    eprintln!("{} sequences of about {planned} requests", plans.len());
    let played = play::play(&servers.endpoints, &plans, |played| report.hear(played).map(|()| true)).await;
    servers.check()?;
    if let Err(error) = played {
        // The report of what was played is still worth reading.
        eprintln!("error: {error:#}\nlogs: {}", servers.dir().display());
    }
    let (line, explained) = report.finish(&options.out, options.seed, &source.without_template())?;
    println!("{line}");
    println!("report: {}", options.out.join("summary.txt").display());
    Ok(explained)
}

/// Sequences for about so many requests, the kinds in turns, each kind's in the seed's order.
fn chosen(mut all: Vec<Plan<'_>>, seed: u64, limit: u64) -> Vec<Plan<'_>> {
    choice::shuffle(seed, &mut all, |plan| plan.id.clone());
    let mut turns: BTreeMap<String, u64> = BTreeMap::new();
    all.sort_by_cached_key(|plan| {
        let turn = turns.entry(plan.kind.clone()).or_default();
        *turn += plan.requests as u64;
        *turn
    });
    let mut left = limit;
    all.retain(|plan| {
        let wanted = left > 0;
        left = left.saturating_sub(plan.requests as u64);
        wanted
    });
    all
}

async fn replay(options: &Options, servers: &Servers, source: &Source) -> Result<bool> {
    let mut wanted: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for id in &options.replay {
        let (name, at) = id.rsplit_once('#').context("an id ends with # and a number")?;
        wanted.entry(name).or_default().push(at.parse().context("an id ends with # and a number")?);
    }
    let mut same = true;
    for (name, steps) in wanted {
        let kind = name.split('/').next().unwrap_or_default();
        let all = source.plans(kind);
        let plan: Vec<_> = all.into_iter().filter(|plan| plan.id == name).collect();
        anyhow::ensure!(!plan.is_empty(), "seed {} makes no {name}", options.seed);
        let last = steps.iter().max().copied().unwrap_or_default();
        let heard = |played: &Played<'_>| {
            if steps.contains(&played.at) {
                same &= show(played);
            } else {
                let codes = (played.answers.upstream.status, played.answers.keelson.status);
                println!("#{} {} {}: {codes:?}", played.at, played.step.method, played.step.target);
            }
            Ok(played.at < last)
        };
        play::play(&servers.endpoints, &plan, heard).await?;
    }
    Ok(same)
}

/// Prints a request and both answers; true when they are the same.
fn show(played: &Played<'_>) -> bool {
    let step = played.step;
    println!("\n{} ({})\n{} {}", played.id(), step.note, step.method, step.target);
    if let Some(body) = &step.body {
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| body.clone().into());
        println!("{} {}", step.content_type.unwrap_or_default(), pretty(&body));
    }
    let answer = |side: &str, answer: &Answer| {
        let warnings: String = answer.warnings.iter().map(|warning| format!("Warning: {warning}\n")).collect();
        println!("\n-- {side}: {}\n{warnings}{}", answer.status, pretty(&answer.body));
    };
    answer("upstream", &played.answers.upstream);
    answer("keelson", &played.answers.keelson);
    let found = compare::differences(step, &played.answers);
    println!("\n-- {} differences", found.len());
    for difference in &found {
        println!("{}: {}", difference.field, difference.cause);
    }
    found.is_empty()
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sequence::Sequence;

    fn plan(kind: &str, number: usize) -> Plan<'static> {
        let (id, of) = (format!("{kind}/x/{number}"), kind.to_owned());
        Plan::of(2, move || Sequence { id: id.clone(), kind: of.clone(), steps: Vec::new() })
    }

    #[test]
    fn a_limit_leaves_every_kind_its_turn() {
        let all = || (0..50).map(|n| plan("a", n)).chain((0..3).map(|n| plan("b", n))).collect::<Vec<_>>();
        let few = chosen(all(), 1, 12);
        let of = |kind: &str| few.iter().filter(|plan| plan.kind == kind).count();
        assert_eq!((of("a"), of("b")), (3, 3));
        assert_eq!(chosen(all(), 1, u64::MAX).len(), 53);
    }
}
