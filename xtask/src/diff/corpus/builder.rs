//! Puts a sequence together: its namespace, what its kind needs, and steps on objects of its own.

use serde_json::{Value, json};

use super::Subject;
use crate::diff::choice;
use crate::diff::sequence::{Role, Sequence, Step};
use crate::diff::template::Names;

pub(super) struct Builder<'a> {
    pub(super) subject: Subject<'a>,
    sequence: Sequence,
}

impl<'a> Builder<'a> {
    /// A sequence that begins with what its kind needs.
    pub(super) fn new(subject: Subject<'a>, family: &str, number: usize) -> Self {
        let kind = subject.kind.name();
        let id = format!("{kind}/{family}/{number}");
        let sequence = Sequence { id, kind, steps: Vec::new() };
        let mut builder = Builder { subject, sequence };
        builder.prepare();
        builder
    }

    fn prepare(&mut self) {
        let names = self.names("");
        let needs = &self.subject.template.needs;
        let of_namespace = |need: &Value| need.to_string().contains("$NS");
        if self.subject.kind.namespaced || needs.iter().any(of_namespace) {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.namespace}});
            self.setup("/api/v1/namespaces".into(), &namespace);
        }
        for need in needs {
            let need = names.fill(need);
            let text = |field: &str| need[field].as_str().unwrap_or_default();
            // A kind that is not served leaves its user's own refusal to be seen.
            if let Some(kind) = self.subject.source.catalog.find(text("apiVersion"), text("kind")) {
                self.setup(kind.collection(&names.namespace), &need);
            }
        }
    }

    fn setup(&mut self, target: String, body: &Value) {
        self.push(Step::new("POST", target, "setup").json(body).role(Role::Setup));
    }

    pub(super) fn push(&mut self, step: Step) {
        self.sequence.steps.push(step);
    }

    pub(super) fn finish(self) -> Sequence {
        self.sequence
    }

    /// The names of the object `what`.
    pub(super) fn names(&self, what: &str) -> Names {
        Names::new(&self.sequence.id, what)
    }

    pub(super) fn collection(&self) -> String {
        self.subject.kind.collection(&self.names("").namespace)
    }

    /// The path of the object with these names.
    pub(super) fn item(&self, names: &Names) -> String {
        format!("{}/{}", self.collection(), names.text(&self.subject.template.name))
    }

    /// A choice that the seed makes for the step that comes next.
    pub(super) fn pick<T: Copy>(&self, what: &str, of: &[T]) -> T {
        *choice::pick(self.subject.source.seed, (&self.sequence.id, self.sequence.steps.len(), what), of)
    }

    /// Creates the rich object that later steps change.
    pub(super) fn create_rich(&mut self, names: &Names) {
        let rich = self.subject.template.rich(self.subject.kind, names);
        let step = Step::new("POST", self.collection(), "create").json(&rich).role(Role::Setup).remember();
        self.push(step);
        self.settle(names);
    }

    /// Waits for the condition that the server's own controllers set.
    pub(super) fn settle(&mut self, names: &Names) {
        if let Some(condition) = &self.subject.template.awaits {
            let name = names.text(&self.subject.template.name);
            let target =
                format!("{}?watch=true&timeoutSeconds=2&fieldSelector=metadata.name%3D{name}", self.collection());
            self.push(Step::new("GET", target, condition).role(Role::Await));
        }
    }

    pub(super) fn cleanup(&mut self, names: &Names) {
        let target = self.item(names);
        self.push(Step::new("DELETE", target, "cleanup").role(Role::Cleanup));
    }

    /// The query of a write, parts of it chosen by the seed.
    pub(super) fn query(&self, dry_run: bool) -> String {
        let validation = self
            .pick("validation", &["", "", "fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Ignore"]);
        let manager = self.pick("manager", &["", "fieldManager=differ", "fieldManager=other"]);
        let parts = [if dry_run { "dryRun=All" } else { "" }, validation, manager];
        let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }
}
