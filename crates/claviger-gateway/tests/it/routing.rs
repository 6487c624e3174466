//! Portal-gateway-3x.md 6.1-6.4 and 6.10: what is decided before any question about a token.

use crate::world::{World, api, resource};
use claviger_gateway::GatewayConfig;
use claviger_gateway::config::ResourceMatching;
use claviger_gateway::model::{ApiStatus, Cors};
use claviger_proto::ids::ApiId;

#[tokio::test]
async fn paths_and_verbs_are_settled_before_the_token() {
    let world = World::start().await;
    let rows = [
        ("GET", "/nowhere", 404, "404"),
        ("GET", "/weatherx/1.0.0/city/1", 404, "404"),
        ("GET", "/weather/1.0.0/nothing", 404, "404"),
        ("GET", "/weather/1.0.0/city/1/2", 404, "404"),
        ("DELETE", "/weather/1.0.0/city/1", 405, "405"),
        ("GET", "/weather/put-only", 405, "405"),
        ("GET", "/weather/1.0.0/city/1", 401, "900902"),
        ("GET", "/weather/city/1", 401, "900902"),
        ("GET", "/weather/1.0.0/open", 200, ""),
        ("GET", "/weather/open?x=1", 200, ""),
        ("GET", "/weather/1.0.0/open/", 200, ""),
        ("GET", "/weather/1.0.0//open", 400, "400"),
        ("GET", "/weather/1.0.0/city/../open", 400, "400"),
        ("GET", "/weather/1.0.0/%2e%2e/open", 400, "400"),
        ("GET", "/weather;x/1.0.0/open", 400, "400"),
        ("GET", "/we%61ther/1.0.0/op%65n", 200, ""),
        ("GET", "http://other.example/weather/1.0.0/open", 200, ""),
        ("OPTIONS", "*", 400, "400"),
    ];
    for (method, path, status, code) in rows {
        let reply = world.call(method, path, &[]).await;
        assert_eq!(reply.code(), (status, code), "{method} {path}: {reply:?}");
    }
    assert_eq!(world.control.state().token_checks, 0);
    let reply = world.call("GET", "/nowhere", &[("Accept", "application/json")]).await;
    assert_eq!(reply.header("content-type"), Some("application/json; charset=UTF-8"));
    assert_eq!(
        reply.body,
        r#"{"fault":{"code":404,"type":"Status report","message":"Not Found","description":"The requested resource is not available."}}"#
    );
}

#[tokio::test]
async fn the_path_is_forwarded_as_it_came() {
    let world = World::start().await;
    let rows = [
        ("/weather/1.0.0/open", "GET /base/open"),
        ("/weather/open", "GET /base/open"),
        ("/weather/1.0.0/open/?a=%2F&b=;x//..", "GET /base/open/?a=%2F&b=;x//.."),
        ("/we%61ther/1.0.0/op%65n", "GET /base/op%65n"),
        ("/weather/1.0.0/open?apikey=k&c=d", "GET /base/open?c=d"),
    ];
    for (path, line) in rows {
        assert_eq!(world.call("GET", path, &[]).await.body.lines().next(), Some(line), "{path}");
    }
}

#[tokio::test]
async fn the_longest_context_wins_and_versions_go_before_defaults() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        let url = state.apis[&ApiId(1)].production.clone().unwrap().url;
        // A default context that is longer than the version's context of another API, and a nested versioned one.
        let mut nested = api(2, "/weather/1.0.0/nested", &url);
        nested.production.as_mut().unwrap().url += "/nested";
        let mut shadow = api(3, "/shadow", &url);
        shadow.default_context = Some("/weather/1.0.0/open".to_owned());
        shadow.production.as_mut().unwrap().url += "/shadow";
        state.apis.extend([(nested.id, nested), (shadow.id, shadow)]);
    })
    .await;
    let rows = [
        ("/weather/1.0.0/nested/1.0.0/open", "GET /base/nested/open"),
        ("/weather/1.0.0/open", "GET /base/open"),
        ("/shadow/1.0.0/open", "GET /base/shadow/open"),
    ];
    for (path, line) in rows {
        assert_eq!(world.call("GET", path, &[]).await.body.lines().next(), Some(line), "{path}");
    }
}

#[tokio::test]
async fn transports_and_states_of_an_api_are_kept() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        let url = state.apis[&ApiId(1)].production.clone().unwrap().url;
        let mut tls_only = api(2, "/tls", &url);
        tls_only.transports = vec!["https".to_owned()];
        let mut blocked = api(3, "/blocked", &url);
        blocked.status = ApiStatus::Blocked;
        let mut prototyped = api(4, "/prototype", &url);
        prototyped.status = ApiStatus::Prototyped;
        let mut deprecated = api(5, "/deprecated", &url);
        deprecated.status = ApiStatus::Deprecated;
        let all = [tls_only, blocked, prototyped, deprecated];
        state.apis.extend(all.into_iter().map(|api| (api.id, api)));
    })
    .await;
    let reply = world.call("GET", "/tls/1.0.0/open", &[]).await;
    assert_eq!(reply.code(), (403, "403"));
    assert!(reply.body.contains("<am:message>Forbidden</am:message>"), "{reply:?}");
    assert!(
        reply.body.contains("Unsupported Transport [ http ]. The requested resource is not available."),
        "{reply:?}"
    );
    let reply = world.call("GET", "/blocked/1.0.0/open", &[]).await;
    assert_eq!(reply.code(), (503, "700700"));
    assert!(reply.body.contains("<am:message>API blocked</am:message>"), "{reply:?}");
    let reply = world.call("GET", "/prototype/1.0.0/city/1", &[("Authorization", "Bearer its-own")]).await;
    assert_eq!(reply.status, 200);
    assert!(reply.body.contains("authorization: Bearer its-own"), "{reply:?}");
    assert_eq!(world.call("GET", "/deprecated/1.0.0/city/1", &[]).await.code(), (401, "900902"));
}

