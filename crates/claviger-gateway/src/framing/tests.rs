//! The watch over the bytes, with reads that end anywhere.

use super::*;

/// What a watch has made of some bytes: heads that ended, and the first ambiguous one.
fn watch<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (u64, Option<u64>) {
    let framing = Framing::default();
    let mut watch = HeadWatch::new(framing.clone());
    pieces.for_each(|piece| watch.read(piece));
    let ambiguous = framing.0.ambiguous_from.load(Ordering::Relaxed);
    (watch.heads, (ambiguous != u64::MAX).then_some(ambiguous))
}

/// Every split of the bytes into two reads gives the same, and so does one byte at a time.
fn check(text: &str, heads: u64, ambiguous: Option<u64>) {
    let bytes = text.as_bytes();
    for split in 0..=bytes.len() {
        let (first, second) = bytes.split_at(split);
        assert_eq!(watch([first, second].into_iter()), (heads, ambiguous), "split at {split} of {text:?}");
    }
    assert_eq!(watch(bytes.chunks(1)), (heads, ambiguous), "{text:?}");
}

#[test]
fn an_ambiguous_head_is_found_wherever_the_reads_end() {
    for head in [
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nX: y\r\nCONTENT-LENGTH:3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3                                                             1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\n\r\n",
        "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        check(head, 0, Some(0));
        for (before, heads) in [(GET, 1), (FIVE, 1), (CHUNKS, 1)] {
            check(&format!("{before}{head}"), heads, Some(heads));
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const FIVE: &str = "POST / HTTP/1.1\r\nContent-Length: \t 5 \r\n\r\nA\r\n\r\n";
const CHUNKS: &str =
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n\r\n\n\r\n0A ;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
/// Its body is a trace of HTTP.
const TRACE: &str = "POST / HTTP/1.1\r\nContent-Length: 71\r\n\r\nPOST / HTTP/1.1\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n12345678";

#[test]
fn heads_are_told_from_bodies() {
    check(&[GET, FIVE, CHUNKS, TRACE, GET].concat(), 5, None);
    check(&[CHUNKS, "\r\n\r\n", TRACE, FIVE, GET, GET].concat(), 5, None);
    check("POST / HTTP/1.1\r\nX-Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 1, None);
    check("GET / HTTP/1.1\r\nCookie: content-length: 1\r\nContent-Length: 0\r\n\r\nGET", 1, None);
    check("GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding", 0, None);
    check(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n{GET}", "a".repeat(200)), 2, None);
}

#[test]
fn behind_a_body_that_cannot_be_followed_nothing_is_trusted() {
    for chunks in [
        "\r\n",
        "x\r\n",
        "+1\r\n",
        "1x\r\n",
        "3\nabc\r\n",
        "0\r\nX: y\n",
        "fffffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000000000000000000000000000000000000000000000000000001\r\n",
    ] {
        check(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"), 1, Some(1));
    }
}

#[test]
fn requests_from_the_ambiguous_one_on_are_told() {
    let framing = Framing::default();
    let mut watch = HeadWatch::new(framing.clone());
    watch.read(format!("{GET}{FIVE}POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n").as_bytes());
    watch.read(GET.as_bytes());
    assert_eq!([(); 4].map(|()| framing.take_head()), [false, false, true, true]);
}

#[test]
fn a_head_that_has_begun_is_waited_for_in_another_way() {
    let mut watch = HeadWatch::new(Framing::default());
    let steps = [
        ("", Waiting::FirstHead),
        ("\r\n", Waiting::FirstHead),
        ("G", Waiting::RestOfHead),
        ("ET / HTTP/1.1\r\n", Waiting::RestOfHead),
        ("\r\n", Waiting::Elsewhere),
        ("\r\n", Waiting::Elsewhere),
        ("POST / HTTP/1.1\r\nContent-Length: 3\r\n", Waiting::RestOfHead),
        ("\r\n1", Waiting::Elsewhere),
        ("23", Waiting::Elsewhere),
        ("P", Waiting::RestOfHead),
        ("OST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Waiting::Elsewhere),
        ("1", Waiting::Elsewhere),
        ("\r\nx", Waiting::Elsewhere),
        ("\r\n0\r\n\r\n", Waiting::Elsewhere),
        ("G", Waiting::RestOfHead),
    ];
    for (bytes, expected) in steps {
        watch.read(bytes.as_bytes());
        assert_eq!(watch.wait(), expected, "behind {bytes:?}");
    }
}

#[test]
fn http2_is_not_looked_at() {
    let ambiguous = "POST / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n";
    for split in 0..PREFACE.len() {
        let framing = Framing::default();
        let mut watch = HeadWatch::new(framing.clone());
        watch.read(&PREFACE[..split]);
        let expected = if split == 0 { Waiting::FirstHead } else { Waiting::RestOfHead };
        assert_eq!(watch.wait(), expected, "a preface has to come in time too");
        watch.read(&PREFACE[split..]);
        assert_eq!(watch.wait(), Waiting::Elsewhere);
        watch.read(ambiguous.as_bytes());
        assert!(!framing.take_head());
    }
    // Neither a beginning that differs nor a preface later on is one.
    check(&format!("PRI * HTTP/2.0\r\n\r\n{ambiguous}"), 1, Some(1));
    check(&format!("\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{ambiguous}"), 2, Some(2));
}
