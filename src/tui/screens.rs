//! Whole screens, drawn from events as they come from a session.

use super::app::App;
use super::fixture;
use super::theme::{Depth, Look, Theme};
use super::update::{Message, update};
use super::{Options, views};
use crate::debug::Event;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::time::Duration;

pub(crate) fn app(events: &[Event], columns: u16, rows: u16) -> App {
    let options = Options { title: "hello/Dockerfile".to_owned(), ..Options::default() };
    let look = Look::new(&Theme::dark(), Depth::True, false);
    let mut app = App::new(&options, look, Depth::True, (columns, rows));
    app.now = Duration::from_secs(7);
    for event in events {
        update(&mut app, Message::Session(event.clone()));
    }
    app
}

pub(crate) fn drawn(app: &mut App) -> Buffer {
    let mut buffer = Buffer::empty(Rect::new(0, 0, app.size.0, app.size.1));
    views::draw(app, &mut buffer);
    views::make_safe(&mut buffer, app.ascii);
    buffer
}

pub(crate) fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width.max(1)));
    let lines = rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

fn check(name: &str, events: &[Event]) {
    for (columns, rows) in [(80, 24), (200, 60)] {
        let mut app = app(events, columns, rows);
        insta::assert_snapshot!(format!("{name}-{columns}"), text(&drawn(&mut app)));
    }
}

#[test]
fn stopped_before_an_instruction() {
    check("before", &fixture::hello_stopped().1);
}
