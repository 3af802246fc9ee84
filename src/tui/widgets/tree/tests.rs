use super::sample::{put, stack, tree};
use super::*;
use crate::layers::{Entry, Kind, Layer, Meta};
use crate::tui::text;
use crate::tui::theme::{Depth, Look, Theme};
use proptest::prelude::*;
use ratatui::buffer::Buffer;

fn changes() -> Tree {
    let mut tree = Tree::new(Flavour::Changes);
    tree.set(Arc::new(Diff::of_layer(&stack(), 1)), false);
    tree
}

fn files() -> Tree {
    let mut tree = Tree::new(Flavour::Files);
    tree.set(Arc::new(Diff::above(&stack(), 1, Scope::Everything)), false);
    tree
}

fn press(tree: &mut Tree, keys: &str) -> Reaction {
    let mut reaction = Reaction::Ignored;
    for key in keys.split_whitespace() {
        let code = match key {
            "Up" => KeyCode::Up,
            "Down" => KeyCode::Down,
            "Left" => KeyCode::Left,
            "Right" => KeyCode::Right,
            "PgDn" => KeyCode::PageDown,
            "Home" => KeyCode::Home,
            "End" => KeyCode::End,
            "Enter" => KeyCode::Enter,
            "Space" => KeyCode::Char(' '),
            other => KeyCode::Char(other.chars().next().unwrap()),
        };
        reaction = tree.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    reaction
}

fn drawn(tree: &mut Tree, width: u16, height: u16) -> String {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    tree.render(area, &mut buffer, &Look::new(&Theme::dark(), Depth::None, false), true);
    let selected = |y| width > 0 && buffer[(0, y)].modifier.contains(ratatui::style::Modifier::REVERSED);
    let line = |y| {
        let text: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        format!("{}{}", if selected(y) { ">" } else { " " }, text.trim_end())
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

fn selected(tree: &Tree) -> String {
    let id = tree.selected().unwrap();
    tree.diff().unwrap().path(id).to_string()
}

/// Looks for a text, and finds it at once. How many hits there are.
fn find(tree: &mut Tree, text: &str) -> usize {
    let at_once = tree.look_for(Pattern::new(text));
    let found = tree.sought().map(|(diff, pattern)| diff.find(pattern));
    found.map_or(at_once, |found| tree.take_found(found, true))
}

#[test]
fn changes_are_open_as_far_as_they_can_be_seen() {
    insta::assert_snapshot!(drawn(&mut changes(), 70, 14));
}

#[test]
fn files_are_marked_with_what_is_new() {
    let mut tree = files();
    press(&mut tree, "*");
    insta::assert_snapshot!(drawn(&mut tree, 70, 24));
    press(&mut tree, "a");
    insta::assert_snapshot!(drawn(&mut tree, 70, 24));
}

#[test]
fn columns_are_shown_if_there_is_room() {
    let mut tree = files();
    press(&mut tree, "i * o");
    insta::assert_snapshot!([drawn(&mut tree, 100, 6), drawn(&mut tree, 60, 6), drawn(&mut tree, 24, 6)].join("\n\n"));
}

/// Presses keys, and expects this path to be selected.
fn check(tree: &mut Tree, keys: &str, expected: &str) {
    press(tree, keys);
    assert_eq!(selected(tree), expected, "{keys}");
}

#[test]
fn keys_walk_the_tree() {
    let mut tree = files();
    check(&mut tree, "", "etc");
    check(&mut tree, "Down", "go");
    check(&mut tree, "Right Right Right Right", "go/pkg/mod");
    check(&mut tree, "Left", "go/pkg");
    check(&mut tree, "Left Left", "go");
    check(&mut tree, "End", "usr");
    check(&mut tree, "Enter Down Space Down", "usr/bin/go");
    assert!(matches!(press(&mut tree, "Enter"), Reaction::Open(_)));
    check(&mut tree, "Home", "etc");
    check(&mut tree, "o", "etc");
    check(&mut tree, "Home", "go");
    check(&mut tree, "Up", "go");
    assert_eq!(press(&mut tree, "n"), Reaction::Ignored);
}

#[test]
fn hits_are_found_and_opened() {
    let mut tree = files();
    assert_eq!(find(&mut tree, "go"), 7);
    assert_eq!(selected(&tree), "go");
    tree.find_next(true);
    assert_eq!(selected(&tree), "go/pkg/mod/golang.org");
    tree.find_next(false);
    tree.find_next(false);
    assert_eq!(selected(&tree), "usr/bin/gofmt");
    assert_eq!(find(&mut tree, "html"), 1);
    assert_eq!(selected(&tree), "go/pkg/mod/golang.org/x/net@v0.30.0/html.go");
    press(&mut tree, "v");
    assert_eq!(tree.state(), ["only hits"]);
    assert_eq!(tree.rows.len(), 7);
    check(&mut tree, "v", "go/pkg/mod/golang.org/x/net@v0.30.0/html.go");
    // Nothing to look for is nothing to leave out.
    press(&mut tree, "v");
    tree.look_for(None);
    assert_eq!((tree.state(), selected(&tree).as_str()), (Vec::new(), "go/pkg/mod/golang.org/x/net@v0.30.0/html.go"));
    assert_eq!(find(&mut tree, "nothing at all"), 0);
    let mut joined = changes();
    assert_eq!(find(&mut joined, "pkg"), 1);
    assert_eq!(selected(&joined), "go/pkg/mod");
}

#[test]
fn keys_work_before_anything_is_found() {
    let mut tree = files();
    find(&mut tree, "go");
    let (rows, selection) = (tree.rows.clone(), selected(&tree));
    tree.look_for(Pattern::new("html"));
    tree.find_next(true);
    press(&mut tree, "v");
    assert_eq!((&tree.rows, selected(&tree)), (&rows, selection));
    let found = tree.sought().map(|(diff, pattern)| diff.find(pattern)).unwrap();
    assert_eq!(tree.take_found(found, true), 1);
    assert_eq!((tree.rows.len(), selected(&tree).as_str()), (7, "go/pkg/mod/golang.org/x/net@v0.30.0/html.go"));
    // In another tree it is looked for again, and nobody is led away by it.
    tree.set(Arc::new(Diff::above(&stack(), 1, Scope::Everything)), true);
    press(&mut tree, "Home");
    let found = tree.sought().map(|(diff, pattern)| diff.find(pattern)).unwrap();
    assert_eq!(tree.take_found(found, false), 1);
    assert_eq!(selected(&tree), "etc");
}

#[test]
fn what_is_open_and_selected_stays_so() {
    let mut tree = files();
    check(&mut tree, "End Right Right Right Right Down Down", "usr/bin/gofmt");
    let mut after = stack();
    after.apply(&Layer { entries: vec![put("aaa", 1), Entry::Whiteout { path: "usr/bin/gofmt".into() }] }, 2);
    tree.set(Arc::new(Diff::above(&after, 2, Scope::Everything)), true);
    assert_eq!(selected(&tree), "usr/bin");
    check(&mut tree, "Down", "usr/bin/go");
    check(&mut tree, "Home", "aaa");
}

#[test]
fn the_mouse_selects_opens_and_turns() {
    let mut tree = files();
    let area = Rect::new(5, 5, 60, 3);
    let mouse = |kind, column, row| MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE };
    let mut buffer = Buffer::empty(area);
    let look = Look::new(&Theme::dark(), Depth::None, false);
    tree.render(area, &mut buffer, &look, true);
    let click = MouseEventKind::Down(MouseButton::Left);
    assert_eq!(tree.mouse(mouse(click, 20, 6), area), Reaction::Consumed);
    assert_eq!(selected(&tree), "go");
    tree.mouse(mouse(click, 20, 6), area);
    assert_eq!(tree.rows.len(), 6);
    tree.mouse(mouse(click, 7, 5), area);
    assert_eq!((tree.rows.len(), selected(&tree).as_str()), (8, "etc"));
    tree.mouse(mouse(MouseEventKind::ScrollDown, 20, 6), area);
    tree.render(area, &mut buffer, &look, true);
    assert_eq!((tree.top, selected(&tree).as_str()), (3, "etc"));
    assert_eq!(tree.mouse(mouse(click, 20, 20), area), Reaction::Ignored);
}

proptest! {
    /// No name and no size of the screen brings a control character to the terminal, or a panic.
    #[test]
    fn any_names_are_drawn_harmless(
        names in prop::collection::vec(prop::collection::vec(1u8..=255, 1..12), 1..12),
        width in 0u16..90,
        height in 0u16..12,
        keys in prop::collection::vec(prop::sample::select(&["Down", "Right", "*", "i", "o", "a", "v", "End", "Left"][..]), 0..12),
    ) {
        let entry = |name: &Vec<u8>| Entry::Put { path: name.as_slice().into(), meta: Meta::new(Kind::File), opaque: false };
        let tree = tree(&[Vec::new(), names.iter().map(entry).collect()]);
        for (flavour, scope) in [(Flavour::Changes, Scope::Changed), (Flavour::Files, Scope::Everything)] {
            let mut widget = Tree::new(flavour);
            widget.set(Arc::new(Diff::above(&tree, 1, scope)), false);
            find(&mut widget, "a");
            press(&mut widget, &keys.join(" "));
            let screen = drawn(&mut widget, width, height);
            prop_assert!(!screen.chars().any(|c| c != '\n' && text::is_harmful(c)), "{screen:?}");
        }
    }
}
