//! Bytes in binary WebSocket messages (k8s.io/client-go/tools/portforward/tunneling_connection.go@v0.37.2).

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

use crate::{Error, Io};

/// Bytes of one message at most.
const MESSAGE_BYTES: usize = 32 << 10;

/// Moves bytes until either side ends.
pub async fn pump<S, I>(socket: WebSocketStream<S>, backend: I) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    I: Io,
{
    let (mut sink, mut source) = socket.split();
    let (mut from, mut to) = tokio::io::split(backend);
    let inward = async {
        while let Some(message) = source.next().await {
            match message? {
                Message::Binary(data) => to.write_all(&data).await?,
                Message::Text(_) => return Err(Error::protocol("invalid message type received")),
                Message::Close(_) => break,
                _ => continue,
            }
            to.flush().await?;
        }
        Ok(())
    };
    let outward = async {
        loop {
            let mut buffer = BytesMut::with_capacity(MESSAGE_BYTES);
            if from.read_buf(&mut buffer).await? == 0 {
                let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                sink.send(Message::Close(Some(frame))).await?;
                return Ok(());
            }
            sink.send(Message::Binary(buffer.freeze())).await?;
        }
    };
    tokio::select! { ended = inward => ended, ended = outward => ended }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test]
    async fn messages_are_bytes_and_the_end_is_told() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (backend, mut far) = tokio::io::duplex(1 << 16);
        let server = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let pumping = tokio::spawn(pump(server, backend));
        client.send(Message::Binary("ping".into())).await.expect("sent");
        let mut got = [0; 4];
        far.read_exact(&mut got).await.expect("read");
        assert_eq!(&got, b"ping");
        far.write_all(b"pong").await.expect("written");
        assert_eq!(client.next().await.expect("a message").expect("whole"), Message::Binary("pong".into()));
        drop(far);
        let end = client.next().await.expect("a message").expect("whole");
        assert!(matches!(end, Message::Close(Some(frame)) if frame.code == CloseCode::Normal));
        pumping.await.expect("joined").expect("ended well");
    }
}
