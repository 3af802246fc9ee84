//! Whole screens of the explorer, drawn as an image is read; and what it answers.

use super::answers::{Subject, resolve};
use super::draw;
use super::image::{Image, Layer, Reading};
use super::other::{Other, Pair};
use super::state::{Explorer, PaneId, Selected};
use super::update::{Effect, Message, update};
use super::waste::Report;
use crate::engine::side::{Side, SideError};
use crate::image::base::Base;
use crate::image::config::{History, ImageConfig};
use crate::image::history::of_layers;
use crate::image::inventory::{Inventory, LayerFacts, Progress};
use crate::layers::{Entry, FileTree, Kind, Layer as Changes, Meta};
use crate::tui::Options;
use crate::tui::front::{Heard, Wish};
use crate::tui::theme::{Depth, Look, Theme};
use crate::tui::views;
use crate::tui::widgets::tree::sample;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::sync::Arc;
use std::time::Duration;

const MADE_BY: [&str; 3] = [
    "/bin/sh -c #(nop) ADD file:4c1 in / ",
    "RUN /bin/sh -c go mod download && chmod 600 /etc/group # buildkit",
    "COPY evil\u{1b}[31mname / # buildkit",
];

fn config() -> ImageConfig {
    let history = MADE_BY.map(|made| History { created_by: made.to_owned(), ..History::default() });
    let mut config = ImageConfig { os: "linux".to_owned(), architecture: "amd64".to_owned(), ..ImageConfig::default() };
    config.history = history.to_vec();
    config.config.env = vec!["PATH=/usr/local/go/bin:/usr/bin".to_owned()];
    config.config.cmd = Some(vec!["server".to_owned()]);
    config.rootfs.diff_ids = (0..4u8).map(|layer| crate::image::digest::Digest::of(&[layer])).collect();
    config
}

/// The stack of the other screens' tests, a layer with a name that would colour the terminal, and one without history.
fn layers() -> Vec<Arc<Changes>> {
    let evil = vec![sample::put("opt/evil\u{1b}[31mname", 5_000), sample::put("opt/caf\u{e9}", 1)];
    let last = vec![Entry::Whiteout { path: "usr/bin/gofmt".into() }];
    let base = [
        sample::put("etc/passwd", 900),
        sample::put("etc/group", 400),
        sample::put("usr/bin/go", 13_000_000),
        sample::put("usr/bin/gofmt", 3_000_000),
    ];
    let link = Meta { target: "go".into(), ..Meta::new(Kind::Symlink) };
    let middle = [
        sample::put("go/pkg/mod/cache/download/net.zip", 67_700_000),
        sample::put("go/pkg/mod/golang.org/x/net@v0.30.0/html.go", 12_100_000),
        Entry::Put {
            path: "etc/group".into(),
            meta: Meta { mode: 0o600, size: 400, ..Meta::new(Kind::File) },
            opaque: false,
        },
        Entry::Put { path: "usr/bin/go1".into(), meta: link, opaque: false },
    ];
    let layer = |entries: &[Entry]| Arc::new(Changes { entries: entries.to_vec() });
    vec![layer(&base), layer(&middle), layer(&evil), layer(&last)]
}

fn inventory() -> Inventory {
    let mut inventory = Inventory::of_layers("shop/api:1.4", "docker-archive api.tar", config(), &layers());
    for (layer, (unpacked, compressed)) in
        inventory.layers.iter_mut().zip([(16_003_072, 6_100_000), (79_810_560, 31_000_000), (8_192, 700), (1_536, 120)])
    {
        (layer.unpacked, layer.compressed) = (unpacked, compressed);
    }
    inventory
}

fn image(base: Option<Base>) -> Image {
    let config = config();
    let facts = of_layers(&config).into_iter().zip([6_100_000, 31_000_000, 700, 120]);
    let facts = facts.map(|(instruction, compressed)| LayerFacts { instruction, compressed, ..LayerFacts::default() });
    Image {
        name: "shop/api:1.4".to_owned(),
        origin: "docker-archive api.tar".to_owned(),
        manifest: None,
        annotations: Default::default(),
        layers: facts.map(|facts| Layer { facts, reading: Reading::Waiting }).collect(),
        base,
        alone: Default::default(),
        tree: FileTree::default(),
        inventory: None,
        failure: None,
        config,
    }
}

