//! Names of images in registries, read as Docker reads them.
//!
//! How they are written is [`crate::names::image`]; here an image without a tag or digest has the tag `latest`.

use super::digest::Digest;
use crate::names::image::ImageName;
use std::fmt;
use std::str::FromStr;

/// `REGISTRY/REPOSITORY[:TAG][@DIGEST]`, with Docker's defaults filled in; without a digest there is a tag.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The full form of a name (`docker.io/library/node:latest` for `node`); a text that is no name stays as it is.
pub fn normalized(text: &str) -> String {
    text.parse::<Reference>().map_or_else(|_| text.to_owned(), |reference| reference.to_string())
}

impl Reference {
    /// Host and port, as in `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry, as in `library/node`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The short form that Docker shows: `node:latest`, `quay.io/coreos/etcd:v3.3.9`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        ImageName::parse(&full).map_or_else(|_| full.clone(), |name| name.familiar())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an image reference: {why}")]
pub struct ParseReferenceError {
    /// Cut after 300 characters.
    text: String,
    why: String,
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Reference, ParseReferenceError> {
        parse(text).map_err(|why| ParseReferenceError { text: text.chars().take(300).collect(), why })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    let name = ImageName::parse(text)?;
    let digest = name.digest.map(str::parse).transpose();
    let digest = digest.map_err(|_| "of digests only sha256: can be fetched".to_owned())?;
    let tag = match name.tag {
        None if digest.is_none() => Some("latest"),
        tag => tag,
    };
    let (registry, repository) = (name.registry.to_owned(), name.repository.into_owned());
    Ok(Reference { registry, repository, tag: tag.map(str::to_owned), digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(input: &str, expected: &str) {
        let input = input.replace("DIGEST", DIGEST);
        let answer = match input.parse::<Reference>() {
            Ok(reference) => format!("{} {}", reference, reference.familiar()),
            Err(error) => error.why.to_owned(),
        };
        let expected = expected.replace("DIGEST", DIGEST);
        assert!(answer == expected || (answer.starts_with(&expected) && !expected.contains('/')), "{input}: {answer}");
    }

    #[test]
    fn defaults() {
        check("node", "docker.io/library/node:latest node:latest");
        check("ubuntu:16.04", "docker.io/library/ubuntu:16.04 ubuntu:16.04");
        check("docker.io/localhost/app", "docker.io/localhost/app:latest docker.io/localhost/app:latest");
        check("user/app", "docker.io/user/app:latest user/app:latest");
        check("docker.io/node", "docker.io/library/node:latest node:latest");
        check("index.docker.io/library/node:8", "docker.io/library/node:8 node:8");
        check("node@DIGEST", "docker.io/library/node@DIGEST node@DIGEST");
        check("node:8@DIGEST", "docker.io/library/node:8@DIGEST node:8@DIGEST");
    }

    #[test]
    fn refused() {
        check("Node", "an image's name is lower case");
        check("node@sha256:abc", "after @");
        check(&format!("a@sha512:{}", "a".repeat(128)), "of digests only sha256");
    }

    #[test]
    fn what_is_no_name_stays_as_it_is() {
        assert_eq!(normalized("node"), "docker.io/library/node:latest");
        assert_eq!(normalized("oci:dir"), "docker.io/library/oci:dir");
        assert_eq!(normalized("Not A Name"), "Not A Name");
    }

    proptest! {
        #[test]
        fn the_full_form_and_the_familiar_form_mean_the_same(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
