//! The result, written out by the builder's own exporters.
//!
//! The build is solved once more as a plain one, the way `docker build` asks for it: everything comes from the
//! builder's cache, and the image is the builder's in every byte.

use super::address::Speaks;
use super::caches;
use super::engine::BuildKit;
use super::frontend::{DOCKERFILE, FRONTEND};
use super::progress;
use super::receive::Upload;
use super::session::random_id;
use crate::engine::settings::CacheOption;
use crate::engine::{Destination, EngineError, ExportRequest, Exported, Output, OutputEvent};
use crate::image::digest::Digest;
use crate::image::manifest::LARGEST_DOCUMENT;
use crate::image::source::Surroundings;
use crate::image::whole_file::WholeFile;
use crate::image::{self, reference};
use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1 as buildkit;
use buildkit::control_client::ControlClient;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use tokio::io::AsyncWrite;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

/// One request for the whole build.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    engine: &'a BuildKit,
    request: &'a ExportRequest,
    /// Caches are written with the last of several.
    last: bool,
    output: &'a Output,
}

pub(super) async fn export(
    engine: &BuildKit,
    request: ExportRequest,
    output: &Output,
) -> Result<Exported, EngineError> {
    let _one = engine.uploads.one.lock().await;
    let mut exported: Option<Exported> = None;
    let mut destinations = request.destinations.clone();
    let is_image = |it: &Destination| !matches!(it, Destination::Tar { .. } | Destination::Local { .. });
    // Its answer is the only one with the image's digests.
    destinations.sort_by_key(|it| !is_image(it));
    let names_itself = destinations.iter().any(is_image);
    for (index, destination) in destinations.iter().enumerate() {
        let last = names_itself && index + 1 == destinations.len();
        let found = one(Wanted { engine, request: &request, last, output }, destination).await?;
        exported = exported.or(found);
    }
    match exported {
        Some(exported) => Ok(exported),
        None => named(Wanted { engine, request: &request, last: true, output }).await,
    }
}

/// Writes one destination; answers with what the image is called, if its exporter says.
async fn one(wanted: Wanted<'_>, destination: &Destination) -> Result<Option<Exported>, EngineError> {
    let Wanted { engine, request, .. } = wanted;
    let names = names(&request.tags)?;
    match (destination, engine.address.speaks) {
        (Destination::Store | Destination::Daemon, Speaks::Docker) => solve(wanted, "moby", name(names), None).await,
        (Destination::Store | Destination::Daemon, Speaks::BuildKit) => {
            let file = tempfile::NamedTempFile::new();
            let file = file.map_err(|error| EngineError::new(format!("no temporary file can be made: {error}")))?;
            let writer = open(file.path()).await?;
            // Docker's own form holds one platform, and nothing beside it.
            let one = request.platforms.is_empty() && engine.settings.attestations.is_empty();
            let exporter = if one { "docker" } else { "oci" };
            let exported = solve(wanted, exporter, name(names), Some(Upload::Archive(writer))).await?;
            let loaded = image::daemon::load(file.path(), &Surroundings::from_environment()).await;
            loaded.map_err(|error| {
                let help = "a BuildKit keeps no images: write one with -o type=oci,dest=FILE";
                EngineError::new(format!("the image cannot be loaded: {error}")).with_help(help)
            })?;
            Ok(exported)
        }
        (Destination::Registry, speaks) => {
            if names.is_empty() {
                return Err(EngineError::new("an image is pushed under a name: give it one with -t"));
            }
            let mut attributes = name(names);
            attributes.insert("push".to_owned(), "true".to_owned());
            let exporter = if speaks == Speaks::Docker { "moby" } else { "image" };
            solve(wanted, exporter, attributes, None).await
        }
        (Destination::Oci { dest, directory: false }, _) => archive(wanted, "oci", name(names), dest).await,
        (Destination::Docker { dest }, _) => archive(wanted, "docker", name(names), dest).await,
        (Destination::Tar { dest }, _) => archive(wanted, "tar", HashMap::new(), dest).await,
        (Destination::Oci { dest, directory: true }, _) => unpacked(wanted, "oci", name(names), dest).await,
        (Destination::Local { dest }, _) => {
            let upload = Some(Upload::Files(std::path::absolute(dest).map_err(|error| at(dest, error))?));
            solve(wanted, "local", HashMap::new(), upload).await
        }
    }
}

/// A failed export leaves no half archive; `-` is standard output.
async fn archive(
    wanted: Wanted<'_>,
    exporter: &str,
    attributes: HashMap<String, String>,
    dest: &Path,
) -> Result<Option<Exported>, EngineError> {
    if dest == Path::new("-") {
        return solve(wanted, exporter, attributes, Some(Upload::Archive(Box::new(tokio::io::stdout())))).await;
    }
    let whole = WholeFile::create(dest).map_err(|error| at(dest, error))?;
    let exported = fill(wanted, exporter, attributes, whole.path()).await?;
    whole.finish().map_err(|error| at(dest, error))?;
    Ok(exported)
}

