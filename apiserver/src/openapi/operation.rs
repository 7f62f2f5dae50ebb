//! Operations in neither dialect: what both OpenAPI versions say about a path and method.

/// A method of a path.
pub(super) struct Operation {
    /// In lower case.
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) description: String,
    /// x-kubernetes-action; empty for paths that are not about a resource.
    pub(super) action: &'static str,
    pub(super) kind: Option<(&'static str, &'static str, &'static str)>,
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Body,
    pub(super) consumes: &'static [&'static str],
    pub(super) produces: &'static [&'static str],
    /// Successful answers; every operation may also answer 401.
    pub(super) codes: &'static [u16],
    pub(super) answer: Answer,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) place: &'static str,
    pub(super) ty: &'static str,
    pub(super) description: String,
}

impl Parameter {
    pub(super) fn query(name: &str, ty: &'static str, description: &str) -> Self {
        Parameter { name: name.into(), place: "query", ty, description: description.into() }
    }

    pub(super) fn path(name: &str, description: String) -> Self {
        Parameter { name: name.into(), place: "path", ty: "string", description }
    }

    pub(super) fn required(&self) -> bool {
        self.place == "path"
    }
}

pub(super) enum Body {
    None,
    Required(String),
    Optional(String),
}

impl Body {
    /// The schema's name.
    pub(super) fn schema(&self) -> Option<&str> {
        match self {
            Body::None => None,
            Body::Required(name) | Body::Optional(name) => Some(name),
        }
    }
}

pub(super) enum Answer {
    Object(String),
    Text,
}

/// What a code is called.
pub(super) fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        _ => "Unauthorized",
    }
}

/// A path and its operations.
pub(super) struct Path {
    pub(super) path: String,
    pub(super) operations: Vec<Operation>,
}

impl Path {
    /// Moves out the parameters that every operation has, ordered by name, as kube-openapi does.
    pub(super) fn take_common(&mut self) -> Vec<Parameter> {
        let Some(first) = self.operations.first() else { return Vec::new() };
        let everywhere = |p: &&Parameter| self.operations.iter().all(|operation| operation.parameters.contains(p));
        let mut common: Vec<Parameter> = first.parameters.iter().filter(everywhere).cloned().collect();
        for operation in &mut self.operations {
            operation.parameters.retain(|parameter| !common.contains(parameter));
            operation.parameters.sort_by(order);
        }
        common.sort_by(order);
        common
    }
}

fn order(a: &Parameter, b: &Parameter) -> std::cmp::Ordering {
    (&a.name, a.place).cmp(&(&b.name, b.place))
}
