//! One address for several servers: each new connection goes to the next one in turn that takes it.
//!
//! Invariant: a connection ends on both sides as soon as it ends on one, so that a server that dies is noticed at once.
//! Non-goals: health checks, what is said on the connections.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// It serves until it is dropped.
pub struct Balancer {
    port: u16,
    turns: Arc<Mutex<Turns>>,
    _accepting: JoinSet<()>,
}

struct Turns {
    servers: Vec<u16>,
    next: usize,
}

impl Turns {
    /// All servers, beginning with the one whose turn it is.
    fn take(&mut self) -> Vec<u16> {
        let mut order = self.servers.clone();
        order.rotate_left(self.next % self.servers.len().max(1));
        self.next = self.next.wrapping_add(1);
        order
    }
}

impl Balancer {
    /// Serves in front of these ports of 127.0.0.1.
    pub async fn start(servers: &[u16]) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let turns = Arc::new(Mutex::new(Turns { servers: servers.to_vec(), next: 0 }));
        let mut accepting = JoinSet::new();
        accepting.spawn(serve(listener, turns.clone()));
        Ok(Balancer { port, turns, _accepting: accepting })
    }

    /// The port of 127.0.0.1 that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// New connections go to these from now on; those that there are stay.
    pub fn set(&self, servers: &[u16]) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).servers = servers.to_vec();
    }
}

async fn serve(listener: TcpListener, turns: Arc<Mutex<Turns>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                let order = turns.lock().unwrap_or_else(PoisonError::into_inner).take();
                // A connection that breaks is what is tested; both of its ends are told.
                connections.spawn(async move { drop(join(client, &order).await) });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn join(mut client: TcpStream, order: &[u16]) -> io::Result<()> {
    let mut server = connect(order).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let copied = tokio::select! {
        copied = tokio::io::copy(&mut from_client, &mut to_server) => copied,
        copied = tokio::io::copy(&mut from_server, &mut to_client) => copied,
    };
    copied.map(drop)
}

async fn connect(order: &[u16]) -> io::Result<TcpStream> {
    for port in order {
        if let Ok(server) = TcpStream::connect(("127.0.0.1", *port)).await {
            return Ok(server);
        }
    }
    Err(io::ErrorKind::ConnectionRefused.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn says(port: u16) -> io::Result<u8> {
        TcpStream::connect(("127.0.0.1", port)).await?.read_u8().await
    }

    async fn server(letter: u8) -> (u16, JoinSet<()>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = vec![];
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_u8(letter).await.unwrap();
                held.push(stream);
            }
        });
        (port, tasks)
    }

    #[tokio::test]
    async fn connections_take_turns_pass_over_the_dead_and_end_with_their_server() {
        let ((a, mut a_tasks), (b, _b_tasks)) = (server(b'a').await, server(b'b').await);
        let balancer = Balancer::start(&[a, b]).await.unwrap();
        let said = [says(balancer.port()).await.unwrap(), says(balancer.port()).await.unwrap()];
        assert_eq!(said, *b"ab");
        let mut held = TcpStream::connect(("127.0.0.1", balancer.port())).await.unwrap();
        assert_eq!(held.read_u8().await.unwrap(), b'a');
        a_tasks.shutdown().await;
        assert!(held.read_u8().await.is_err(), "it ended with its server");
        for _ in 0..3 {
            assert_eq!(says(balancer.port()).await.unwrap(), b'b');
        }
        balancer.set(&[]);
        assert!(says(balancer.port()).await.is_err());
    }
}
