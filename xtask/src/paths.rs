//! Where things are. Everything is inside the clone; nothing is looked for outside it but programs on PATH.

use std::path::PathBuf;

/// The root of the clone.
pub fn root() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    xtask.parent().expect("xtask is a directory of the clone").to_path_buf()
}

/// The Go module that builds upstream's programs.
pub fn conformance() -> PathBuf {
    root().join("conformance")
}

/// One of upstream's programs, as [`crate::upstream::build`] makes it.
pub fn upstream(name: &str) -> PathBuf {
    conformance().join("bin").join(name)
}

/// Cargo's output directory.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The release build of the combined binary.
pub fn keelson() -> PathBuf {
    std::env::var_os("KEELSON_BIN").map_or_else(|| target().join("release/keelson"), PathBuf::from)
}