fn explorer(base: Option<Base>, (columns, rows): (u16, u16)) -> Explorer {
    let look = Look::new(&Theme::dark(), Depth::True, false);
    let mut explorer = Explorer::new(image(base), None, &Options::default(), look, (columns, rows));
    explorer.now = Duration::from_millis(300);
    explorer
}

/// Takes a message in, and answers what the panes ask because of it.
fn tell(explorer: &mut Explorer, message: Message) -> Vec<Effect> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut effects = update(explorer, message);
    let mut at = 0;
    while at < effects.len() {
        if let Effect::Load(slot, query) = effects[at].clone() {
            let subject = Subject::new(&explorer.image, explorer.other.as_ref());
            let answer = runtime.block_on(subject.answer(&query));
            effects.extend(update(explorer, Message::Loaded { slot, query, answer }));
        }
        if effects[at] == Effect::Compare {
            let image = explorer.image.inventory.as_deref().unwrap().clone();
            let other = explorer.other.as_ref().unwrap().side.clone().unwrap();
            let pair = runtime.block_on(Pair::of(other, image)).map(Arc::new);
            effects.extend(update(explorer, Message::Compared(pair)));
        }
        if effects[at] == Effect::Account {
            let report = Report::of(explorer.image.inventory.as_ref().unwrap(), explorer.image.base.as_ref());
            effects.extend(update(explorer, Message::Accounted(Box::new(report))));
        }
        at += 1;
    }
    effects
}

fn press(explorer: &mut Explorer, code: KeyCode) -> Vec<Effect> {
    tell(explorer, Message::Terminal(Heard::Key(KeyEvent::new(code, KeyModifiers::NONE))))
}

fn drawn(explorer: &mut Explorer) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, explorer.size.0, explorer.size.1));
    draw::draw(explorer, &mut buffer);
    views::finish(&mut buffer, &explorer.look);
    crate::tui::screens::text(&buffer)
}

/// The screen at both sizes that matter, after the messages and keys.
fn check(name: &str, base: Option<Base>, messages: fn() -> Vec<Message>, keys: &[KeyCode]) {
    check_of(name, |size| explorer(base.clone(), size), messages, keys);
}

fn check_of(name: &str, made: impl Fn((u16, u16)) -> Explorer, messages: fn() -> Vec<Message>, keys: &[KeyCode]) {
    for size in [(80, 24), (200, 60)] {
        let mut explorer = made(size);
        update(&mut explorer, Message::Terminal(Heard::Resize(size.0, size.1)));
        for message in messages() {
            tell(&mut explorer, message);
        }
        for code in keys {
            press(&mut explorer, *code);
        }
        insta::assert_snapshot!(format!("{name}-{}", size.0), drawn(&mut explorer));
    }
}

fn read() -> Vec<Message> {
    vec![Message::Read(Box::new(Ok(inventory())))]
}

fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn layers_are_there_before_anything_is_read() {
    check("opened", None, Vec::new, &[]);
}

/// Layer 0 is read, 1 and 3 are on their way.
fn some() -> Vec<Message> {
    let facts = Box::new(LayerFacts { unpacked: 16_003_072, compressed: 6_100_000, ..LayerFacts::default() });
    vec![
        Message::Progress(Progress::Fetched { layer: 3, done: 60, total: 120 }),
        Message::Progress(Progress::Read { layer: 1, done: 20_000_000, total: 31_000_000 }),
        Message::Progress(Progress::Finished { layer: 0, facts }),
        Message::Progress(Progress::Tree(FileTree::merge(&layers()[..1]))),
    ]
}

/// Layer 2 is read too, and waits for 1.
fn some_waits() -> Vec<Message> {
    let facts = Box::new(LayerFacts { unpacked: 8_192, compressed: 700, ..LayerFacts::default() });
    let mut messages = some();
    messages.push(Message::Progress(Progress::Finished { layer: 2, facts }));
    messages.push(Message::Progress(Progress::Alone { layer: 2, tree: FileTree::merge(&layers()[2..3]) }));
    messages
}

