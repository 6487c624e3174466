//! The rules that need no socket: paths, resources, credentials, rewriting, CORS, fault bodies.

use crate::config::{GatewayConfig, ResourceMatching};
use crate::cors::CorsRules;
use crate::credential::{bearer, strip_bearer};
use crate::fault::{Fault, Format, Mentioned, reply};
use crate::model::{Cors, Resource};
use crate::path;
use crate::resource::{Found, ResourceTable};
use crate::rewrite;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

#[test]
fn ambiguous_paths_are_refused() {
    let refused = [
        "",
        "a",
        "*",
        "//",
        "/a//b",
        "//a",
        "/a//",
        "/.",
        "/..",
        "/./a",
        "/../a",
        "/a/.",
        "/a/..",
        "/a/./b",
        "/a/../b",
        "/a/..;/b",
        "/a;x=1",
        "/a;/b",
        ";",
        "/a;",
        "/a\\b",
        "/..\\a",
        "/%2e",
        "/%2E%2e/a",
        "/a/%2e%2e/b",
        "/.%2e/a",
        "/%2f",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a%3bx=1",
        "/%00",
        "/a%0d%0aX: y",
        "/%7f",
        "/a%1fb",
        "/%",
        "/a%2",
        "/a%zz",
        "/a%2gb",
        "/%252e",
        "/%252E%252e/a",
        "/%252f",
        "/a%255cb",
        "/%2500",
        "/%25252e",
        "/%25%32%65",
        "/%252%66",
        "/%25%32%35",
        "/a%25%35c",
        "/%c0%ae",
        "/%c0%af",
        "/%e0%80%af",
        "/%ff",
        "/%c3",
        "/a\u{e9}",
        "/a\0b",
        "/a\tb",
        "/a b",
        "/a#b",
        "/a\u{7f}",
    ];
    for raw in refused {
        assert_eq!(path::check(raw), Err(path::Ambiguous), "{raw:?}");
    }
}

#[test]
fn unambiguous_paths_are_decoded_for_matching_only() {
    let accepted = [
        ("/", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("/a/b.c/d", "/a/b.c/d"),
        ("/.well-known/x", "/.well-known/x"),
        ("/...", "/..."),
        ("/a..b", "/a..b"),
        ("/a%20b", "/a b"),
        ("/%61dmin", "/admin"),
        ("/a%40b", "/a@b"),
        ("/100%25", "/100%"),
        ("/100%25ab", "/100%ab"),
        ("/caf%C3%A9", "/café"),
        ("/a+b,c:d=e!$&'()*~_-", "/a+b,c:d=e!$&'()*~_-"),
        ("/%7Euser", "/~user"),
        ("/a%3Fb", "/a?b"),
    ];
    for (raw, decoded) in accepted {
        let checked = path::check(raw).unwrap_or_else(|_| panic!("{raw:?} was refused"));
        assert_eq!((checked.raw, &*checked.decoded), (raw, decoded));
        assert_eq!(raw.matches('/').count(), decoded.matches('/').count(), "{raw:?}");
    }
}

/// Runs something that is quick unless its time grows faster than its input.
fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(work()));
    result.recv_timeout(std::time::Duration::from_secs(10)).expect("the time grows with the input only")
}

#[test]
fn a_path_of_dots_is_looked_at_once() {
    let is_accepted = |segment: &'static str| soon(move || path::check(&segment.repeat(100_000)).is_ok());
    assert!(is_accepted("/.a"));
    assert!(is_accepted("/..."));
    assert!(!is_accepted("/a/."));
}

fn table(patterns: &[(&str, &str)]) -> ResourceTable {
    let resource = |(verb, pattern): &(&str, &str)| Resource {
        verb: (*verb).to_owned(),
        pattern: (*pattern).to_owned(),
        is_secured: true,
        scopes: Vec::new(),
        throttling_policy: "Unlimited".to_owned(),
    };
    ResourceTable::new(patterns.iter().map(resource).collect())
}

/// The pattern that serves a GET, `405` or `404`.
fn found<'a>(table: &'a ResourceTable, path: &str, matching: ResourceMatching) -> &'a str {
    match table.find(&Method::GET, path, matching) {
        Found::Resource(index) => &table.get(index).pattern,
        Found::OtherVerb => "405",
        Found::Nothing => "404",
    }
}

