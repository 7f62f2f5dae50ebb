//! Makes sure that a container's image is there (pkg/kubelet/images/image_manager.go@v1.37.2).
//!
//! Invariant: a failed pull of one image for one pod waits 10 s, then twice as long each time, up to
//! 5 min. Non-goal: credentials by provider plugins; removing images.

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine;
use client::events::Recorder;
use cri::RuntimeHandle;
use cri::v1::{AuthConfig, Image, ImageSpec, ImageStatusRequest, PodSandboxConfig, PullImageRequest};
use k8s_openapi::api::core::v1::{Pod, Secret};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::pod::backoff::{Backoff, IMAGE_MAX, INITIAL, go_duration};
use crate::pod::events::{self, NORMAL, WARNING};
use crate::pod::security::ImageUser;
use crate::pod::shape;

/// Why a container waits: reason and message of its waiting state.
pub(crate) type Wait = (String, String);

/// An image that is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) image_ref: String,
    pub(crate) user: ImageUser,
}

pub(crate) struct Images {
    runtime: RuntimeHandle,
    recorder: Recorder,
    backoff: Backoff,
    last_errors: Mutex<HashMap<String, String>>,
    pulls: Option<Semaphore>,
}

/// One container's need of an image.
pub(crate) struct Need<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a str,
    pub(crate) image: &'a str,
    pub(crate) policy: &'a str,
    pub(crate) secrets: &'a [std::sync::Arc<Secret>],
    pub(crate) sandbox: &'a PodSandboxConfig,
}

impl Images {
    pub(crate) fn new(runtime: RuntimeHandle, recorder: Recorder, config: &Config) -> Self {
        let parallel = match (config.serialize_image_pulls, config.max_parallel_image_pulls) {
            (_, Some(count)) => Some(count.max(1)),
            (true, None) => Some(1),
            (false, None) => None,
        };
        Images {
            runtime,
            recorder,
            backoff: Backoff::new(INITIAL, IMAGE_MAX),
            last_errors: Mutex::default(),
            pulls: parallel.map(Semaphore::new),
        }
    }

    pub(crate) async fn ensure(&self, need: &Need<'_>) -> Result<Found, Wait> {
        let image = with_tag(need.image).ok_or_else(|| {
            let text = format!(
                "Failed to apply default image tag {:?}: couldn't parse image name {:?}: invalid reference format",
                need.image, need.image
            );
            self.event(need, WARNING, events::INSPECT_FAILED, &text);
            ("InvalidImageName".to_owned(), text)
        })?;
        if need.policy != "Always" {
            match self.inspect(&image).await {
                Ok(Some(found)) => {
                    let text = format!(
                        "Container image {:?} already present on machine and can be accessed by the pod",
                        need.image
                    );
                    self.event(need, NORMAL, events::PULLED, &text);
                    return Ok(found);
                }
                Ok(None) if need.policy == "Never" => {
                    let text = format!("Container image {:?} is not present with pull policy of Never", need.image);
                    self.event(need, WARNING, events::NEVER_PULL, &text);
                    return Err(("ErrImageNeverPull".into(), text));
                }
                Ok(None) => {}
                Err(error) => {
                    let text = format!("Failed to inspect image {:?}: {error}", "");
                    self.event(need, WARNING, events::INSPECT_FAILED, &text);
                    return Err(("ImageInspectError".into(), text));
                }
            }
        }
        self.pull(need, image).await
    }

