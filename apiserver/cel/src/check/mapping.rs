//! What the checker has found out about types it did not know, and which type may stand for which.
//!
//! Invariant: answers are those of cel-go's `checker/types.go@v0.29.2`; a question answered with no leaves nothing behind.

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

#[derive(Debug, Default)]
pub(super) struct Mapping {
    known: HashMap<Arc<str>, Type>,
    /// What to put back when the answer is no.
    undo: Vec<(Arc<str>, Option<Type>)>,
}

/// What became of trying to let one type stand for a parameter.
enum Stand {
    Valid,
    /// No, and the parameter stands for something else already.
    Taken,
    Invalid,
}

impl Mapping {
    pub(super) fn is_assignable(&mut self, from: &Type, to: &Type) -> bool {
        self.are_assignable(std::slice::from_ref(from), std::slice::from_ref(to))
    }

    pub(super) fn are_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        let answer = self.all_assignable(from, to);
        for (name, before) in self.undo.drain(..).rev().filter(|_| !answer) {
            match before {
                Some(before) => self.known.insert(name, before),
                None => self.known.remove(&name),
            };
        }
        answer
    }

    fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        from.len() == to.len() && from.iter().zip(to).all(|(a, b)| self.assignable(a, b))
    }

    fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(name) = b {
            match self.stand(a, b, name) {
                Stand::Valid => return true,
                Stand::Taken => return false,
                Stand::Invalid => {}
            }
        }
        if let Type::Param(name) = a {
            return matches!(self.stand(b, a, name), Stand::Valid);
        }
        match (a, b) {
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::Null, other) | (other, Type::Null) => {
                matches!(
                    other,
                    Type::Null
                        | Type::Opaque(..)
                        | Type::Struct(_)
                        | Type::Duration
                        | Type::Timestamp
                        | Type::Wrapper(_)
                )
            }
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(_), Type::List(_)) | (Type::Map(_), Type::Map(_)) | (Type::Opaque(..), Type::Opaque(..)) => {
                let parameters = |of: &Type| of.parameters().into_iter().cloned().collect::<Vec<_>>();
                a.name() == b.name() && self.all_assignable(&parameters(a), &parameters(b))
            }
            _ => a.unwrapped() == b.unwrapped(),
        }
    }

    /// Lets a type stand for a parameter, or the more general of it and what stands for it already.
    fn stand(&mut self, of: &Type, parameter: &Type, name: &Arc<str>) -> Stand {
        if of == parameter {
            return Stand::Valid;
        }
        let Some(known) = self.known.get(name).cloned() else {
            if !self.is_free_of(parameter, of) {
                return Stand::Invalid;
            }
            self.set(name, of.clone());
            return Stand::Valid;
        };
        if of.is_exact(&known) {
            return Stand::Valid;
        }
        if !self.assignable(of, &known) {
            return Stand::Taken;
        }
        let general = most_general(of, &known);
        if self.is_free_of(parameter, &general) {
            self.set(name, general);
        }
        Stand::Valid
    }

    fn set(&mut self, name: &Arc<str>, to: Type) {
        let before = self.known.insert(name.clone(), to);
        self.undo.push((name.clone(), before));
    }

    /// Whether a type does not contain a parameter, so that the one can stand for the other.
    fn is_free_of(&self, parameter: &Type, within: &Type) -> bool {
        if parameter == within {
            return false;
        }
        match within {
            Type::Param(name) => self.known.get(name).is_none_or(|known| self.is_free_of(parameter, known)),
            _ => within.parameters().into_iter().all(|part| self.is_free_of(parameter, part)),
        }
    }

    /// The type with everything known put in; the rest becomes `dyn` when `finally`.
    pub(super) fn substitute(&self, of: &Type, finally: bool) -> Type {
        match of {
            Type::Param(name) => match self.known.get(name) {
                Some(known) => self.substitute(known, finally),
                None if finally => Type::Dyn,
                None => of.clone(),
            },
            _ => of.with_parameters(|part| self.substitute(part, finally)),
        }
    }
}

pub(super) fn most_general(a: &Type, b: &Type) -> Type {
    if is_equal_or_less_specific(a, b) { a.clone() } else { b.clone() }
}

fn is_equal_or_less_specific(a: &Type, b: &Type) -> bool {
    match (a, b) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::Type(_), Type::Type(_)) => true,
        (Type::List(_), Type::List(_)) | (Type::Map(_), Type::Map(_)) | (Type::Opaque(..), Type::Opaque(..)) => {
            let (own, others) = (a.parameters(), b.parameters());
            a.name() == b.name()
                && own.len() == others.len()
                && own.iter().zip(others).all(|(a, b)| is_equal_or_less_specific(a, b))
        }
        _ => a.unwrapped() == b.unwrapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(name: &str) -> Type {
        Type::Param(Arc::from(name))
    }

    #[test]
    fn parameters_become_known() {
        let mut mapping = Mapping::default();
        assert!(mapping.is_assignable(&Type::list(Type::Int), &Type::list(parameter("a"))));
        assert_eq!(mapping.substitute(&parameter("a"), false), Type::Int);
        assert!(!mapping.is_assignable(&Type::String, &parameter("a")));
        assert!(mapping.is_assignable(&Type::Dyn, &parameter("a")));
        assert_eq!(mapping.substitute(&parameter("a"), false), Type::Dyn);
    }

    #[test]
    fn a_refusal_leaves_nothing_behind() {
        let mut mapping = Mapping::default();
        let (from, to) = ([Type::Int, Type::String], [parameter("a"), parameter("a")]);
        assert!(!mapping.are_assignable(&from, &to));
        assert_eq!(mapping.substitute(&parameter("a"), false), parameter("a"));
    }

    #[test]
    fn no_type_contains_itself() {
        let mut mapping = Mapping::default();
        assert!(!mapping.is_assignable(&Type::list(parameter("a")), &parameter("a")));
    }

    #[test]
    fn null_is_a_value_of_objects() {
        let mut mapping = Mapping::default();
        assert!(mapping.is_assignable(&Type::Null, &Type::Timestamp));
        assert!(mapping.is_assignable(&Type::object("x"), &Type::Null));
        assert!(!mapping.is_assignable(&Type::Null, &Type::String));
        assert!(mapping.is_assignable(&Type::Null, &Type::wrapper(Type::String)));
    }

    #[test]
    fn wrappers_stand_for_what_they_hold() {
        let mut mapping = Mapping::default();
        let wrapped = Type::wrapper(Type::Int);
        assert!(mapping.is_assignable(&wrapped, &Type::Int));
        assert!(mapping.is_assignable(&Type::list(Type::Int), &Type::list(wrapped.clone())));
        assert!(!mapping.is_assignable(&wrapped, &Type::Uint));
        assert_eq!(most_general(&wrapped, &Type::Int), wrapped);
    }
}