/// An OCI archive, unpacked into a directory.
async fn unpacked(
    wanted: Wanted<'_>,
    exporter: &str,
    attributes: HashMap<String, String>,
    dest: &Path,
) -> Result<Option<Exported>, EngineError> {
    let file = tempfile::NamedTempFile::new();
    let file =
        file.map_err(|error| EngineError::new(format!("no temporary file can be made: {error}")))?.into_temp_path();
    let exported = fill(wanted, exporter, attributes, &file).await?;
    let into = dest.to_owned();
    let work = move || unpack(&file, &into);
    tokio::task::spawn_blocking(work).await.map_err(|error| EngineError::new(error.to_string()))??;
    Ok(exported)
}

/// The blobs of an OCI archive into a layout, and its images into the layout's index.
fn unpack(archive: &Path, into: &Path) -> Result<(), EngineError> {
    let failed = |error| at(into, error);
    std::fs::create_dir_all(into).map_err(failed)?;
    let mut archive = tar::Archive::new(std::fs::File::open(archive).map_err(failed)?);
    let mut index = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        match &*entry.path_bytes() {
            b"index.json" => drop(entry.take(LARGEST_DOCUMENT).read_to_end(&mut index).map_err(failed)?),
            name if name.starts_with(b"blobs/") => drop(entry.unpack_in(into).map_err(failed)?),
            _ => {}
        }
    }
    image::export::list_as_archived(into, &index).map_err(|error| EngineError::new(error.to_string()))
}

/// Writes an archive into a file that is there.
async fn fill(
    wanted: Wanted<'_>,
    exporter: &str,
    attributes: HashMap<String, String>,
    file: &Path,
) -> Result<Option<Exported>, EngineError> {
    let writer = open(file).await?;
    let tried = solve(wanted, exporter, attributes.clone(), Some(Upload::Archive(writer))).await;
    match tried {
        // A Docker Engine with its older image store has no exporter for images; but it saves what it has loaded.
        Err(error) if error.message.contains("could not be found") && matches!(exporter, "oci" | "docker") => {
            saved(wanted, exporter, attributes, file).await
        }
        tried => tried,
    }
}

/// What the Docker Engine has loaded, as it saves it.
async fn saved(
    wanted: Wanted<'_>,
    exporter: &str,
    attributes: HashMap<String, String>,
    file: &Path,
) -> Result<Option<Exported>, EngineError> {
    let exported = solve(wanted, "moby", attributes, None).await?;
    let exported = exported.ok_or_else(|| EngineError::new("the builder does not say what the image is called"))?;
    let mut names: Vec<String> = wanted.request.tags.iter().map(|tag| reference::normalized(tag)).collect();
    if names.is_empty() {
        names.push(exported.image.to_string());
    }
    super::daemon::save(&wanted.engine.address, &names, file).await?;
    if exporter == "oci" && file.is_file() && !is_layout(file).unwrap_or(false) {
        return Err(EngineError::new("this Docker Engine saves no OCI archives (Docker 25 does): use type=docker"));
    }
    Ok(Some(exported))
}