#[tokio::test]
async fn preflights_are_answered_without_a_token() {
    let world = World::start().await;
    let preflight = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")];
    let reply = world.call("OPTIONS", "/weather/1.0.0/open", &preflight).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-allow-methods"), Some("GET,POST"));
    assert!(reply.header("access-control-allow-headers").unwrap().ends_with(",Authorization"), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let reply = world.call("OPTIONS", "/weather/1.0.0/city/1", &preflight).await;
    assert_eq!((reply.status, reply.header("access-control-allow-methods")), (200, Some("GET")));
    let other_verb = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "DELETE")];
    assert_eq!(world.call("OPTIONS", "/weather/1.0.0/open", &other_verb).await.code(), (405, "405"));
    assert_eq!(world.call("OPTIONS", "/weather/1.0.0/nothing", &preflight).await.code(), (404, "404"));
    assert_eq!(world.call("OPTIONS", "/weather/1.0.0/open", &[]).await.status, 200);
    assert_eq!(world.backend.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn cors_headers_are_on_answers_and_on_faults() {
    let world = World::start_with(GatewayConfig::default(), |control| {
        let mut state = control.state();
        let mut own = state.apis[&ApiId(1)].clone();
        own.id = ApiId(2);
        own.context = "/own/1.0.0".to_owned();
        own.default_context = None;
        own.cors = Some(Cors {
            origins: vec!["https://*.example".to_owned()],
            methods: vec!["GET".to_owned()],
            headers: vec!["X-Own".to_owned()],
            is_credentials_allowed: true,
            expose_headers: vec!["X-Total".to_owned()],
        });
        own.resources.push(resource("OPTIONS", "/open", false, &[]));
        state.apis.insert(own.id, own);
    })
    .await;
    let origin = [("Origin", "https://app.example")];
    let reply = world.call("GET", "/weather/open", &origin).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
    let reply = world.call("GET", "/weather/city/1", &origin).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, Some("*")));
    assert_eq!(world.call("GET", "/weather/open", &[]).await.header("access-control-allow-origin"), None);
    let reply = world.call("GET", "/own/1.0.0/open", &origin).await;
    assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(reply.header("access-control-allow-headers"), Some("X-Own,Authorization"));
    assert_eq!(reply.header("access-control-allow-credentials"), Some("true"));
    assert_eq!(reply.header("access-control-expose-headers"), Some("X-Total"));
    assert_eq!(reply.header("vary"), Some("Origin"));
    let reply = world.call("GET", "/own/1.0.0/open", &[("Origin", "https://evil.test")]).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, None));
    // The API defines OPTIONS itself: a normal call.
    let reply = world.call("OPTIONS", "/own/1.0.0/open", &origin).await;
    assert_eq!(reply.body.lines().next(), Some("OPTIONS /base/open"));
}

#[tokio::test]
async fn without_cors_options_is_a_verb_like_any_other() {
    let config = GatewayConfig { is_cors_enabled: false, ..GatewayConfig::default() };
    let world = World::start_with(config, |_| {}).await;
    let origin = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")];
    let reply = world.call("OPTIONS", "/weather/open", &origin).await;
    assert_eq!((reply.code(), reply.header("access-control-allow-origin")), ((405, "405"), None));
}

#[tokio::test]
async fn the_switch_of_resource_matching_decides_what_a_bare_wildcard_hides() {
    for (resource_matching, status) in [(ResourceMatching::Specific, 401), (ResourceMatching::Upstream, 200)] {
        let config = GatewayConfig { resource_matching, ..GatewayConfig::default() };
        let world = World::start_with(config, |control| {
            let mut state = control.state();
            state.apis.get_mut(&ApiId(1)).unwrap().resources.push(resource("GET", "/*", false, &[]));
        })
        .await;
        assert_eq!(world.call("GET", "/weather/city/1", &[]).await.status, status, "{resource_matching:?}");
    }
}

#[tokio::test]
async fn the_page_and_health_are_there() {
    let world = World::start_without_snapshot(GatewayConfig::default(), |control| control.state().is_down = true).await;
    let reply = world.call("GET", "/", &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=UTF-8")));
    assert_eq!(world.call("GET", "/health/live", &[]).await.status, 200);
    assert_eq!(world.call("GET", "/health/ready", &[]).await.status, 503);
    assert_eq!(world.call("POST", "/", &[]).await.status, 404);
    world.control.state().is_down = false;
    world.until(|progress| progress.snapshots > 0).await;
    assert_eq!(world.call("GET", "/health/ready", &[]).await.status, 200);
    // The control plane goes away for longer than the bound.
    world.control.state().is_down = true;
    world.control.wake();
    world.clock.advance(GatewayConfig::default().ready_age_ms_max + 1);
    assert_eq!(world.call("GET", "/health/ready", &[]).await.status, 503);
    assert_eq!(world.call("GET", "/weather/open", &[]).await.status, 200, "a gateway survives its control plane");
}
