use super::*;
use crate::debug::trace::tests::three;
use crate::image::base::Base;
use crate::image::config::{History, ImageConfig};
use crate::image::digest::Digest;
use crate::image::inventory::Inventory;
use crate::layers::waste::Waste;
use crate::layers::{self, Entry};
use crate::tui::theme::{Depth, Theme};
use crate::tui::views::origins::Traced;
use crate::tui::widgets::tree::sample;

fn built() -> Picture {
    Picture::of_build(&Arc::new(Traced::of(three()).unwrap()))
}

/// Four layers, of which the lowest is a base's and the last has no history.
fn image(base: bool) -> Picture {
    let layers: [&[Entry]; 4] = [
        &[
            sample::put("usr/bin/go", 13_000_000),
            sample::put("usr/bin/gofmt", 3_000_000),
            sample::put("etc/group", 400),
        ],
        &[sample::put("go/pkg/net.zip", 67_700_000), sample::put("var/cache/evil\u{1b}[31m", 12_100_000)],
        &[Entry::Whiteout { path: "go".into() }, sample::put("srv/app", 9_000_000)],
        &[sample::put("etc/passwd", 900)],
    ];
    let layers = layers.map(|entries| Arc::new(layers::Layer { entries: entries.to_vec() }));
    let made = ["/bin/sh -c #(nop) ADD file:4c1 in / ", "RUN /bin/sh -c go mod download # buildkit", "COPY app /srv/"];
    let history = made.map(|made| History { created_by: made.to_owned(), ..History::default() }).to_vec();
    let mut config = ImageConfig { history, ..ImageConfig::default() };
    config.rootfs.diff_ids = (0..4u8).map(|layer| Digest::of(&[layer])).collect();
    let inventory = Inventory::of_layers("shop/api:1.4", "docker-archive api.tar", config, &layers);
    let base = base.then(|| Base { name: "golang:1.23".to_owned(), layers: 1 });
    Picture::of_image(&inventory, &Waste::of(&inventory.tree), base.as_ref())
}

/// After these keys (`>` is Enter, `<` Backspace).
fn after(picture: Picture, (columns, rows): (u16, u16), keys: &str) -> Flow {
    let mut flow = Flow::default();
    flow.resized(columns, rows);
    flow.set(Arc::new(picture), Some(SnapshotId("image".to_owned())));
    for key in keys.chars() {
        press(&mut flow, key);
    }
    flow
}

fn press(flow: &mut Flow, key: char) -> Outcome {
    let code = match key {
        '>' => KeyCode::Enter,
        '<' => KeyCode::Backspace,
        'j' => KeyCode::Down,
        'l' => KeyCode::Right,
        'h' => KeyCode::Left,
        key => KeyCode::Char(key),
    };
    flow.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn drawn(flow: &mut Flow, (columns, rows): (u16, u16), ascii: bool) -> String {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    flow.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, ascii), true);
    let line = |y| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..rows).map(line).collect::<Vec<_>>().join("\n")
}

fn check(name: &str, picture: Picture, size: (u16, u16), ascii: bool, keys: &str) {
    let mut flow = after(picture, size, keys);
    let drawing = drawn(&mut flow, size, ascii);
    insta::assert_snapshot!(name, format!("{}\n{drawing}", flow.title()));
}

#[test]
fn a_build_flows_from_its_stages_to_its_instructions() {
    check("build", built(), (76, 16), false, "");
    check("build-ascii", built(), (76, 16), true, "j");
    check("build-low", built(), (60, 6), false, "l");
    check("build-small", built(), (30, 6), false, "");
}

#[test]
fn a_stage_opens_to_its_instructions_and_those_to_files() {
    check("files", built(), (76, 8), false, "j>");
    check("arrival", built(), (76, 8), false, "lj>j");
    check("layers", image(false), (76, 20), false, "");
}

#[test]
fn an_image_flows_from_its_layers_to_its_directories() {
    check("image", image(true), (120, 24), false, "");
    check("image-ascii", image(true), (76, 12), true, "l");
}

#[test]
fn it_is_walked_through() {
    let check = |keys: &str, title: &str, file: Option<&str>| {
        let flow = after(built(), (76, 16), keys);
        assert_eq!(
            (flow.title(), flow.selected_path().map(|path| path.to_string())),
            (title.to_owned(), file.map(str::to_owned)),
            "{keys}"
        );
    };
    check("", "the image", None);
    check("j>", "build context", Some("doc/y.txt"));
    check("j>j", "build context", Some("doc/x.txt"));
    check("j><", "the image", None);
    check("j>h", "the image", None);
    check("<", "the image", None);
    check("l>", "COPY --from=builder /src/target /out", Some("out/app"));
    let mut flow = after(built(), (76, 16), "j>");
    let Outcome::Effect(Request::OpenFile { path, .. }) = press(&mut flow, '>') else { panic!("no file") };
    assert_eq!(path, "doc/y.txt");
    assert_eq!(press(&mut flow, 'y'), Outcome::Effect(Request::Copy("/doc/y.txt".to_owned())));
    assert_eq!((flow.find("x.T"), flow.selected_path()), (1, Some("doc/x.txt".into())));
}

/// What is too small for a row of its own goes together, and can be entered.
#[test]
fn the_smallest_go_together() {
    let mut flow = after(image(true), (76, 4), "");
    let Some(Level::Streams(sankey)) = flow.levels.last() else { panic!() };
    let names: Vec<&str> = sankey.scene.left.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["golang:1.23", "RUN go mod download", "2 more"]);
    press(&mut flow, 'j');
    press(&mut flow, 'j');
    press(&mut flow, '>');
    assert_eq!(flow.title(), "2 more");
}
