//! Comprehensions, and the variables they bring.
//!
//! Invariant: as cel-go's `interpreter/interpretable.go` has it: the accumulator is first computed when it is first read, in
//! the scope around the fold, and an empty list or map in it is then added to in place.

use std::cell::RefCell;

use super::{Activation, Machine};
use crate::plan::{Fold, go_type};
use crate::value::{Fault, List, Map, Outcome, Value};

/// Where names are looked up.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    Root(&'a dyn Activation),
    Fold(&'a Frame<'a>),
}

/// A fold that runs.
pub(crate) struct Frame<'a> {
    fold: &'a Fold,
    around: Scope<'a>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    accumulator: Option<Outcome>,
    /// The iteration variables; none while the result is computed.
    variables: [Option<Outcome>; 2],
    /// Whether the accumulator is added to in place.
    growing: bool,
}

impl<'a> Scope<'a> {
    pub(super) fn root(self) -> Scope<'a> {
        match self {
            Scope::Fold(frame) => frame.around.root(),
            root => root,
        }
    }

    pub(super) fn get(self, machine: &Machine<'_>, name: &str) -> Option<Outcome> {
        match self {
            Scope::Root(activation) => activation.get(name),
            Scope::Fold(frame) => frame.get(machine, name),
        }
    }
}

impl Frame<'_> {
    fn get(&self, machine: &Machine<'_>, name: &str) -> Option<Outcome> {
        if name == self.fold.accumulator.as_ref() {
            return Some(self.accumulator(machine));
        }
        let [first, second] = &self.state.borrow().variables;
        match (first, second) {
            (Some(value), _) if name == self.fold.variable.as_ref() => Some(value.clone()),
            (_, Some(value)) if self.fold.second.as_deref() == Some(name) => Some(value.clone()),
            _ => self.around.get(machine, name),
        }
    }

    fn accumulator(&self, machine: &Machine<'_>) -> Outcome {
        if let Some(known) = &self.state.borrow().accumulator {
            return known.clone();
        }
        let initial = match machine.eval(&self.fold.init, self.around) {
            Ok(Value::List(list)) if list.is_empty() => self.grow(Value::List(List::growing())),
            Ok(Value::Map(map)) if map.is_empty() => self.grow(Value::Map(Map::growing())),
            other => other,
        };
        self.state.borrow_mut().accumulator = Some(initial.clone());
        initial
    }

    fn grow(&self, value: Value) -> Outcome {
        self.state.borrow_mut().growing = true;
        Ok(value)
    }
}

impl Machine<'_> {
    pub(super) fn fold(&self, fold: &Fold, around: Scope<'_>) -> Outcome {
        let range = self.eval(&fold.range, around)?;
        let frame = Frame { fold, around, state: RefCell::default() };
        let scope = Scope::Fold(&frame);
        match (&range, &fold.second) {
            (Value::List(list), None) => self.each(&frame, list.iter().map(|element| [Some(element), None]))?,
            (Value::List(list), Some(_)) => {
                let indexed = list.iter().enumerate();
                self.each(&frame, indexed.map(|(index, element)| [Some(Ok(Value::Int(index as i64))), Some(element)]))?;
            }
            (Value::Map(map), None) => self.each(&frame, map.keys().into_iter().map(|key| [Some(Ok(key)), None]))?,
            (Value::Map(map), Some(_)) => {
                self.each(
                    &frame,
                    map.keys().into_iter().map(|key| {
                        let value = map.find(&key);
                        [Some(Ok(key)), value]
                    }),
                )?;
            }
            (other, None) => return Err(Fault::new(format!("got '{}', expected iterable type", go_type(other)))),
            (other, Some(_)) => {
                return Err(Fault::new(format!("unsupported comprehension range type: {}", go_type(other))));
            }
        }
        frame.state.borrow_mut().variables = [None, None];
        let result = self.eval(&fold.result, scope)?;
        let growing = frame.state.borrow().growing;
        Ok(match result {
            Value::List(list) if growing => Value::List(list.grown()),
            Value::Map(map) if growing => Value::Map(map.grown()),
            other => other,
        })
    }

    fn each(&self, frame: &Frame<'_>, entries: impl Iterator<Item = [Option<Outcome>; 2]>) -> Result<(), Fault> {
        for variables in entries {
            frame.state.borrow_mut().variables = variables;
            match self.eval(&frame.fold.condition, Scope::Fold(frame)) {
                Ok(Value::Bool(false)) => break,
                Err(fault) if fault.is_abort() => return Err(fault),
                _ => {}
            }
            let next = self.eval(&frame.fold.step, Scope::Fold(frame));
            if super::is_aborted(&next) {
                return next.map(drop);
            }
            frame.state.borrow_mut().accumulator = Some(next);
        }
        Ok(())
    }
}
