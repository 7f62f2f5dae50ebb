//! Compiles admission's expressions (k8s.io/apiserver/pkg/admission/plugin/cel/{compile,composition}.go@v0.37.2).
//!
//! Invariant: variables are seen by what is compiled after them; new expressions use what the version before knows, so
//! that a server can be rolled back, stored ones everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use cel::authz::{AUTHORIZER_TYPE, RESOURCE_CHECK_TYPE};
use cel::types::Type;
use cel::{CompileError, Env, Minor, Program};

use super::declare::{NAMESPACE_TYPE, REQUEST_TYPE, Types, VARIABLES_TYPE, variable_type};

pub(crate) const OBJECT: &str = "object";
pub(crate) const OLD_OBJECT: &str = "oldObject";
pub(crate) const PARAMS: &str = "params";
pub(crate) const REQUEST: &str = "request";
pub(crate) const NAMESPACE: &str = "namespaceObject";
pub(crate) const AUTHORIZER: &str = "authorizer";
pub(crate) const REQUEST_RESOURCE: &str = "authorizer.requestResource";
pub(crate) const VARIABLES: &str = "variables";

/// How old an expression is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    New,
    Stored,
}

impl Age {
    /// Of an expression that may be in the object that is replaced.
    pub(crate) fn of(known: bool) -> Age {
        if known { Age::Stored } else { Age::New }
    }

    fn minor(self) -> Minor {
        match self {
            // Minimum compatibility version of a 1.37 server.
            Age::New => 36,
            Age::Stored => Minor::MAX,
        }
    }
}

/// Which variables there are beside those that are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    pub(crate) params: bool,
    pub(crate) authorizer: bool,
    /// `Object{}` and `JSONPatch{}`.
    pub(crate) patches: bool,
}

/// Why an expression did not compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The writer's fault.
    Invalid(String),
    Internal(String),
}

impl Failure {
    pub(crate) fn detail(&self) -> &str {
        match self {
            Failure::Invalid(detail) | Failure::Internal(detail) => detail,
        }
    }
}

/// An expression, compiled or not.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    pub(crate) text: String,
    pub(crate) program: Result<Program, Failure>,
}

/// Compiles the expressions of one object.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    /// `None` where there is no `variables`.
    variables: Option<BTreeMap<String, Compiled>>,
}

/// Any type.
pub(crate) const ANY: &[Type] = &[];

impl Compiler {
    /// Without `variables`.
    pub(crate) fn plain() -> Compiler {
        Compiler::default()
    }

    /// With `variables`, none yet.
    pub(crate) fn composed() -> Compiler {
        Compiler { variables: Some(BTreeMap::new()) }
    }

    /// Adds a variable for what is compiled next; of one that does not compile, that is the error when it is used.
    pub(crate) fn variable(&mut self, name: &str, expression: &str, uses: Uses, age: Age) -> Result<(), Failure> {
        let compiled = self.compile(expression, ANY, uses, age);
        let outcome = compiled.program.as_ref().map(drop).map_err(Clone::clone);
        self.variables.get_or_insert_default().insert(name.to_owned(), compiled);
        outcome
    }

    /// Compiles an expression of one of the types, or of any when none is named.
    pub(crate) fn compile(&self, text: &str, wanted: &[Type], uses: Uses, age: Age) -> Compiled {
        Compiled { text: text.to_owned(), program: self.program(text, wanted, uses, age) }
    }

    fn program(&self, text: &str, wanted: &[Type], uses: Uses, age: Age) -> Result<Program, Failure> {
        let program = match self.env(uses, age).compile(text) {
            Ok(program) => program,
            Err(CompileError::Issues(issues)) => {
                return Err(Failure::Invalid(format!("compilation failed: {issues}")));
            }
            Err(CompileError::Program { message, of }) => {
                check_type(&of, wanted)?;
                return Err(Failure::Internal(format!("program instantiation failed: {message}")));
            }
        };
        check_type(program.output_type(), wanted)?;
        Ok(program)
    }

    /// The variables, for evaluation.
    pub(crate) fn variables(self) -> Arc<BTreeMap<String, Compiled>> {
        Arc::new(self.variables.unwrap_or_default())
    }

    fn env(&self, uses: Uses, age: Age) -> Env {
        let mut env = Env::kubernetes(age.minor())
            .variable(OBJECT, Type::Dyn)
            .variable(OLD_OBJECT, Type::Dyn)
            .variable(NAMESPACE, Type::object(NAMESPACE_TYPE))
            .variable(REQUEST, Type::object(REQUEST_TYPE));
        if uses.params {
            env = env.variable(PARAMS, Type::Dyn);
        }
        if uses.authorizer {
            env = env
                .variable(AUTHORIZER, Type::object(AUTHORIZER_TYPE))
                .variable(REQUEST_RESOURCE, Type::object(RESOURCE_CHECK_TYPE));
        }
        if uses.patches {
            env = env.json_patch();
        }
        if self.variables.is_some() {
            env = env.variable(VARIABLES, Type::object(VARIABLES_TYPE));
        }
        let typed = |(name, compiled): (&String, &Compiled)| {
            let of = compiled.program.as_ref().map_or(Type::Dyn, |program| variable_type(program.output_type()));
            (Arc::from(name.as_str()), of)
        };
        let variables = self.variables.as_ref().map(|variables| variables.iter().map(typed).collect());
        env.types(Arc::new(Types { variables, patches: uses.patches }))
    }
}

fn check_type(of: &Type, wanted: &[Type]) -> Result<(), Failure> {
    if wanted.is_empty() || wanted.contains(of) {
        return Ok(());
    }
    let reason = match wanted {
        [one] => format!("must evaluate to {one} but got {of}"),
        many => {
            let names: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("must evaluate to one of [{}] but got {of}", names.join(" "))
        }
    };
    Err(Failure::Invalid(reason))
}
