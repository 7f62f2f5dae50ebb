//! The TLS stream under a connection. HTTP/2 asks for a flush after each data frame; a frame that is
//! full mostly has a next one right behind it, so the flush after it waits for the connection's next
//! turn: a large answer costs one system call for many frames, a small one is sent at once.
//!
//! Invariant: what was written is on its way at the latest when the connection is polled again, which
//! putting off a flush asks for. Only HTTP/2 connections put off: they flush whenever they are polled.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A write of so many bytes is a full data frame.
const FULL_FRAME_BYTES: usize = 16 * 1024;
/// Encrypted bytes held back at most.
const HELD_BYTES_MAX: usize = 128 * 1024;

pub(crate) struct Stream {
    tls: TlsStream<TcpStream>,
    puts_off: bool,
    /// Bytes written since the last flush.
    held: usize,
    /// The last write was a full frame, and the flush after it was not put off yet.
    more: bool,
}

impl Stream {
    pub(crate) fn new(mut tls: TlsStream<TcpStream>) -> Self {
        let (_, session) = tls.get_mut();
        session.set_buffer_limit(Some(HELD_BYTES_MAX));
        let puts_off = session.alpn_protocol() == Some(b"h2");
        Stream { tls, puts_off, held: 0, more: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        use std::io::Write as _;
        if !self.puts_off {
            return Pin::new(&mut self.tls).poll_write_vectored(cx, bufs);
        }
        loop {
            let written = self.tls.get_mut().1.writer().write_vectored(bufs)?;
            if written > 0 || bufs.iter().all(|buf| buf.is_empty()) {
                self.held += written;
                self.more = written >= FULL_FRAME_BYTES;
                return Poll::Ready(Ok(written));
            }
            // As much is encrypted as may be held.
            ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
            self.held = 0;
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.more) && self.held < HELD_BYTES_MAX - FULL_FRAME_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
        self.held = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
