//! `stagedive images`, `pull` and `prune`: the local store.

use super::analyse;
use super::args::{ImagesArgs, PruneArgs, PullArgs};
use super::exit::Failure;
use super::plain::printable;
use super::print;
use super::project;
use super::signals::Signals;
use crate::engine::embedded::Embedded;
use crate::engine::{Output, OutputEvent};
use crate::image::inventory;
use crate::snapshot::image_records::ImageRecord;
use crate::tui::text;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::mpsc;

pub async fn list(args: ImagesArgs) -> Result<(), Failure> {
    let settings = project::bare_settings(args.store.root.as_deref(), None)?;
    let engine = Embedded::start(settings).await.map_err(Failure::Engine)?;
    let images = engine.images();
    if args.json {
        let list: Vec<serde_json::Value> = images.iter().map(json).collect();
        return print::json(&list);
    }
    if images.is_empty() {
        return print::line("no images yet: a build or `stagedive pull` brings them");
    }
    print::line(format_args!("{:<44} {:<14} {:>10} {:>7}  STORED", "IMAGE", "DIGEST", "SIZE", "LAYERS"))?;
    for image in images {
        let digest = image.manifest.as_ref().map_or("–", |digest| digest.short());
        let age = UNIX_EPOCH.checked_add(Duration::from_secs(image.stored)).and_then(|time| time.elapsed().ok());
        let age = age.map_or_else(
            || "–".to_owned(),
            |age| format!("{} ago", text::duration(Duration::from_secs(age.as_secs()))),
        );
        let size = text::size(image.layers.iter().map(|layer| layer.size).sum());
        let (name, layers) = (printable(&image.name), image.layers.len());
        print::line(format_args!("{name:<44} {digest:<14} {size:>10} {layers:>7}  {age}"))?;
    }
    Ok(())
}

fn json(image: &ImageRecord) -> serde_json::Value {
    serde_json::json!({
        "name": image.name,
        "digest": image.manifest,
        "origin": image.origin,
        "stored": image.stored,
        "layers": image.layers.iter().map(|layer| serde_json::json!({
            "diff_id": layer.diff_id, "digest": layer.digest, "size": layer.size,
        })).collect::<Vec<_>>(),
    })
}

pub async fn pull(args: PullArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen();
    tokio::select! {
        pulled = pull_all(args) => pulled,
        // What has come of a blob goes with the one who waits for the rest.
        signal = signals.next() => Err(Failure::Signal(signal)),
    }
}

async fn pull_all(args: PullArgs) -> Result<(), Failure> {
    let mut settings = project::bare_settings(args.store.root.as_deref(), args.platform.as_deref())?;
    settings.pull = true;
    let engine = Embedded::start(settings).await.map_err(Failure::Engine)?;
    for name in &args.images {
        let (sender, mut events) = mpsc::channel(64);
        let show = async move {
            let mut shown: BTreeMap<String, u64> = BTreeMap::new();
            while let Some(event) = events.recv().await {
                if let OutputEvent::Progress { what, done, total } = event {
                    // A line for every tenth of a layer.
                    let tenth = (done * 10).checked_div(total).unwrap_or(0);
                    if shown.insert(what.clone(), tenth) != Some(tenth) {
                        let of = if total > 0 { format!(" of {}", text::size(total)) } else { String::new() };
                        print::note(format_args!("{} {}{of}", printable(&what), text::size(done)));
                    }
                }
            }
        };
        let pull = async {
            let output = Output(sender);
            engine.pull(name, &output).await
        };
        let (pulled, ()) = tokio::join!(pull, show);
        let digest = pulled?;
        let digest = digest.map_or_else(|| "(no digest)".to_owned(), |digest| digest.to_string());
        print::line(format_args!("{} {digest}", printable(name)))?;
    }
    Ok(engine.save().await?)
}

pub async fn prune(args: PruneArgs) -> Result<(), Failure> {
    let settings = project::bare_settings(args.store.root.as_deref(), None)?;
    let engine = Embedded::start(settings).await.map_err(Failure::Engine)?;
    let Some(freed) = engine.prune(args.all).await? else {
        return Err(Failure::Other("another stagedive uses the store now: end it first".to_owned()));
    };
    let indexes = project::store_root(args.store.root.as_deref())?.join(analyse::INDEXES);
    let forgotten = inventory::forget_indexes(&indexes)
        .map_err(|error| Failure::Other(format!("cannot remove {}: {error}", indexes.display())))?;
    let freed = freed.saturating_add(forgotten);
    print::line(format_args!("freed {}", text::size(freed)))
}
