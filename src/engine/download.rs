//! Files by their address.

use super::{EngineError, Output, OutputEvent};
use crate::plan::remote::without_secret;
use reqwest::StatusCode;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An answer of a server, of which the file has not been read yet.
pub(crate) struct Download {
    url: String,
    response: reqwest::Response,
}

/// Asks for a file, with the value of a header that lets it in.
pub(crate) async fn begin(url: &str, authorization: Option<&str>) -> Result<Download, EngineError> {
    let failed = |error: &dyn Display| failed(url, error);
    crate::image::install_tls_provider();
    let client = reqwest::Client::builder().build().map_err(|error| failed(&error))?;
    let mut request = client.get(url);
    if let Some(value) = authorization {
        request = request.header(reqwest::header::AUTHORIZATION, value);
    }
    let response = request.send().await.map_err(|error| failed(&chain(error)))?;
    match response.status().is_success() {
        true => Ok(Download { url: url.to_owned(), response }),
        false => {
            let error = failed(&format!("the server answered {}", response.status()));
            match response.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(error.with_help(
                    "if it is private, give a token: --secret id=HTTP_AUTH_TOKEN_host,env=… with the server's name for host",
                )),
                _ => Err(error),
            }
        }
    }
}

impl Download {
    /// Puts the file into `dir`, under the name that the server gives it, with its time or else that of 1970, as
    /// BuildKit does. `checksum` is `sha256:…`.
    pub(crate) async fn save(
        mut self,
        dir: &Path,
        checksum: Option<&str>,
        output: &Output,
    ) -> Result<PathBuf, EngineError> {
        let (url, shown) = (self.url.clone(), without_secret(&self.url));
        let failed = |error: &dyn Display| failed(&url, error);
        let path = dir.join(file_name(&url, self.header("content-disposition").as_deref()));
        let modified = self.header("last-modified").and_then(|text| httpdate::parse_http_date(&text).ok());
        let modified = modified.unwrap_or(SystemTime::UNIX_EPOCH);
        let total = self.response.content_length().unwrap_or(0);
        let mut file = tokio::fs::File::create(&path).await.map_err(|error| failed(&error))?;
        let mut hash = <sha2::Sha256 as sha2::Digest>::new();
        let mut done = 0;
        while let Some(chunk) = self.response.chunk().await.map_err(|error| failed(&chain(error)))? {
            sha2::Digest::update(&mut hash, &chunk);
            tokio::io::AsyncWriteExt::write_all(&mut file, &chunk).await.map_err(|error| failed(&error))?;
            done += chunk.len() as u64;
            let _ = output.0.try_send(OutputEvent::Progress { what: shown.clone(), done, total });
        }
        // The last piece may be on its way still, and whether it gets there is told by nothing else.
        tokio::io::AsyncWriteExt::flush(&mut file).await.map_err(|error| failed(&error))?;
        file.into_std().await.set_modified(modified).map_err(|error| failed(&error))?;
        let got = crate::image::digest::Digest::from_hash(&sha2::Digest::finalize(hash)).to_string();
        match checksum {
            Some(wanted) if wanted != got => Err(failed(&format!("digest mismatch: expected {wanted}, got {got}"))),
            _ => Ok(path),
        }
    }

    /// What the server says of the file.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }
}

fn failed(url: &str, error: &dyn Display) -> EngineError {
    EngineError::new(format!("cannot get {}: {error}", without_secret(url)))
}

/// An error with what lies behind it; reqwest's own text stops at the first, and has the address as it was given.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// The server's name for the file, or the address's last part; never a path. The name that BuildKit gives where there is
/// none.
fn file_name(url: &str, disposition: Option<&str>) -> String {
    let given = disposition.and_then(|text| {
        let (_, name) = text.split_once("filename=")?;
        Some(name.split(';').next().unwrap_or(name).trim().trim_matches('"').to_owned())
    });
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let from_path = path.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    let name = given.map(|name| last(&name)).or_else(|| from_path.map(last));
    name.filter(|name| !name.is_empty() && name != "." && name != "..").unwrap_or_else(|| "download".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_downloaded_files() {
        let check = |url: &str, disposition: Option<&str>, expected: &str| {
            assert_eq!(file_name(url, disposition), expected, "{url} {disposition:?}");
        };
        check("http://host/a/b.tar.gz", None, "b.tar.gz");
        check("http://host/a/b?x=/y#z", None, "b");
        check("http://host/a/", None, "download");
        check("http://host", None, "download");
        check("http://host/a", Some("attachment; filename=\"c.zip\"; size=3"), "c.zip");
        check("http://host/a", Some("attachment; filename=../../etc/passwd"), "passwd");
        check("http://host/..", None, "download");
    }
}
