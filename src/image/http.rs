//! Requests to one repository of a registry: credentials when asked for them, another try when it may help.
//!
//! Source: the OCI distribution specification, Docker's token authentication, and RFC 9110 for challenges.

use super::auth::Credentials;
use super::reference::Reference;
use super::source::{SourceError, SourceErrorKind};
use super::tries::{self, Again, Failed, Tries, may_pass};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Request, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::io;
use std::sync::Once;
use std::time::Duration;
use tokio::sync::Mutex;

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// Between two pieces of an answer.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// One after the other.
const MOST_REDIRECTS: usize = 10;

/// Of an answer whose content only explains something.
const LARGEST_EXPLANATION: u64 = 64 << 10;

const LARGEST_TOKEN: u64 = 1 << 20;

/// Docker's default registry is served by another name than images carry.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// One repository, and the right to it as far as it is known.
#[derive(Debug)]
pub(super) struct Repository {
    client: Client,
    /// `https://HOST/v2/NAME`.
    base: String,
    reference: Reference,
    credentials: Credentials,
    /// Why there are no credentials, if something went wrong.
    problem: Option<String>,
    /// The header that was accepted last.
    authorization: Mutex<Option<String>>,
    push: bool,
}

impl Repository {
    /// Loopback hosts may serve plain HTTP, or have a certificate that nobody signed, as with Docker.
    pub(super) async fn connect(
        reference: &Reference,
        (credentials, problem): (Credentials, Option<String>),
        push: bool,
    ) -> Result<Repository, SourceError> {
        let host = match reference.registry() {
            "docker.io" => DOCKER_HUB,
            other => other,
        };
        let loopback = is_loopback(host);
        let client = client(loopback).map_err(|error| {
            let message = format!("no connection to {host} can be made: {}", innermost(&error));
            let error = SourceError::new(SourceErrorKind::Unreachable, message);
            error.with_help("if certificates are the matter, install your system's package of CA certificates")
        })?;
        let plain = loopback && client.get(format!("https://{host}/v2/")).send().await.is_err();
        let scheme = if plain { "http" } else { "https" };
        Ok(Repository {
            client,
            base: format!("{scheme}://{host}/v2/{}", reference.repository()),
            reference: reference.clone(),
            credentials,
            problem,
            authorization: Mutex::new(None),
            push,
        })
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.reference.registry(), self.reference.repository())
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// What to show at `url`: nothing, unless it is the registry's own.
    pub(super) async fn authorization_for(&self, url: &Url) -> Option<String> {
        if self.is_own(url) { self.authorization.lock().await.clone() } else { None }
    }

    fn is_own(&self, url: &Url) -> bool {
        Url::parse(&self.base).is_ok_and(|own| own.origin() == url.origin())
    }

