//! Requests to one repository of a registry: credentials when asked for them, another try when it may help.
//!
//! Source: the OCI distribution specification, Docker's token authentication, and RFC 9110 for challenges.

use super::auth::Credentials;
use super::reference::Reference;
use super::source::{SourceError, SourceErrorKind};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use std::sync::Once;
use std::time::{Duration, SystemTime};
use tokio::sync::Mutex;

/// Tries of one request; what is lost on the way often comes through the second time.
pub(super) const TRIES: u32 = 4;

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// Between two pieces of an answer.
const READ_PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a server may ask us to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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

    /// Sends what `build` makes, again if need be. The answer has any status but those that were dealt with.
    pub(super) async fn send(&self, build: impl Fn(&Client) -> RequestBuilder + Send) -> Result<Response, SourceError> {
        let mut tries = 0;
        let mut asked = false;
        loop {
            let authorization = self.authorization.lock().await.clone();
            let mut request = build(&self.client);
            if let Some(value) = &authorization {
                request = request.header(AUTHORIZATION, value);
            }
            tries += 1;
            let pause = match request.send().await {
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED && !asked => {
                    asked = true;
                    tries -= 1;
                    if self.authorize(&answer, authorization).await? {
                        continue;
                    }
                    return Ok(answer);
                }
                Ok(answer) if may_pass(answer.status()) && tries < TRIES => match asked_pause(&answer) {
                    Some(pause) if pause > LONGEST_PAUSE => return Ok(answer),
                    pause => pause.unwrap_or(backoff(tries)),
                },
                Ok(answer) => return Ok(answer),
                // A host that is not there seldom appears within a second, and whoever waits wants to know.
                Err(error) if error.is_connect() && tries > 1 => return Err(self.unreachable(&error)),
                Err(error) if tries < TRIES && !error.is_builder() && !error.is_redirect() => backoff(tries),
                Err(error) => return Err(self.unreachable(&error)),
            };
            tokio::time::sleep(pause).await;
        }
    }

    pub(super) fn unreachable(&self, error: &reqwest::Error) -> SourceError {
        let message = format!("{}: no answer from the registry: {}", self.name(), innermost(error));
        SourceError::new(SourceErrorKind::Unreachable, message)
    }

    /// What an answer that is not a success means. `what` is what was asked for.
    pub(super) async fn refusal(&self, what: &str, answer: Response) -> SourceError {
        let status = answer.status();
        let pause = asked_pause(&answer).filter(|pause| may_pass(status) && *pause > LONGEST_PAUSE);
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
                let message = format!("{name}: the registry wants fewer requests from here{said}");
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
    async fn authorize(&self, answer: &Response, used: Option<String>) -> Result<bool, SourceError> {
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

    async fn token(&self, challenge: &Challenge) -> Result<String, SourceError> {
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
            return Err(wrong(format!("the registry sends us for a token to {realm:?}, which is not encrypted")));
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
        let answer = request.send().await.map_err(|error| wrong(format!("no token for it: {}", innermost(&error))))?;
        if !answer.status().is_success() {
            return Err(self.refusal("a token", answer).await);
        }
        let bytes = body(answer, LARGEST_TOKEN).await.map_err(|why| wrong(format!("no token for it: {why}")))?;
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|_| wrong("what should be a token for it is not JSON".to_owned()))?;
        let token = answer.token.filter(|it| !it.is_empty()).or(answer.access_token).unwrap_or_default();
        let is_token = |b: u8| b.is_ascii_graphic();
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err(wrong("what should be a token for it is none".to_owned()));
        }
        Ok(token)
    }
}

/// At most `limit` bytes of an answer.
pub(super) async fn body(mut answer: Response, limit: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| innermost(&error))? {
        if bytes.len() as u64 + chunk.len() as u64 > limit {
            return Err(format!("it has more than {limit} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Whether the same request may succeed a moment later.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

pub(super) fn backoff(tries: u32) -> Duration {
    Duration::from_millis(100) * 4u32.pow(tries.saturating_sub(1).min(4))
}

/// How long the server wants to be left alone.
fn asked_pause(answer: &Response) -> Option<Duration> {
    retry_after(answer.headers().get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// A number of seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
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

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn client(loopback: bool) -> Result<Client, reqwest::Error> {
    install_provider();
    let builder = Client::builder()
        .user_agent(concat!("stagedive/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_PATIENCE)
        .read_timeout(READ_PATIENCE);
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
    fn pauses() {
        let check = |text: &str, expected: Option<u64>| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
            assert_eq!(retry_after(text, now).map(|it| it.as_secs()), expected, "{text}");
        };
        check("60", Some(60));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
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