#[test]
fn resources_are_found_in_the_contracts_order() {
    let table = table(&[
        ("GET", "/city/{id}"),
        ("GET", "/city/home"),
        ("GET", "/a/*"),
        ("GET", "/a/b/*"),
        ("GET", "/city/{id}/streets/{name}"),
        ("GET", "/files/{id}.json"),
        ("GET", "/v{major}-{minor}/x"),
        ("GET", "/deep/{+rest}/end"),
        ("GET", "/tail/{id}/*"),
        ("GET", "*.png"),
        ("GET", "/search{?q,page}"),
        ("GET", "/"),
        ("POST", "/city"),
    ]);
    let rows = [
        ("/city/home", "/city/home"),
        ("/city/home/", "/city/home"),
        ("/city/7", "/city/{id}"),
        ("/city/7/", "/city/{id}"),
        ("/city", "405"),
        ("/city/", "405"),
        ("/city/7/streets", "404"),
        ("/city/7/streets/main", "/city/{id}/streets/{name}"),
        ("/City/7", "404"),
        ("/a", "/a/*"),
        ("/a/", "/a/*"),
        ("/a/x/y", "/a/*"),
        ("/a/b", "/a/b/*"),
        ("/a/b/c", "/a/b/*"),
        ("/ab", "404"),
        ("/files/12.json", "/files/{id}.json"),
        ("/files/.json", "404"),
        ("/files/12.xml", "404"),
        ("/v1-2/x", "/v{major}-{minor}/x"),
        ("/v1-/x", "404"),
        ("/deep/a/b/c/end", "/deep/{+rest}/end"),
        ("/deep/end/end", "/deep/{+rest}/end"),
        ("/deep/end", "404"),
        ("/tail/1", "/tail/{id}/*"),
        ("/tail/1/2/3", "/tail/{id}/*"),
        ("/tail", "404"),
        ("/img/x.png", "*.png"),
        ("/search", "/search{?q,page}"),
        ("/", "/"),
        ("", "/"),
    ];
    for (path, expected) in rows {
        assert_eq!(found(&table, path, ResourceMatching::Specific), expected, "{path:?}");
    }
}

#[test]
fn a_template_beats_only_the_bare_wildcard_and_only_in_our_order() {
    let table =
        table(&[("GET", "/*"), ("GET", "/city/{id}"), ("GET", "/town/*"), ("GET", "/town/{id}"), ("GET", "*.png")]);
    let rows = [
        ("/city/7", "/*", "/city/{id}"),
        ("/town/7", "/town/*", "/town/*"),
        ("/x.png", "/*", "/*"),
        ("/elsewhere", "/*", "/*"),
    ];
    for (path, upstream, specific) in rows {
        assert_eq!(found(&table, path, ResourceMatching::Upstream), upstream, "{path:?}");
        assert_eq!(found(&table, path, ResourceMatching::Specific), specific, "{path:?}");
    }
}