#[test]
fn trees_come_as_layers_are_read() {
    check("reading", None, some, &[]);
    check("reading-above", None, some, &[KeyCode::Down]);
    check("reading-alone", None, some_waits, &[KeyCode::Down, KeyCode::Down]);
    check("reading-alone-files", None, some_waits, &[KeyCode::Down, KeyCode::Down, KeyCode::Char('4')]);
}

#[test]
fn a_layer_that_cannot_be_had_is_no_empty_one() {
    let broken = Some("layer 2: the registry has no blob".to_owned());
    let facts = Box::new(LayerFacts { broken, ..LayerFacts::default() });
    let mut explorer = explorer(None, (80, 24));
    for message in [Progress::Finished { layer: 2, facts }, Progress::Alone { layer: 2, tree: FileTree::default() }] {
        tell(&mut explorer, Message::Progress(message));
    }
    explorer.selected = Selected::Layer(2);
    let place = explorer.layer_place();
    assert_eq!(
        (place.instead.as_str(), place.after),
        ("Nothing of this layer is here: layer 2: the registry has no blob", None)
    );
}

#[test]
fn of_an_image_without_layers_none_is_named() {
    let mut config = config();
    config.rootfs.diff_ids.clear();
    config.history.clear();
    for keys in ["", "3", "4"] {
        let mut explorer = explorer(None, (120, 40));
        explorer.image.layers.clear();
        let empty = Inventory::of_layers("empty:1", "", config.clone(), &[]);
        tell(&mut explorer, Message::Read(Box::new(Ok(empty))));
        typed(keys).into_iter().for_each(|code| drop(press(&mut explorer, code)));
        let screen = drawn(&mut explorer);
        assert!(screen.contains("The image has no layers.") && !screen.contains("unattributed"), "{screen}");
    }
}

#[test]
fn a_layer_and_what_it_changed() {
    check("layer", Some(Base { name: "golang:1.23".to_owned(), layers: 1 }), read, &[KeyCode::Down]);
}

