//! One picture: bars at the left and at the right, with their names, what flows between them, and what is selected.

use super::picture::{Arrival, Key, Part, Picture, merged};
use crate::tui::keymap::Motion;
use crate::tui::text;
use crate::tui::theme::Look;
use crate::tui::views::justified;
use crate::tui::widgets::browser::words;
use crate::tui::widgets::ribbons::{self, BAR, Chosen, Link, Slot, Streams};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use std::collections::{BTreeMap, BTreeSet};

/// Columns and rows that the picture takes at least.
const LEAST: (u16, u16) = (38, 4);
/// Rows that a name takes at most.
const NAME_ROWS: usize = 3;

/// One picture: what is at its left, and what is selected.
#[derive(Debug, Default)]
pub(super) struct Sankey {
    pub(super) title: String,
    pub(super) items: Vec<Item>,
    pub(super) side: Side,
    /// The selected one at the left and at the right, of those that are shown.
    pub(super) left: usize,
    pub(super) right: usize,
    /// What is shown, in the room that there is.
    pub(super) scene: Scene,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Side {
    #[default]
    Left,
    Right,
}

/// One bar at the left.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) name: String,
    pub(super) words: String,
    pub(super) built: u64,
    pub(super) ships: BTreeMap<usize, u64>,
    pub(super) within: Within,
}

#[derive(Debug, Clone)]
pub(super) enum Within {
    Parts(Vec<Part>),
    Files(Key),
    /// What is too small to be drawn by itself.
    Rest(Vec<Item>),
}

#[derive(Debug, Default)]
pub(super) struct Scene {
    pub(super) left: Vec<Item>,
    left_slots: Vec<Slot>,
    pub(super) right: Vec<Goal>,
    right_slots: Vec<Slot>,
    /// Columns of the labels, and where the picture is: without its heading and its last line.
    labels: (u16, u16),
    picture: Rect,
}

/// One bar at the right: an arrival, or several small ones.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    pub(super) name: String,
    pub(super) words: String,
    bytes: u64,
    pub(super) arrivals: Vec<usize>,
}

impl Item {
    fn shipped(&self) -> u64 {
        self.ships.values().copied().fold(0, u64::saturating_add)
    }
}

impl Sankey {
    pub(super) fn arrange(&mut self, picture: &Picture, area: Rect) {
        self.scene = Scene::default();
        if area.width < LEAST.0 || area.height < LEAST.1 {
            return;
        }
        // A heading where there is room for one, and a line about what is selected.
        let head = u16::from(area.height >= 8);
        let labels = (label(area.width, 28, 13, 36), label(area.width, 34, 15, 52));
        let middle = Rect {
            x: area.x + labels.0 + 1,
            y: area.y + head,
            width: area.width - labels.0 - labels.1 - 2,
            height: area.height - head - 1,
        };
        let rows = middle.height;
        let touched: BTreeSet<usize> = self.items.iter().flat_map(|item| item.ships.keys().copied()).collect();
        let right = goals(&picture.arrivals, &touched, usize::from(rows));
        let goal_of = |arrival: usize| right.iter().position(|goal| goal.arrivals.contains(&arrival));
        let centre = |item: &Item| {
            let weigh = item.ships.iter().filter_map(|(at, bytes)| Some((goal_of(*at)? as f64, *bytes as f64)));
            let (sum, total) = weigh.fold((0.0, 0.0), |(sum, total), (at, bytes)| (sum + at * bytes, total + bytes));
            if total > 0.0 { sum / total } else { f64::INFINITY }
        };
        // What ships first, so that little crosses.
        let mut left = reduced(&self.items, usize::from(rows));
        left.sort_by(|a, b| centre(a).total_cmp(&centre(b)));
        let sizes = |of: &mut dyn Iterator<Item = u64>| of.collect::<Vec<u64>>();
        let least = 0.25;
        let left_slots = ribbons::slots(&sizes(&mut left.iter().map(|item| item.built)), rows, least);
        let right_slots = ribbons::slots(&sizes(&mut right.iter().map(|goal| goal.bytes)), rows, least);
        self.left = self.left.min(left.len().saturating_sub(1));
        self.right = self.right.min(right.len().saturating_sub(1));
        if right.is_empty() {
            self.side = Side::Left;
        }
        self.scene = Scene {
            left,
            left_slots: left_slots.unwrap_or_default(),
            right,
            right_slots: right_slots.unwrap_or_default(),
            labels,
            picture: middle,
        };
    }