#[test]
fn matching_many_segments_takes_linear_work() {
    let table = table(&[("GET", "/{+a}/x/{+b}/x/{+c}/x/{+d}/y")]);
    let path = "/x".repeat(4_000);
    assert_eq!(found(&table, &path, ResourceMatching::Specific), "404");
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

#[test]
fn the_credential_header_is_read_by_the_contracts_rules() {
    let rows = [
        ("Bearer abc", Some("abc"), None),
        ("Bearer   abc  ", Some("abc"), None),
        ("Bearer \"abc\"", Some("abc"), None),
        ("Bearer \"abc", Some("abc"), None),
        ("bearer abc", None, Some("bearer abc")),
        ("BEARER abc", None, Some("BEARER abc")),
        ("Basic dXNlcjpw, Bearer abc", Some("abc"), Some("Basic dXNlcjpw")),
        ("Bearer abc,Basic dXNlcjpw", Some("abc"), Some("Basic dXNlcjpw")),
        ("OAuth2 Bearer abc", Some("abc"), None),
        ("Bearer", None, None),
        ("Bearer ,abc", None, Some("abc")),
        ("Basic dXNlcjpw", None, Some("Basic dXNlcjpw")),
        ("Digest username=\"a\", realm=\"b\"", None, Some("Digest username=\"a\", realm=\"b\"")),
        ("Bearer abc, Bearer def", Some("abc"), None),
        ("", None, None),
    ];
    for (value, token, left) in rows {
        let mut map = headers(&[("authorization", value)]);
        assert_eq!(bearer(&map, &AUTHORIZATION), token, "{value:?}");
        strip_bearer(&mut map, &AUTHORIZATION);
        assert_eq!(map.get(AUTHORIZATION).map(|value| value.to_str().unwrap()), left, "{value:?}");
    }
    let mut two_lines = headers(&[("authorization", "Basic x"), ("authorization", "Bearer abc")]);
    assert_eq!(bearer(&two_lines, &AUTHORIZATION), Some("abc"));
    strip_bearer(&mut two_lines, &AUTHORIZATION);
    assert_eq!(two_lines.get_all(AUTHORIZATION).iter().collect::<Vec<_>>(), ["Basic x"]);
}

#[test]
fn headers_of_one_connection_do_not_travel() {
    let mut map = headers(&[
        ("connection", "keep-alive, X-Jwt-Assertion, x-trace"),
        ("connection", "te, bad name"),
        ("x-trace", "1"),
        ("x-jwt-assertion", "e.y.J"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("x-kept", "1"),
    ]);
    rewrite::remove_hop_by_hop(&mut map);
    assert_eq!(map.keys().collect::<Vec<_>>(), ["x-kept"]);
    assert!(!map.contains_key(CONNECTION) && !map.contains_key(TRANSFER_ENCODING) && !map.contains_key(UPGRADE));
}

#[test]
fn the_api_key_parameter_is_taken_out_of_the_query() {
    let rows = [
        (None, None),
        (Some("a=1&b=2"), Some("a=1&b=2")),
        (Some("apikey=s3cret"), None),
        (Some("a=1&apikey=s3cret&b=2"), Some("a=1&b=2")),
        (Some("myapikey=1"), Some("myapikey=1")),
        (Some("apikey"), None),
    ];
    for (query, expected) in rows {
        assert_eq!(rewrite::query(query).as_deref(), expected, "{query:?}");
    }
}

fn cors_of(cors: &Cors, origin: Option<&str>) -> Vec<String> {
    let rules = CorsRules::new(cors, "Authorization");
    let mut map = HeaderMap::new();
    let origin = origin.map(|origin| HeaderValue::from_str(origin).unwrap());
    rules.add(&mut map, origin.as_ref(), [Method::GET, Method::HEAD].iter());
    map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn cors_headers_follow_the_configured_values() {
    let defaults = GatewayConfig::default().cors;
    assert_eq!(
        cors_of(&defaults, None),
        [
            "access-control-allow-origin: *",
            "access-control-allow-methods: GET",
            "access-control-allow-headers: \
             authorization,Access-Control-Allow-Origin,Content-Type,SOAPAction,apikey,testKey,Authorization",
        ]
    );
    let listed = Cors {
        origins: vec!["https://a.example".to_owned(), "https://*.b.example".to_owned()],
        is_credentials_allowed: true,
        expose_headers: vec!["X-A".to_owned(), "X-B".to_owned()],
        ..defaults.clone()
    };
    let echoed =
        |origin: &str| cors_of(&listed, Some(origin)).contains(&format!("access-control-allow-origin: {origin}"));
    let allowed = ["https://a.example", "https://x.b.example", "https://x.y.b.example"];
    let refused = [
        "https://a.example.evil",
        "http://a.example",
        "https://b.example",
        "https://.evil/x.b.example",
        "https://evil@x.b.example",
        "null",
    ];
    assert!(allowed.into_iter().all(echoed));
    assert!(!refused.into_iter().any(echoed));
    assert_eq!(cors_of(&listed, Some("https://evil.example")), ["vary: Origin"]);
    let full = cors_of(&listed, Some("https://a.example"));
    assert!(full.contains(&"access-control-allow-credentials: true".to_owned()), "{full:?}");
    assert!(full.contains(&"access-control-expose-headers: X-A,X-B".to_owned()), "{full:?}");
    // A wildcard origin never comes with credentials.
    let any = Cors { is_credentials_allowed: true, ..defaults };
    assert!(!cors_of(&any, Some("https://a.example")).iter().any(|line| line.contains("credentials")));
}

#[test]
fn faults_are_written_as_accepted() {
    let format = |accept: Option<&str>| match accept {
        None => Format::of(&HeaderMap::new()),
        Some(accept) => Format::of(&headers(&[(ACCEPT.as_str(), accept)])),
    };
    assert_eq!(format(Some("application/json")), Format::Json);
    let default = Format::Xml("application/xml; charset=UTF-8");
    for accept in
        [None, Some("*/*"), Some("application/json, text/plain"), Some("application/json;q=1"), Some("image/png")]
    {
        assert_eq!(format(accept), default, "{accept:?}");
    }
    assert_eq!(format(Some("text/xml")), Format::Xml("text/xml; charset=UTF-8"));

    let mentioned = Mentioned {
        context: "/we&ther/1.0.0",
        version: "1.0.0",
        resource: "/c\"ity/<id>",
        authorization_header: "Authorization",
    };
    let body = |fault, format| reply(fault, format, &mentioned, false).into_body();
    assert_eq!(
        body(Fault::MissingCredentials, default),
        "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>900902</ams:code>\
         <ams:message>Missing Credentials</ams:message><ams:description>Invalid Credentials. Make sure your API invocation \
         call has a header: 'Authorization : Bearer ACCESS_TOKEN'</ams:description></ams:fault>"
    );
    assert_eq!(
        body(Fault::InvalidCredentials, default),
        "<ams:fault xmlns:ams=\"http://wso2.org/apimanager/security\"><ams:code>900901</ams:code>\
         <ams:message>Invalid Credentials</ams:message><ams:description>Access failure for API: /we&amp;ther/1.0.0, \
         version: 1.0.0 status: (900901) - Invalid Credentials. Make sure you have provided the correct security \
         credentials</ams:description></ams:fault>"
    );
    assert_eq!(
        body(Fault::ScopeMissing, Format::Json),
        r#"{"fault":{"code":900910,"message":"The access token does not allow you to access the requested resource","description":"User is NOT authorized to access the Resource: /c\"ity/<id>. Scope validation failed."}}"#
    );
    assert_eq!(
        body(Fault::UnknownContext, default),
        "<am:fault xmlns:am=\"http://wso2.org/apimanager\"><am:code>404</am:code><am:type>Status report</am:type>\
         <am:message>Not Found</am:message><am:description>The requested resource is not available.</am:description>\
         </am:fault>"
    );
    assert_eq!(
        body(Fault::TooManyInFlight, Format::Json),
        r#"{"fault":{"code":900801,"message":"API Limit Reached","description":"API not accepting requests"}}"#
    );
}

#[test]
fn backend_faults_can_have_gateway_statuses() {
    let status = |fault, is_gateway_status| {
        reply(fault, Format::Json, &Mentioned::default(), is_gateway_status).status().as_u16()
    };
    for (fault, gateway_status) in
        [(Fault::BackendRefused, 502), (Fault::BackendTimeout, 504), (Fault::BackendFailed, 502)]
    {
        assert_eq!(status(fault, false), 500);
        assert_eq!(status(fault, true), gateway_status);
    }
}

#[test]
fn a_wildcard_origin_takes_no_longer_for_its_stars() {
    let allows = |pattern: String, origin: String| {
        soon(move || {
            let cors = Cors { origins: vec![pattern], ..GatewayConfig::default().cors };
            let mut headers = HeaderMap::new();
            let origin = HeaderValue::from_str(&origin).unwrap();
            CorsRules::new(&cors, "authorization").add(&mut headers, Some(&origin), std::iter::empty());
            headers.contains_key("access-control-allow-origin")
        })
    };
    let stars = "*a".repeat(20);
    assert!(allows(format!("https://{stars}"), format!("https://{}", "a".repeat(250))));
    assert!(!allows(format!("https://{stars}b"), format!("https://{}", "a".repeat(250))));
    let rows = [
        ("https://*.*.example", "https://a.b.example", true),
        ("https://*.*.example", "https://a.example", false),
        ("https://*.b.*.example", "https://a.b.b.c.example", true),
        ("https://**.example", "https://ab.example", true),
        ("https://**.example", "https://a.example", false),
        ("https://*", "https://", false),
        ("https://*a", "https://a", false),
        ("https://*:*", "https://a:1", true),
        ("https://*:*", "https://a", false),
        ("https://*aba", "https://ababa", true),
        ("*://a", "https://a", true),
        ("https://*.example", "https://evil/x.example", false),
    ];
    for (pattern, origin, expected) in rows {
        assert_eq!(allows(pattern.to_owned(), origin.to_owned()), expected, "{pattern} {origin}");
    }
}

#[test]
fn only_answers_in_one_plain_coding_are_passed_on() {
    let check = |codings: &[&'static str], expected: bool| {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(TRANSFER_ENCODING, HeaderValue::from_static(coding));
        }
        assert_eq!(rewrite::response_headers(&mut headers).is_ok(), expected, "{codings:?}");
        assert!(!expected || headers.is_empty(), "{headers:?}");
    };
    check(&[], true);
    check(&["Chunked"], true);
    check(&["identity"], true);
    check(&["gzip, chunked"], false);
    check(&["identity", "chunked"], false);
}
