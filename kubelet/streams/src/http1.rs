//! One request over one connection, without a task of its own: the answer's body moves the connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::{Error, Io};

type Moving = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// The body of an answer.
pub struct Flowing {
    connection: Option<Moving>,
    body: Incoming,
}

impl Body for Flowing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if let Some(connection) = &mut this.connection
            && let Poll::Ready(ended) = connection.as_mut().poll(cx)
        {
            this.connection = None;
            if let Err(error) = ended {
                return Poll::Ready(Some(Err(error)));
            }
        }
        Pin::new(&mut this.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Sends a request and waits for the head of its answer.
pub async fn send<I, B>(io: I, request: Request<B>) -> Result<Response<Flowing>, Error>
where
    I: Io,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let mut connection: Moving = Box::pin(connection);
    let mut answer = Box::pin(sender.send_request(request));
    let (response, connection) = tokio::select! {
        biased;
        response = &mut answer => (response?, Some(connection)),
        ended = &mut connection => {
            ended?;
            (answer.await?, None)
        }
    };
    Ok(response.map(|body| Flowing { connection, body }))
}