#[test]
fn names_are_harmless() {
    check("evil", None, read, &[KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
}

#[test]
fn the_whole_file_system() {
    let mut keys = vec![KeyCode::End];
    keys.extend(typed("4i*o"));
    check("files", None, read, &keys);
}

#[test]
fn any_two_layers_are_compared() {
    check("compared", None, read, &[KeyCode::Char('d'), KeyCode::End, KeyCode::Char('3')]);
}

/// The image before it had its last two layers, for another platform.
fn older() -> Inventory {
    let mut config = config();
    config.architecture = "arm64".to_owned();
    config.config.cmd = None;
    config.config.env.push("DEBUG=1".to_owned());
    config.rootfs.diff_ids.truncate(1);
    let mut layers = layers();
    layers.truncate(1);
    layers.push(Arc::new(Changes { entries: vec![sample::put("usr/lib/old.so", 2_000_000)] }));
    Inventory::of_layers("shop/api:1.3", "docker-archive older.tar", config, &layers)
}

/// The image beside the older one, whose layers are not read yet.
fn beside(size: (u16, u16)) -> Explorer {
    let older = older();
    let layers = older.layers.iter().map(|facts| Layer { facts: facts.clone(), reading: Reading::Waiting });
    let image = Image {
        name: older.name.clone(),
        origin: older.origin.clone(),
        layers: layers.collect(),
        config: older.config.clone(),
        ..image(None)
    };
    let other = Other { name: older.name, image: Some(image), how_far: None, side: None, pair: None, failure: None };
    let mut explorer = explorer(None, size);
    explorer.selected = Selected::Other;
    explorer.other = Some(other);
    explorer
}

fn both_read() -> Vec<Message> {
    let mut messages = read();
    messages.push(Message::OtherRead(Box::new(Ok(Side::of_image("shop/api:1.3".to_owned(), older())))));
    messages
}

#[test]
fn the_whole_image_is_compared_with_another() {
    check_of("against", beside, both_read, &[]);
    check_of("against-details", beside, both_read, &typed("2"));
    check_of("against-files", beside, both_read, &typed("4*"));
    check_of("against-layer", beside, both_read, &[KeyCode::Down]);
}

#[test]
fn the_other_is_waited_for() {
    let other_first = || {
        let mut messages = both_read();
        messages.reverse();
        messages.truncate(1);
        messages
    };
    check_of("against-reading", beside, other_first, &[]);
}

#[test]
fn that_the_other_cannot_be_read_or_is_not_whole_is_said() {
    let failed = || {
        let error = SideError::Here("old: Permission denied".to_owned());
        let mut messages = read();
        messages.push(Message::OtherRead(Box::new(Err(error))));
        messages
    };
    check_of("against-failed", beside, failed, &[KeyCode::Tab]);
    let broken = || {
        let mut older = older();
        older.layers[1].broken = Some("docker-archive older.tar: layer 1: the archive ends at byte 1024".to_owned());
        let mut messages = read();
        messages.push(Message::OtherRead(Box::new(Ok(Side::of_image("shop/api:1.3".to_owned(), older)))));
        messages
    };
    check_of("against-broken", beside, broken, &typed("2"));
}

#[test]
fn what_cannot_be_read_of_a_directory_is_said() {
    let mut explorer = beside((120, 40));
    explorer.other.as_mut().unwrap().image = None;
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    let mut directory = Side::of_image("old".to_owned(), older());
    directory.warnings = vec!["old/etc: Permission denied; nothing in it is compared".to_owned()];
    tell(&mut explorer, Message::OtherRead(Box::new(Ok(directory))));
    assert!(drawn(&mut explorer).contains("not whole: old/etc: Permission denied; nothing in it is compared"));
}

#[test]
fn the_other_is_tried_again_by_itself() {
    let mut explorer = beside((120, 40));
    let error = SideError::Here("old: Permission denied".to_owned());
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    tell(&mut explorer, Message::OtherRead(Box::new(Err(error))));
    assert!(drawn(&mut explorer).contains("not compared, r tries again: old: Permission denied"));
    assert_eq!(press(&mut explorer, KeyCode::Char('r')), [Effect::ReadOther]);
    assert!(explorer.image.is_whole() && explorer.is_loading());
    let whole = both_read().pop().unwrap();
    tell(&mut explorer, whole);
    assert!(explorer.is_whole() && drawn(&mut explorer).contains("AGAINST shop/api:1.3"));
}

#[test]
fn of_the_same_image_nothing_differs() {
    let same = || {
        let mut messages = read();
        messages.push(Message::OtherRead(Box::new(Ok(Side::of_image("shop/api:1.4".to_owned(), inventory())))));
        messages
    };
    check_of("against-same", beside, same, &[]);
}

#[test]
fn what_is_beside_the_image_is_left_and_come_back_to() {
    let check = |keys: &[KeyCode], expected: Selected| {
        let mut explorer = beside((120, 40));
        both_read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
        keys.iter().for_each(|code| drop(press(&mut explorer, *code)));
        assert_eq!(explorer.selected, expected, "{keys:?}");
        explorer
    };
    check(&[], Selected::Other);
    check(&[KeyCode::Down], Selected::Layer(0));
    check(&[KeyCode::Down, KeyCode::Up], Selected::Other);
    check(&[KeyCode::End, KeyCode::Home], Selected::Other);
    check(&typed("/copy"), Selected::Layer(2));
    check(&[typed("/1.3"), vec![KeyCode::Enter]].concat(), Selected::Other);
    // Two layers are compared as ever, and the whole image is with the other.
    let place = check(&[KeyCode::Down, KeyCode::Char('d'), KeyCode::Down], Selected::Layer(1)).place();
    assert!(place.text.ends_with("(layer 1 against layer 0)"), "{}", place.text);
    let place = check(&[KeyCode::Down, KeyCode::Char('d'), KeyCode::Up], Selected::Other).place();
    assert_eq!(place.text, "against shop/api:1.3");
    assert_eq!(check(&[KeyCode::Char('d')], Selected::Other).mark, None);
}

#[test]
fn the_bytes_are_a_picture() {
    check("map", None, read, &typed("5"));
    let keys = [KeyCode::Char('5'), KeyCode::Right, KeyCode::Enter];
    check("map-inside", None, read, &keys);
}

#[test]
fn the_bytes_flow_from_the_layers() {
    check("flow", Some(Base { name: "golang:1.23".to_owned(), layers: 1 }), read, &typed("7"));
}

#[test]
fn what_is_dead_is_told_and_leads_to_the_file() {
    check("waste", None, read, &typed("6"));
    let mut explorer = explorer(None, (120, 40));
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    typed("6").into_iter().for_each(|code| drop(press(&mut explorer, code)));
    typed("/gofmt").into_iter().for_each(|code| drop(press(&mut explorer, code)));
    press(&mut explorer, KeyCode::Enter);
    press(&mut explorer, KeyCode::Enter);
    assert_eq!(explorer.selected, Selected::Layer(0));
    assert_eq!(press(&mut explorer, KeyCode::Char('y')), [Effect::Terminal(Wish::Copy("/usr/bin/gofmt".to_owned()))]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let broken = || {
        let mut inventory = inventory();
        inventory.layers[1].broken = Some(
            "docker-archive api.tar: layer 1, sha256:4bf5: the archive ends in the middle of an entry, at byte 1024 of \
             the blob"
                .to_owned(),
        );
        vec![Message::Read(Box::new(Ok(inventory)))]
    };
    check("broken", None, broken, &[KeyCode::Down, KeyCode::Char('2')]);
}

#[test]
fn what_could_not_be_read_is_tried_again() {
    let mut explorer = explorer(None, (120, 40));
    assert_eq!(press(&mut explorer, KeyCode::Char('r')), []);
    let mut broken = inventory();
    broken.layers[1].broken = Some("the registry does not answer".to_owned());
    tell(&mut explorer, Message::Read(Box::new(Ok(broken))));
    let screen = drawn(&mut explorer);
    assert!(screen.contains("not whole, r reads it again: the registry does not answer"), "{screen}");
    press(&mut explorer, KeyCode::Down);
    assert!(drawn(&mut explorer).contains("r read again"));
    let is_asked = |effects: Vec<Effect>| effects.contains(&Effect::Read);
    assert!(is_asked(press(&mut explorer, KeyCode::Char('r'))));
    let screen = drawn(&mut explorer);
    assert!(screen.contains("READING, 0 of 4") && screen.contains("Layer 1 is being read."), "{screen}");
    // Once is enough, and what is whole stays.
    assert!(!is_asked(press(&mut explorer, KeyCode::Char('r'))));
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    assert!(!is_asked(press(&mut explorer, KeyCode::Char('r'))));
    assert!(explorer.image.is_whole() && drawn(&mut explorer).contains("html.go"));
    // The same if nothing could be read at all.
    explorer.image.begin_again();
    let lost = crate::image::source::SourceError::new(crate::image::source::SourceErrorKind::Io, "no room");
    tell(&mut explorer, Message::Read(Box::new(Err(lost))));
    assert!(drawn(&mut explorer).contains("not read, r tries again: no room"));
    assert!(is_asked(press(&mut explorer, KeyCode::Char('r'))));
    assert!(explorer.image.is_loading());
}

#[test]
fn layers_that_are_not_whole_are_counted() {
    let mut explorer = explorer(None, (120, 40));
    let layers: Vec<Arc<Changes>> = (0..4).map(|_| Arc::default()).collect();
    let mut inventory = Inventory::of_layers("shop/api:1.4", "", config(), &layers);
    for layer in 1..3 {
        inventory.layers[layer].broken = Some("the blob is not in the archive".to_owned());
    }
    tell(&mut explorer, Message::Read(Box::new(Ok(inventory))));
    let screen = drawn(&mut explorer);
    assert!(screen.contains("2 LAYERS NOT WHOLE"), "{screen}");
}

#[test]
fn a_file_that_takes_the_trees_place_gives_way_to_it() {
    let mut explorer = explorer(None, (80, 24));
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    typed("4").into_iter().for_each(|code| drop(press(&mut explorer, code)));
    press(&mut explorer, KeyCode::Char('*'));
    press(&mut explorer, KeyCode::Down);
    press(&mut explorer, KeyCode::Enter);
    assert!(explorer.viewing && drawn(&mut explorer).contains("/etc/group at layer 0"));
    press(&mut explorer, KeyCode::Char('4'));
    assert!(!explorer.viewing && explorer.focus == PaneId::Files);
}

#[test]
fn the_keys_are_explained() {
    check("help", None, read, &typed("?"));
}

#[test]
fn lists_are_gone_through_as_in_a_pager() {
    let after = |keys: &str| {
        let mut explorer = explorer(None, (120, 40));
        read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            press(&mut explorer, code);
        }
        explorer
    };
    let check_layer =
        |keys: &str, expected: usize| assert_eq!(after(keys).selected, Selected::Layer(expected), "{keys}");
    check_layer("/copy", 2);
    check_layer("/copy\x1b", 0);
    check_layer("/copy\nG", 3);
    let check = |keys: &str, expected: &str| {
        assert_eq!(after(&format!("4{keys}")).selected_path().unwrap(), expected, "{keys}");
    };
    check("*jj", "etc/passwd");
    check("*jjg", "etc");
    check("*G", "usr/bin/gofmt");
    check("/bin/go\n", "usr/bin/go");
    check("/bin/go\nn", "usr/bin/gofmt");
    check("/bin/go\nnnN", "usr/bin/gofmt");
    // What is typed is gone to at once, and nothing stays open that was opened on the way.
    check("/pa", "etc/passwd");
    check("/gof", "usr/bin/gofmt");
    check("/gf", "usr/bin/gofmt");
    check("/g\x1bj", "usr");
}

#[test]
fn a_path_is_copied_and_extracted() {
    let mut explorer = explorer(None, (120, 40));
    read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
    typed("4").into_iter().for_each(|code| drop(press(&mut explorer, code)));
    assert_eq!(press(&mut explorer, KeyCode::Char('y')), [Effect::Terminal(Wish::Copy("/etc".to_owned()))]);
    press(&mut explorer, KeyCode::Char('e'));
    let effects = press(&mut explorer, KeyCode::Enter);
    let [Effect::Extract { path, to, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((path.to_string(), to.display().to_string()), ("etc".to_owned(), "./etc".to_owned()));
    // Of a layer it is everything.
    typed("1e").into_iter().for_each(|code| drop(press(&mut explorer, code)));
    let effects = press(&mut explorer, KeyCode::Enter);
    let [Effect::Extract { path, to, .. }] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((path.len(), to.display().to_string()), (0, "./root".to_owned()));
}

#[test]
fn links_are_followed_and_do_not_lead_out() {
    let link = |path: &str, target: &str| {
        let meta = Meta { target: target.into(), ..Meta::new(Kind::Symlink) };
        Entry::Put { path: path.into(), meta, opaque: false }
    };
    let entries = vec![
        sample::put("usr/lib/x", 1),
        link("lib", "usr/lib"),
        link("usr/up", "../../../../lib/x"),
        link("round", "round"),
        link("abs", "/lib"),
    ];
    let tree = FileTree::merge(&[Arc::new(Changes { entries })]);
    let check = |path: &str, expected: Option<&str>| {
        let found = resolve(&tree, path.into()).map(|(_, path)| path.to_string());
        assert_eq!(found.as_deref(), expected, "{path}");
    };
    check("lib/x", Some("usr/lib/x"));
    check("usr/up", Some("usr/lib/x"));
    check("abs/../lib/./x", Some("usr/lib/x"));
    check("abs", Some("usr/lib"));
    check("round", None);
    check("usr/lib/y", None);
    check("", Some(""));
}

/// An image of one archive, read from a file. The directory must outlive it.
fn archived(dir: &std::path::Path, layers: &[&[&str]]) -> Inventory {
    let mut out = tar::Builder::new(std::fs::File::create(dir.join("image.tar")).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, name, bytes).unwrap();
    };
    let mut diff_ids = Vec::new();
    for (number, members) in layers.iter().enumerate() {
        let mut layer = tar::Builder::new(Vec::new());
        for member in *members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o750);
            match member.split_once(" = ") {
                Some((path, target)) => {
                    header.set_entry_type(tar::EntryType::Link);
                    layer.append_link(&mut header, path, target).unwrap();
                }
                None => {
                    let (path, content) = member.split_once(' ').unwrap();
                    header.set_size(content.len() as u64);
                    layer.append_data(&mut header, path, content.as_bytes()).unwrap();
                }
            }
        }
        let bytes = layer.into_inner().unwrap();
        diff_ids.push(crate::image::digest::Digest::of(&bytes));
        put(&number.to_string(), &bytes);
    }
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    put("config.json", config.to_string().as_bytes());
    let names: Vec<String> = (0..layers.len()).map(|number| number.to_string()).collect();
    put("manifest.json", serde_json::json!([{"Config": "config.json", "Layers": names}]).to_string().as_bytes());
    out.into_inner().unwrap();
    let text = format!("docker-archive:{}", dir.join("image.tar").display());
    let surroundings = crate::image::source::Surroundings {
        scratch: dir.to_owned(),
        docker: Default::default(),
        told: Default::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let opened = crate::image::source::open_in(&text, "linux/amd64", &surroundings).await.unwrap();
        crate::image::inventory::read(&opened, &Default::default(), |_| ()).await.unwrap()
    })
}

