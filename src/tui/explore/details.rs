//! Everything that is known of the selected layer, and of the image.

use super::image::{Layer, Reading};
use super::other::Other;
use super::state::{Explorer, Selected};
use super::waste::kinds;
use crate::image::base::Named;
use crate::image::config::ImageConfig;
use crate::layers::{self, Change, FileTree, Kind};
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::put_line;
use crate::tui::widgets::tree::columns;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use std::collections::BTreeMap;

/// Columns of a name.
const NAME: usize = 12;

/// Draws it. Answers with how many lines there are.
pub fn draw(explorer: &mut Explorer, area: Rect, buffer: &mut Buffer) -> usize {
    let lines = lines(explorer, usize::from(area.width));
    explorer.details_top = explorer.details_top.min(lines.len().saturating_sub(usize::from(area.height)));
    for (row, line) in lines.iter().skip(explorer.details_top).enumerate() {
        put_line(buffer, area, row, line);
    }
    lines.len()
}

fn lines(explorer: &Explorer, width: usize) -> Vec<Line<'static>> {
    let mut page = Page { look: &explorer.look, width, lines: Vec::new() };
    match (explorer.selected, &explorer.other) {
        (Selected::Layer(at), _) => layer(explorer, at, &mut page),
        (Selected::Other, Some(other)) => beside(explorer, other, &mut page),
        (Selected::Other, None) => {}
    }
    path(explorer, &mut page);
    image(explorer, &mut page);
    page.lines
}

/// Which layers touched the path that is selected beside it.
fn path(explorer: &Explorer, page: &mut Page<'_>) {
    let Some(path) = explorer.selected_path() else { return };
    let Some(touches) = layers::blame(&explorer.image.tree, path.as_ref()) else { return };
    page.head(&format!("/{path}"));
    for touch in touches.iter().filter(|touch| touch.change() != Change::Unchanged) {
        let (verb, style) = match touch.change() {
            Change::Added => ("added", page.look.added),
            Change::Removed => ("removed", page.look.removed),
            Change::Modified | Change::Unchanged => ("changed", page.look.changed),
        };
        let mut words = Vec::new();
        if let Some(removal) = touch.gone.as_ref().filter(|removal| removal.by.as_slice() != path.as_slice()) {
            words.push(format!("with /{}", removal.by));
        }
        let differs = touch.differences();
        if let Some(meta) = touch.after.filter(|meta| meta.kind != Kind::Directory || differs.matter()) {
            if meta.kind == Kind::File && (touch.before.is_none() || differs.content) {
                words.push(text::size(meta.size));
            }
            if touch.before.is_none() || differs.mode {
                words.push(columns::mode(meta));
            }
            if touch.before.is_none() || differs.owner {
                words.push(columns::owner(meta));
            }
            words.push(columns::time(meta.mtime.0));
        }
        if touch.emptied {
            words.push("emptied of what lower layers have in it".to_owned());
        } else if touch.before.is_some() && touch.after.is_some() && !differs.matter() {
            words.push("the same as before".to_owned());
        }
        page.styled(&format!("layer {}", touch.layer), verb, style, &words.join("  "));
    }
}

/// What the two have in common, and in what they differ besides their files.
fn beside(explorer: &Explorer, other: &Other, page: &mut Page<'_>) {
    page.head(&format!("Against {}", other.name));
    if let Some(error) = &other.failure {
        page.words(&format!("Not read: {}", error.message), page.look.warning);
    }
    if let Some(pair) = &other.pair {
        let [before, after] = [pair.diff.before_tree(), pair.diff.after_tree()].map(|tree| tree.bytes(FileTree::ROOT));
        page.fact("in files", &format!("{} there, {} here", text::size(before), text::size(after)));
    }
    let Some(there) = &other.image else { return };
    page.fact("from", &there.origin);
    for broken in there.layers.iter().filter_map(|layer| layer.facts.broken.as_ref()) {
        page.words(&format!("Not whole: {broken}"), page.look.warning);
    }
    let image = &explorer.image;
    let alike = |(a, b): &(&Layer, &Layer)| a.facts.diff_id.is_some() && a.facts.diff_id == b.facts.diff_id;
    let shared = image.layers.iter().zip(&there.layers).take_while(alike).count();
    let shared = if shared == 0 { "none".to_owned() } else { format!("the lowest {shared}") };
    page.fact("layers", &format!("{} there, {} here, {shared} in common", there.layers.len(), image.layers.len()));
    let [before, after] = [there, image].map(|it| facts(&it.config));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut same = true;
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        same = false;
        let sides = [(&before, page.look.removed, '-'), (&after, page.look.added, '+')];
        for (value, style, sign) in
            sides.into_iter().filter_map(|(side, style, sign)| Some((side.get(name)?, style, sign)))
        {
            page.words(&format!("{sign} {name} {value}"), style);
        }
    }
    if same {
        page.words("The configurations say the same.", page.look.muted);
    }
}