    pub(super) fn go(&mut self, motion: Motion) {
        let (selected, count) = match self.side {
            Side::Left => (&mut self.left, self.scene.left.len()),
            Side::Right => (&mut self.right, self.scene.right.len()),
        };
        match motion {
            Motion::Left => self.side = Side::Left,
            Motion::Right if !self.scene.right.is_empty() => self.side = Side::Right,
            Motion::Right => {}
            Motion::Up => *selected = selected.saturating_sub(1),
            Motion::Down => *selected = (*selected + 1).min(count.saturating_sub(1)),
            Motion::PageUp | Motion::First => *selected = 0,
            Motion::PageDown | Motion::Last => *selected = count.saturating_sub(1),
        }
    }

    /// Selects what is at a place of the pane's content; whether it was already.
    pub(super) fn click(&mut self, (x, y): (u16, u16)) -> bool {
        let scene = &self.scene;
        let Some(row) = y.checked_sub(scene.picture.y) else { return false };
        let side = if x < scene.picture.x + scene.picture.width / 2 { Side::Left } else { Side::Right };
        let (slots, selected) = match side {
            Side::Left => (&scene.left_slots, &mut self.left),
            Side::Right => (&scene.right_slots, &mut self.right),
        };
        let Some(at) = slots.iter().position(|slot| (slot.row..slot.row + slot.rows).contains(&row)) else {
            return false;
        };
        let again = self.side == side && *selected == at;
        (self.side, *selected) = (side, at);
        again
    }

    pub(super) fn render(&self, picture: &Picture, area: Rect, buffer: &mut Buffer, look: &Look, focused: bool) {
        let scene = &self.scene;
        if scene.left_slots.is_empty() {
            let text = format!("The picture takes {} columns and {} rows.", LEAST.0, LEAST.1);
            return words(&[text], area, buffer, look);
        }
        let links = scene.left.iter().enumerate().flat_map(|(left, item)| {
            let goals = scene.right.iter().enumerate();
            goals.filter_map(move |(right, goal)| {
                let sum = |sum: u64, at: &usize| sum.saturating_add(item.ships.get(at).copied().unwrap_or(0));
                let bytes = goal.arrivals.iter().fold(0, sum);
                (bytes > 0).then_some(Link { left, right, bytes })
            })
        });
        let streams = Streams {
            left: scene.left.iter().enumerate().map(|(at, item)| (item.built, at)).collect(),
            right: scene.right.iter().map(|goal| goal.bytes).collect(),
            links: links.collect(),
        };
        let chosen = match self.side {
            Side::Left => Chosen::Left(self.left),
            Side::Right => Chosen::Right(self.right),
        };
        let middle = Rect { x: area.x + scene.picture.x, y: area.y + scene.picture.y, ..scene.picture };
        let slots = (&scene.left_slots[..], &scene.right_slots[..]);
        ribbons::draw(&streams, slots, Some(chosen), middle, buffer, look);
        let (left, right) = (
            Rect { x: area.x, width: scene.labels.0, ..middle },
            Rect { x: middle.right() + 1, width: scene.labels.1, ..middle },
        );
        for (at, (item, slot)) in scene.left.iter().zip(&scene.left_slots).enumerate() {
            let shipped = item.shipped();
            let second = match shipped {
                0 => String::new(),
                bytes if bytes == item.built => "all ships".to_owned(),
                bytes => format!("{} ship", text::size(bytes)),
            };
            let label = Label { name: &item.name, size: item.built, second, faint: shipped == 0 };
            let marked = self.side == Side::Left && self.left == at;
            label.put(*slot, left, (marked, focused), buffer, look);
        }
        for (at, (goal, slot)) in scene.right.iter().zip(&scene.right_slots).enumerate() {
            let second = text::percent(goal.bytes, picture.total);
            let label = Label { name: &goal.name, size: goal.bytes, second, faint: false };
            let marked = self.side == Side::Right && self.right == at;
            label.put(*slot, right, (marked, focused), buffer, look);
        }
        if scene.picture.y > 0 {
            let built = self.items.iter().map(|item| item.built).fold(0, u64::saturating_add);
            let ships: u64 = self.items.iter().map(Item::shipped).fold(0, u64::saturating_add);
            let verb = if picture.is_of_build() { "built" } else { "written" };
            let from = format!("{} {verb}", text::size(built));
            let to = match ships == picture.total {
                true => format!("{} in the image", text::size(ships)),
                false => format!("{} of {} in the image", text::size(ships), text::size(picture.total)),
            };
            let room = usize::from(area.width / 2);
            buffer.set_stringn(area.x, area.y, &from, room, look.muted);
            let (x, room) = (right.x.saturating_sub(BAR + 1), usize::from(right.width + BAR + 1));
            let shown = text::clip(&to, room, look.signs.ellipsis);
            buffer.set_stringn(x, area.y, shown, room, look.muted);
        }
        let foot = self.detail(picture, look);
        let room = usize::from(area.width);
        let shown = text::clip(&foot, room, look.signs.ellipsis);
        buffer.set_stringn(area.x, area.bottom() - 1, shown, room, look.text);
    }

