//! Where pods come from: the API server and a folder of manifests (pkg/kubelet/config/*.go@v1.37.2).

mod api;
mod file;
pub(crate) mod mirror;

pub(crate) use api::run as from_api;
pub(crate) use file::run as from_files;
