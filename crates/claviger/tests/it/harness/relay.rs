//! A TCP relay that can be cut: its connections break and new ones are refused, until it is mended. It can be stopped too: all
//! connections stay, new ones are accepted, and nothing comes through. And it can lose its connections without a word to anybody.

use super::free_offset;
use claviger::config::ports;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The relay; it ends with its value.
pub(crate) struct Relay {
    port: u16,
    target: SocketAddr,
    is_stopped: Arc<Mutex<watch::Sender<bool>>>,
    lost: Vec<watch::Sender<bool>>,
    relaying: JoinHandle<()>,
}

impl Relay {
    /// Relays to a port of this host.
    pub(crate) async fn start(target: u16) -> Self {
        // A port from the harness' range: nobody takes it for an outgoing connection while the relay is cut.
        let port = ports::MANAGEMENT_HTTPS + free_offset();
        let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let is_stopped = Arc::new(Mutex::new(watch::Sender::new(false)));
        Self { port, target, relaying: relay(port, target, is_stopped.clone()).await, is_stopped, lost: Vec::new() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) async fn cut(&mut self) {
        self.relaying.abort();
        assert!((&mut self.relaying).await.unwrap_err().is_cancelled());
    }

    /// Lets connections through again.
    pub(crate) async fn mend(&mut self) {
        self.relaying = relay(self.port, self.target, self.is_stopped.clone()).await;
    }

    /// Lets nothing through, or everything again.
    pub(crate) fn stop(&self, is_stopped: bool) {
        self.is_stopped.lock().unwrap().send_replace(is_stopped);
    }

    /// Nothing ever comes through the present connections again, and they stay; new ones are well.
    pub(crate) fn lose_connections(&mut self) {
        let old = std::mem::replace(&mut *self.is_stopped.lock().unwrap(), watch::Sender::new(false));
        old.send_replace(true);
        self.lost.push(old);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

async fn relay(port: u16, target: SocketAddr, is_stopped: Arc<Mutex<watch::Sender<bool>>>) -> JoinHandle<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    tokio::spawn(async move {
        // Dropped with this task, and the connections with it.
        let mut connections = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let is_stopped = is_stopped.lock().unwrap().subscribe();
            connections.spawn(async move {
                // A target that is gone is a connection that breaks.
                let Ok(far) = TcpStream::connect(target).await else { return };
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                tokio::join!(copy(from_near, to_far, is_stopped.clone()), copy(from_far, to_near, is_stopped));
            });
        }
    })
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut is_stopped: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if is_stopped.wait_for(|is_stopped| !is_stopped).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            break;
        }
    }
    drop(to.shutdown().await);
}
