//! The images of a fake runtime: a pull succeeds at once unless the name is on the absent list.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use tonic::Code;

use crate::v1::{Image, ImageSpec};
use crate::{Error, Result};

/// Bytes that an image is said to have.
const IMAGE_BYTES: u64 = 1 << 20;

pub(super) struct Images {
    absent: Vec<String>,
    pulled: BTreeMap<String, Image>,
}

impl Images {
    pub(super) fn new(absent: &[String]) -> Self {
        Images { absent: absent.iter().map(|name| tagged(name)).collect(), pulled: BTreeMap::new() }
    }

    pub(super) fn pull(&mut self, name: &str) -> Result<String> {
        let name = tagged(name);
        if self.is_absent(&name) {
            let text = format!(
                "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
            );
            return Err(Error::new(Code::NotFound, text));
        }
        let id = format!("sha256:{}", hex_id(&name));
        let repository = name.split('@').next().unwrap_or(&name);
        let repository = match repository.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository,
            _ => repository,
        };
        let image = Image {
            id: id.clone(),
            repo_tags: if name.contains('@') { vec![] } else { vec![name.clone()] },
            repo_digests: vec![format!("{repository}@{id}")],
            size: IMAGE_BYTES,
            spec: Some(ImageSpec { image: name.clone(), ..ImageSpec::default() }),
            ..Image::default()
        };
        self.pulled.insert(name, image);
        Ok(id)
    }

    pub(super) fn get(&self, name: &str) -> Option<Image> {
        let by_id = || self.pulled.values().find(|image| image.id == name);
        self.pulled.get(&tagged(name)).or_else(by_id).cloned()
    }

    pub(super) fn remove(&mut self, name: &str) {
        let name = tagged(name);
        self.pulled.retain(|key, image| *key != name && image.id != name);
    }

    pub(super) fn list(&self) -> Vec<Image> {
        let mut seen = BTreeSet::new();
        self.pulled.values().filter(|image| seen.insert(image.id.clone())).cloned().collect()
    }

    fn is_absent(&self, name: &str) -> bool {
        self.absent.iter().any(|absent| name == absent || name.ends_with(&format!("/{absent}")))
    }
}

fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') { name.to_owned() } else { format!("{name}:latest") }
}

/// 64 hexadecimal digits that depend on `seed` alone.
pub(super) fn hex_id(seed: &str) -> String {
    let word = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, seed).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_names_match_with_and_without_a_path() {
        let mut images = Images::new(&["webserver:404".into(), "foo:non-existent".into(), "bare".into()]);
        for (name, works) in [
            ("webserver:404", false),
            ("example.test/lib/webserver:404", false),
            ("webserver:405", true),
            ("notwebserver:404", true),
            ("bare", false),
            ("bare:latest", false),
        ] {
            assert_eq!(images.pull(name).is_ok(), works, "{name}");
        }
        let error = images.pull("foo:non-existent").expect_err("absent");
        assert!(error.to_string().starts_with("rpc error: code = NotFound desc = failed to pull and unpack image"));
    }

    #[test]
    fn an_image_is_found_by_name_and_by_id() {
        let mut images = Images::new(&[]);
        let id = images.pull("busybox").expect("pulled");
        assert_eq!(images.get("busybox:latest").map(|image| image.id), Some(id.clone()));
        assert_eq!(images.get(&id).map(|image| image.repo_digests), Some(vec![format!("busybox@{id}")]));
        images.remove("busybox");
        assert_eq!(images.get(&id), None);
    }
}
