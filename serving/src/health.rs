//! /healthz, /livez and /readyz of a component: all checks, `?verbose`, `?exclude=`, or one check alone
//! (k8s.io/apiserver/pkg/server/healthz/healthz.go@v0.37.2).

use client::health::{Health, Outcome};
use http::Response;

use crate::respond::{Body, plain};

/// Answers a health path; `None` for one that is none of this component.
pub(crate) fn answer(health: &Health, path: &str, query: &str) -> Option<Response<Body>> {
    let path = path.strip_prefix('/')?;
    let (endpoint, one) = match path.split_once('/') {
        Some((endpoint, one)) => (endpoint, Some(one)),
        None => (path, None),
    };
    let checks = health.ask(endpoint)?;
    let Some(one) = one else { return Some(report(endpoint, &checks, query)) };
    let (_, outcome) = checks.iter().find(|(name, _)| *name == one)?;
    Some(match outcome {
        Ok(()) => plain(200, "ok"),
        Err(why) => plain(500, format!("internal server error: {why}\n")),
    })
}

fn report(endpoint: &str, checks: &[(&'static str, Outcome)], query: &str) -> Response<Body> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut unknown: Vec<String> = Vec::new();
    let mut verbose = false;
    for (key, value) in pairs {
        match key {
            "verbose" => verbose = true,
            "exclude" => unknown.push(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()),
            _ => {}
        }
    }
    let excluded = unknown.clone();
    let (mut text, mut failed) = (String::new(), Vec::new());
    for (name, outcome) in checks {
        text += &match outcome {
            _ if excluded.iter().any(|excluded| excluded == name) => {
                unknown.retain(|known| known != name);
                format!("[+]{name} excluded: ok\n")
            }
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => {
                failed.push(format!("{name}: {why}"));
                format!("[-]{name} failed: reason withheld\n")
            }
        };
    }
    if !unknown.is_empty() {
        unknown.sort();
        unknown.dedup();
        let names: Vec<_> = unknown.iter().map(|name| format!("{name:?}")).collect();
        let names = names.join(",");
        text += &format!("warn: some health checks cannot be excluded: no matches for {names}\n");
    }
    if !failed.is_empty() {
        tracing::info!("{endpoint} check failed: {}", failed.join(", "));
        return plain(500, format!("{text}{endpoint} check failed\n"));
    }
    plain(200, if verbose { format!("{text}{endpoint} check passed\n") } else { "ok".to_owned() })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn check(health: &Health, path: &str, query: &str, expect: Option<(u16, &str)>) {
        let got = match answer(health, path, query) {
            Some(response) => {
                let code = response.status().as_u16();
                let body = response.into_body().collect().await.expect("a body").to_bytes();
                Some((code, String::from_utf8(body.to_vec()).expect("text")))
            }
            None => None,
        };
        assert_eq!(got.as_ref().map(|(code, text)| (*code, text.as_str())), expect, "{path}?{query}");
    }

    #[tokio::test]
    async fn health_paths() {
        let health = Health::new(&["healthz", "livez"]);
        health.well("healthz", "a");
        health.add("healthz", "b", || Err("why".into()));
        check(&health, "/livez", "", Some((200, "ok"))).await;
        check(&health, "/livez", "verbose", Some((200, "[+]ping ok\nlivez check passed\n"))).await;
        check(&health, "/livez/ping", "", Some((200, "ok"))).await;
        check(&health, "/livez/pong", "", None).await;
        check(&health, "/readyz", "", None).await;
        check(&health, "/healthz/b", "", Some((500, "internal server error: why\n"))).await;
        let failed = "[+]a ok\n[-]b failed: reason withheld\nhealthz check failed\n";
        check(&health, "/healthz", "", Some((500, failed))).await;
        check(&health, "/healthz", "exclude=b", Some((200, "ok"))).await;
        let warned = "[+]a ok\n[+]b excluded: ok\n\
                      warn: some health checks cannot be excluded: no matches for \"c\"\nhealthz check passed\n";
        check(&health, "/healthz", "exclude=b&exclude=c&verbose=true", Some((200, warned))).await;
    }
}
