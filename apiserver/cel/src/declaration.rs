//! Declarations of objects: types with fields, and how large their values can be.
//!
//! Invariant: names and sizes as `k8s.io/apiserver/pkg/cel/types.go@v0.37.2` (`DeclType`) gives them.
//! Non-goal: reading schemas; whoever has one makes declarations of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cost::Range;
use crate::cost::estimate::SizeEstimator;
use crate::types::{Type, TypeProvider};

/// The name of an object that has been given none yet.
const UNNAMED: &str = "object";

/// A type with a bound on the sizes of its values.
#[derive(Debug, Clone)]
pub struct Declaration {
    shape: Shape,
    /// Most characters of a text, elements of a list, entries of a map.
    max_elements: u64,
    /// Fewest bytes of a value in JSON.
    min_serialized: u64,
}

#[derive(Debug, Clone)]
enum Shape {
    Simple(Type),
    List(Box<Declaration>),
    Map(Box<Declaration>, Box<Declaration>),
    Object(Arc<str>, BTreeMap<Arc<str>, Declaration>),
}

impl Declaration {
    pub fn simple(of: Type, max_elements: u64, min_serialized: u64) -> Declaration {
        Declaration { shape: Shape::Simple(of), max_elements, min_serialized }
    }

    pub fn list(element: Declaration, max_elements: u64) -> Declaration {
        // `[]`
        Declaration { shape: Shape::List(Box::new(element)), max_elements, min_serialized: 2 }
    }

    pub fn map(key: Declaration, value: Declaration, max_elements: u64) -> Declaration {
        // `{}`
        Declaration { shape: Shape::Map(Box::new(key), Box::new(value)), max_elements, min_serialized: 2 }
    }

    /// An object of fields by escaped name. It gets its type's name from [`Declaration::named`].
    pub fn object(fields: impl IntoIterator<Item = (Arc<str>, Declaration)>, min_serialized: u64) -> Declaration {
        let shape = Shape::Object(Arc::from(UNNAMED), fields.into_iter().collect());
        Declaration { shape, max_elements: 0, min_serialized }
    }

    pub fn max_elements(&self) -> u64 {
        self.max_elements
    }

    pub fn min_serialized(&self) -> u64 {
        self.min_serialized
    }

    /// With names for all objects in it that have none: that of their place.
    pub fn named(self, name: &str) -> Declaration {
        let shape = match self.shape {
            Shape::Simple(of) => Shape::Simple(of),
            Shape::List(element) => Shape::List(Box::new(element.named(&format!("{name}.@idx")))),
            Shape::Map(key, value) => Shape::Map(key, Box::new(value.named(&format!("{name}.@elem")))),
            Shape::Object(own, fields) => {
                let own = if own.as_ref() == UNNAMED { Arc::from(name) } else { own };
                let named = fields.into_iter().map(|(field, of)| {
                    let place = format!("{own}.{field}");
                    (field, of.named(&place))
                });
                let fields = named.collect();
                Shape::Object(own, fields)
            }
        };
        Declaration { shape, ..self }
    }

    pub fn cel_type(&self) -> Type {
        match &self.shape {
            Shape::Simple(of) => of.clone(),
            Shape::List(element) => Type::list(element.cel_type()),
            Shape::Map(key, value) => Type::map(key.cel_type(), value.cel_type()),
            Shape::Object(name, _) => Type::Struct(name.clone()),
        }
    }

    /// One step of a path.
    fn part(&self, name: &str) -> Option<&Declaration> {
        match (&self.shape, name) {
            (Shape::List(element), "@items" | "@values") => Some(element),
            (Shape::Map(_, value), "@items" | "@values") => Some(value),
            (Shape::Map(key, _), "@keys") => Some(key),
            (Shape::Object(_, fields), name) => fields.get(name),
            _ => None,
        }
    }

    fn objects(&self, found: &mut HashMap<Arc<str>, BTreeMap<Arc<str>, Type>>) {
        match &self.shape {
            Shape::Simple(_) => {}
            Shape::List(element) => element.objects(found),
            Shape::Map(_, value) => value.objects(found),
            Shape::Object(name, fields) => {
                let types = fields.iter().map(|(field, of)| (field.clone(), of.cel_type())).collect();
                found.insert(name.clone(), types);
                fields.values().for_each(|field| field.objects(found));
            }
        }
    }
}

/// Sizes of the parts of any variable that is declared so.
impl SizeEstimator for Declaration {
    fn size(&self, path: &[Arc<str>]) -> Option<Range> {
        let (_, parts) = path.split_first()?;
        let found = parts.iter().try_fold(self, |at, part| at.part(part))?;
        Some(Range { min: 0, max: found.max_elements })
    }
}

/// The objects of declarations, for the checker.
#[derive(Debug, Clone, Default)]
pub struct DeclaredTypes {
    objects: HashMap<Arc<str>, BTreeMap<Arc<str>, Type>>,
    keywords: bool,
}

impl DeclaredTypes {
    pub fn new<'a>(declarations: impl IntoIterator<Item = &'a Declaration>) -> DeclaredTypes {
        let mut objects = HashMap::new();
        declarations.into_iter().for_each(|declaration| declaration.objects(&mut objects));
        DeclaredTypes { objects, keywords: false }
    }

    /// With fields named like keywords also under the name they would have unescaped.
    pub fn with_keywords(self) -> DeclaredTypes {
        DeclaredTypes { keywords: true, ..self }
    }
}

impl TypeProvider for DeclaredTypes {
    fn has_type(&self, name: &str) -> bool {
        self.objects.contains_key(name)
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        let fields = self.objects.get(object)?;
        let escaped = || crate::escape::escape(field).filter(|_| self.keywords && crate::escape::is_keyword(field));
        fields.get(field).or_else(|| fields.get(escaped()?.as_str())).cloned()
    }
}
