//! Expressions over the claims of a token and over the user that they make
//! (k8s.io/apiserver/pkg/authentication/cel@v0.37.2).
//!
//! Invariant: `claims` holds what JSON holds: every number is a double, and a name that is no identifier is reached in
//! its escaped form. Must not know: tokens, issuers.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use cel::declaration::{Declaration, DeclaredTypes};
use cel::types::Type;
use cel::value::{Map, MapObject, Outcome, Value};
use cel::{CompileError, Env, Minor, Program};
use serde_json::Value as Json;

use crate::authn::User;

/// The most one expression may cost (k8s.io/apiserver/pkg/apis/cel/config.go@v0.37.2: PerCallLimit).
pub(crate) const COST_MAX: u64 = 1_000_000;
const USER_TYPE: &str = "kubernetes.UserInfo";

/// What an expression is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Claims,
    User,
}

impl About {
    fn variable(self) -> &'static str {
        match self {
            About::Claims => "claims",
            About::User => "user",
        }
    }

    fn env(self) -> Env {
        let env = Env::kubernetes(Minor::MAX);
        match self {
            About::Claims => env.variable("claims", Type::map(Type::String, Type::Dyn)),
            About::User => {
                let text = || Declaration::simple(Type::String, 0, 0);
                let texts = || Declaration::list(text(), 0);
                let fields = [
                    ("username", text()),
                    ("uid", text()),
                    ("groups", texts()),
                    ("extra", Declaration::map(text(), texts(), 0)),
                ];
                let fields = fields.into_iter().map(|(name, of)| (Arc::from(name), of));
                let user = Declaration::object(fields, 0).named(USER_TYPE);
                env.variable("user", Type::object(USER_TYPE)).types(Arc::new(DeclaredTypes::new([&user])))
            }
        }
    }
}

/// Why an expression is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Invalid(String),
    Internal(String),
}

/// Compiles an expression of one type; of any when none is named.
pub(crate) fn compile(
    env: &Env,
    text: &str,
    wanted: Option<&Type>,
    mismatch: impl Fn(&Type) -> String,
) -> Result<Program, Unusable> {
    let typed = |of: &Type| match wanted {
        Some(wanted) if wanted != of => Err(Unusable::Invalid(mismatch(of))),
        _ => Ok(()),
    };
    match env.compile(text) {
        Ok(program) => typed(program.output_type()).map(|()| program),
        Err(CompileError::Issues(issues)) => Err(Unusable::Invalid(format!("compilation failed: {issues}"))),
        Err(CompileError::Program { message, of }) => {
            typed(&of)?;
            Err(Unusable::Internal(format!("program instantiation failed: {message}")))
        }
    }
}

/// An expression that compiled.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    pub(super) text: String,
    about: About,
    program: Program,
}

impl Expression {
    /// `rule`: it has to say yes or no.
    pub(super) fn compile(text: &str, about: About, rule: bool) -> Result<Self, Unusable> {
        let wanted = rule.then_some(&Type::Bool);
        let program = compile(&about.env(), text, wanted, |_| "must evaluate to bool".into())?;
        Ok(Expression { text: text.to_owned(), about, program })
    }

    /// Whether `claims.NAME` stands in it, in whatever form (validation.go: hasSelectExp).
    pub(super) fn reads_claim(&self, name: &str) -> bool {
        selects(self.program.ast(), "claims", name)
    }

    /// # Errors
    /// Upstream's text, with the expression.
    pub(super) fn eval(&self, value: &Value) -> Result<Value, String> {
        let values = HashMap::from([(self.about.variable().to_owned(), value.clone())]);
        let outcome = self.program.eval(&values, COST_MAX);
        outcome
            .map(|(value, _)| value)
            .map_err(|error| format!("expression '{}' resulted in error: {error}", self.text))
    }
}

fn selects(expression: &cel::ast::Expr, operand: &str, field: &str) -> bool {
    use cel::ast::Kind;
    let is_operand = |of: &cel::ast::Expr| of.ident().is_some_and(|name| name.as_ref() == operand);
    let mut found = false;
    expression.walk(&mut |part, _| {
        found |= match &part.kind {
            Kind::Select(select) => is_operand(&select.operand) && select.field.as_ref() == field,
            Kind::Call(call) if call.target.is_none() && call.function.as_ref() == "_?._" => {
                let [of, name] = call.args.as_slice() else { return };
                is_operand(of) && name.literal().and_then(Value::as_str) == Some(field)
            }
            _ => false,
        };
    });
    found
}

/// An object of JSON.
#[derive(Debug)]
struct Object {
    fields: serde_json::Map<String, Json>,
    /// Only what can be unescaped can be found.
    strict: bool,
}

impl MapObject for Object {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn len(&self) -> usize {
        self.fields.len()
    }

