//! Compiles the rules of one node: programs, or upstream's words why there are none
//! (k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/compilation.go@v0.37.2).
//!
//! Invariant: new expressions use what the version before knows, so that a server can be rolled back; stored ones use
//! everything. Non-goal: what an estimate is compared with, which is `structural::definition`.

use std::sync::Arc;

use cel::declaration::{Declaration, DeclaredTypes};
use cel::types::Type;
use cel::{CompileError, Env, Minor, Program};
use structural::definition::{self, Compilation, Compiler};
use structural::rules::Rules;
use structural::schema::{Rule, RuleNode, Schema};

use crate::declare::{REQUEST_BYTES_MAX, declare};
use crate::evaluate::Compiled;

/// What expressions that are new may use: minimum compatibility version of a 1.37 server.
const NEW: Minor = 36;
/// What expressions of the store may use.
const STORED: Minor = Minor::MAX;
pub(crate) const SELF: &str = "self";
pub(crate) const OLD_SELF: &str = "oldSelf";
/// The type of `self` in messages; upstream's ends in the nanosecond of the compilation.
const SELF_TYPE: &str = "selfType0";

/// Compiles rules of definitions.
#[derive(Debug, Default, Clone, Copy)]
pub struct Cel;

impl Compiler for Cel {
    fn compile(&self, compilation: &Compilation<'_>) -> Result<Vec<definition::Compiled>, String> {
        let Some(envs) = Envs::of(compilation.schema, compilation.node) else {
            return Err("internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations".into());
        };
        let age = |known: bool| if known { STORED } else { NEW };
        let judged = compilation.node.rules.iter().map(|rule| {
            let rule_age = age((compilation.known_rule)(&rule.rule));
            let message_age = age((compilation.known_message)(&rule.message_expression));
            judgement(&envs.rule(rule, rule_age, message_age), &envs.declaration)
        });
        Ok(judged.collect())
    }

    fn evaluator<'a>(&'a self, schema: &'a Schema) -> Box<dyn Rules + 'a> {
        Box::new(Compiled::of(schema))
    }
}

/// What the writer of a definition is told about a rule.
fn judgement(programs: &Programs, sizes: &Declaration) -> definition::Compiled {
    let cost = |program: &Program| program.estimate(sizes).max;
    let mut judgement = definition::Compiled { uses_old_self: programs.uses_old_self, ..Default::default() };
    match &programs.rule {
        None => {}
        Some(Err(detail)) => {
            judgement.error = Some(definition::CompileError { required: false, detail: detail.clone() });
        }
        Some(Ok(rule)) => {
            judgement.max_cost = cost(rule);
            // A comma follows.
            judgement.max_cardinality = REQUEST_BYTES_MAX / (sizes.min_serialized() + 1);
        }
    }
    match &programs.message {
        None => {}
        Some(Err(detail)) => judgement.message_error = Some(detail.clone()),
        Some(Ok(message)) => judgement.message_max_cost = Some(cost(message)),
    }
    judgement
}

/// What a rule becomes; nothing when it is empty.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    pub(crate) rule: Option<Result<Program, String>>,
    /// Of a rule that compiles.
    pub(crate) message: Option<Result<Program, String>>,
    pub(crate) uses_old_self: bool,
}

/// The environments of a node's rules.
pub(crate) struct Envs {
    declaration: Declaration,
    types: Arc<DeclaredTypes>,
}

impl Envs {
    /// `None` where CEL knows no type for `self`.
    pub(crate) fn of(schema: &Schema, node: &RuleNode) -> Option<Envs> {
        let declaration = declare(schema, node.resource_root)?.named(SELF_TYPE);
        let types = Arc::new(DeclaredTypes::new([&declaration]).with_keywords());
        Some(Envs { declaration, types })
    }

    fn env(&self, minor: Minor, optional_old_self: bool) -> Env {
        let of = self.declaration.cel_type();
        let old = if optional_old_self { Type::optional(of.clone()) } else { of.clone() };
        Env::kubernetes(minor).variable(SELF, of).variable(OLD_SELF, old).types(self.types.clone())
    }

    /// As the store has it.
    pub(crate) fn stored(&self, rule: &Rule) -> Programs {
        self.rule(rule, STORED, STORED)
    }

    fn rule(&self, rule: &Rule, rule_age: Minor, message_age: Minor) -> Programs {
        if rule.rule.trim().is_empty() {
            return Programs::default();
        }
        let optional = rule.optional_old_self == Some(true);
        let texts = Texts {
            issues: "compilation failed",
            wrong_type: "cel expression must evaluate to a bool",
            program: "program instantiation failed",
        };
        let program = compile(&self.env(rule_age, optional), &rule.rule, &Type::Bool, &texts);
        let uses_old_self = program.as_ref().is_ok_and(|program| program.uses(OLD_SELF));
        let message = (program.is_ok() && !rule.message_expression.is_empty()).then(|| {
            let texts = Texts {
                issues: "messageExpression compilation failed",
                wrong_type: "messageExpression must evaluate to a string",
                program: "messageExpression instantiation failed",
            };
            compile(&self.env(message_age, optional), &rule.message_expression, &Type::String, &texts)
        });
        Programs { rule: Some(program), message, uses_old_self }
    }
}

/// How errors begin, or what they are.
struct Texts {
    issues: &'static str,
    wrong_type: &'static str,
    program: &'static str,
}

fn compile(env: &Env, text: &str, wanted: &Type, texts: &Texts) -> Result<Program, String> {
    match env.compile(text) {
        Ok(program) if program.output_type() == wanted => Ok(program),
        Ok(_) => Err(texts.wrong_type.to_owned()),
        Err(CompileError::Issues(issues)) => Err(format!("{}: {issues}", texts.issues)),
        Err(CompileError::Program { of, .. }) if of != *wanted => Err(texts.wrong_type.to_owned()),
        Err(CompileError::Program { message, .. }) => Err(format!("{}: {message}", texts.program)),
    }
}
