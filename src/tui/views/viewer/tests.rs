use super::*;
use crate::tui::theme::{Depth, Theme};
use proptest::prelude::*;
use std::sync::Arc;

fn snapshot(name: &str) -> SnapshotId {
    SnapshotId(name.to_owned())
}

fn meta(kind: Kind, size: usize) -> Meta {
    Meta { size: size as u64, mode: 0o644, ..Meta::new(kind) }
}

/// Answers every question with the file's content, until there are no more. How many there were.
fn serve(viewer: &mut Viewer, requests: Vec<Request>, old: &[u8], new: &[u8]) -> usize {
    let mut open = requests;
    let mut count = 0;
    while let Some(request) = open.pop() {
        if let Request::Load(Slot::Tones, query) = &request {
            let Query::Tones { name, text } = query else { panic!("{query:?}") };
            let tones = Arc::new(Tones::of(name.as_ref(), &text.0));
            open.extend(viewer.loaded(query, Ok(Answer::Tones(tones))));
            continue;
        }
        let Request::Load(Slot::Viewer, query) = request else { panic!("{request:?}") };
        let answer = match &query {
            Query::File { offset, limit, .. } => {
                let from = new.get(*offset as usize..).unwrap_or_default();
                Answer::File(from[..from.len().min(*limit)].to_vec())
            }
            Query::Patch { path, .. } => {
                let tones = [old, new].map(|content| Tones::of(path.as_ref(), content));
                Answer::Patch(Arc::new(Patch::between(old, new)), Arc::new(tones))
            }
            Query::Listing { size, .. } => Answer::Listing(listing::tar(new, *size).map(Arc::new)),
            other => panic!("{other:?}"),
        };
        open.extend(viewer.loaded(&query, Ok(answer)));
        count += 1;
        assert!(count < 10_000, "it asks without end");
    }
    count
}

fn opened(content: &[u8]) -> Viewer {
    let mut viewer = Viewer::default();
    let requests = viewer.open(snapshot("1"), "etc/app.conf".into(), None, meta(Kind::File, content.len()));
    serve(&mut viewer, requests, b"", content);
    viewer
}

fn changed(old: &[u8], new: &[u8]) -> Viewer {
    let mut viewer = Viewer::default();
    let before = Some(snapshot("0"));
    let requests = viewer.open(snapshot("1"), "etc/app.conf".into(), before, meta(Kind::File, new.len()));
    serve(&mut viewer, requests, old, new);
    viewer
}

fn press(viewer: &mut Viewer, code: KeyCode) -> Outcome {
    viewer.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn drawn(viewer: &mut Viewer, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    viewer.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, false), true);
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

#[test]
fn what_takes_long_to_read_says_so() {
    let content = b"one\n";
    let mut viewer = Viewer::default();
    let requests = viewer.open(snapshot("1"), "etc/app.conf".into(), None, meta(Kind::File, content.len()));
    assert!(drawn(&mut viewer, 30, 6).starts_with("reading the file\n"));
    serve(&mut viewer, requests, b"", content);
    assert!(drawn(&mut viewer, 30, 6).contains("one"));
    assert!(!drawn(&mut viewer, 30, 6).contains("reading"));
}

#[test]
fn text_is_shown_with_line_numbers() {
    let mut viewer = opened(b"[main]\r\n\tname = app\n\nlong = the quick brown fox jumps over it\n");
    assert_eq!(viewer.title(), "/etc/app.conf");
    insta::assert_snapshot!(drawn(&mut viewer, 34, 9));
    press(&mut viewer, KeyCode::Char('w'));
    insta::assert_snapshot!(drawn(&mut viewer, 34, 9));
}

#[test]
fn a_changed_file_is_shown_by_what_changed() {
    let mut viewer = changed(b"a\nb\nc\n", b"a\nB\nc");
    insta::assert_snapshot!(drawn(&mut viewer, 50, 9));
    press(&mut viewer, KeyCode::Char('d'));
    let requests = viewer.wants();
    serve(&mut viewer, requests, b"", b"a\nB\nc");
    insta::assert_snapshot!(drawn(&mut viewer, 50, 6));
    press(&mut viewer, KeyCode::Char('d'));
    assert_eq!(viewer.find("b"), 2);
}

