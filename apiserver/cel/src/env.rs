//! Environments: what an expression may use; and programs, what becomes of one.
//!
//! Invariant: a program was parsed, checked and planned; it can be run any number of times, by several threads at once.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::check::{self, Checked, Declarations};
use crate::cost::{self, Range, estimate::SizeEstimator};
use crate::eval::{self, Activation};
use crate::functions::Functions;
use crate::library::{self, Minor};
use crate::messages;
use crate::parse::{self, Syntax, macros};
use crate::plan::{self, Context, Node};
use crate::source::Issues;
use crate::types::{Type, TypeProvider};
use crate::validate;
use crate::value::{Fault, Value};

/// Stack that the deepest expression needs at most, without optimisation, in bytes.
const STACK_NEEDED: usize = 6 << 20;
/// Stack that is added where less is left; only what is touched takes memory.
const STACK_ADDED: usize = 8 << 20;
/// Nodes within each other that run on what every thread has left.
const SHALLOW: usize = 50;

/// Expressions nest 250 deep, macros make several nodes of one, and threads of an async runtime have 2 MiB.
fn on_deep_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK_NEEDED, STACK_ADDED, run)
}

/// Why a text becomes no program.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CompileError {
    /// What stands in the text; cel-go's `Compile` finds it.
    #[error("{0}")]
    Issues(Issues),
    /// A constant that cannot be computed; cel-go's `Program` finds it.
    #[error("{message}")]
    Program { message: String, of: Type },
}

/// Why a program had no value, and what it cost until then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct EvalError {
    pub fault: Fault,
    pub cost: u64,
}

/// An environment without objects.
#[derive(Debug)]
struct NoTypes;

impl TypeProvider for NoTypes {
    fn has_type(&self, _: &str) -> bool {
        false
    }

    fn field(&self, _: &str, _: &str) -> Option<Type> {
        None
    }
}

/// What expressions may use.
#[derive(Debug, Clone)]
pub struct Env {
    functions: Arc<Functions>,
    variables: HashMap<Arc<str>, Type>,
    types: Arc<dyn TypeProvider>,
    syntax: Syntax,
}

/// Types with a name in every environment.
static IDENTS: LazyLock<HashMap<&'static str, Type>> = LazyLock::new(|| {
    let parameter = |name: &str| Type::Param(Arc::from(name));
    let messages = messages::NAMES.iter().filter_map(|name| Some((*name, messages::cel_type(name)?)));
    let simple = [
        ("bool", Type::Bool),
        ("bytes", Type::Bytes),
        ("double", Type::Double),
        ("int", Type::Int),
        ("list", Type::list(parameter("A"))),
        ("map", Type::map(parameter("A"), parameter("B"))),
        ("net.CIDR", Type::opaque("net.CIDR")),
        ("net.IP", Type::opaque("net.IP")),
        ("null_type", Type::Null),
        ("optional_type", Type::optional(Type::Dyn)),
        ("string", Type::String),
        ("type", Type::Type(None)),
        ("uint", Type::Uint),
    ];
    simple.into_iter().chain(messages).collect()
});

/// The functions of each version are read once.
fn functions(minor: Minor) -> Arc<Functions> {
    static KNOWN: LazyLock<Mutex<HashMap<Minor, Arc<Functions>>>> = LazyLock::new(Mutex::default);
    KNOWN.lock().entry(minor).or_insert_with(|| Arc::new(library::functions(minor))).clone()
}

impl Env {
    /// The environment of Kubernetes 1.`minor`, from 1.29 on.
    pub fn kubernetes(minor: Minor) -> Env {
        let mut macros: Vec<_> = macros::STANDARD.iter().chain(&macros::OPTIONAL).collect();
        if minor >= 32 {
            macros.extend(&macros::TWO_VARIABLES);
        }
        if minor >= 34 {
            macros.push(&macros::SORT_BY);
        }
        let syntax = Syntax { macros, optional: true };
        Env { functions: functions(minor), variables: HashMap::new(), types: Arc::new(NoTypes), syntax }
    }

    /// With a variable; a later one of the same name replaces it.
    pub fn variable(mut self, name: &str, of: Type) -> Env {
        self.variables.insert(Arc::from(name), of);
        self
    }

    /// With the object types somebody knows.
    pub fn types(mut self, types: Arc<dyn TypeProvider>) -> Env {
        self.types = types;
        self
    }

    /// With what expressions that make JSON patches use.
    pub fn json_patch(mut self) -> Env {
        let mut functions = self.functions.as_ref().clone();
        library::add_json_patch(&mut functions);
        self.functions = Arc::new(functions);
        self
    }

    /// Reads, checks and plans an expression.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        on_deep_stack(|| self.compile_here(text))
    }

    fn compile_here(&self, text: &str) -> Result<Program, CompileError> {
        let parsed = parse::parse(text, &self.syntax).map_err(CompileError::Issues)?;
        let declarations = Declarations {
            functions: &self.functions,
            variables: &self.variables,
            types: self.types.as_ref(),
            idents: &IDENTS,
        };
        let checked = check::check(parsed, &declarations).map_err(CompileError::Issues)?;
        let context = Context { functions: &self.functions, idents: &IDENTS, types: self.types.as_ref() };
        validate::validate(&checked, &context).map_err(CompileError::Issues)?;
        let plan = plan::plan(&checked, &context)
            .map_err(|fault| CompileError::Program { message: fault.to_string(), of: checked.output().clone() })?;
        let deep = checked.parsed.expr.height() > SHALLOW;
        Ok(Program { checked, plan, types: self.types.clone(), deep })
    }
}

/// An expression ready to run.
#[derive(Debug, Clone)]
pub struct Program {
    checked: Checked,
    plan: Node,
    types: Arc<dyn TypeProvider>,
    /// Whether running it can take more stack than a thread may have left.
    deep: bool,
}

impl Program {
    /// The type of what comes out.
    pub fn output_type(&self) -> &Type {
        self.checked.output()
    }

    /// The checked tree.
    pub fn ast(&self) -> &crate::ast::Expr {
        &self.checked.parsed.expr
    }

    /// Whether the expression refers to a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.checked.idents().any(|name| name.trim_start_matches('.') == variable)
    }

    /// What running it can cost, given the sizes of variables.
    pub fn estimate(&self, sizes: &dyn SizeEstimator) -> Range {
        on_deep_stack(|| cost::estimate::estimate(&self.checked, sizes))
    }

    /// The value and what it cost, unless there is an error or the cost goes over the budget.
    pub fn eval(&self, activation: &dyn Activation, budget: u64) -> Result<(Value, u64), EvalError> {
        let run = || eval::run(&self.plan, self.types.as_ref(), activation, budget);
        let (outcome, cost) = if self.deep { on_deep_stack(run) } else { run() };
        outcome.map(|value| (value, cost)).map_err(|fault| EvalError { fault, cost })
    }
}
