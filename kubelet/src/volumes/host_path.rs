//! hostPath: a path of the host, checked by its type (pkg/volume/hostpath/host_path.go@v1.37.2).

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Context, Ready, make_folder};

pub(super) fn prepare(context: &Context<'_>, source: &HostPathVolumeSource) -> Result<Ready, String> {
    if !context.is_fake() {
        check(&source.path, source.type_.as_deref().unwrap_or(""))?;
    }
    Ok(Ready { path: source.path.clone().into(), ..Ready::default() })
}

fn check(text: &str, kind: &str) -> Result<(), String> {
    let path = Path::new(text);
    if kind == "DirectoryOrCreate" && !path.exists() {
        return make_folder(path, 0o755).map_err(|e| e.to_string());
    }
    if kind == "FileOrCreate" && !path.exists() {
        fs::write(path, "").map_err(|e| e.to_string())?;
        return fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| e.to_string());
    }
    if kind.is_empty() {
        return Ok(());
    }
    let found = fs::metadata(path).ok().map(|metadata| metadata.file_type());
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
    let (fits, noun) = match kind {
        "Directory" | "DirectoryOrCreate" => (is(fs::FileType::is_dir), "a directory"),
        "File" | "FileOrCreate" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(FileTypeExt::is_socket), "a socket file"),
        "CharDevice" => (is(FileTypeExt::is_char_device), "a character device"),
        "BlockDevice" => (is(FileTypeExt::is_block_device), "a block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {text} is not {noun}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = |name: &str| dir.path().join(name).display().to_string();
        let folder = path("d");
        let missing = path("x");
        assert_eq!(
            check(&missing, "Directory"),
            Err(format!("hostPath type check failed: {missing} is not a directory"))
        );
        assert_eq!(check(&folder, "DirectoryOrCreate"), Ok(()));
        assert_eq!(check(&folder, "Directory"), Ok(()));
        assert_eq!(check(&folder, "File"), Err(format!("hostPath type check failed: {folder} is not a file")));
        assert_eq!(check(&path("f"), "FileOrCreate"), Ok(()));
        assert_eq!(check(&path("f"), "File"), Ok(()));
        assert_eq!(check("/dev/null", "CharDevice"), Ok(()));
        assert!(check("/dev/null", "Socket").is_err());
        assert_eq!(check(&missing, ""), Ok(()));
    }
}
