//! Owners of `spec.replicas` as seen through the scale subresource
//! (k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go@v0.37.2).

use api::value::Value;

use crate::managed::{self, Malformed, Managed};
use crate::path::Path;
use crate::set::Set;
use crate::updater::Owned;

const SCALE_VERSION: &str = "autoscaling/v1";

fn replicas_in_scale() -> Path {
    Path::fields(&["spec", "replicas"])
}

/// Where a kind keeps its replicas.
pub struct Handler<'a> {
    /// metadata.managedFields of the object.
    pub parent: &'a [Value],
    /// The version of the path.
    pub version: &'a str,
    /// The path of the replicas in a version: `None` for a version that is not known.
    pub replicas: &'a dyn Fn(&str) -> Option<Path>,
}

impl Handler<'_> {
    /// The managedFields of the Scale: those who own the replicas.
    pub fn to_scale(&self) -> Result<Vec<Value>, Malformed> {
        let parent = managed::decode(self.parent)?;
        let mut scale = Managed::default();
        for (who, owned) in &parent.managers {
            let Some(path) = (self.replicas)(&owned.version) else { continue };
            if !owned.set.has(&path.0) {
                continue;
            }
            let mut set = Set::new();
            set.insert(&replicas_in_scale().0);
            scale.managers.insert(who.clone(), Owned { set, version: SCALE_VERSION.into(), applied: owned.applied });
            if let Some(time) = parent.times.get(who) {
                scale.times.insert(who.clone(), time.clone());
            }
        }
        Ok(managed::encode(&scale))
    }

    /// The managedFields of the object after those of its Scale changed.
    pub fn to_parent(&self, scale: &[Value]) -> Result<Vec<Value>, Malformed> {
        let parent = managed::decode(self.parent)?;
        let mut scale = managed::decode(scale)?;
        let mut out = Managed::default();
        for (who, owned) in parent.managers {
            let Some(path) = (self.replicas)(&owned.version) else { continue };
            let mut kept = owned;
            if kept.set.has(&path.0) && scale.managers.remove(&who).is_none() {
                // Someone else took the replicas.
                let mut replicas = Set::new();
                replicas.insert(&path.0);
                kept.set = kept.set.difference(&replicas);
                if kept.set.is_empty() {
                    continue;
                }
            }
            if let Some(time) = parent.times.get(&who) {
                out.times.insert(who.clone(), time.clone());
            }
            out.managers.insert(who, kept);
        }
        for (who, owned) in scale.managers {
            let Some(path) = (self.replicas)(self.version).filter(|_| owned.set.has(&replicas_in_scale().0)) else {
                continue;
            };
            let mut set = Set::new();
            set.insert(&path.0);
            // Upstream looks the time up among the object's entries; who is new there has none.
            if let Some(time) = parent.times.get(&who) {
                out.times.insert(who.clone(), time.clone());
            }
            out.managers.insert(who, Owned { set, version: self.version.into(), applied: owned.applied });
        }
        Ok(managed::encode(&out))
    }
}
