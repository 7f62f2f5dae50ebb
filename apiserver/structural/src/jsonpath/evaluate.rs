//! Nodes on a value (k8s.io/client-go/util/jsonpath/jsonpath.go@v0.37.2). Entries of objects are visited in order of their
//! names; upstream's order is random.

use std::cmp::Ordering;

use api::value::Value;

use super::{Node, Param};

type Found = Result<Vec<Value>, String>;

pub(super) fn action(node: &Node, object: &Value) -> Found {
    walk(vec![object.clone()], node)
}

fn walk(input: Vec<Value>, node: &Node) -> Found {
    match node {
        Node::List(nodes) => list(input, nodes),
        Node::Text(text) => Ok(vec![Value::from(text.as_str())]),
        Node::Field(name) => Ok(input.iter().filter_map(|value| value.as_map()?.get(name)).cloned().collect()),
        Node::Wildcard => Ok(input.iter().flat_map(parts).collect()),
        Node::Recursive => Ok(input.into_iter().flat_map(descend).collect()),
        Node::Array(params) => array(&input, params),
        Node::Union(lists) => {
            let found: Result<Vec<_>, String> = lists.iter().map(|nodes| list(input.clone(), nodes)).collect();
            Ok(found?.concat())
        }
        Node::Filter { left, operator, right } => filter(&input, left, operator, right),
        Node::Int(number) => Ok(vec![Value::Int(*number); input.len()]),
        Node::Float(number) => Ok(vec![Value::Float(*number); input.len()]),
        Node::Bool(flag) => Ok(vec![Value::Bool(*flag); input.len()]),
        Node::Identifier(name) => Err(format!("unrecognized identifier {name}")),
    }
}

fn list(input: Vec<Value>, nodes: &[Node]) -> Found {
    nodes.iter().try_fold(input, walk)
}

/// What is in a value; of text its bytes.
fn parts(value: &Value) -> Vec<Value> {
    match value {
        Value::List(list) => list.clone(),
        Value::Map(_) => match crate::go::sorted(value) {
            Value::Map(map) => map.into_iter().map(|(_, value)| value).collect(),
            _ => Vec::new(),
        },
        Value::String(text) => text.bytes().map(|byte| Value::Int(byte.into())).collect(),
        _ => Vec::new(),
    }
}

/// The value, if there is something in it, and what is in it.
fn descend(value: Value) -> Vec<Value> {
    let parts = parts(&value);
    if parts.is_empty() {
        return Vec::new();
    }
    std::iter::once(value).chain(parts.into_iter().flat_map(descend)).collect()
}

fn array(input: &[Value], params: &[Param; 3]) -> Found {
    let mut found = Vec::new();
    for value in input {
        let list = match value {
            Value::Null => continue,
            Value::List(list) => list,
            other => return Err(format!("{} is not array or slice", other.go_type())),
        };
        let Some((start, end)) = bounds(params, list.len() as i64)? else { return Ok(found) };
        let step = match params[2] {
            Param { known: true, value, .. } => usize::try_from(value).ok().filter(|step| *step > 0),
            _ => Some(1),
        };
        let step = step.ok_or("step must be > 0")?;
        found.extend(list[start..end].iter().step_by(step).cloned());
    }
    Ok(found)
}

/// Where a slice begins and ends; `None` for an empty one.
fn bounds(params: &[Param; 3], length: i64) -> Result<Option<(usize, usize)>, String> {
    let mut start = if params[0].known { params[0].value } else { 0 };
    if start < 0 {
        start += length;
    }
    let mut end = if params[1].known { params[1].value } else { length };
    if end < 0 || end == 0 && params[1].derived {
        end += length;
    }
    if start == end {
        return Ok(None);
    }
    let outside = |index: i64| Err(format!("array index out of bounds: index {index}, length {length}"));
    if !(0..length).contains(&start) {
        return outside(start);
    }
    if !(0..=length).contains(&end) {
        return outside(end - 1);
    }
    if start > end {
        return Err(format!("starting index {start} is greater than ending index {end}"));
    }
    Ok(usize::try_from(start).ok().zip(usize::try_from(end).ok()))
}

fn filter(input: &[Value], left: &[Node], operator: &str, right: &[Node]) -> Found {
    let mut found = Vec::new();
    for value in input {
        let Some(items) = value.as_list() else {
            return Err(format!("{} is not array or slice and cannot be filtered", crate::go::print(value)));
        };
        for item in items {
            let lefts = list(vec![item.clone()], left);
            if operator == "exists" {
                found.extend(lefts.is_ok_and(|lefts| !lefts.is_empty()).then(|| item.clone()));
                continue;
            }
            let Some(left) = one(lefts?)? else { continue };
            let Some(right) = one(list(vec![item.clone()], right)?)? else { continue };
            found.extend(compare(&left, operator, &right)?.then(|| item.clone()));
        }
    }
    Ok(found)
}

fn one(mut values: Vec<Value>) -> Result<Option<Value>, String> {
    match values.len() {
        0 | 1 => Ok(values.pop()),
        _ => Err("can only compare one element at a time".into()),
    }
}

fn compare(left: &Value, operator: &str, right: &Value) -> Result<bool, String> {
    let order = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => match operator {
            "==" => return Ok(left == right),
            "!=" => return Ok(left != right),
            // Less is asked first, which flags do not have; only `<=` of equals would not need it.
            _ => return Err("invalid type for comparison".into()),
        },
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Null | Value::List(_) | Value::Map(_), _) | (_, Value::Null | Value::List(_) | Value::Map(_)) => {
            return Err("invalid type for comparison".into());
        }
        _ => return Err("incompatible types for comparison".into()),
    };
    let is = |wanted: &[Ordering]| order.is_some_and(|order| wanted.contains(&order));
    Ok(match operator {
        "==" => is(&[Ordering::Equal]),
        "!=" => !is(&[Ordering::Equal]),
        "<" => is(&[Ordering::Less]),
        "<=" => is(&[Ordering::Less, Ordering::Equal]),
        ">" => !is(&[Ordering::Less, Ordering::Equal]),
        ">=" => !is(&[Ordering::Less]),
        other => return Err(format!("unrecognized filter operator {other}")),
    })
}
