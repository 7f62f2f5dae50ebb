//! Selectors of devices (k8s.io/dynamic-resource-allocation/cel/compile.go@v0.37.2).

use std::sync::{Arc, LazyLock};

use api::field::{self, Errors, Path};
use cel::declaration::{Declaration, DeclaredTypes};

use cel::types::Type;
use cel::{CompileError, Env};

use super::shared;

const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const COST_MAX: u64 = 1_000_000;
/// Minimum compatibility version of a 1.37 server.
const MINOR: u32 = 36;
const DOMAIN_BYTES_MAX: u64 = 63;
const ATTRIBUTE_BYTES_MAX: u64 = 64;
const ENTRIES_MAX: u64 = 32;

static DEVICE: LazyLock<Declaration> = LazyLock::new(|| {
    let text = |max| Declaration::simple(Type::String, max, 2);
    let id = || text(shared::ID_BYTES_MAX as u64);
    let by_domain = |value| {
        let inner = Declaration::map(id(), value, ENTRIES_MAX);
        Declaration::map(text(DOMAIN_BYTES_MAX), inner, ENTRIES_MAX)
    };
    let attribute = Declaration::simple(Type::Dyn, ATTRIBUTE_BYTES_MAX, 1);
    let quantity = Declaration::simple(Type::opaque("kubernetes.Quantity"), 0, 8);
    let fields = [
        ("allowMultipleAllocations", Declaration::simple(Type::Bool, 1, 4)),
        ("driver", text(DOMAIN_BYTES_MAX)),
        ("attributes", by_domain(attribute)),
        ("capacity", by_domain(quantity)),
    ];
    Declaration::object(fields.map(|(name, of)| (Arc::from(name), of)), 0).named("kubernetes.DRADevice")
});

static ENV: LazyLock<Env> = LazyLock::new(|| {
    let types = Arc::new(DeclaredTypes::new([&*DEVICE]));
    Env::kubernetes(MINOR).types(types).variable("device", DEVICE.cel_type())
});

/// validateCELExpression.
pub(super) fn selector(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > EXPRESSION_BYTES_MAX {
        return errors.push(field::too_long(path, EXPRESSION_BYTES_MAX));
    }
    let wanted = |of: &Type| matches!(of, Type::Bool | Type::Dyn);
    let wrong = |of: &Type| {
        let why = format!("must evaluate to bool or the unknown type, not {of}");
        field::invalid(path, text, why)
    };
    match ENV.compile(text) {
        Err(CompileError::Issues(issues)) => {
            errors.push(field::invalid(path, text, format!("compilation failed: {issues}")));
        }
        Err(CompileError::Program { of, .. }) if !wanted(&of) => errors.push(wrong(&of)),
        Err(CompileError::Program { message, .. }) => {
            errors.push(field::internal(path, format!("program instantiation failed: {message}")));
        }
        Ok(program) if !wanted(program.output_type()) => errors.push(wrong(program.output_type())),
        Ok(program) => {
            if program.estimate(&*DEVICE).max > COST_MAX {
                errors.push(field::forbidden(path, "too complex, exceeds cost limit"));
            }
        }
    }
}