    /// Sends what `build` makes, again if need be. The answer has any status but those that were dealt with. `what` is
    /// what is asked for.
    pub(super) async fn send(
        &self,
        what: &str,
        build: impl Fn(&Client) -> RequestBuilder + Send,
    ) -> Result<Response, SourceError> {
        let mut tries = Tries::of_request();
        loop {
            match self.send_once(what, &build).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => tokio::time::sleep(tries.pause(failed)?).await,
            }
        }
    }

    /// The content of what is small, sent again until it has come whole.
    pub(super) async fn document(
        &self,
        what: &str,
        limit: u64,
        build: impl Fn(&Client) -> RequestBuilder + Send,
    ) -> Result<(HeaderMap, Vec<u8>), SourceError> {
        let mut tries = Tries::of_request();
        loop {
            match self.document_once(what, limit, &build).await {
                Ok(document) => return Ok(document),
                Err(failed) => tokio::time::sleep(tries.pause(failed)?).await,
            }
        }
    }

    async fn document_once(
        &self,
        what: &str,
        limit: u64,
        build: &(impl Fn(&Client) -> RequestBuilder + Send),
    ) -> Result<(HeaderMap, Vec<u8>), Failed> {
        let answer = self.send_once(what, build).await?;
        if !answer.status().is_success() {
            return Err(self.refusal(what, answer).await.into());
        }
        let headers = answer.headers().clone();
        let bytes = body(answer, limit).await.map_err(|problem| Failed {
            error: SourceError::new(
                SourceErrorKind::Unreachable,
                format!("{}: the registry's answer to the request for {what} cannot be used: {problem}", self.name()),
            ),
            again: problem.again(),
        })?;
        Ok((headers, bytes))
    }

    /// One try, with the right to it.
    pub(super) async fn send_once(
        &self,
        what: &str,
        build: &(impl Fn(&Client) -> RequestBuilder + Send),
    ) -> Result<Response, Failed> {
        let mut asked = false;
        loop {
            let authorization = self.authorization.lock().await.clone();
            let mut request = build(&self.client);
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value);
            }
            let answer = self.follow(what, request).await?;
            if answer.status() == StatusCode::UNAUTHORIZED && !asked && self.authorize(&answer, authorization).await? {
                asked = true;
                continue;
            }
            if may_pass(answer.status()) {
                let again = tries::again(&answer);
                return Err(Failed { error: self.refusal(what, answer).await, again });
            }
            return Ok(answer);
        }
    }

    /// Sends a request for `what`, and then to where it is sent on.
    async fn follow(&self, what: &str, request: RequestBuilder) -> Result<Response, Failed> {
        let lost = |error: reqwest::Error| self.lost(what, &error);
        let mut request = request.build().map_err(lost)?;
        for _ in 0..MOST_REDIRECTS {
            let same = request.try_clone();
            let answer = self.client.execute(request).await.map_err(lost)?;
            let Some(next) = same.and_then(|it| sent_on(it, &answer)) else { return Ok(answer) };
            request = next;
        }
        let why =
            format!("no answer from the registry to the request for {what}: it sends us on {MOST_REDIRECTS} times");
        let message = format!("{}: {why}", self.name());
        Err(SourceError::new(SourceErrorKind::Unreachable, message).into())
    }

    /// Why what was asked for did not come.
    fn lost(&self, what: &str, error: &reqwest::Error) -> Failed {
        let elsewhere = error.url().filter(|url| !self.is_own(url)).and_then(|url| Some((url.host_str()?, url.port())));
        let from = match elsewhere {
            None => "the registry".to_owned(),
            Some((host, None)) => format!("{host}, where the registry sends us,"),
            Some((host, Some(port))) => format!("{host}:{port}, where the registry sends us,"),
        };
        let why = innermost(error);
        let message = format!("{}: no answer from {from} to the request for {what}: {why}", self.name());
        let again = match error {
            error if error.is_builder() => Again::Never,
            error if error.is_connect() => Again::Unreached,
            _ => Again::After(None),
        };
        let problem = SourceError::new(SourceErrorKind::Unreachable, message);
        let error = tls_help(error).into_iter().fold(problem, SourceError::with_help);
        Failed { error, again }
    }

    /// What an answer that is not a success means. `what` is what was asked for.
    pub(super) async fn refusal(&self, what: &str, answer: Response) -> SourceError {
        let status = answer.status();
        let pause = tries::long_pause(&answer);
        let said = match body(answer, LARGEST_EXPLANATION).await {
            Ok(bytes) => explanation(&bytes).map(|said| format!(": {said}")).unwrap_or_default(),
            Err(_) => String::new(),
        };
        let name = self.name();
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let message = format!("{name}: the registry does not give out {what}, or there is no such image{said}");
                let error = SourceError::new(SourceErrorKind::Denied, message);
                let error = match &self.problem {
                    Some(problem) => error.with_help(format!("credentials could not be had: {problem}")),
                    None => error,
                };
                let registry = self.reference.registry();
                let at = if registry == "docker.io" { String::new() } else { format!(" {registry}") };
                error.with_help(format!("check the name, or log in: docker login{at}"))
            }
            StatusCode::NOT_FOUND => {
                SourceError::new(SourceErrorKind::Missing, format!("{name}: the registry has no {what}{said}"))
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let message = format!(
                    "{name}: the registry does not give out {what} now: it wants fewer requests from here{said}"
                );
                SourceError::new(SourceErrorKind::Unreachable, message).with_help("wait, or log in: docker login")
            }
            status => {
                let message = format!("{name}: the registry answered {status} to the request for {what}{said}");
                SourceError::new(SourceErrorKind::Unreachable, message)
            }
        };
        match pause {
            Some(pause) => error.with_help(format!("it is to be asked again in {} s", pause.as_secs())),
            None => error,
        }
    }

    /// Does what the challenge says. `false` if there is nothing to answer it with. Of several requests that were
    /// refused at once, one gets the token for all.
    async fn authorize(&self, answer: &Response, used: Option<String>) -> Result<bool, Failed> {
        // A host that the registry has sent us on to does not say where the registry's credentials go.
        if !self.is_own(answer.url()) {
            return Ok(false);
        }
        let mut authorization = self.authorization.lock().await;
        if *authorization != used {
            return Ok(true);
        }
        let values = answer.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenges).collect();
        let named = |scheme: &str| challenges.iter().find(|it| it.scheme.eq_ignore_ascii_case(scheme));
        let new = match (&self.credentials, named("bearer"), named("basic")) {
            (Credentials::Bearer(token), ..) => Some(format!("Bearer {token}")),
            (_, Some(bearer), _) => Some(format!("Bearer {}", self.token(bearer).await?)),
            (Credentials::Basic { user, password }, None, Some(_)) => Some(basic(user, password)),
            _ => None,
        };
        let changed = new.is_some() && new != used;
        if changed {
            *authorization = new;
        }
        Ok(changed)
    }

    async fn token(&self, challenge: &Challenge) -> Result<String, Failed> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let name = self.name();
        let wrong = |why: String| SourceError::new(SourceErrorKind::Unreachable, format!("{name}: {why}"));
        let realm = challenge
            .get("realm")
            .ok_or_else(|| wrong("the registry does not say who gives tokens for it".to_owned()))?;
        let mut url =
            Url::parse(realm).map_err(|_| wrong(format!("the registry sends us for a token to {realm:?}")))?;
        let encrypted = url.scheme() == "https";
        if !encrypted && (url.scheme() != "http" || self.base.starts_with("https:")) {
            return Err(wrong(format!("the registry sends us for a token to {realm:?}, which is not encrypted")).into());
        }
        let actions = if self.push { "pull,push" } else { "pull" };
        let own_scope = format!("repository:{}:{actions}", self.reference.repository());
        let scope = challenge.get("scope").map_or(own_scope, str::to_owned);
        let service = challenge.get("service").unwrap_or_default();
        let request = match &self.credentials {
            Credentials::Identity(token) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("client_id", "stagedive"),
                    ("scope", scope.as_str()),
                    ("refresh_token", token.as_str()),
                ];
                let mut form = url.clone();
                form.query_pairs_mut().clear().extend_pairs(fields);
                let content = form.query().unwrap_or_default().to_owned();
                self.client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(content)
            }
            credentials => {
                if !service.is_empty() {
                    url.query_pairs_mut().append_pair("service", service);
                }
                for scope in scope.split(' ') {
                    url.query_pairs_mut().append_pair("scope", scope);
                }
                match credentials {
                    Credentials::Basic { user, password } => {
                        url.query_pairs_mut().append_pair("account", user);
                        self.client.get(url).header(AUTHORIZATION, basic(user, password))
                    }
                    _ => self.client.get(url),
                }
            }
        };
        let answer = self.follow("a token", request).await?;
        if !answer.status().is_success() {
            let again = tries::again(&answer);
            return Err(Failed { error: self.refusal("a token", answer).await, again });
        }
        let bytes = body(answer, LARGEST_TOKEN).await.map_err(|problem| Failed {
            error: wrong(format!("no token for it: {problem}")),
            again: problem.again(),
        })?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| wrong("what should be a token for it is not JSON".to_owned()))?;
        let token = answer.token.filter(|it| !it.is_empty()).or(answer.access_token).unwrap_or_default();
        let is_token = |b: u8| b.is_ascii_graphic();
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err(wrong("what should be a token for it is none".to_owned()).into());
        }
        Ok(token)
    }
}