    fn find(&self, key: &str) -> Option<Outcome> {
        let found = match cel::escape::unescape(key) {
            Some(name) => self.fields.get(&name),
            None if self.strict => None,
            None => self.fields.get(key),
        };
        found.map(|value| Ok(of_json(value)))
    }

    fn keys(&self) -> Vec<Arc<str>> {
        self.fields.keys().map(|key| Arc::from(key.as_str())).collect()
    }
}

fn of_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Value::string(text),
        Json::Array(list) => Value::list(list.iter().map(of_json).collect()),
        Json::Object(fields) => object(fields.clone(), false),
    }
}

fn object(fields: serde_json::Map<String, Json>, strict: bool) -> Value {
    Value::Map(Map::object(Arc::new(Object { fields, strict })))
}

/// `claims`.
pub(super) fn claims(claims: &serde_json::Map<String, Json>) -> Value {
    object(claims.clone(), true)
}

/// `user`.
pub(super) fn user(user: &User) -> Value {
    let json = serde_json::json!({
        "username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
    });
    match json {
        Json::Object(fields) => object(fields, true),
        _ => Value::Null,
    }
}

/// A text or a list of texts; empty ones count as none (oidc.go: convertCELValueToStringList).
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "expression must return a string or a list of strings".to_owned();
    let mut texts = Vec::new();
    let mut push = |value: &Value| -> Result<(), String> {
        let text = value.as_str().ok_or_else(wrong)?;
        if !text.is_empty() {
            texts.push(text.to_owned());
        }
        Ok(())
    };
    match value {
        Value::String(_) => push(value)?,
        Value::List(list) => {
            for element in list.iter() {
                push(&element.map_err(|fault| fault.to_string())?)?;
            }
        }
        Value::Null => {}
        _ => return Err(wrong()),
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"sub":"jane","roles":["a","","b"],"n":5,"verified":true,"none":null,
        "example.org/x":{"a.b":"nested"},"deep":{"list":[{"k-x":1}]}}"#;

    fn check(text: &str, expect: Result<&[&str], &str>) {
        let Ok(Json::Object(fields)) = serde_json::from_str(CLAIMS) else { panic!("an object") };
        let expression = match Expression::compile(text, About::Claims, false) {
            Ok(expression) => expression,
            Err(why) => panic!("{text}: {why:?}"),
        };
        let got = expression.eval(&claims(&fields)).and_then(|value| texts(&value));
        let expect = expect.map(|list| list.iter().map(|text| (*text).to_owned()).collect()).map_err(str::to_owned);
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn claims_as_json_has_them() {
        check("claims.sub", Ok(&["jane"]));
        check("claims.roles", Ok(&["a", "b"]));
        check("claims.roles.map(r, 'x:' + r) + ['z']", Ok(&["x:a", "x:", "x:b", "z"]));
        check("claims.none", Ok(&[]));
        check("claims.?missing.orValue('')", Ok(&[]));
        check("claims.example__dot__org__slash__x.a__dot__b", Ok(&["nested"]));
        check("claims['example.org/x']['a.b']", Ok(&["nested"]));
        check("claims.n == 5.0 && claims.deep.list[0].k__dash__x == 1.0 ? 'yes' : 'no'", Ok(&["yes"]));
        check("type(claims.n) == double ? 'double' : 'int'", Ok(&["double"]));
        check("claims.n", Err("expression must return a string or a list of strings"));
        check("claims.gone", Err("expression 'claims.gone' resulted in error: no such key: gone"));
    }

    #[test]
    fn rules_say_yes_or_no() {
        let why = |text, about| Expression::compile(text, about, true).err();
        assert_eq!(why("claims.sub == 'jane'", About::Claims), None);
        assert_eq!(why("claims.sub", About::Claims), Some(Unusable::Invalid("must evaluate to bool".into())));
        assert_eq!(why("!user.username.startsWith('system:')", About::User), None);
        assert!(
            matches!(why("user.nosuch == ''", About::User), Some(Unusable::Invalid(why)) if why.contains("undefined field 'nosuch'"))
        );
        let user = User { name: "jane".into(), groups: vec!["g".into()], ..User::default() };
        let user = super::user(&user);
        for (text, expect) in
            [("user.username == 'jane' && user.groups.size() == 1", true), ("user.extra.size() > 0", false)]
        {
            let rule = Expression::compile(text, About::User, true).expect("a rule");
            assert_eq!(rule.eval(&user).map(|value| value.as_bool()), Ok(Some(expect)), "{text}");
        }
    }

    #[test]
    fn claims_that_are_read() {
        let reads = |text| Expression::compile(text, About::Claims, false).expect("it compiles").reads_claim("email");
        for text in ["claims.email", "claims.?email.orValue('')", "has(claims.email) ? 'a' : 'b'", "[claims.email][0]"]
        {
            assert!(reads(text), "{text}");
        }
        for text in ["claims.sub", "claims['email']", "claims.x.email", "'claims.email'"] {
            assert!(!reads(text), "{text}");
        }
    }
}