#[test]
fn what_has_no_lines_to_compare_says_so() {
    let mut viewer = changed(b"x", b"x");
    assert!(drawn(&mut viewer, 90, 5).contains("its content is the same as before"));
    let said = press(&mut viewer, KeyCode::Char('d'));
    assert_eq!(said, Outcome::Effect(Request::Say("its content is the same as before".to_owned())));
    let mut viewer = changed(b"x", b"\0\x01");
    assert!(drawn(&mut viewer, 90, 5).starts_with("00000000  00 01"));
    let mut viewer = opened(b"x");
    let said = press(&mut viewer, KeyCode::Char('d'));
    assert_eq!(
        said,
        Outcome::Effect(Request::Say("there is nothing else here that it could be compared with".to_owned()))
    );
}

#[test]
fn bytes_are_shown_in_hexadecimal() {
    let content = b"\x7fELF\0\0\x1b[31m";
    let mut viewer = opened(content);
    insta::assert_snapshot!(drawn(&mut viewer, 80, 4));
    assert_eq!(viewer.find("45 4c"), 1);
    press(&mut viewer, KeyCode::Char('m'));
    let requests = viewer.wants();
    serve(&mut viewer, requests, b"", content);
    assert!(drawn(&mut viewer, 80, 4).contains("^?ELF^@^@^[[31m"));
}

#[test]
fn what_has_no_content_says_what_it_is() {
    let said = |meta: Meta| {
        let mut viewer = Viewer::default();
        assert_eq!(viewer.open(snapshot("1"), "x".into(), None, meta), []);
        drawn(&mut viewer, 60, 3)
    };
    assert_eq!(said(Meta { device: (1, 3), ..meta(Kind::CharDevice, 0) }), " A character device, number 1:3.");
    assert_eq!(said(meta(Kind::Fifo, 0)), " A named pipe.");
    assert_eq!(drawn(&mut opened(b""), 60, 3), " The file is empty.");
    let mut viewer = Viewer::default();
    let link = Meta { target: "../a\x1b".into(), ..meta(Kind::Symlink, 0) };
    let [Request::Load(Slot::Viewer, query)] = &viewer.open(snapshot("1"), "x".into(), None, link)[..] else {
        panic!()
    };
    let error = EngineError::new("/a is not there");
    assert_eq!(viewer.loaded(query, Err(error)), []);
    assert_eq!(drawn(&mut viewer, 60, 4), " /a is not there\n\n\nlink to ../a^[ · m shows its bytes");
}