    /// All about what is selected, on one line.
    fn detail(&self, picture: &Picture, look: &Look) -> String {
        let bullet = look.signs.bullet;
        match self.side {
            Side::Left => {
                let Some(item) = self.scene.left.get(self.left) else { return String::new() };
                let shipped = item.shipped();
                let left = item.built.saturating_sub(shipped);
                let mut parts = Vec::new();
                parts.push(match shipped {
                    0 => format!("none of its {} ship", text::size(item.built)),
                    _ => {
                        format!("{} ship, {} of the image", text::size(shipped), text::percent(shipped, picture.total))
                    }
                });
                parts.extend((shipped > 0).then(|| match left {
                    0 => "nothing stays behind".to_owned(),
                    left => format!("{} stay behind", text::size(left)),
                }));
                parts.push(text::sanitise(&item.words).into_owned());
                parts.join(bullet)
            }
            Side::Right => {
                let Some(goal) = self.scene.right.get(self.right) else { return String::new() };
                let comes = |item: &&Item| goal.arrivals.iter().any(|at| item.ships.contains_key(at));
                let from: Vec<String> =
                    self.scene.left.iter().filter(comes).map(|item| text::sanitise(&item.name).into_owned()).collect();
                let size = format!("{}, {}", text::size(goal.bytes), text::percent(goal.bytes, picture.total));
                let words = text::sanitise(&goal.words).into_owned();
                [size, format!("from {}", from.join(", ")), words].join(bullet)
            }
        }
    }
}

/// A part of the width, within bounds.
fn label(width: u16, percent: u16, least: u16, most: u16) -> u16 {
    ((u32::from(width) * u32::from(percent) / 100) as u16).clamp(least, most)
}

/// As many as there are rows for: the smallest go together.
fn reduced(items: &[Item], rows: usize) -> Vec<Item> {
    if items.len() <= rows {
        return items.to_vec();
    }
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse((items[*at].shipped(), items[*at].built)));
    let (kept, rest) = order.split_at(rows.saturating_sub(1));
    let mut kept: Vec<usize> = kept.to_vec();
    kept.sort_unstable();
    let mut rest: Vec<usize> = rest.to_vec();
    rest.sort_unstable();
    let rest: Vec<Item> = rest.iter().map(|at| items[*at].clone()).collect();
    let mut out: Vec<Item> = kept.iter().map(|at| items[*at].clone()).collect();
    let name = format!("{} more", rest.len());
    out.push(Item {
        words: format!("{name}, the smallest"),
        name,
        built: rest.iter().map(|item| item.built).fold(0, u64::saturating_add),
        ships: merged(rest.iter().flat_map(|item| item.ships.iter().map(|(at, bytes)| (*at, *bytes)))),
        within: Within::Rest(rest),
    });
    out
}

