//! The TLS stream under a connection. HTTP/2 writes frame by frame and asks for a flush after each; mostly the next
//! frame is right behind it: more of a list, the same event for other watchers. So small frames are gathered into one
//! TLS record, and a flush waits for the connection's next turn: many frames cost one system call.
//!
//! Invariant: what was written is on its way at the latest when a turn of the connection has written nothing, and
//! putting off a flush asks for the next turn. Only HTTP/2 connections put off: they flush whenever they are polled.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What one TLS record holds at most.
const RECORD_BYTES: usize = 16 * 1024;
/// Encrypted bytes held back at most.
const HELD_BYTES_MAX: usize = 128 * 1024;

pub(crate) struct Stream {
    tls: TlsStream<TcpStream>,
    puts_off: bool,
    /// Small writes that are not encrypted yet: less than a record.
    gathered: Vec<u8>,
    /// Bytes written since the last flush.
    held: usize,
    /// Something was written, and the flush after it was not put off yet.
    fresh: bool,
}

impl Stream {
    pub(crate) fn new(mut tls: TlsStream<TcpStream>) -> Self {
        let (_, session) = tls.get_mut();
        session.set_buffer_limit(Some(HELD_BYTES_MAX));
        let puts_off = session.alpn_protocol() == Some(b"h2");
        Stream { tls, puts_off, gathered: Vec::new(), held: 0, fresh: false }
    }

    /// Takes the bytes, all or some.
    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathered.len() + len < RECORD_BYTES {
            bufs.iter().for_each(|buf| self.gathered.extend_from_slice(buf));
            return Poll::Ready(Ok(len));
        }
        ready!(self.poll_encrypt(cx))?;
        loop {
            let written = self.tls.get_mut().1.writer().write_vectored(bufs)?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
            ready!(self.poll_send(cx))?;
        }
    }

    /// Encrypts what was gathered.
    fn poll_encrypt(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = self.tls.get_mut().1.writer().write(&self.gathered)?;
            self.gathered.drain(..written);
            if written == 0 {
                ready!(self.poll_send(cx))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what is encrypted.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
        self.held = self.gathered.len();
        Poll::Ready(Ok(()))
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
        if !self.puts_off {
            return Pin::new(&mut self.tls).poll_write_vectored(cx, bufs);
        }
        let written = ready!(self.poll_take(cx, bufs))?;
        self.held += written;
        self.fresh = written > 0;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.fresh) && self.held < HELD_BYTES_MAX - RECORD_BYTES {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_encrypt(cx))?;
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_encrypt(cx))?;
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
