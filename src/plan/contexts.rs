//! Names that are neither stages nor plain images: `--build-context`, and `scratch`.

use super::{FileOrigin, Options};
use crate::names::image::{ImageName, spelling};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Image,
}

/// The named contexts of a build, by the one spelling of their names.
#[derive(Debug)]
pub(super) struct Contexts {
    by_name: BTreeMap<String, (String, Kind)>,
}

impl Contexts {
    pub(super) fn new(options: &Options) -> Contexts {
        let directories = options.directory_contexts.iter().map(|name| (name, Kind::Directory));
        let images = options.image_contexts.iter().map(|name| (name, Kind::Image));
        let all = directories.chain(images);
        let by_name = all.map(|(name, kind)| (spelling(name), (name.clone(), kind))).collect();
        Contexts { by_name }
    }

    /// The context of this name. It is called as the command line calls it, however the Dockerfile does.
    pub(super) fn find(&self, name: &str) -> Option<FileOrigin> {
        if is_reserved(name) {
            return None;
        }
        let (name, kind) = self.by_name.get(&spelling(name))?;
        Some(match kind {
            Kind::Directory => FileOrigin::Context { name: Some(name.clone()) },
            Kind::Image => FileOrigin::Image(name.clone()),
        })
    }

    /// What a name means that is no stage: nothing at all, a context, or an image. The error says why it can be
    /// none of them.
    pub(super) fn resolve(&self, name: &str) -> Result<FileOrigin, String> {
        if name == "scratch" {
            return Ok(FileOrigin::Scratch);
        }
        if let Some(origin) = self.find(name) {
            return Ok(origin);
        }
        ImageName::parse(name)?;
        Ok(FileOrigin::Image(name.to_owned()))
    }
}

/// Names that no context can take the place of.
fn is_reserved(name: &str) -> bool {
    name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context")
}
