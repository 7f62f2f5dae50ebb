//! The volumes of a pod: each kind in a file of its own, all made before the first container starts
//! and removed after the last (pkg/volume/*@v1.37.2).
//!
//! Invariant: a volume's folder is at upstream's path under the root folder, so a swap of kubelets
//! finds it; making a volume again is harmless and brings it up to date. A fake node computes what
//! would be written, so that a missing object holds a pod back there too, and writes nothing.

pub(crate) mod atomic;
mod config_map;
mod downward_api;
mod empty_dir;
mod host_path;
mod mounts;
mod ownership;
mod persistent;
mod projected;
mod secret;
pub(crate) mod subpath;
pub(crate) mod teardown;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};
use parking_lot::Mutex;

use crate::kubelet::Kubelet;
use crate::pod::shape;
use atomic::Payload;

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ready {
    pub(crate) path: PathBuf,
    pub(crate) read_only: bool,
    /// An image volume: the runtime mounts it.
    pub(crate) image: Option<String>,
}

pub(crate) type Volumes = BTreeMap<String, Ready>;

/// Which volume failed, and why.
#[derive(Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) volume: String,
    pub(crate) text: String,
}

/// What was last written to each volume, so that an unchanged one costs no IO.
#[derive(Default)]
pub(crate) struct Written {
    digests: Mutex<HashMap<(String, String), u64>>,
}

impl Written {
    pub(crate) fn forget(&self, uid: &str) {
        self.digests.lock().retain(|(pod, _), _| pod != uid);
    }
}

/// What making one volume needs.
pub(crate) struct Context<'a> {
    pub(crate) kubelet: &'a Kubelet,
    pub(crate) pod: &'a Pod,
    pub(crate) name: &'a str,
}

impl Context<'_> {
    fn fs_group(&self) -> Option<u32> {
        let group = shape::spec(self.pod).security_context.as_ref().and_then(|context| context.fs_group);
        group.and_then(|group| u32::try_from(group).ok())
    }

    fn is_fake(&self) -> bool {
        self.kubelet.runtime.is_fake()
    }

    fn folder(&self, plugin: &str) -> PathBuf {
        self.kubelet.config.pod_dir(shape::uid(self.pod)).join("volumes").join(plugin).join(self.name)
    }

    /// Writes the files of a volume into its folder, on tmpfs if they are `sensitive`.
    fn publish(&self, plugin: &str, payload: &Payload, sensitive: bool) -> Result<Ready, String> {
        let ready = Ready { path: self.folder(plugin), read_only: true, image: None };
        let digest = digest(payload, self.fs_group());
        let key = (shape::uid(self.pod).to_owned(), self.name.to_owned());
        if self.is_fake() || self.kubelet.written.digests.lock().get(&key) == Some(&digest) {
            return Ok(ready);
        }
        let failed = |e: io::Error| e.to_string();
        make_folder(&ready.path, 0o777).map_err(failed)?;
        if sensitive {
            mounts::tmpfs(&ready.path, None).map_err(failed)?;
        }
        atomic::write(&ready.path, payload, self.fs_group()).map_err(failed)?;
        self.kubelet.written.digests.lock().insert(key, digest);
        Ok(ready)
    }
}

fn digest(payload: &Payload, group: Option<u32>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (payload, group).hash(&mut hasher);
    hasher.finish()
}

fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    // Not by the umask of whoever started us.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes every volume of the pod that a container could use.
pub(crate) async fn prepare(kubelet: &Kubelet, pod: &Pod) -> Result<Volumes, Failure> {
    let mut ready = Volumes::new();
    for volume in shape::spec(pod).volumes.iter().flatten() {
        let context = Context { kubelet, pod, name: &volume.name };
        let made = one(&context, volume).await;
        let made = made.map_err(|text| Failure { volume: volume.name.clone(), text })?;
        ready.insert(volume.name.clone(), made);
    }
    Ok(ready)
}

async fn one(context: &Context<'_>, volume: &Volume) -> Result<Ready, String> {
    if let Some(source) = &volume.empty_dir {
        empty_dir::prepare(context, source)
    } else if let Some(source) = &volume.host_path {
        host_path::prepare(context, source)
    } else if let Some(source) = &volume.config_map {
        config_map::prepare(context, source).await
    } else if let Some(source) = &volume.secret {
        secret::prepare(context, source).await
    } else if let Some(source) = &volume.downward_api {
        downward_api::prepare(context, source)
    } else if let Some(source) = &volume.projected {
        projected::prepare(context, source).await
    } else if let Some(source) = &volume.persistent_volume_claim {
        persistent::prepare(context, &source.claim_name, source.read_only == Some(true)).await
    } else if volume.ephemeral.is_some() {
        let claim = format!("{}-{}", shape::name(context.pod), context.name);
        persistent::prepare(context, &claim, false).await
    } else if let Some(source) = &volume.image {
        let image = source.reference.clone().unwrap_or_default();
        Ok(Ready { image: Some(image), read_only: true, ..Ready::default() })
    } else {
        Err("no volume plugin matched".into())
    }
}