/// What is at the right: arrivals that something on show comes to, in their order; the smallest go together.
fn goals(arrivals: &[Arrival], touched: &BTreeSet<usize>, rows: usize) -> Vec<Goal> {
    let mut order: Vec<usize> = touched.iter().copied().filter(|at| *at < arrivals.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(arrivals[*at].bytes));
    let kept = if order.len() <= rows { order.len() } else { rows.saturating_sub(1) };
    let rest = order.split_off(kept);
    order.sort_unstable();
    let goal = |at: usize| {
        let arrival = &arrivals[at];
        let (name, words) = (arrival.name.clone(), arrival.words.clone());
        Goal { name, words, bytes: arrival.bytes, arrivals: vec![at] }
    };
    let mut out: Vec<Goal> = order.into_iter().map(goal).collect();
    if !rest.is_empty() {
        let bytes = rest.iter().map(|at| arrivals[*at].bytes).fold(0, u64::saturating_add);
        let name = format!("{} more", rest.len());
        out.push(Goal { words: format!("{name}, the smallest"), name, bytes, arrivals: rest });
    }
    out
}

/// The words beside a bar.
struct Label<'a> {
    name: &'a str,
    size: u64,
    second: String,
    faint: bool,
}

impl Label<'_> {
    fn put(&self, slot: Slot, area: Rect, (marked, focused): (bool, bool), buffer: &mut Buffer, look: &Look) {
        let width = usize::from(area.width);
        let name = text::sanitise(self.name);
        let size = text::size(self.size);
        let style = if self.faint { look.muted } else { look.text };
        let style = if marked { style.add_modifier(Modifier::BOLD) } else { style };
        // At the right the numbers; the name takes more rows where there are some.
        let rows = usize::from(slot.rows);
        let is_short = text::width(&name) + 1 + text::width(&size) <= width;
        let mut numbers = vec![size];
        if rows > 1 && !self.second.is_empty() && self.second.len() < width {
            // A long name has a row for itself between them.
            numbers.extend((!is_short && rows >= NAME_ROWS).then(String::new));
            numbers.push(self.second.clone());
        }
        let mut names = vec![name.to_string()];
        if !is_short && rows > 1 {
            let beside = |row: usize| match numbers.get(row).map_or(0, |number| text::width(number)) {
                0 => width,
                taken => width.saturating_sub(taken + 1).max(1),
            };
            names.clear();
            let mut rest = &*name;
            while !rest.is_empty() && names.len() <= NAME_ROWS {
                let line = text::wrap(rest, beside(names.len())).swap_remove(0);
                rest = rest.strip_prefix(&*line).unwrap_or_default().trim_start();
                names.push(line);
            }
        }
        let lines = names.len().min(NAME_ROWS).max(numbers.len()).min(rows);
        let spans = (0..lines).map(|line| {
            let number = numbers.get(line).cloned().unwrap_or_default();
            let mut name = names.get(line).cloned().unwrap_or_default();
            if line + 1 == lines && names.len() > lines {
                name.push_str(look.signs.ellipsis);
            }
            justified(look, (&name, style), (&number, look.muted), width)
        });
        let spans: Vec<Vec<Span<'static>>> = spans.collect();
        for (line, spans) in spans.into_iter().enumerate() {
            let y = area.y + slot.row + line as u16;
            if y >= area.bottom() {
                break;
            }
            if marked {
                let selection = if focused { look.selection } else { look.selection_idle };
                buffer.set_style(Rect { y, height: 1, ..area }, selection);
            }
            buffer.set_line(area.x, y, &Line::from(spans), area.width);
        }
    }
}
