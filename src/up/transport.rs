//! The API server as a transport in this process: each component sends its requests through the whole
//! chain, with its own certificate.

use anyhow::Result;
use apiserver::{InProcess, Server};
use client::connector::Connector;
use http::Request;
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tower::BoxError;

use super::pki::Identity;

/// A connector of the component that has this certificate.
pub(crate) fn connector(server: &Server, identity: &Identity) -> Result<Connector> {
    let identified = client(server.in_process(vec![identity.der()?]));
    let plain = client(server.in_process(Vec::new()));
    let transport = |client: Client| {
        tower::service_fn(move |request: Request<Body>| {
            let client = client.clone();
            async move { client.send(request).await.map_err(BoxError::from) }
        })
    };
    Ok(Connector::in_process(transport(identified), transport(plain)))
}

fn client(server: InProcess) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move { Ok::<_, BoxError>(server.call(request).await) }
    });
    ClientBuilder::new(service, "default").build()
}
