//! Plays sequences on both servers and hands each pair of answers on.
//!
//! Invariant: the steps of a sequence go out in order, each to both servers at once; sequences that are alone run
//! after all others, one at a time.

use std::cell::RefCell;
use std::collections::VecDeque;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::Value;

use super::corpus::Plan;
use super::sequence::{CONTINUE, REVISION, Role, Sequence, Step, UID};
use super::servers::Both;
use super::wire::{Answer, Connection, Endpoint};

/// How many sequences are played at the same time.
const PLAYERS: usize = 6;
const UNANSWERED_MAX: u32 = 5;

/// A step that was answered.
pub(super) struct Played<'a> {
    pub(super) sequence: &'a Sequence,
    /// Its number in the sequence.
    pub(super) at: usize,
    pub(super) step: &'a Step,
    pub(super) answers: Both<Answer>,
}

impl Played<'_> {
    pub(super) fn id(&self) -> String {
        format!("{}#{}", self.sequence.id, self.at)
    }
}

/// Plays all; `heard` returns false when nothing more is wanted.
pub(super) async fn play(
    endpoints: &Both<Endpoint>,
    plans: &[Plan<'_>],
    mut heard: impl FnMut(&Played<'_>) -> Result<bool>,
) -> Result<()> {
    let (alone, together): (VecDeque<_>, VecDeque<_>) = plans.iter().partition(|plan| plan.alone);
    let heard = RefCell::new(&mut heard);
    for (queue, players) in [(together, PLAYERS), (alone, 1)] {
        let queue = RefCell::new(queue);
        try_join_all((0..players).map(|_| player(endpoints, &queue, &heard))).await?;
    }
    Ok(())
}

async fn player<F: FnMut(&Played<'_>) -> Result<bool>>(
    endpoints: &Both<Endpoint>,
    queue: &RefCell<VecDeque<&Plan<'_>>>,
    heard: &RefCell<&mut F>,
) -> Result<()> {
    let mut sides = Both { upstream: Side::new(&endpoints.upstream), keelson: Side::new(&endpoints.keelson) };
    loop {
        let Some(plan) = queue.borrow_mut().pop_front() else { return Ok(()) };
        if !one(&mut sides, &plan.sequence(), heard).await.with_context(|| plan.id.clone())? {
            queue.borrow_mut().clear();
        }
    }
}

async fn one<F: FnMut(&Played<'_>) -> Result<bool>>(
    sides: &mut Both<Side>,
    sequence: &Sequence,
    heard: &RefCell<&mut F>,
) -> Result<bool> {
    sides.upstream.forget();
    sides.keelson.forget();
    let mut before = Before::default();
    for (at, step) in sequence.steps.iter().enumerate() {
        if step.role == Role::Await && before.made {
            // A watch that fails leaves a difference to the steps that come.
            futures::try_join!(sides.upstream.wait(step), sides.keelson.wait(step)).ok();
        }
        // A creation that both have refused left nothing to wait for and to remove.
        if step.role == Role::Await || (step.role == Role::Cleanup && before.posted && !before.made) {
            continue;
        }
        let (upstream, keelson) = futures::try_join!(sides.upstream.send(step), sides.keelson.send(step))?;
        before = Before { posted: step.method == "POST", made: upstream.ok() || keelson.ok() };
        let usable = step.role != Role::Setup || (upstream.ok() && keelson.ok());
        let goes_on = (*heard.borrow_mut())(&Played { sequence, at, step, answers: Both { upstream, keelson } })?;
        if !goes_on || !usable {
            return Ok(goes_on);
        }
    }
    Ok(true)
}

/// What the step before was.
#[derive(Default)]
struct Before {
    posted: bool,
    /// Either server has accepted it.
    made: bool,
}

/// One server as a sequence sees it.
struct Side {
    connection: Connection,
    uid: String,
    revision: String,
    token: String,
    /// Requests in a row without an answer.
    unanswered: u32,
}

impl Side {
    fn new(endpoint: &Endpoint) -> Self {
        let empty = String::new;
        Side { connection: Connection::new(endpoint), uid: empty(), revision: empty(), token: empty(), unanswered: 0 }
    }

    fn forget(&mut self) {
        for text in [&mut self.uid, &mut self.revision, &mut self.token] {
            text.clear();
        }
    }

    async fn send(&mut self, step: &Step) -> Result<Answer> {
        let mut step = step.clone();
        step.target = self.fill(&step.target);
        step.body = step.body.map(|body| self.fill(&body));
        match self.connection.send(&step).await {
            Ok(answer) => {
                self.unanswered = 0;
                self.learn(&step, &answer);
                Ok(answer)
            }
            // One request that is not answered is a difference like others; many are a server that has gone.
            Err(error) => {
                self.unanswered += 1;
                ensure!(self.unanswered < UNANSWERED_MAX, "no answers any more: {error:#}");
                Ok(Answer::none(format!("{error:#}")))
            }
        }
    }

    fn fill(&self, text: &str) -> String {
        text.replace(UID, &self.uid).replace(REVISION, &self.revision).replace(CONTINUE, &self.token)
    }

    fn learn(&mut self, step: &Step, answer: &Answer) {
        let metadata = &answer.body["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
        if answer.ok() && metadata["continue"].is_string() {
            self.token = text("continue");
        }
        // The object's later revisions are those of the uid that was remembered.
        if answer.ok() && (step.remember || (!self.uid.is_empty() && text("uid") == self.uid && stores(step))) {
            self.uid = text("uid");
            self.revision = text("resourceVersion");
        }
    }

    async fn wait(&mut self, step: &Step) -> Result<()> {
        let has = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
            conditions.filter(|condition| condition["type"] == step.note.as_str()).count() > 0
        };
        self.connection.watch(&step.target, has).await
    }
}

fn stores(step: &Step) -> bool {
    !step.target.contains("dryRun=All")
}
