//! How a component reaches its API server: over HTTPS from a kubeconfig, or in memory. Either way
//! each request carries the component's own identity and goes through the whole request chain.
//!
//! Also clients that act as a service account, as each controller does with
//! --use-service-account-credentials (k8s.io/controller-manager/pkg/clientbuilder@v0.37.2).

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use crate::{Error, Result};

/// The least that the token of a service-account client must still be valid.
const TOKEN_REFRESH_BEFORE: Duration = Duration::from_secs(600);
const TOKEN_SECONDS: i64 = 3600;
/// How long the head of an answer may take. The server itself gives up after 60 s (--request-timeout); what lasts
/// longer, a watch, has its head at once.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);

type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// Makes clients; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    /// Sends a request with the identity of the connector.
    identified: Transport,
    /// Sends a request with no identity but what the request itself carries.
    plain: Transport,
}

impl Connector {
    /// A connector for in-memory transports: `identified` proves the component's identity (as a
    /// client certificate does), `plain` proves none.
    pub fn in_process<S>(identified: S, plain: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Connector { identified: BoxCloneSyncService::new(identified), plain: BoxCloneSyncService::new(plain) }
    }

    /// A connector from a kubeconfig file.
    pub async fn from_kubeconfig(path: &str) -> Result<Self> {
        let failed = |source| Error::Kubeconfig { path: path.into(), source };
        let file = Kubeconfig::read_from(path).map_err(failed)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(failed)?;
        let mut anonymous = Config::new(config.cluster_url.clone());
        anonymous.root_cert = config.root_cert.clone();
        anonymous.tls_server_name = config.tls_server_name.clone();
        anonymous.accept_invalid_certs = config.accept_invalid_certs;
        Ok(Connector { identified: over_https(config)?, plain: over_https(anonymous)? })
    }

    /// A client with the identity of the connector.
    pub fn client(&self) -> Client {
        ClientBuilder::new(self.identified.clone(), "default").build()
    }

    /// A client that acts as the service account `namespace/name`, which is created if absent. Its
    /// token is asked for on first use and renewed before it expires.
    pub fn client_as(&self, namespace: &str, name: &str) -> Client {
        let tokens =
            Tokens { base: self.client(), namespace: namespace.into(), name: name.into(), current: Mutex::new(None) };
        ClientBuilder::new(AsServiceAccount { tokens: Arc::new(tokens), inner: self.plain.clone() }, "default").build()
    }
}

fn over_https(config: Config) -> Result<Transport> {
    let builder = ClientBuilder::try_from(config)?;
    let client = builder.build();
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = client.clone();
        async move {
            // hyper's pool has been seen to wait forever for a connection of a server that was killed.
            let answer = tokio::time::timeout(ANSWER_LIMIT, client.send(request)).await;
            answer.map_err(BoxError::from)?.map_err(BoxError::from)
        }
    });
    Ok(BoxCloneSyncService::new(service))
}

struct Tokens {
    base: Client,
    namespace: String,
    name: String,
    current: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Tokens {
    async fn header(&self) -> Result<HeaderValue> {
        let mut current = self.current.lock().await;
        if let Some((header, until)) = &*current
            && Instant::now() < *until
        {
            return Ok(header.clone());
        }
        let token = self.request().await?;
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|e| Error::Other(e.to_string()))?;
        header.set_sensitive(true);
        let until = Instant::now() + Duration::from_secs(TOKEN_SECONDS as u64) - TOKEN_REFRESH_BEFORE;
        *current = Some((header.clone(), until));
        Ok(header)
    }

    async fn request(&self) -> Result<String> {
        let api: Api<ServiceAccount> = Api::namespaced(self.base.clone(), &self.namespace);
        if api.get_opt(&self.name).await?.is_none() {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some(self.name.clone());
            match api.create(&PostParams::default(), &account).await {
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                other => drop(other?),
            }
        }
        let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = api.create_token_request(&self.name, &PostParams::default(), &request).await?;
        answer.status.and_then(|status| status.token).ok_or_else(|| Error::Other("TokenRequest without a token".into()))
    }
}

/// Adds the service account's token to each request.
#[derive(Clone)]
struct AsServiceAccount {
    tokens: Arc<Tokens>,
    inner: Transport,
}

impl Service<Request<Body>> for AsServiceAccount {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (tokens, inner) = (self.tokens.clone(), self.inner.clone());
        Box::pin(async move {
            let header = tokens.header().await?;
            request.headers_mut().insert(header::AUTHORIZATION, header);
            inner.oneshot(request).await
        })
    }
}