fn layer(explorer: &Explorer, at: usize, page: &mut Page<'_>) {
    let Some(layer) = explorer.image.layers.get(at) else { return };
    let facts = &layer.facts;
    page.head(&format!("Layer {at}"));
    if let Some(broken) = &facts.broken {
        page.words(&format!("Not whole: {broken}"), page.look.warning);
    }
    match &facts.instruction {
        Some(instruction) => {
            for line in instruction.text.lines().chain(instruction.with.iter().map(String::as_str)) {
                page.words(line, page.look.text);
            }
            page.fact("arguments", &instruction.args);
            page.fact("made", instruction.created.as_deref().unwrap_or_default());
        }
        None => page.words("The image's history does not say what made this layer.", page.look.muted),
    }
    let exact = |bytes: u64| format!("{} ({bytes} bytes)", text::size(bytes));
    if facts.unpacked > 0 {
        page.fact("unpacked", &exact(facts.unpacked));
    }
    if let Some(waste) = explorer.account.as_ref().and_then(|waste| waste.layers.get(at)) {
        let dead = match waste.dead.total() {
            0 => String::new(),
            dead => format!(", {} of it dead: {}", text::size(dead), kinds(waste.dead)),
        };
        page.fact("in files", &format!("{}{dead}", text::size(waste.bytes)));
        if waste.killed.total() > 0 {
            page.fact("killed", &kinds(waste.killed));
        }
    }
    let format = match facts.format {
        Some(crate::image::compression::Format::Plain) => ", not compressed".to_owned(),
        Some(format) => format!(", {}", format!("{format:?}").to_lowercase()),
        None => String::new(),
    };
    if facts.compressed > 0 {
        page.fact("blob", &format!("{}{format}", exact(facts.compressed)));
    }
    if layer.reading == Reading::Done {
        page.fact("entries", &facts.entries.to_string());
    }
    let shown = |digest: &Option<crate::image::digest::Digest>| digest.as_ref().map(ToString::to_string);
    page.fact("digest", &shown(&facts.digest).unwrap_or_default());
    page.fact("diff_id", &shown(&facts.diff_id).unwrap_or_default());
    if layer.reading == Reading::Done && facts.broken.is_none() {
        let checked = if facts.checked { "are those that the digest names" } else { "not held against the digest" };
        page.fact("bytes", checked);
    }
    for (path, packages) in &facts.databases {
        page.fact("packages", &format!("{} in /{path}", packages.len()));
    }
    for key in &facts.keys {
        page.words(&format!("/{key} begins as a private key does"), page.look.warning);
    }
    for note in &facts.notes {
        page.words(note, page.look.warning);
    }
}

