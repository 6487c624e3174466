//! The smallest HTTP/1.1 client that can set up a server under test: one request per connection, plain text, loopback.
//! Load is made by wrk, not by this.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const READ_LIMIT: Duration = Duration::from_secs(30);
const RESPONSE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A request to a port of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    pub(crate) port: u16,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) body: Body<'a>,
}

#[derive(Debug, Clone)]
pub(crate) enum Body<'a> {
    None,
    Form(&'a str),
    Json(&'a Value),
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Request<'_> {
    pub(crate) fn send(&self) -> Result<Response> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT).with_context(|| address.to_string())?;
        stream.set_read_timeout(Some(READ_LIMIT))?;
        stream.write_all(self.encode().as_bytes())?;
        let mut bytes = Vec::new();
        stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut bytes)?;
        Response::parse(&bytes).with_context(|| format!("{} {} on port {}", self.method, self.path, self.port))
    }

    /// Sends and insists on one of `statuses`; the answer must be JSON.
    pub(crate) fn json(&self, statuses: &[u16]) -> Result<Value> {
        let response = self.send()?;
        if !statuses.contains(&response.status) {
            let start: String = response.body.chars().take(400).collect();
            bail!("{} {} on port {} answered {}: {start}", self.method, self.path, self.port, response.status);
        }
        serde_json::from_str(&response.body)
            .with_context(|| format!("{} {}: {}", self.method, self.path, response.body))
    }

    fn encode(&self) -> String {
        let (content_type, body) = match self.body {
            Body::None => ("", String::new()),
            Body::Form(text) => ("Content-Type: application/x-www-form-urlencoded\r\n", text.to_owned()),
            Body::Json(value) => ("Content-Type: application/json\r\n", value.to_string()),
        };
        let authorization = self.authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        format!(
            "{} {} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\nAccept: application/json\r\n\
             {authorization}{content_type}Content-Length: {}\r\n\r\n{body}",
            self.method,
            self.path,
            self.port,
            body.len()
        )
    }
}

impl Response {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, rest) = text.split_once("\r\n\r\n").context("an answer without an end of its header")?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer without a status")?;
        let is_chunked = lines.any(|line| line.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked");
        let body = if is_chunked { unchunk(rest)? } else { rest.to_owned() };
        Ok(Self { status: status.parse().context("status")?, body })
    }
}

fn unchunk(mut rest: &str) -> Result<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without a size")?;
        let size =
            usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).context("chunk size")?;
        if size == 0 {
            return Ok(body);
        }
        ensure!(after.is_char_boundary(size) && after.len() >= size + 2, "a chunk that is cut short");
        body.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

/// `Basic` credentials (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes(), Alphabet::Standard))
}

/// The two alphabets of RFC 4648; the URL-safe one is written without padding, as JOSE wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    Standard,
    Url,
}

pub(crate) fn base64(bytes: &[u8], alphabet: Alphabet) -> String {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let last = if alphabet == Alphabet::Url { ['-', '_'] } else { ['+', '/'] };
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
        for (position, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let value = usize::try_from((bits >> shift) & 63).unwrap_or(0);
            if position <= chunk.len() {
                text.push(LETTERS.get(value).map_or_else(|| last[value - 62], |letter| char::from(*letter)));
            } else if alphabet == Alphabet::Standard {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in pairs {
            assert_eq!(base64(plain.as_bytes(), Alphabet::Standard), encoded);
            assert_eq!(base64(plain.as_bytes(), Alphabet::Url), encoded.trim_end_matches('='));
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd], Alphabet::Standard), "//79");
        assert_eq!(base64(&[0xff, 0xfe, 0xfd], Alphabet::Url), "__79");
    }

    #[test]
    fn answers_plain_and_chunked() {
        let plain = Response::parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (201, "{}"));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(Response::parse(chunked).unwrap().body, "abcde");
        assert!(Response::parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc\r\n").is_err());
        assert!(Response::parse(b"").is_err());
    }
}