/// A request that an answer sends on, as far as it may be: to another host only one that asks, and nothing with it that
/// opens the registry.
fn sent_on(mut request: Request, answer: &Response) -> Option<Request> {
    let is_same = matches!(answer.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !is_same && !matches!(answer.status().as_u16(), 301..=303) {
        return None;
    }
    let url = answer.url().join(answer.headers().get(LOCATION)?.to_str().ok()?).ok()?;
    let only_asks = [Method::GET, Method::HEAD].contains(request.method());
    let is_own = url.origin() == answer.url().origin();
    if !matches!(url.scheme(), "http" | "https") || !(only_asks || (is_same && is_own)) {
        return None;
    }
    if !is_own {
        request.headers_mut().remove(AUTHORIZATION);
    }
    *request.url_mut() = url;
    Some(request)
}

/// Why an answer has not come whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("{0}")]
    Broken(String),
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
}

impl BodyError {
    fn again(&self) -> Again {
        match self {
            BodyError::Broken(_) => Again::After(None),
            BodyError::TooLarge(_) => Again::Never,
        }
    }
}

/// At most `limit` bytes of an answer.
pub(super) async fn body(mut answer: Response, limit: u64) -> Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| BodyError::Broken(innermost(&error)))? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(BodyError::TooLarge(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The first message of a registry's JSON, made fit for a line.
fn explanation(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        errors: Vec<Problem>,
        #[serde(default)]
        details: String,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        message: String,
        #[serde(default)]
        code: serde_json::Value,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let first = answer.errors.into_iter().next();
    let said = first.map_or(answer.details, |it| match (it.message.as_str(), it.code.as_str()) {
        ("", Some(code)) => code.to_owned(),
        _ => it.message,
    });
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    Some(said).filter(|said| !said.trim().is_empty())
}

/// What an error comes down to: the outer ones only say that a request failed.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// What to do where a connection could not be made safe.
fn tls_help(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match error.downcast_ref() {
        Some(rustls::Error::InvalidMessage(_)) => {
            Some("it does not speak TLS, and without that only registries of this machine are reached, at localhost")
        }
        Some(rustls::Error::InvalidCertificate(_)) => {
            Some("if an authority of your own has signed its certificate: SSL_CERT_FILE=FILE names the authority's")
        }
        // An I/O error passes over the one in it when it is asked for its source.
        _ => match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => tls_help(inner),
            None => tls_help(error.source()?),
        },
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn client(loopback: bool) -> Result<Client, reqwest::Error> {
    install_provider();
    let builder = Client::builder()
        .user_agent(concat!("stagedive/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(READ_PATIENCE)
        .redirect(Policy::none())
        // The digest is that of the bytes as they are.
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]));
    if loopback { builder.no_proxy().tls_danger_accept_invalid_certs(true).build() } else { builder.build() }
}

/// TLS is only wanted from one implementation; rustls lets the program say which.
pub(super) fn install_provider() {
    static ONCE: Once = Once::new();
    // An error means that one is installed already, which serves as well.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

/// `localhost`, `127.0.0.1:5000`, `[::1]:5000`.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads `Bearer realm="…",service="…", Basic realm="…"`. What is malformed ends the reading.
fn challenges(header: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            return found;
        }
        let Some(value) = after.trim_start().strip_prefix('=') else {
            found.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            rest = after;
            continue;
        };
        let Some((value, after)) = parameter_value(value.trim_start()) else { return found };
        if let Some(challenge) = found.last_mut() {
            challenge.parameters.push((word.to_owned(), value));
        }
        rest = after;
    }
}

/// A token or a quoted string, and what comes after it.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: &str) {
        let show = |it: &Challenge| {
            let parameters: Vec<String> = it.parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{}({})", it.scheme, parameters.join(" "))
        };
        assert_eq!(challenges(header).iter().map(show).collect::<Vec<_>>().join(" "), expected, "{header}");
    }

    #[test]
    fn challenges_of_registries() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            "Bearer(realm=https://auth.docker.io/token service=registry.docker.io scope=repository:a/b:pull,push)",
        );
        check(r#"Basic realm="Registry Realm""#, "Basic(realm=Registry Realm)");
        check(r#"Basic realm="x", Bearer realm=y , service = "z""#, "Basic(realm=x) Bearer(realm=y service=z)");
        check("Negotiate, Basic", "Negotiate() Basic()");
        check(r#"Bearer realm="a\"b""#, r#"Bearer(realm=a"b)"#);
        check(r#"Bearer realm="open"#, "Bearer()");
        check("", "");
        check("=x", "");
    }

    #[test]
    fn a_server_without_tls() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/v2/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(io::Read::read(&mut stream, &mut [0; 16 << 10]).unwrap() > 0);
            io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        });
        install_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        let error = runtime.block_on(client.get(url).send()).unwrap_err();
        server.join().unwrap();
        assert!(tls_help(&error).unwrap().starts_with("it does not speak TLS"), "{error:?}");
    }

    #[test]
    fn hosts_that_are_here() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:80", "127.1.2.3", "[::1]:5000", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["quay.io", "localhost.example", "10.0.0.1:5000", "128.0.0.1", "[::2]:5000"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