#[test]
fn a_tree_is_written_out_with_what_each_layer_has_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = archived(
        dir.path(),
        &[
            &["a/one first", "a/two lower", "b outside"],
            &["a/one second", "a/one again", "a/three = a/one", "a/four = b", "a/five old", "a/five = a/one"],
        ],
    );
    let to = dir.path().join("out");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let extract = |path: &str, to: &std::path::Path| {
        let at = crate::snapshot::SnapshotId("layers 2".to_owned());
        let mut image = image(None);
        image.finish(inventory.clone());
        runtime.block_on(super::extract::extract(Subject::new(&image, None), at, path.into(), to.to_owned()))
    };
    let said = extract("a", &to).unwrap();
    assert!(said.starts_with("5 files, 27 B written to"), "{said}");
    let read = |name: &str| std::fs::read_to_string(to.join(name)).unwrap();
    let names = ["one", "two", "three", "four", "five"];
    assert_eq!(names.map(read), ["again", "lower", "again", "outside", "again"]);
    assert!(extract("a", &to.join("one")).unwrap_err().contains("exists already"));
    assert!(extract("nowhere", &dir.path().join("x")).unwrap_err().contains("there is no"));
}

/// Rows are those of the waste, in which the first finding is selected at first.
#[test]
fn what_is_clicked_again_is_gone_to() {
    let check = |rows: &[u16], expected: (PaneId, usize)| {
        let mut explorer = explorer(None, (120, 40));
        read().into_iter().for_each(|message| drop(tell(&mut explorer, message)));
        press(&mut explorer, KeyCode::Char('6'));
        for row in rows {
            drawn(&mut explorer);
            let area = explorer.areas().of(PaneId::Waste).unwrap();
            let kind = MouseEventKind::Down(MouseButton::Left);
            let event = MouseEvent { kind, column: area.x + 5, row: area.y + 1 + row, modifiers: KeyModifiers::NONE };
            tell(&mut explorer, Message::Terminal(Heard::Mouse(event)));
        }
        assert_eq!((explorer.focus, explorer.selected), (expected.0, Selected::Layer(expected.1)), "{rows:?}");
    };
    let (first, second, below) = (5, 6, 33);
    check(&[first], (PaneId::Layer, 1));
    check(&[second], (PaneId::Waste, 0));
    check(&[second, second], (PaneId::Layer, 0));
    check(&[below, first], (PaneId::Layer, 1));
}

#[test]
fn the_mouse_turns_the_help_and_closes_it() {
    let mut explorer = explorer(None, (80, 24));
    let kinds = [MouseEventKind::ScrollDown, MouseEventKind::ScrollUp, MouseEventKind::Down(MouseButton::Left)];
    press(&mut explorer, KeyCode::Char('?'));
    let tops = kinds.map(|kind| {
        let event = MouseEvent { kind, column: 10, row: 10, modifiers: KeyModifiers::NONE };
        tell(&mut explorer, Message::Terminal(Heard::Mouse(event)));
        explorer.help
    });
    assert_eq!(tops, [Some(1), Some(0), None]);
}