/// A file of many pieces.
fn large() -> Vec<u8> {
    (1..=300_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect()
}

#[test]
fn a_large_file_is_read_as_it_is_looked_at() {
    let content = large();
    let mut viewer = Viewer::default();
    let requests = viewer.open(snapshot("1"), "log".into(), None, meta(Kind::File, content.len()));
    assert_eq!(serve(&mut viewer, requests, b"", &content), 1);
    drawn(&mut viewer, 40, 10);
    press(&mut viewer, KeyCode::End);
    let requests = viewer.wants();
    assert!(drawn(&mut viewer, 60, 10).contains("reading on, "));
    assert!(serve(&mut viewer, requests, b"", &content) > 10);
    assert!(drawn(&mut viewer, 40, 10).contains("300000  line 300000 "));
    press(&mut viewer, KeyCode::Home);
    let requests = viewer.wants();
    assert_eq!(serve(&mut viewer, requests, b"", &content), 1);
    assert!(drawn(&mut viewer, 40, 10).contains("     1  line 1 "));
}

#[test]
fn a_search_reads_on_until_it_finds() {
    let content = large();
    let mut viewer = Viewer::default();
    let requests = viewer.open(snapshot("1"), "log".into(), None, meta(Kind::File, content.len()));
    serve(&mut viewer, requests, b"", &content);
    drawn(&mut viewer, 40, 10);
    let search = |viewer: &mut Viewer, expected: Option<&str>| {
        let requests = viewer.wants();
        serve(viewer, requests, b"", &content);
        assert!(!viewer.is_searching());
        let screen = drawn(viewer, 40, 10);
        assert!(expected.is_none_or(|expected| screen.contains(expected)), "{screen}");
    };
    assert_eq!(viewer.find("line 250000"), 0);
    assert!(viewer.is_searching());
    search(&mut viewer, Some("line 250000"));
    viewer.find_next(true);
    search(&mut viewer, Some("line 250000"));
    viewer.find("line 9999");
    search(&mut viewer, Some("line 9999\n"));
    viewer.find_next(true);
    search(&mut viewer, Some("line 99990\n"));
    viewer.find_next(false);
    search(&mut viewer, Some("line 9999\n"));
    viewer.find_next(false);
    search(&mut viewer, Some("line 99999\n"));
    viewer.find("nothing of the kind");
    search(&mut viewer, None);
    // Backwards from the beginning, while the end is not known.
    for (needle, expected) in [("line 3", Some("line 300000")), ("nothing of the kind", None)] {
        let mut viewer = Viewer::default();
        let requests = viewer.open(snapshot("1"), "log".into(), None, meta(Kind::File, content.len()));
        serve(&mut viewer, requests, b"", &content);
        drawn(&mut viewer, 40, 10);
        viewer.find(needle);
        viewer.find_next(false);
        search(&mut viewer, expected);
    }
    press(&mut viewer, KeyCode::Char('m'));
    let requests = viewer.wants();
    serve(&mut viewer, requests, b"", &content);
    drawn(&mut viewer, 80, 10);
    viewer.find("line 250000");
    search(&mut viewer, None);
    assert!(drawn(&mut viewer, 80, 10).contains("250000"));
    viewer.find("nothing of the kind");
    search(&mut viewer, None);
}

#[test]
fn an_answer_to_another_question_is_dropped() {
    let mut viewer = opened(b"text");
    let stale = Query::File { at: snapshot("9"), path: "etc/app.conf".into(), offset: 0, limit: 10 };
    assert_eq!(viewer.loaded(&stale, Ok(Answer::File(b"other".to_vec()))), []);
    assert!(drawn(&mut viewer, 40, 4).contains("text"));
}

proptest! {
    #[test]
    fn any_content_is_drawn_harmless(
        old in prop::collection::vec(any::<u8>(), 0..120),
        new in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\n\r\t\x1b"[..])], 0..300),
        keys in prop::collection::vec(prop::sample::select(&b"dmw jkhl"[..]), 0..10),
        width in 0u16..90,
        height in 0u16..10,
    ) {
        for mut viewer in [opened(&new), changed(&old, &new)] {
            for key in &keys {
                press(&mut viewer, KeyCode::Char(char::from(*key)));
                let requests = viewer.wants();
                serve(&mut viewer, requests, &old, &new);
                viewer.find("a");
                let screen = drawn(&mut viewer, width, height);
                prop_assert!(!screen.chars().any(|c| c != '\n' && text::is_harmful(c)), "{screen:?}");
            }
        }
    }
}

#[test]
fn words_have_the_colours_of_their_language() {
    let content = b"int x = 1; // one\n";
    let mut viewer = Viewer::default();
    let requests = viewer.open(snapshot("1"), "src/main.c".into(), None, meta(Kind::File, content.len()));
    serve(&mut viewer, requests, b"", content);
    let area = Rect::new(0, 0, 40, 3);
    let mut buffer = Buffer::empty(area);
    let look = Look::new(&Theme::dark(), Depth::True, false);
    viewer.render(area, &mut buffer, &look, true);
    let color = |x: u16| buffer[(x, 0)].fg;
    // Behind the line's number.
    assert_eq!((Some(color(5)), Some(color(13)), Some(color(16))), (look.keyword.fg, look.flag.fg, look.comment.fg));
}

#[test]
fn an_archive_is_listed_and_what_only_begins_like_one_is_not() {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(2);
    archive.append_data(&mut header, "bin/tool", &b"#!"[..]).unwrap();
    let bytes = archive.into_inner().unwrap();
    let mut viewer = opened(&bytes);
    let shown = drawn(&mut viewer, 70, 6);
    assert!(shown.contains("-rwxr-xr-x") && shown.contains("bin/tool"), "{shown}");
    assert!(shown.contains("tar: 1 member, 2 B unpacked"), "{shown}");
    assert_eq!(viewer.find("tool"), 1);
    // Its bytes, its text, and the list again.
    press(&mut viewer, KeyCode::Char('m'));
    let requests = viewer.wants();
    serve(&mut viewer, requests, b"", &bytes);
    assert!(drawn(&mut viewer, 70, 6).contains("62 69 6e 2f"), "{}", drawn(&mut viewer, 70, 6));
    press(&mut viewer, KeyCode::Char('m'));
    press(&mut viewer, KeyCode::Char('m'));
    assert_eq!(drawn(&mut viewer, 70, 6), shown);

    let mut viewer = opened(b"\x1f\x8b\x08 and nothing that could be read");
    assert!(drawn(&mut viewer, 70, 6).contains("1f 8b 08"));
}
