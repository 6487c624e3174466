//! The built program as a process that is asked over its management port, as `server` is in this process.

use super::{ADMIN_PASSWORD, Ended, Origin, Process, introspect, plain_client};
use reqwest::{Client, Method, RequestBuilder};

/// A process and a client for it.
pub(crate) struct Node {
    process: Process,
    http: Client,
}

impl Node {
    pub(crate) fn new(process: Process) -> Self {
        Self { process, http: plain_client() }
    }

    /// Is a token active, by introspection?
    pub(crate) async fn is_active(&self, token: &str) -> bool {
        introspect(self, token).await["active"].as_bool().unwrap()
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn end(self) -> Ended {
        self.process.terminate();
        self.process.wait_for_end().await
    }
}

impl Origin for Node {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.process.plain()))
    }

    fn admin_password(&self) -> &str {
        ADMIN_PASSWORD
    }
}
