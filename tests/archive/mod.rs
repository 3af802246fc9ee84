//! Images as `docker save` writes them, made by the tests.

// Each test program that includes this uses a part of it.
#![allow(dead_code, unreachable_pub)]

use sha2::{Digest, Sha256};
use std::path::Path;

/// One layer: what made it, and its members as `PATH CONTENT`; `-PATH` takes a path away, `PATH -> TARGET` is a link.
pub struct Layer<'l> {
    pub made_by: &'l str,
    pub members: &'l [&'l str],
}

/// The layer's archive.
pub fn layer(members: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(path) = member.strip_prefix('-') {
            let (above, name) = path.rsplit_once('/').map_or(("", path), |(above, name)| (above, name));
            let path = format!("{above}{}.wh.{name}", if above.is_empty() { "" } else { "/" });
            archive.append_data(&mut header, path, &[][..]).unwrap();
        } else if let Some((path, target)) = member.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, path, target).unwrap();
        } else {
            let (path, content) = member.split_once(' ').unwrap();
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
    }
    archive.into_inner().unwrap()
}

/// Writes an image of these layers. `change` may damage a layer's archive after its digest has been taken.
pub fn save(to: &Path, layers: &[Layer<'_>], change: impl Fn(usize, &mut Vec<u8>)) {
    let mut archives: Vec<Vec<u8>> = layers.iter().map(|it| layer(it.members)).collect();
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let diff_ids: Vec<String> = archives.iter().map(|it| format!("sha256:{}", digest(it))).collect();
    let history: Vec<_> = layers.iter().map(|it| serde_json::json!({"created_by": it.made_by})).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", digest(&config));
    let names: Vec<String> = (0..layers.len()).map(|at| format!("{at}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": ["test/image:1"], "Layers": names}]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    archives.iter_mut().enumerate().for_each(|(at, archive)| change(at, archive));
    let mut out = tar::Builder::new(std::fs::File::create(to).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, name, bytes).unwrap();
    };
    names.iter().zip(&archives).for_each(|(name, bytes)| put(name, bytes));
    put(&config_name, &config);
    put("manifest.json", &manifest);
    out.into_inner().unwrap();
}
