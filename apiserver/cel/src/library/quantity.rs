//! Quantities of resources.
//!
//! Invariant: overloads of `k8s.io/apiserver/pkg/cel/library/quantity.go@v0.37.2`. A computed quantity cannot be on the right
//! of `==`: there it is a pointer, which its equality does not know.

use std::any::Any;

use super::strings::{int, text};
use crate::functions::{Compute, Library};
use crate::types::Type;
use crate::value::{Fault, Object, Outcome, Value};
use api::quantity::Format;

pub(crate) const LIBRARY: Library = Library { declarations: DECLARATIONS, compute };

const DECLARATIONS: &str = "
quantity string_to_quantity (string) -> kubernetes.Quantity
isQuantity is_quantity_string (string) -> bool
sign quantity_sign (kubernetes.Quantity) -> int
isGreaterThan quantity_is_greater_than kubernetes.Quantity.(kubernetes.Quantity) -> bool
isLessThan quantity_is_less_than kubernetes.Quantity.(kubernetes.Quantity) -> bool
compareTo quantity_compare_to kubernetes.Quantity.(kubernetes.Quantity) -> int
asApproximateFloat quantity_get_float kubernetes.Quantity.() -> double
asInteger quantity_get_int kubernetes.Quantity.() -> int
isInteger quantity_is_integer kubernetes.Quantity.() -> bool
add quantity_add kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
add quantity_add_int kubernetes.Quantity.(int) -> kubernetes.Quantity
sub quantity_sub kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
sub quantity_sub_int kubernetes.Quantity.(int) -> kubernetes.Quantity
";

/// A quantity as a value.
#[derive(Debug, Clone)]
pub struct Quantity {
    amount: api::quantity::Quantity,
    computed: bool,
}

impl Quantity {
    pub fn new(amount: api::quantity::Quantity) -> Quantity {
        Quantity { amount, computed: false }
    }
}

impl Object for Quantity {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn cel_type(&self) -> Type {
        Type::object("kubernetes.Quantity")
    }

    fn equals(&self, other: &Value) -> Result<bool, Fault> {
        match other.downcast::<Quantity>() {
            Some(other) if !other.computed => Ok(self.amount == other.amount),
            _ => Err(Fault::no_overload()),
        }
    }

    fn text(&self) -> String {
        self.amount.to_string()
    }
}

fn compute(overload: &str) -> Option<Compute> {
    Some(match overload {
        "string_to_quantity" => |args| match api::quantity::Quantity::parse(text(args, 0)?) {
            Ok(amount) => Ok(Value::object(Quantity::new(amount))),
            Err(error) => Err(Fault::new(error.to_string())),
        },
        "is_quantity_string" => |args| Ok(Value::Bool(api::quantity::Quantity::parse(text(args, 0)?).is_ok())),
        "quantity_sign" => |args| Ok(Value::Int(i64::from(amount(args, 0)?.sign()))),
        "quantity_is_greater_than" => |args| Ok(Value::Bool(amount(args, 0)? > amount(args, 1)?)),
        "quantity_is_less_than" => |args| Ok(Value::Bool(amount(args, 0)? < amount(args, 1)?)),
        "quantity_compare_to" => |args| Ok(Value::Int(amount(args, 0)?.cmp(amount(args, 1)?) as i64)),
        "quantity_get_float" => |args| Ok(Value::Double(amount(args, 0)?.as_approximate_f64())),
        "quantity_get_int" => |args| {
            let whole = amount(args, 0)?.as_i64();
            whole.map(Value::Int).ok_or_else(|| Fault::new("cannot convert value to integer"))
        },
        "quantity_is_integer" => |args| Ok(Value::Bool(amount(args, 0)?.as_i64().is_some())),
        "quantity_add" => |args| combined(args, amount(args, 1)?, api::quantity::Quantity::add),
        "quantity_add_int" => |args| combined(args, &whole(args)?, api::quantity::Quantity::add),
        "quantity_sub" => |args| combined(args, amount(args, 1)?, api::quantity::Quantity::sub),
        "quantity_sub_int" => |args| combined(args, &whole(args)?, api::quantity::Quantity::sub),
        _ => return None,
    })
}

fn amount(args: &[Value], at: usize) -> Result<&api::quantity::Quantity, Fault> {
    args.get(at).and_then(Value::downcast::<Quantity>).map(|own| &own.amount).ok_or_else(Fault::no_overload)
}

fn whole(args: &[Value]) -> Result<api::quantity::Quantity, Fault> {
    Ok(api::quantity::Quantity::from_i64(int(args, 1)?, Format::DecimalExponent))
}

fn combined(
    args: &[Value],
    other: &api::quantity::Quantity,
    combine: fn(&mut api::quantity::Quantity, &api::quantity::Quantity),
) -> Outcome {
    let mut amount = amount(args, 0)?.clone();
    combine(&mut amount, other);
    Ok(Value::object(Quantity { amount, computed: true }))
}
