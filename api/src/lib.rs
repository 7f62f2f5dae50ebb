//! Nouns: facts about every kind, the object value, codecs, selectors, quantities, Status errors.
//!
//! Must not know: IO, async, HTTP, any store, any component.

pub mod clientconfig;
pub mod defaults;
pub mod duration;
pub mod facts;
pub mod field;
pub mod generated;
pub mod gonet;
pub mod goregex;
pub mod gostrconv;
pub mod gourl;
pub mod intstr;
pub mod json;
pub mod names;
pub mod object;
pub mod proto;
pub mod quantity;
pub mod rules;
pub mod selector;
pub mod status;
pub mod time;
pub mod value;
pub mod view;
pub mod yaml;