/// Whether an archive is an OCI layout; what `docker save` writes is one beside Docker's own form.
fn is_layout(file: &Path) -> std::io::Result<bool> {
    let mut archive = tar::Archive::new(std::fs::File::open(file)?);
    for entry in archive.entries()? {
        if entry?.path_bytes().as_ref() == b"oci-layout" {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn open(path: &Path) -> Result<Box<dyn AsyncWrite + Send + Unpin>, EngineError> {
    let file = tokio::fs::OpenOptions::new().write(true).truncate(true).open(path).await;
    Ok(Box::new(file.map_err(|error| at(path, error))?))
}

fn at(path: &Path, error: std::io::Error) -> EngineError {
    EngineError::new(format!("cannot write {}: {error}", path.display()))
}

/// What the image is called, written nowhere.
async fn named(wanted: Wanted<'_>) -> Result<Exported, EngineError> {
    let exporter = match wanted.engine.address.speaks {
        Speaks::Docker => "moby",
        Speaks::BuildKit => "image",
    };
    let found = solve(wanted, exporter, HashMap::new(), None).await?;
    found.ok_or_else(|| EngineError::new("the builder does not say what the image is called"))
}

/// An image without a name is written too.
fn name(names: String) -> HashMap<String, String> {
    if names.is_empty() { HashMap::new() } else { HashMap::from([("name".to_owned(), names)]) }
}

fn names(tags: &[String]) -> Result<String, EngineError> {
    let normalized: Vec<String> = tags.iter().map(|tag| reference::normalized(tag)).collect();
    match normalized.iter().find(|name| name.contains([',', '"'])) {
        Some(name) => Err(EngineError::new(format!("{name:?} is not the name of an image"))),
        None => Ok(normalized.join(",")),
    }
}

/// The whole build with an exporter.
async fn solve(
    wanted: Wanted<'_>,
    exporter: &str,
    mut attributes: HashMap<String, String>,
    upload: Option<Upload>,
) -> Result<Option<Exported>, EngineError> {
    let Wanted { engine, request, last, output } = wanted;
    let link = engine.link().await?;
    let plan = request.plan.as_ref().ok_or_else(|| EngineError::new("a builder writes out whole builds only"))?;
    let build = engine.build(plan)?;
    let mut options = build.options.clone();
    engine.sources.set(DOCKERFILE, build.dockerfile.clone());
    // What has just run without the cache is in it now.
    options.remove("no-cache");
    if !request.platforms.is_empty() {
        options.insert("platform".to_owned(), request.platforms.join(","));
    }
    let stated = engine.settings.attestations.iter();
    options.extend(stated.map(|(kind, attributes)| (format!("attest:{kind}"), attributes.clone())));
    let imports = &engine.allowed.imports;
    options.extend(caches::for_frontend(imports).map(|list| ("cache-imports".to_owned(), list)));
    let (cache_to, stores) = (&engine.settings.cache_to, &engine.stores);
    let exports: Vec<CacheOption> =
        caches::exports(cache_to, stores).into_iter().filter(|it| last || it.kind == "inline").collect();
    attributes.extend(packing(request));
    let expected = upload.is_some();
    if let Some(upload) = upload {
        engine.uploads.expect(upload);
    }
    let id = random_id();
    let mut control = ControlClient::new(link.channel.clone());
    let cache = buildkit::CacheOptions {
        exports: caches::for_control(&exports),
        imports: caches::for_control(imports),
        ..buildkit::CacheOptions::default()
    };
    let message = buildkit::SolveRequest {
        r#ref: id.clone(),
        session: link.session.id.clone(),
        frontend: FRONTEND.to_owned(),
        frontend_attrs: options,
        exporter_deprecated: exporter.to_owned(),
        exporter_attrs_deprecated: attributes.clone(),
        exporters: vec![buildkit::Exporter { r#type: exporter.to_owned(), attrs: attributes }],
        cache: Some(cache),
        entitlements: engine.allowed.entitlements.clone(),
        ..buildkit::SolveRequest::default()
    };
    let _told = AbortOnDropHandle::new(tokio::spawn(tell(control.clone(), id, output.clone())));
    let answer = link.bridge.answer(control.solve(message)).await;
    let sent = engine.uploads.end();
    let answer = answer.map_err(|status| link.bridge.lost("the builder does not write the result", &status))?;
    if expected && !sent {
        return Err(EngineError::new("the builder has sent nothing"));
    }
    if last {
        caches::finish(cache_to, &answer.exporter_response)?;
    }
    Ok(exported(&answer.exporter_response))
}

/// Says what the builder says of its work, until that ends; not of what it looks at first, as at every build.
async fn tell(mut control: ControlClient<Channel>, id: String, output: Output) {
    let Ok(stream) = control.status(buildkit::StatusRequest { r#ref: id }).await else { return };
    let mut stream = stream.into_inner();
    let mut internal = HashSet::new();
    while let Ok(Some(message)) = stream.message().await {
        let preparing = message.vertexes.into_iter().filter(|it| it.name.starts_with("[internal]"));
        internal.extend(preparing.map(|it| it.digest));
        for status in message.statuses.into_iter().filter(|it| !internal.contains(&it.vertex)) {
            let (what, done, total) = progress::amount(status);
            if output.0.send(OutputEvent::Progress { what, done, total }).await.is_err() {
                return;
            }
        }
    }
}

/// Compression and annotations, as exporters call them.
fn packing(request: &ExportRequest) -> Vec<(String, String)> {
    use crate::image::recompress::PackedAs;
    let mut out = Vec::new();
    let mut set = |name: &str, value: String| out.push((name.to_owned(), value));
    if let Some(format) = request.packing.format {
        let name = match format {
            PackedAs::Plain => "uncompressed",
            PackedAs::Gzip => "gzip",
            PackedAs::Zstd => "zstd",
        };
        set("compression", name.to_owned());
    }
    if let Some(level) = request.packing.level {
        set("compression-level", level.to_string());
    }
    if request.packing.force {
        set("force-compression", "true".to_owned());
    }
    for (name, value) in &request.annotations.manifest {
        set(&format!("annotation.{name}"), value.clone());
    }
    for (name, value) in &request.annotations.manifest_descriptor {
        set(&format!("annotation-manifest-descriptor.{name}"), value.clone());
    }
    for (name, value) in &request.attributes {
        set(name, value.clone());
    }
    out
}

fn exported(answer: &HashMap<String, String>) -> Option<Exported> {
    let digest = |name: &str| answer.get(name).and_then(|text| text.parse::<Digest>().ok());
    let descriptor = answer.get("containerimage.descriptor").and_then(|text| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
        serde_json::from_slice(&bytes).ok()
    });
    let manifest = digest("containerimage.digest");
    let image = digest("containerimage.config.digest").or_else(|| manifest.clone())?;
    Some(Exported { image, manifest, descriptor })
}
