//! Container images made of the machine's static busybox: nothing is downloaded.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Where Debian's busybox-static has it.
const BUSYBOX: &str = "/bin/busybox";

/// Writes `NAME-TAG.tar` into a directory: an image with busybox and its applets that serves `page` on port
/// 8080 and says so on its standard output. Returns the image's reference.
pub fn web(dir: &Path, name: &str, tag: &str, page: &str) -> Result<String> {
    let work = tempfile::tempdir()?;
    let root = work.path().join("root");
    let bin = root.join("bin");
    for sub in ["bin", "tmp", "www"] {
        std::fs::create_dir_all(root.join(sub))?;
    }
    std::fs::copy(BUSYBOX, bin.join("busybox")).context("is busybox-static there?")?;
    for applet in applets()? {
        std::os::unix::fs::symlink("busybox", bin.join(applet))?;
    }
    std::fs::write(root.join("www/index.html"), page)?;
    let layer = tar(&root, &work.path().join("layer.tar"))?;
    // Process 1 gets only the signals that it asks for.
    let serve = format!("echo serving {page}; trap exit TERM; httpd -f -p 8080 -h /www & wait");
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh", "-c", serve], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&std::fs::read(&layer)?))]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", digest(&config));
    let reference = format!("localhost/{name}:{tag}");
    let manifest = json!([{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    let archive = work.path().join("archive");
    std::fs::create_dir(&archive)?;
    std::fs::write(archive.join(config_name), config)?;
    std::fs::write(archive.join("manifest.json"), serde_json::to_vec(&manifest)?)?;
    std::fs::rename(layer, archive.join("layer.tar"))?;
    tar(&archive, &dir.join(format!("{name}-{tag}.tar")))?;
    Ok(reference)
}

fn applets() -> Result<Vec<String>> {
    let output = Command::new(BUSYBOX).arg("--list").output().context("is busybox-static there?")?;
    let names = String::from_utf8(output.stdout)?;
    Ok(names.lines().filter(|name| *name != "busybox").map(Into::into).collect())
}

fn tar(root: &Path, to: &Path) -> Result<PathBuf> {
    let status = Command::new("tar").arg("-cf").arg(to).arg("-C").arg(root).arg(".").status().context("tar")?;
    ensure!(status.success(), "tar: {status}");
    Ok(to.into())
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
