//! Paths that are not about a resource: discovery, OpenAPI, version, health, metrics, OpenID.

use api::map;
use api::status::Status;
use http::{Method, Response};

use crate::authn::openid;
use crate::chain::Asked;
use crate::respond::{self, Body, full};
use crate::{discovery, flow, health, openapi};

impl Asked<'_> {
    pub(crate) async fn path(&self, method: &Method, _body: Body) -> Result<Response<Body>, Status> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(Status::no_such_path());
        }
        let path = self.info.path.as_str();
        if let Some(answer) = health::answer(self.core, path, &self.info.query).await {
            return Ok(answer);
        }
        match path {
            "/version" | "/version/" => return Ok(self.version()),
            "/metrics" => {
                let text = self.core.metrics.text(flow::families(&self.core.flow));
                return Ok(respond::response(200, "text/plain; version=0.0.4; charset=utf-8", full(text)));
            }
            _ if path.starts_with(flow::PAGES_PREFIX) => {
                return flow::page(&self.core.flow, path, &self.info.query).ok_or_else(Status::no_such_path);
            }
            openid::CONFIG_PATH | openid::JWKS_PATH => return self.openid(path),
            _ => {}
        }
        if let Some(answer) = openapi::answer(self, path).await {
            return answer;
        }
        discovery::answer(self, path)
    }

    fn version(&self) -> Response<Body> {
        let version = map! {
            "major" => "1",
            "minor" => "37",
            "emulationMajor" => "1",
            "emulationMinor" => "37",
            "minCompatibilityMajor" => "1",
            "minCompatibilityMinor" => "36",
            "gitVersion" => self.core.git_version.as_str(),
            "gitCommit" => "",
            "gitTreeState" => "clean",
            "buildDate" => "2026-11-24T00:00:00Z",
            "goVersion" => "go1.26.8",
            "compiler" => "rustc",
            "platform" => "linux/amd64",
        };
        respond::response(200, "application/json", full(api::json::encode_pretty(&version)))
    }

    fn openid(&self, path: &str) -> Result<Response<Body>, Status> {
        let documents = self.core.openid.as_ref().ok_or_else(Status::no_such_path)?;
        let (content_type, text) = match path {
            openid::JWKS_PATH => (openid::JWKS_CONTENT_TYPE, &documents.jwks),
            _ => ("application/json", &documents.configuration),
        };
        let mut response = respond::response(200, content_type, full(text.clone()));
        let age = format!("public, max-age={}", openid::MAX_AGE_SECONDS);
        if let Ok(age) = http::HeaderValue::try_from(age) {
            response.headers_mut().insert(http::header::CACHE_CONTROL, age);
        }
        Ok(response)
    }
}
