//! /logs: files under /var/log (pkg/kubelet/kubelet.go@v1.37.2: http.FileServer over /var/log).
//!
//! Invariant: nothing outside of that folder is served, whatever the path or a link says.

use std::path::Path;

use futures::StreamExt;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio_util::io::ReaderStream;

use super::respond::{self, Body};
use crate::config::Config;

const FOLDER: &str = "/var/log";

pub(super) async fn serve(config: &Config, rest: &str) -> Response<Body> {
    if !config.server.system_log_handler {
        return respond::text(405, "logs endpoint is disabled.\n");
    }
    show(Path::new(FOLDER), &super::options::decode(rest)).await
}

async fn show(folder: &Path, rest: &str) -> Response<Body> {
    let missing = || respond::text(404, "404 page not found\n");
    let climbs = rest.split('/').any(|part| part == "..");
    let Ok(path) = tokio::fs::canonicalize(folder.join(rest.trim_start_matches('/'))).await else { return missing() };
    let Ok(folder) = tokio::fs::canonicalize(folder).await else { return missing() };
    if climbs || !path.starts_with(&folder) {
        return missing();
    }
    match tokio::fs::metadata(&path).await {
        Ok(meta) if meta.is_dir() => listing(&path).await,
        Ok(_) => match tokio::fs::File::open(&path).await {
            Ok(file) => {
                let mut response = respond::text(200, "");
                let stream = ReaderStream::new(file).map(|read| read.map(Frame::data).map_err(Into::into));
                *response.body_mut() = StreamBody::new(stream).boxed_unsync();
                response
            }
            Err(_) => respond::text(403, "403 Forbidden\n"),
        },
        Err(_) => missing(),
    }
}

async fn listing(path: &Path) -> Response<Body> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut names: Vec<String> = std::fs::read_dir(path)?
            .flatten()
            .filter_map(|entry| {
                let slash = if entry.file_type().ok()?.is_dir() { "/" } else { "" };
                Some(format!("{}{slash}", entry.file_name().into_string().ok()?))
            })
            .collect();
        names.sort();
        Ok::<_, std::io::Error>(names)
    });
    let Ok(Ok(names)) = read.await else { return respond::text(500, "Error reading directory\n") };
    let mut html = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n".to_owned();
    for name in names {
        let shown = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        html += &format!("<a href=\"{shown}\">{shown}</a>\n");
    }
    respond::typed(200, "text/html; charset=utf-8", html + "</pre>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_is_below() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("log");
        std::fs::create_dir_all(folder.join("sub")).expect("made");
        std::fs::write(folder.join("a.log"), "text").expect("written");
        std::fs::write(root.path().join("secret"), "no").expect("written");
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).expect("linked");
        for (rest, code) in
            [("", 200), ("a.log", 200), ("/a.log", 200), ("sub", 200), ("../secret", 404), ("link", 404), ("x", 404)]
        {
            assert_eq!(show(&folder, rest).await.status(), code, "{rest}");
        }
    }
}
