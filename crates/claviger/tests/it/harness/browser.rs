//! A browser at the authorization endpoint: one cookie jar, no script, redirects by hand.

use super::{Call as _, Origin, Reply};
use reqwest::RequestBuilder;
use std::collections::BTreeMap;
use std::sync::Mutex;
use url::Url;
use url::form_urlencoded::Serializer;

/// A browser.
pub(crate) struct Browser<'a> {
    server: &'a dyn Origin,
    cookie: Mutex<Option<String>>,
}

impl<'a> Browser<'a> {
    pub(crate) fn new(server: &'a dyn Origin) -> Self {
        Self { server, cookie: Mutex::new(None) }
    }

    /// The same browser, whom its balancer sends to another node.
    pub(crate) fn at(&self, server: &'a dyn Origin) -> Self {
        Self { server, cookie: Mutex::new(self.cookie.lock().unwrap().clone()) }
    }

    /// Its cookie, as it sends it.
    pub(crate) fn cookie(&self) -> String {
        self.cookie.lock().unwrap().clone().unwrap_or_default()
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        let cookie = self.cookie.lock().unwrap().clone();
        let request = match cookie {
            Some(cookie) => request.header("cookie", format!("other=1; {cookie}")),
            None => request,
        };
        let reply = request.call().await;
        if let Some(cookie) = reply.header("set-cookie") {
            *self.cookie.lock().unwrap() = Some(cookie.split(';').next().unwrap().to_owned());
        }
        reply
    }

    /// Opens an address of the server.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.server.get(path)).await
    }

    /// Sends a form, as a page of the server.
    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send(self.server.post(path).header("sec-fetch-site", "same-origin").form(form)).await
    }

    /// Opens where an answer leads, as long as that is this server.
    pub(crate) async fn follow(&self, mut reply: Reply) -> Reply {
        while matches!(reply.status, 302 | 303) && reply.header("location").unwrap().starts_with('/') {
            let location = reply.header("location").unwrap().to_owned();
            reply = self.get(&location).await;
        }
        reply
    }

    /// Sends an authorization request.
    pub(crate) async fn ask(&self, parameters: &[(&str, &str)]) -> Reply {
        self.get(&authorize_path(parameters)).await
    }

    /// From an authorization request to the page behind the login form.
    pub(crate) async fn log_in(&self, parameters: &[(&str, &str)], (user, password): (&str, &str)) -> Reply {
        let page = self.follow(self.ask(parameters).await).await;
        let key = hidden(&page, "sessionDataKey");
        let form = [("sessionDataKey", key.as_str()), ("username", user), ("password", password)];
        self.follow(self.post("/commonauth", &form).await).await
    }

    /// Answers the consent page.
    pub(crate) async fn answer(&self, page: &Reply, consent: &str) -> Reply {
        let key = hidden(page, "sessionDataKeyConsent");
        self.post("/oauth2/authorize", &[("sessionDataKeyConsent", &key), ("consent", consent)]).await
    }

    /// The code that a user gives an application.
    pub(crate) async fn code(&self, parameters: &[(&str, &str)], who: (&str, &str)) -> String {
        let page = self.log_in(parameters, who).await;
        let reply = self.answer(&page, "approve").await;
        assert_eq!(reply.status, 303, "{reply:?}");
        sent_back(&reply)["code"].clone()
    }
}

/// The address of an authorization request.
pub(crate) fn authorize_path(parameters: &[(&str, &str)]) -> String {
    format!("/oauth2/authorize?{}", Serializer::new(String::new()).extend_pairs(parameters).finish())
}

/// The members of the address that an answer leads to.
pub(crate) fn sent_back(reply: &Reply) -> BTreeMap<String, String> {
    let location = reply.header("location").unwrap_or_else(|| panic!("no location: {reply:?}"));
    let url = Url::parse("https://localhost").unwrap().join(location).unwrap();
    url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The value of a hidden field.
#[track_caller]
pub(crate) fn hidden(page: &Reply, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.body.split_once(&start).unwrap_or_else(|| panic!("no {name}: {page:?}"));
    rest.split('"').next().unwrap().to_owned()
}
