//! A TCP relay that can be cut: its connections break and new ones are refused, until it is mended.

use crate::harness::free_offset;
use claviger::config::ports;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// The relay; it ends with its value.
pub(super) struct Relay {
    port: u16,
    target: SocketAddr,
    relaying: JoinHandle<()>,
}

impl Relay {
    /// Relays to a port of this host.
    pub(super) async fn start(target: u16) -> Self {
        // A port from the harness' range: nobody takes it for an outgoing connection while the relay is cut.
        let port = ports::MANAGEMENT_HTTPS + free_offset();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        Self { port, target, relaying: relay(port, target).await }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and refuses new ones.
    pub(super) async fn cut(&mut self) {
        self.relaying.abort();
        assert!((&mut self.relaying).await.unwrap_err().is_cancelled());
    }

    /// Lets connections through again.
    pub(super) async fn mend(&mut self) {
        self.relaying = relay(self.port, self.target).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(port: u16, target: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::spawn(async move {
        // Dropped with this task, and the connections with it.
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            connections.spawn(async move {
                // A target that is gone is a connection that breaks.
                let Ok(mut far) = TcpStream::connect(target).await else { return };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                drop(copy_bidirectional(&mut near, &mut far).await);
            });
        }
    })
}