fn image(explorer: &Explorer, page: &mut Page<'_>) {
    let image = &explorer.image;
    page.head("Image");
    page.words(&image.name, page.look.text);
    page.fact("from", &image.origin);
    page.fact("manifest", &image.manifest.as_ref().map(ToString::to_string).unwrap_or_default());
    page.fact("platform", &platform(&image.config));
    page.fact("created", image.config.created.as_deref().unwrap_or_default());
    if let Some(base) = &image.base {
        page.fact("base", &format!("{}, {}", base.name, text::count(base.layers, "layer")));
    } else if let Some(name) = Named::of(&image.annotations, &image.config).name {
        page.fact("base", &format!("{name}, as the image says; how many layers it has is not known"));
    }
    let config = &image.config.config;
    page.fact("entrypoint", &list(&config.entrypoint));
    page.fact("command", &list(&config.cmd));
    page.fact("user", &config.user);
    page.fact("directory", &config.working_dir);
    let ports: Vec<&str> = config.exposed_ports.keys().map(String::as_str).collect();
    page.fact("ports", &ports.join(", "));
    let volumes: Vec<&str> = config.volumes.keys().map(String::as_str).collect();
    page.fact("volumes", &volumes.join(", "));
    for (at, value) in config.env.iter().enumerate() {
        page.pair(if at == 0 { "environment" } else { "" }, value);
    }
    for (at, (name, value)) in config.labels.iter().enumerate() {
        page.pair(if at == 0 { "labels" } else { "" }, &format!("{name}={value}"));
    }
    for (at, (name, value)) in image.annotations.iter().enumerate() {
        page.pair(if at == 0 { "annotations" } else { "" }, &format!("{name}={value}"));
    }
}

pub(super) fn platform(config: &ImageConfig) -> String {
    let slash = |text: &str| if text.is_empty() { String::new() } else { format!("/{text}") };
    format!("{}{}{}", config.os, slash(&config.architecture), slash(&config.variant))
}

fn list(words: &Option<Vec<String>>) -> String {
    words.as_ref().map(|words| format!("{words:?}")).unwrap_or_default()
}

/// What a configuration says, by names that can be compared.
fn facts(config: &ImageConfig) -> BTreeMap<String, String> {
    let run = &config.config;
    let mut facts = BTreeMap::from([
        ("platform".to_owned(), platform(config)),
        ("entrypoint".to_owned(), list(&run.entrypoint)),
        ("command".to_owned(), list(&run.cmd)),
        ("user".to_owned(), run.user.clone()),
        ("directory".to_owned(), run.working_dir.clone()),
    ]);
    facts.retain(|_, value| !value.is_empty());
    facts.extend(run.exposed_ports.keys().map(|port| (format!("port {port}"), String::new())));
    facts.extend(run.volumes.keys().map(|volume| (format!("volume {volume}"), String::new())));
    facts.extend(run.env.iter().map(|variable| {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        (format!("ENV {name}"), value.to_owned())
    }));
    facts.extend(run.labels.iter().map(|(name, value)| (format!("LABEL {name}"), value.clone())));
    facts
}

struct Page<'l> {
    look: &'l Look,
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Page<'_> {
    fn head(&mut self, title: &str) {
        if !self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        let safe = text::sanitise(title);
        let title = text::clip_start(&safe, self.width, self.look.signs.ellipsis).into_owned();
        self.lines.push(Line::styled(title, self.look.text.add_modifier(Modifier::BOLD)));
    }

    fn words(&mut self, words: &str, style: Style) {
        let safe = text::sanitise(words);
        self.lines.extend(text::wrap(&safe, self.width).into_iter().map(|line| Line::styled(line, style)));
    }

    /// A fact that is left out where there is none.
    fn fact(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.pair(name, value);
        }
    }

    /// A name, a word in a colour and what follows it, on one line.
    fn styled(&mut self, name: &str, word: &str, style: Style, rest: &str) {
        let rest = text::sanitise(rest);
        let room = self.width.saturating_sub(NAME + 9);
        let rest = text::clip(&rest, room, self.look.signs.ellipsis).into_owned();
        self.lines.push(Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), self.look.muted),
            Span::styled(format!("{word:<9}"), style),
            Span::styled(rest, self.look.text),
        ]));
    }

    fn pair(&mut self, name: &str, value: &str) {
        let safe = text::sanitise(value);
        for (at, line) in text::wrap(&safe, self.width.saturating_sub(NAME)).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let name = Span::styled(format!("{name:<NAME$}"), self.look.muted);
            self.lines.push(Line::from(vec![name, Span::styled(line, self.look.text)]));
        }
    }
}
