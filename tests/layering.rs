//! Holds the `use crate::` lines of `src` against the map in `src/lib.rs`, and the sources against rustfmt.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each module may import, and nothing else of this crate.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("names", &[][..]),
        ("dockerfile", &["names"]),
        ("layers", &[]),
        ("system", &[]),
        ("image", &["layers", "names", "system"]),
        ("plan", &["dockerfile", "names", "image::digest", "image::reference", "image::config"]),
        ("snapshot", &["image", "layers", "system"]),
        ("engine", &["plan", "snapshot", "image", "layers", "dockerfile", "names", "system"]),
        ("debug", &["engine", "plan", "dockerfile", "layers", "snapshot", "image"]),
        ("tui", &["debug", "engine", "plan", "dockerfile", "layers", "snapshot", "image", "system"]),
    ])
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// Paths that a `crate::` mention names, one for each member of a brace list.
fn mentions(text: &str) -> Vec<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = code.collect::<Vec<_>>().join("\n");
    let mut out = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let path: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
        out.push(path.trim_end_matches(':').to_owned());
    }
    out
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let allowed = allowed();
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&root).unwrap();
        let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&file).unwrap();
        for (fence, home) in [("ratatui", "tui"), ("crossterm", "tui"), ("clap", "cli")] {
            if module != home && text.contains(&format!("use {fence}")) {
                wrong.push(format!("{}: {fence} belongs to {home}", relative.display()));
            }
        }
        let in_buildkit = relative.starts_with("engine/buildkit");
        for fence in ["tonic", "prost", "bollard_buildkit_proto"] {
            if !in_buildkit && (text.contains(&format!("use {fence}")) || text.contains(&format!("{fence}::"))) {
                wrong.push(format!("{}: {fence} belongs to engine/buildkit", relative.display()));
            }
        }
        let Some(may) = allowed.get(module.as_str()) else { continue };
        for path in mentions(&text) {
            let own = path == module || path.starts_with(&format!("{module}::"));
            let ok = may.iter().any(|it| path == *it || path.starts_with(&format!("{it}::")));
            if !own && !ok {
                wrong.push(format!("{}: {module} may not import {path}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sources_are_formatted() {
    let output = Command::new("cargo")
        .args(["fmt", "--check"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo fmt runs: install it with `rustup component add rustfmt`");
    assert!(output.status.success(), "run `cargo fmt`:\n{}", String::from_utf8_lossy(&output.stdout));
}
