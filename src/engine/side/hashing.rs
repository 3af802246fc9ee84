//! Contents of files, known by their hashes.

use super::super::{Annotations, Destination, Engine, ExportRequest, Output, Packing};
use crate::image::config::ImageConfig;
use crate::image::tar_reader::{TarError, TarKind, TarReader};
use crate::layers::path::clean;
use crate::layers::{ContentHash, ContentHasher};
use crate::snapshot::SnapshotId;
use bstr::{BString, ByteSlice};
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use tokio::sync::mpsc;
use twox_hash::XxHash3_128;

const BUFFER: usize = 256 << 10;

pub(super) fn buffer() -> Vec<u8> {
    vec![0; BUFFER]
}

pub(super) fn of_file(mut file: impl Read, buffer: &mut [u8]) -> io::Result<ContentHash> {
    let mut hasher = XxHash3_128::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(ContentHash(hasher.finish_128())),
            Ok(got) => hasher.write(&buffer[..got]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Every regular file of a file system of the build, by way of an archive of it. `None` if the engine gives none, or
/// there is no room for it: then files are asked for one by one.
pub(super) async fn of_all(engine: &dyn Engine, at: &SnapshotId) -> Option<HashMap<BString, ContentHash>> {
    let large = std::path::Path::new("/var/tmp");
    let archive = match large.is_dir() && std::env::var_os("TMPDIR").is_none() {
        true => tempfile::NamedTempFile::new_in(large),
        false => tempfile::NamedTempFile::new(),
    };
    let archive = archive.ok()?;
    let request = ExportRequest {
        at: at.clone(),
        config: ImageConfig::default(),
        plan: None,
        tags: Vec::new(),
        destinations: vec![Destination::Tar { dest: archive.path().to_owned() }],
        packing: Packing::default(),
        annotations: Annotations::default(),
        attributes: Default::default(),
        platforms: Vec::new(),
    };
    let (sender, mut told) = mpsc::channel(16);
    let output = Output(sender);
    let export = async move { engine.export(request, &output).await };
    let quiet = async move { while told.recv().await.is_some() {} };
    tokio::join!(export, quiet).0.ok()?;
    let read = tokio::task::spawn_blocking(move || of_archive(std::fs::File::open(archive.path())?));
    read.await.ok()?.ok()
}

fn of_archive(archive: impl Read) -> Result<HashMap<BString, ContentHash>, TarError> {
    let mut archive = TarReader::new(BufReader::with_capacity(BUFFER, archive));
    let mut hashes: HashMap<BString, ContentHash> = HashMap::new();
    let mut buffer = buffer();
    while let Some(entry) = archive.next_entry()? {
        let path = clean(entry.path.as_bstr());
        match entry.kind {
            TarKind::File => {
                let mut hasher = ContentHasher::default();
                while let Some((offset, bytes)) = archive.chunk(&mut buffer)? {
                    hasher.take(offset, bytes);
                }
                hashes.insert(path, hasher.finish(entry.size));
            }
            TarKind::HardLink => {
                if let Some(hash) = hashes.get(&clean(entry.target.as_bstr())).copied() {
                    hashes.insert(path, hash);
                }
            }
            _ => {}
        }
    }
    Ok(hashes)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::snapshot::fixture::tar;

    #[test]
    fn every_name_of_a_content_has_its_hash() {
        let archive = tar(&["dir 755 d", "file 644 d/a one", "file 644 b two", "hard 0 h =d/a", "link 777 l ->b"]);
        let found = of_archive(archive.as_slice()).unwrap();
        let mut names: Vec<String> = found.keys().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["b", "d/a", "h"]);
        assert_eq!(found[&BString::from("h")], of_file(&b"one"[..], &mut buffer()).unwrap());
        assert_eq!(found[&BString::from("b")], ContentHash(XxHash3_128::oneshot(b"two")));
    }
}
