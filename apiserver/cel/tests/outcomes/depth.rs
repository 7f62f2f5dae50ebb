//! Expressions as deep as they may be run on threads with little stack.

use std::collections::HashMap;

use cel::Env;
use cel::types::Type;
use cel::value::Value;

/// A quarter of what threads of an async runtime have, in bytes.
const STACK: usize = 512 << 10;

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    open.repeat(times) + inner + &close.repeat(times)
}

fn folded(times: usize, wrap: impl Fn(usize, String) -> String, inner: &str) -> String {
    (0..times).fold(inner.to_owned(), |inner, level| wrap(level, inner))
}

/// What comes of an expression, on a small thread.
fn outcome(text: String) -> String {
    let run = move || {
        let env = Env::kubernetes(37).variable("a", Type::list(Type::Dyn));
        let values = HashMap::from([("a".to_owned(), Value::list(vec![Value::Int(0)]))]);
        match env.compile(&text) {
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
            Ok(program) => match program.eval(&values, u64::MAX) {
                Ok((value, _)) => value.cel_type().to_string(),
                Err(error) => error.to_string(),
            },
        }
    };
    std::thread::Builder::new().stack_size(STACK).spawn(run).unwrap().join().unwrap()
}

#[test]
fn deep_expressions_run_on_small_threads() {
    let all = |level, inner| format!("a.all(x{level}, {inner})");
    let opt = |level, inner| format!("optional.of(a).optMap(x{level}, {inner}).orValue(a)");
    let missing = "Syntax error: mismatched input '<EOF>'";
    let cases = [
        (nested("(", "1", ")", 249), "int"),
        (nested("(", "1", ")", 250), "expression recursion limit exceeded: 250"),
        (nested("[", "1", "]", 249), "list"),
        (nested("[", "1", "", 249), missing),
        (nested("{1:", "1", "}", 249), "map"),
        (nested("-(", "1", ")", 248), "int"),
        (nested("a[", "0", "]", 240), "int"),
        (nested("true ? 1 : ", "1", "", 248), "int"),
        ("1 + ".repeat(250) + "1", "int"),
        ("1 + ".repeat(251) + "1", "max recursion depth exceeded"),
        ("1 + ".repeat(20_000), "max recursion depth exceeded"),
        ("a.".repeat(249) + "a", "does not support field selection"),
        (folded(200, all, "true"), "bool"),
        (folded(200, all, "true") + ")", "Syntax error: extraneous input ')'"),
        (folded(120, opt, "a"), "list"),
    ];
    for (text, want) in cases {
        let found = outcome(text.clone());
        assert!(found.contains(want), "{}...: {found}", &text[..20]);
    }
}
