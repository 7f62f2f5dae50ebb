//! How a transaction is decided on a stage, as etcd does it (`server/etcdserver/txn/txn.go@v3.7.3`).
//!
//! First every comparison, of nested transactions too, is made against the state before; then the operations of the branches
//! chosen are checked against that state; only then they are performed, so a refused transaction leaves no trace. Invariant: all
//! changes have the one revision after the state before. Non-goal: limits on what is asked, which who asks has to keep.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::index::{Index, Span, Stage};
use crate::txn::{Answer, Compare, Op, Operand, Put, Relation, Transacted, Txn};
use crate::{Error, EventKind, KeyValue, Range, Ranged, Result, Revision};

/// A transaction whose branches are chosen.
struct Chosen<'t> {
    succeeded: bool,
    steps: Vec<Step<'t>>,
}

enum Step<'t> {
    Range(&'t Range),
    Put(&'t Put),
    Delete(Span),
    Txn(Chosen<'t>),
}

impl Stage {
    /// Decides a transaction.
    pub(crate) fn transact(&mut self, index: &Index, txn: &Txn) -> Result<Transacted> {
        let chosen = self.choose(index, txn);
        self.check(index, &chosen)?;
        let own = self.revision + 1;
        Ok(self.perform(index, chosen, own))
    }

    fn choose<'t>(&self, index: &Index, txn: &'t Txn) -> Chosen<'t> {
        let succeeded = txn.compare.iter().all(|compare| self.compare(index, compare));
        let ops = if succeeded { &txn.success } else { &txn.failure };
        let step = |op: &'t Op| match op {
            Op::Range(range) => Step::Range(range),
            Op::Put(put) => Step::Put(put),
            Op::Delete { start, end } => Step::Delete(Span { start: start.clone(), end: end.clone() }),
            Op::Txn(inner) => Step::Txn(self.choose(index, inner)),
        };
        Chosen { succeeded, steps: ops.iter().map(step).collect() }
    }

    fn compare(&self, index: &Index, compare: &Compare) -> bool {
        let span = Span { start: compare.start.clone(), end: compare.end.clone() };
        let (mut none, mut hold) = (true, true);
        self.each(index, &span, 0, |kv| {
            none = false;
            hold = hold && compare.holds(&kv);
        });
        match none {
            true => !matches!(compare.operand, Operand::Value(_)) && compare.holds(&KeyValue::default()),
            false => hold,
        }
    }

    fn check(&self, index: &Index, chosen: &Chosen<'_>) -> Result<()> {
        chosen.steps.iter().try_for_each(|step| match step {
            Step::Range(range) => self.readable(index, range.at),
            Step::Put(put) => self.check_put(index, put),
            Step::Delete(_) => Ok(()),
            Step::Txn(inner) => self.check(index, inner),
        })
    }

    fn readable(&self, index: &Index, at: Revision) -> Result<()> {
        // What is staged can be read as well.
        if at > index.revision() && at <= self.revision { Ok(()) } else { index.readable(at).map(|_| ()) }
    }

    fn check_put(&self, index: &Index, put: &Put) -> Result<()> {
        if put.lease.is_some_and(|lease| lease != 0 && !self.holds(index, lease)) {
            return Err(Error::LeaseNotFound);
        }
        let keeps = put.value.is_none() || put.lease.is_none();
        if keeps && self.current(index, &put.key).is_none() { Err(Error::KeyNotFound) } else { Ok(()) }
    }

    /// `own` is the revision of the changes.
    fn perform(&mut self, index: &Index, chosen: Chosen<'_>, own: Revision) -> Transacted {
        let mut answers = Vec::with_capacity(chosen.steps.len());
        for step in chosen.steps {
            answers.push(match step {
                Step::Range(range) => Answer::Range(self.range(index, range)),
                Step::Put(put) => self.put(index, put, own),
                Step::Delete(span) => self.delete(index, &span, own),
                Step::Txn(inner) => Answer::Txn(self.perform(index, inner, own)),
            });
        }
        Transacted { revision: self.revision, succeeded: chosen.succeeded, answers }
    }

    fn range(&self, index: &Index, range: &Range) -> Ranged {
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let mut ranged = Ranged { revision: self.revision, ..Ranged::default() };
        let span = Span { start: range.start.clone(), end: range.end.clone() };
        self.each(index, &span, range.at, |kv| {
            ranged.count += 1;
            if ranged.items.len() < limit {
                ranged.items.push(if range.keys_only { KeyValue { value: Bytes::new(), ..kv } } else { kv });
            }
        });
        ranged.more = ranged.count > ranged.items.len() as u64;
        ranged
    }

    fn put(&mut self, index: &Index, put: &Put, own: Revision) -> Answer {
        let previous = self.current(index, &put.key);
        let kept = previous.clone().unwrap_or_default();
        let value = put.value.clone().unwrap_or(kept.value);
        self.revision = own;
        self.change(put.key.clone(), Some(value), put.lease.unwrap_or(kept.lease), previous.clone());
        Answer::Put { revision: own, previous }
    }

    fn delete(&mut self, index: &Index, span: &Span, own: Revision) -> Answer {
        let mut previous = Vec::new();
        self.each(index, span, 0, |kv| previous.push(kv));
        if !previous.is_empty() {
            self.revision = own;
        }
        for kv in &previous {
            self.change(kv.key.clone(), None, 0, Some(kv.clone()));
        }
        Answer::Delete { revision: self.revision, previous }
    }

    /// Gives the keys of a span at a revision (0 is now), in order, with what is staged.
    fn each(&self, index: &Index, span: &Span, at: Revision, mut each: impl FnMut(KeyValue)) {
        if span.end.is_empty() && at == 0 {
            self.current(index, &span.start).into_iter().for_each(each);
            return;
        }
        let at = if at == 0 { Revision::MAX } else { at };
        let mut staged = self.staged(span, at).into_iter().peekable();
        index.visit(span, None, at, usize::MAX, |key, version| {
            while let Some((_, kv)) = staged.next_if(|(staged, _)| staged < key) {
                kv.into_iter().for_each(&mut each);
            }
            let kv = match staged.next_if(|(staged, _)| staged == key) {
                Some((_, kv)) => kv,
                None => version.kv(key),
            };
            kv.into_iter().for_each(&mut each);
        });
        staged.filter_map(|(_, kv)| kv).for_each(each);
    }

    /// What is staged of a span up to a revision; `None` is deleted.
    fn staged(&self, span: &Span, at: Revision) -> BTreeMap<Bytes, Option<KeyValue>> {
        let due = self.events.iter().filter(|event| event.kv.mod_revision <= at && span.contains(&event.kv.key));
        due.map(|event| (event.kv.key.clone(), (event.kind == EventKind::Put).then(|| event.kv.clone()))).collect()
    }
}

impl Compare {
    fn holds(&self, kv: &KeyValue) -> bool {
        let number = |stored: u64, operand: &i64| i64::try_from(stored).unwrap_or(i64::MAX).cmp(operand);
        let order = match &self.operand {
            Operand::Version(operand) => number(kv.version, operand),
            Operand::Create(operand) => number(kv.create_revision, operand),
            Operand::Modified(operand) => number(kv.mod_revision, operand),
            Operand::Lease(operand) => kv.lease.cmp(operand),
            Operand::Value(operand) => kv.value.cmp(operand),
        };
        match self.relation {
            Relation::Equal => order == Ordering::Equal,
            Relation::Greater => order == Ordering::Greater,
            Relation::Less => order == Ordering::Less,
            Relation::NotEqual => order != Ordering::Equal,
        }
    }
}