    /// The image, if the runtime has it.
    pub(crate) async fn inspect(&self, image: &str) -> cri::Result<Option<Found>> {
        let spec = ImageSpec { image: image.into(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: false };
        Ok(self.runtime.image_status(request).await?.image.filter(|image| !image.id.is_empty()).map(found))
    }

    async fn pull(&self, need: &Need<'_>, image: String) -> Result<Found, Wait> {
        let key = format!("{}_{}", shape::uid(need.pod), need.image);
        let now = || i64::try_from(k8s_openapi::jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        if self.backoff.waiting(&key, now()).is_some() {
            let text = format!("Back-off pulling image {:?}", need.image);
            self.event(need, NORMAL, events::BACK_OFF, &text);
            let last = self.last_errors.lock().get(&key).map(|last| format!("{text}: {last}"));
            return Err(("ImagePullBackOff".into(), last.unwrap_or(text)));
        }
        self.last_errors.lock().remove(&key);
        self.event(need, NORMAL, events::PULLING, &format!("Pulling image {:?}", need.image));
        let asked = Instant::now();
        let turn = match &self.pulls {
            Some(pulls) => pulls.acquire().await.ok(),
            None => None,
        };
        let began = Instant::now();
        let pulled = self.pull_with_any(need, &image).await;
        drop(turn);
        match pulled {
            Ok(image_ref) => self.pulled(need, &image, image_ref, began.elapsed(), asked.elapsed()).await,
            Err(error) => {
                let text = format!("Failed to pull image {:?}: {error}", need.image);
                self.event(need, WARNING, events::FAILED, &text);
                self.backoff.next(&key, now());
                let (reason, message) = evaluate(need.image, &error.to_string());
                self.last_errors.lock().insert(key, format!("{reason}: {message}"));
                Err((reason.to_owned(), message))
            }
        }
    }

    async fn pulled(
        &self,
        need: &Need<'_>,
        image: &str,
        image_ref: String,
        took: std::time::Duration,
        with_wait: std::time::Duration,
    ) -> Result<Found, Wait> {
        let spec = ImageSpec { image: image.into(), ..ImageSpec::default() };
        let request = ImageStatusRequest { image: Some(spec), verbose: false };
        let status = self.runtime.image_status(request).await.ok().and_then(|answer| answer.image);
        let size = status.as_ref().map_or(0, |image| image.size);
        let text = format!(
            "Successfully pulled image {:?} in {} ({} including waiting). Image size: {size} bytes.",
            need.image,
            go_duration(took),
            go_duration(with_wait)
        );
        self.event(need, NORMAL, events::PULLED, &text);
        Ok(Found { image_ref, user: status.map(found).unwrap_or_default().user })
    }

    /// Tries each credential that fits, else none.
    async fn pull_with_any(&self, need: &Need<'_>, image: &str) -> cri::Result<String> {
        let mut candidates = credentials(need.secrets, image).into_iter();
        let mut auth = candidates.next();
        loop {
            let spec = ImageSpec { image: image.into(), ..ImageSpec::default() };
            let request = PullImageRequest { image: Some(spec), auth, sandbox_config: Some(need.sandbox.clone()) };
            match (self.runtime.pull_image(request).await, candidates.next()) {
                (Ok(answer), _) => return Ok(answer.image_ref),
                (Err(error), None) => return Err(error),
                (Err(_), next) => auth = next,
            }
        }
    }

    fn event(&self, need: &Need<'_>, kind: &str, reason: &str, text: &str) {
        events::about_container(&self.recorder, need.pod, need.container, kind, reason, text);
    }
}

fn found(image: Image) -> Found {
    // An image that does not say runs as root.
    let uid = image.uid.map(|uid| uid.value).or_else(|| image.username.is_empty().then_some(0));
    // Upstream refers to the image by its id, so that a tag that moves changes nothing.
    Found { image_ref: image.id, user: ImageUser { uid, name: image.username } }
}

/// Reasons that runtimes give in the text (k8s.io/cri-api/pkg/errors/errors.go@v0.37.2).
fn evaluate(image: &str, text: &str) -> (&'static str, String) {
    for (reason, why) in [
        ("RegistryUnavailable", "the registry is unavailable"),
        ("SignatureValidationFailed", "the signature validation failed"),
    ] {
        if let Some(rest) = text.strip_prefix(reason) {
            return (reason, format!("image pull failed for {image} because {why}{rest}"));
        }
    }
    ("ErrImagePull", text.to_owned())
}

/// The name with `:latest` where it has neither tag nor digest; nothing for what is no name.
pub(crate) fn with_tag(image: &str) -> Option<String> {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let (path, tag) = match last.contains(':') {
        true => name.rsplit_once(':').map(|(path, tag)| (path, Some(tag)))?,
        false => (name, None),
    };
    let (domain, rest) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, path),
    };
    let part = |part: &str| {
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !part.is_empty()
            && part.chars().all(|c| lower(c) || matches!(c, '.' | '_' | '-'))
            && part.starts_with(lower)
            && part.ends_with(lower)
    };
    let tag_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let valid = rest.split('/').all(part)
        && domain
            .is_none_or(|domain| domain.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-')))
        && tag.is_none_or(|tag| !tag.is_empty() && tag.len() <= 128 && tag.chars().all(tag_char))
        && digest.is_none_or(|digest| digest.split_once(':').is_some_and(|(_, hex)| hex.len() >= 32));
    if !valid {
        return None;
    }
    Some(if tag.is_some() || digest.is_some() { image.to_owned() } else { format!("{image}:latest") })
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, DockerAuth>,
}

#[derive(Deserialize)]
struct DockerAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// The credentials of the pod's pull secrets that fit the image, the most specific first
/// (pkg/credentialprovider/keyring.go@v1.37.2).
fn credentials(secrets: &[std::sync::Arc<Secret>], image: &str) -> Vec<AuthConfig> {
    let mut fitting: Vec<(usize, AuthConfig)> = Vec::new();
    for secret in secrets {
        let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
        let parsed = match data(".dockerconfigjson") {
            Some(bytes) => serde_json::from_slice::<DockerConfig>(bytes).map(|config| config.auths),
            None => serde_json::from_slice(data(".dockercfg").unwrap_or(b"{}")),
        };
        for (place, auth) in parsed.unwrap_or_default() {
            let place = place.trim_start_matches("https://").trim_start_matches("http://");
            let place = place.trim_end_matches("/v1/").trim_end_matches("/v2/").trim_end_matches('/').to_owned();
            let boundary = |rest: &str| rest.is_empty() || rest.starts_with(['/', ':']);
            if image.strip_prefix(&place).is_some_and(boundary) {
                fitting.push((place.len(), decode(auth)));
            }
        }
    }
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    fitting.into_iter().map(|(_, auth)| auth).collect()
}

fn decode(auth: DockerAuth) -> AuthConfig {
    let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok();
    let pair = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = match (auth.username.is_empty(), pair) {
        (true, Some((user, password))) => (user.to_owned(), password.to_owned()),
        _ => (auth.username, auth.password),
    };
    AuthConfig { username, password, identity_token: auth.identity_token, ..AuthConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn tags() {
        for (image, expect) in [
            ("busybox", Some("busybox:latest")),
            ("busybox:1", Some("busybox:1")),
            ("example.test:5000/a/b", Some("example.test:5000/a/b:latest")),
            ("a@sha256:0123456789abcdef0123456789abcdef", Some("a@sha256:0123456789abcdef0123456789abcdef")),
            ("FAILED_IMAGE", None),
            ("a b", None),
            ("", None),
            ("a:", None),
        ] {
            assert_eq!(with_tag(image).as_deref(), expect, "{image}");
        }
    }

    #[test]
    fn users_of_images() {
        let user = |uid: Option<i64>, name: &str| {
            let uid = uid.map(|value| cri::v1::Int64Value { value });
            let found = found(Image { uid, username: name.into(), ..Image::default() }).user;
            (found.uid, found.name)
        };
        assert_eq!(user(None, ""), (Some(0), String::new()));
        assert_eq!(user(Some(7), ""), (Some(7), String::new()));
        assert_eq!(user(None, "www"), (None, "www".into()));
    }

    #[test]
    fn credentials_that_fit() {
        let config = r#"{"auths": {"https://example.test": {"auth": "dTpw"}, "example.test/a": {"username": "x", "password": "y"}, "other.test": {"auth": "dTpw"}}}"#;
        let data = [(".dockerconfigjson".to_owned(), ByteString(config.as_bytes().to_vec()))].into();
        let secret = std::sync::Arc::new(Secret { data: Some(data), ..Secret::default() });
        let found = credentials(&[secret], "example.test/a/b:1");
        let users: Vec<(&str, &str)> = found.iter().map(|a| (a.username.as_str(), a.password.as_str())).collect();
        assert_eq!(users, [("x", "y"), ("u", "p")]);
    }

    #[test]
    fn reasons_in_errors() {
        let (reason, message) = evaluate("i", "RegistryUnavailable: no route");
        assert_eq!(
            (reason, message.as_str()),
            ("RegistryUnavailable", "image pull failed for i because the registry is unavailable: no route")
        );
        assert_eq!(evaluate("i", "x").0, "ErrImagePull");
    }
}
