//! Files by their address.

use super::{EngineError, Output, OutputEvent};
use crate::plan::remote::without_secret;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Puts the file into `dir`, under the name that the server gives it, with its time or else that of 1970, as BuildKit
/// does. `checksum` is `sha256:…`.
pub(crate) async fn download(
    url: &str,
    dir: &Path,
    checksum: Option<&str>,
    output: &Output,
) -> Result<PathBuf, EngineError> {
    let shown = without_secret(url);
    let failed = |error: &dyn std::fmt::Display| EngineError::new(format!("cannot get {shown}: {error}"));
    crate::image::install_tls_provider();
    let client = reqwest::Client::builder().build().map_err(|error| failed(&error))?;
    let mut response = client.get(url).send().await.map_err(|error| failed(&chain(error)))?;
    if !response.status().is_success() {
        return Err(failed(&format!("the server answered {}", response.status())));
    }
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let name = file_name(url, header("content-disposition").as_deref());
    let modified = header("last-modified")
        .and_then(|text| httpdate::parse_http_date(&text).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let total = response.content_length().unwrap_or(0);
    let path = dir.join(name);
    let mut file = tokio::fs::File::create(&path).await.map_err(|error| failed(&error))?;
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    let mut done = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&chain(error)))? {
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
