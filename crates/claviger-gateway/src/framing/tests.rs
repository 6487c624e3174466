//! The scanner and its states, with reads that end anywhere.

use super::*;

/// Every split of the bytes into two reads gives the same finding, and so does one byte at a time.
fn check_scan(bytes: &[u8], expected: Finding) {
    let text = String::from_utf8_lossy(bytes);
    let scan = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut scanner = Scanner::default();
        pieces.map(|piece| scanner.scan(piece)).find(|finding| *finding != Finding::InHead).unwrap_or(Finding::InHead)
    };
    for split in 0..=bytes.len() {
        let (first, second) = bytes.split_at(split);
        assert_eq!(scan(&mut [first, second].into_iter()), expected, "split at {split} of {text:?}");
    }
    assert_eq!(scan(&mut bytes.chunks(1)), expected, "{text:?}");
}

#[test]
fn two_lengths_in_one_head_are_found_wherever_the_reads_end() {
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n",
        "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        check_scan(head.as_bytes(), Finding::TwoLengths);
    }
}

#[test]
fn one_length_per_head_is_fine_and_nothing_behind_it_counts() {
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\nContent-Length: 3\n\n",
        "\n\r\nPOST / HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nCookie: content-length: 1\r\nContent-Length: 0\r\n\r\n",
    ] {
        check_scan(head.as_bytes(), Finding::HeadEnded);
        check_scan(format!("{head}Content-Length: 1\r\nTransfer-Encoding: x\r\n").as_bytes(), Finding::HeadEnded);
    }
    check_scan(b"GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding", Finding::InHead);
    check_scan(b"\r\n\r\n\r\n", Finding::InHead);
}

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 9000\r\n\r\n";
const TRACE: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";

struct Connection {
    framing: Framing,
    watch: HeadWatch,
}

impl Connection {
    fn new() -> Self {
        let framing = Framing::default();
        Self { watch: HeadWatch::new(framing.clone()), framing }
    }

    /// Reads a head and takes its request.
    fn take(&mut self, has_body: bool) -> Option<RequestEnd> {
        self.watch.read(HEAD);
        self.framing.begin_request(has_body)
    }

    fn read_trace(&mut self) -> bool {
        self.watch.read(TRACE);
        self.framing.is_ambiguous()
    }
}

#[test]
fn the_watch_begins_with_the_connection() {
    assert!(Connection::new().read_trace());
    let mut connection = Connection::new();
    assert_eq!(connection.watch.wait(), Waiting::Head);
    assert!(connection.read_trace(), "waiting for the first head changes nothing");
}

#[test]
fn a_body_is_not_looked_at() {
    let mut connection = Connection::new();
    let end = connection.take(true);
    assert!(end.is_some());
    assert!(!connection.read_trace());
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    assert!(!connection.read_trace(), "a wait within the body does not begin the watch");
}

#[test]
fn the_watch_begins_again_when_the_body_is_over_and_nothing_is_left_to_read() {
    let mut connection = Connection::new();
    drop(connection.take(true));
    assert!(!connection.read_trace(), "the rest of a body that was dropped");
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    assert_eq!(connection.watch.wait(), Waiting::Head);
    // Over several heads, and in pieces.
    for _ in 0..3 {
        drop(connection.take(true));
        assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    }
    for piece in TRACE.chunks(5) {
        connection.watch.read(piece);
    }
    assert!(connection.framing.is_ambiguous());
}

#[test]
fn without_a_body_the_watch_begins_again_when_the_request_is_taken() {
    let mut connection = Connection::new();
    assert!(connection.take(false).is_none());
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    assert!(connection.read_trace());
}

#[test]
fn a_body_that_ends_late_does_not_begin_the_watch_within_the_next_one() {
    let mut connection = Connection::new();
    let first = connection.take(true);
    let second = connection.take(true);
    drop(first);
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    assert!(!connection.read_trace());
    drop(second);
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
    assert!(connection.read_trace());
}

#[test]
fn a_request_that_is_taken_ends_the_watch_over_its_head() {
    let mut connection = Connection::new();
    // The scanner has seen only the beginning; the rest came in bytes that nobody looked at.
    connection.watch.read(b"POST / HTTP/1.1\r\n");
    let end = connection.framing.begin_request(true);
    assert!(!connection.read_trace());
    drop(end);
}

#[test]
fn an_ambiguous_connection_stays_so() {
    let mut connection = Connection::new();
    assert!(connection.read_trace());
    assert!(connection.framing.begin_request(true).is_none());
    connection.watch.wait();
    connection.watch.read(HEAD);
    assert!(connection.framing.is_ambiguous());
}

#[test]
fn a_head_that_has_begun_is_waited_for_in_another_way() {
    let mut connection = Connection::new();
    drop(connection.take(false));
    connection.watch.wait();
    connection.watch.read(b"\r\n");
    assert_eq!(connection.watch.wait(), Waiting::Head, "a stray empty line begins nothing");
    connection.watch.read(b"G");
    assert_eq!(connection.watch.wait(), Waiting::RestOfHead);
    connection.watch.read(b"ET / HTTP/1.1\r\n");
    assert_eq!(connection.watch.wait(), Waiting::RestOfHead);
    connection.watch.read(b"\r\n");
    connection.framing.begin_request(false);
    assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
}

#[test]
fn http2_is_not_looked_at() {
    for split in 0..PREFACE.len() {
        let mut connection = Connection::new();
        connection.watch.read(&PREFACE[..split]);
        let expected = if split == 0 { Waiting::Head } else { Waiting::RestOfHead };
        assert_eq!(connection.watch.wait(), expected, "a preface has to come in time too");
        connection.watch.read(&PREFACE[split..]);
        assert_eq!(connection.watch.wait(), Waiting::Elsewhere);
        assert!(!connection.read_trace());
        assert!(connection.framing.begin_request(true).is_none());
        connection.watch.wait();
        assert!(!connection.read_trace());
    }
    // Neither a beginning that differs nor a preface later on is one.
    for bytes in ["PRI * HTTP/2.0\r\nSM\r\n\r\n", "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut connection = Connection::new();
        connection.watch.read(bytes.as_bytes());
        drop(connection.framing.begin_request(true));
        connection.watch.wait();
        assert!(connection.read_trace(), "{bytes:?}");
    }
}
