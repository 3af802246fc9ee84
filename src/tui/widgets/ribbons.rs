//! Streams between two columns of bars, each as thick as what flows: a Sankey diagram in a terminal's cells.
//!
//! A bar is as long as its size among those of its column; a ribbon begins and ends with its share of the two bars that
//! it joins, so it may widen on its way. What no ribbon takes along fades away.

use crate::tui::theme::{HUES, Look};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

/// Columns of a bar.
pub const BAR: u16 = 2;
/// Parts of a row that can be told apart, where there are colours enough.
const EIGHTHS: u16 = 8;
const LOWER: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// What is drawn.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    /// The size and the kind of each bar at the left.
    pub left: Vec<(u64, usize)>,
    /// The size of each at the right.
    pub right: Vec<u64>,
    pub links: Vec<Link>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub left: usize,
    pub right: usize,
    pub bytes: u64,
}

/// One of the bars that is to be seen more clearly, with all that flows from it or to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    Left(usize),
    Right(usize),
}

/// The rows that a bar has for itself and its label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    pub row: u16,
    pub rows: u16,
    /// Rows that the bar takes of them, from the top.
    pub bar: f64,
}

/// Divides rows by size, at least one for each; `None` if there are too few. Bars are to scale, but none is shorter
/// than `least`.
pub fn slots(sizes: &[u64], rows: u16, least: f64) -> Option<Vec<Slot>> {
    let count = sizes.len();
    if count == 0 || count > usize::from(rows) {
        return None;
    }
    // A blank row between them where that costs little.
    let gap = if usize::from(rows) >= count * 3 { 1.0 } else { 0.0 };
    let room = f64::from(rows) - gap * (count - 1) as f64;
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    // What is too small to fill its row leaves less to the others.
    let mut scale = if total > 0.0 { room / total } else { 0.0 };
    loop {
        let small = |size: &&u64| **size as f64 * scale < 1.0;
        let fixed = sizes.iter().filter(small).count() as f64;
        let rest: f64 = sizes.iter().filter(|size| !small(size)).map(|size| *size as f64).sum();
        let next = if rest > 0.0 { (room - fixed).max(0.0) / rest } else { scale };
        if next >= scale {
            break;
        }
        scale = next;
    }
    let mut at = 0.0;
    let mut tops = Vec::with_capacity(count + 1);
    for size in sizes {
        tops.push(at);
        at += (*size as f64 * scale).max(1.0) + gap;
    }
    tops.push(at);
    let row = |at: f64| (at.round() as u16).min(rows + gap as u16);
    let slot = |(index, size): (usize, &u64)| {
        let (top, end) = (row(tops[index]), row(tops[index + 1]) - gap as u16);
        let height = end.saturating_sub(top).max(1);
        Slot { row: top, rows: height, bar: (*size as f64 * scale).clamp(least, f64::from(height)) }
    };
    Some(sizes.iter().enumerate().map(slot).collect())
}

/// Draws bars at the left and the right edge of an area and what flows between them. `left` and `right` are the bars'
/// places, from [`slots`].
pub fn draw(
    streams: &Streams,
    (left, right): (&[Slot], &[Slot]),
    chosen: Option<Chosen>,
    area: Rect,
    buffer: &mut Buffer,
    look: &Look,
) {
    if area.width < 2 * BAR + 3 {
        return;
    }
    let smooth = look.streams.is_some() && !look.ascii();
    let parts = if smooth { EIGHTHS } else { 1 };
    let mut canvas = Canvas::new(area.width, area.height, parts);
    let ribbons = ribbons(streams, left, right, if smooth { 0.25 } else { 1.0 });
    let middle = area.width - 2 * BAR;
    // What stays behind lies below what flows.
    for (at, (slot, (size, _))) in left.iter().zip(&streams.left).enumerate() {
        let taken = ribbons.iter().filter(|it| it.link.left == at).map(|it| it.from.1).fold(0.0, f64::max);
        let from = if taken > 0.0 { taken } else { f64::from(slot.row) };
        let to = f64::from(slot.row) + slot.bar;
        if *size == 0 || (to - from) * f64::from(parts) < 0.5 {
            continue;
        }
        canvas.fill(0..BAR, (from, to), Ink::Left);
        let length = (middle / 3).clamp(1, 14);
        for column in 0..length {
            // It grows thinner, and then it is gone.
            let along = f64::from(column) / f64::from(length);
            let thin = (to - from) * (1.0 - 0.6 * along * along);
            let step = (along * 5.0) as u8;
            let end = if smooth { from + thin } else { to };
            canvas.fill(BAR + column..BAR + column + 1, (from, end), Ink::Fading(step.min(4)));
        }
    }
    let is_chosen = |link: &Link| match chosen {
        Some(Chosen::Left(at)) => link.left == at,
        Some(Chosen::Right(at)) => link.right == at,
        None => false,
    };
    let mut order: Vec<&Ribbon> = ribbons.iter().collect();
    let thick = |ribbon: &Ribbon| ribbon.to.1 - ribbon.to.0;
    order.sort_by(|a, b| is_chosen(&a.link).cmp(&is_chosen(&b.link)).then(thick(b).total_cmp(&thick(a))));
    for ribbon in order {
        let kind = streams.left[ribbon.link.left].1;
        let chosen = is_chosen(&ribbon.link);
        canvas.fill(0..BAR, ribbon.from, Ink::Bar { kind, chosen });
        for column in 0..middle {
            let along = (f64::from(column) + 0.5) / f64::from(middle);
            let eased = along * along * (3.0 - 2.0 * along);
            let between = |from: f64, to: f64| from + (to - from) * eased;
            let extent = (between(ribbon.from.0, ribbon.to.0), between(ribbon.from.1, ribbon.to.1));
            canvas.fill(BAR + column..BAR + column + 1, extent, Ink::Ribbon { kind, chosen });
        }
        canvas.fill(area.width - BAR..area.width, ribbon.to, Ink::Bar { kind, chosen });
    }
    canvas.put(area, buffer, look);
}

/// A link in its place: the rows that it covers at its two ends.
#[derive(Debug, Clone, Copy)]
struct Ribbon {
    link: Link,
    from: (f64, f64),
    to: (f64, f64),
}

fn ribbons(streams: &Streams, left: &[Slot], right: &[Slot], least: f64) -> Vec<Ribbon> {
    let mut links = streams.links.clone();
    links.retain(|link| link.left < left.len() && link.right < right.len() && link.bytes > 0);
    let share = |bytes: u64, size: u64, bar: f64| (bytes as f64 / size.max(1) as f64).min(1.0) * bar;
    // At each end they lie in the order of their other ends, so that those of one bar do not cross.
    links.sort_by_key(|link| (link.left, link.right));
    let mut tops: Vec<f64> = left.iter().map(|slot| f64::from(slot.row)).collect();
    let mut out: Vec<Ribbon> = Vec::with_capacity(links.len());
    for link in links {
        let slot = &left[link.left];
        let (top, end) = (tops[link.left], f64::from(slot.row) + slot.bar);
        let thick = share(link.bytes, streams.left[link.left].0, slot.bar).max(least);
        let top = top.min(end - least);
        tops[link.left] = top + thick;
        out.push(Ribbon { link, from: (top, (top + thick).min(end)), to: (0.0, 0.0) });
    }
    out.sort_by_key(|ribbon| (ribbon.link.right, ribbon.link.left));
    let mut tops: Vec<f64> = right.iter().map(|slot| f64::from(slot.row)).collect();
    for ribbon in &mut out {
        let slot = &right[ribbon.link.right];
        let end = f64::from(slot.row) + slot.bar;
        let top = tops[ribbon.link.right].min(end - least);
        let thick = share(ribbon.link.bytes, streams.right[ribbon.link.right], slot.bar).max(least);
        tops[ribbon.link.right] = top + thick;
        ribbon.to = (top, (top + thick).min(end));
    }
    out
}

/// What covers a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Bar {
        kind: usize,
        chosen: bool,
    },
    Ribbon {
        kind: usize,
        chosen: bool,
    },
    /// The part of a bar that stays behind.
    Left,
    /// What becomes of it, 0 to 4.
    Fading(u8),
}

struct Canvas {
    width: u16,
    /// Parts of a row.
    parts: u16,
    inks: Vec<Option<Ink>>,
}

impl Canvas {
    fn new(width: u16, rows: u16, parts: u16) -> Canvas {
        Canvas { width, parts, inks: vec![None; usize::from(width) * usize::from(rows) * usize::from(parts)] }
    }

    /// Covers columns from one row to another; never nothing.
    fn fill(&mut self, columns: std::ops::Range<u16>, (from, to): (f64, f64), ink: Ink) {
        let height = self.inks.len() / usize::from(self.width.max(1));
        let line = |row: f64| (row * f64::from(self.parts)).round().max(0.0) as usize;
        let top = line(from).min(height.saturating_sub(1));
        let end = line(to).max(top + 1).min(height);
        for y in top..end {
            for x in columns.clone() {
                self.inks[y * usize::from(self.width) + usize::from(x)] = Some(ink);
            }
        }
    }

    fn put(&self, area: Rect, buffer: &mut Buffer, look: &Look) {
        for position in area.positions() {
            let (x, y) = (usize::from(position.x - area.x), usize::from(position.y - area.y));
            let ink =
                |part: u16| self.inks[(y * usize::from(self.parts) + usize::from(part)) * usize::from(self.width) + x];
            let column: Vec<Option<Ink>> = (0..self.parts).map(ink).collect();
            if column.iter().all(Option::is_none) {
                continue;
            }
            let (sign, style) = match self.parts {
                1 => sign(column[0], look),
                _ => blend(&column, look),
            };
            buffer[position].set_symbol(sign).set_style(style);
        }
    }
}

/// One sign for all of a cell.
fn sign(ink: Option<Ink>, look: &Look) -> (&'static str, Style) {
    let ascii = look.ascii();
    let pick = |unicode: &'static str, plain: &'static str| if ascii { plain } else { unicode };
    match ink {
        None => (" ", Style::new()),
        Some(Ink::Bar { kind, chosen }) => {
            let style = look.hue(kind);
            (pick("█", "#"), if chosen { style.add_modifier(Modifier::BOLD) } else { style })
        }
        Some(Ink::Ribbon { kind, chosen: true }) => (pick("▓", "#"), look.hue(kind).add_modifier(Modifier::BOLD)),
        // Neighbours are told apart without their colours.
        Some(Ink::Ribbon { kind, .. }) if kind % 2 == 0 => (pick("▒", "="), look.hue(kind)),
        Some(Ink::Ribbon { kind, .. }) => (pick("▚", "~"), look.hue(kind)),
        Some(Ink::Left) => (pick("░", ":"), look.muted),
        Some(Ink::Fading(0 | 1)) => (pick("░", ":"), look.border),
        Some(Ink::Fading(_)) => (pick("·", "."), look.border),
    }
}

/// Two colours at most, one above the other: the division that is nearest to what covers the cell.
fn blend(column: &[Option<Ink>], look: &Look) -> (&'static str, Style) {
    let Some(streams) = look.streams else { return sign(column[0], look) };
    let colour = |ink: &Option<Ink>| {
        ink.map(|ink| match ink {
            Ink::Bar { kind, .. } => streams.hues[kind % HUES][0],
            Ink::Ribbon { kind, chosen } => streams.hues[kind % HUES][if chosen { 2 } else { 1 }],
            Ink::Left => streams.fading[0],
            Ink::Fading(step) => streams.fading[usize::from(step).min(streams.fading.len() - 1)],
        })
    };
    let colours: Vec<_> = column.iter().map(colour).collect();
    let most = |part: &[Option<Color>]| {
        let count = |wanted: &Option<Color>| part.iter().filter(|it| *it == wanted).count();
        part.iter().max_by_key(|it| count(it)).map(|it| (*it, count(it))).unwrap_or((None, 0))
    };
    let divided = |at: usize| {
        let ((above, first), (below, second)) = (most(&colours[..at]), most(&colours[at..]));
        (first + second, above, below)
    };
    let (at, (_, above, below)) = (0..colours.len())
        .map(|at| (at, divided(at)))
        .max_by_key(|(at, (hits, ..))| (*hits, std::cmp::Reverse(*at)))
        .unwrap_or((0, (0, None, None)));
    let sign = LOWER[(colours.len() - at).min(EIGHTHS.into())];
    let above = if at == 0 { below } else { above };
    if above == below {
        // Something may cross the cell with the same above and below it.
        return match colours.iter().flatten().find(|it| Some(**it) != below) {
            Some(colour) => thin(&colours, *colour, below),
            None => (" ", below.map_or(Style::new(), |below| Style::new().bg(below))),
        };
    }
    match (above, below) {
        (Some(above), Some(below)) => (sign, Style::new().fg(below).bg(above)),
        (None, Some(below)) => (sign, Style::new().fg(below)),
        // The ground's colour is not always known, but it is what the sign has when it is reversed.
        (Some(above), None) => (sign, Style::new().fg(above).add_modifier(Modifier::REVERSED)),
        (None, None) => (" ", Style::new()),
    }
}

fn thin(colours: &[Option<Color>], colour: Color, around: Option<Color>) -> (&'static str, Style) {
    let place = |at: Option<usize>| at.unwrap_or_default();
    let first = place(colours.iter().position(|it| *it == Some(colour)));
    let last = place(colours.iter().rposition(|it| *it == Some(colour)));
    let sign = match first + last {
        ..=4 => "▔",
        5..=9 => "━",
        _ => "▂",
    };
    let style = Style::new().fg(colour);
    (sign, around.map_or(style, |around| style.bg(around)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::theme::{Depth, Theme};
    use proptest::prelude::*;

    fn rows(sizes: &[u64], rows: u16) -> Option<Vec<(u16, u16, f64)>> {
        let slots = slots(sizes, rows, 0.25)?;
        Some(slots.iter().map(|slot| (slot.row, slot.rows, (slot.bar * 100.0).round() / 100.0)).collect())
    }

    #[test]
    fn each_bar_has_a_row_and_all_are_to_scale() {
        assert_eq!(rows(&[60, 30, 10], 10), Some(vec![(0, 5, 4.67), (6, 2, 2.0), (9, 1, 0.78)]));
        assert_eq!(rows(&[1000, 1, 0], 5), Some(vec![(0, 3, 3.0), (3, 1, 0.25), (4, 1, 0.25)]));
        assert_eq!(rows(&[5, 5], 2), Some(vec![(0, 1, 1.0), (1, 1, 1.0)]));
        assert_eq!(rows(&[0, 0], 4), Some(vec![(0, 1, 0.25), (1, 1, 0.25)]));
        assert_eq!(rows(&[5, 5, 5], 2), None);
        assert_eq!(rows(&[], 2), None);
    }

    fn drawn(width: u16, height: u16, ascii: bool) -> String {
        let streams = Streams {
            left: vec![(60, 0), (30, 1), (200, 2)],
            right: vec![80, 20],
            links: vec![
                Link { left: 0, right: 0, bytes: 60 },
                Link { left: 1, right: 0, bytes: 10 },
                Link { left: 1, right: 1, bytes: 20 },
                Link { left: 2, right: 0, bytes: 10 },
            ],
        };
        let sizes: Vec<u64> = streams.left.iter().map(|(size, _)| *size).collect();
        let (left, right) = (slots(&sizes, height, 1.0).unwrap(), slots(&streams.right, height, 1.0).unwrap());
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        let look = Look::new(&Theme::dark(), Depth::None, ascii);
        draw(&streams, (&left, &right), Some(Chosen::Left(1)), area, &mut buffer, &look);
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(|y| line(y).trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn ribbons_join_the_bars() {
        insta::assert_snapshot!("plain", drawn(40, 12, false));
        insta::assert_snapshot!("ascii", drawn(40, 12, true));
    }

    #[test]
    fn a_cell_shows_two_colours() {
        let look = Look::new(&Theme::dark(), Depth::True, false);
        let [blue, orange] = [0, 1].map(|kind| Some(Ink::Bar { kind, chosen: false }));
        let check = |column: [Option<Ink>; 8], expected: &str, reversed: bool| {
            let (sign, style) = blend(&column, &look);
            let found = style.add_modifier.contains(Modifier::REVERSED);
            assert_eq!((sign, found), (expected, reversed), "{column:?}");
        };
        check([blue; 8], " ", false);
        check([None, None, None, blue, blue, None, None, None], "━", false);
        check([blue, blue, orange, orange, blue, blue, blue, blue], "━", false);
        check([None, None, None, None, None, None, blue, blue], "▂", false);
        check([blue, blue, None, None, None, None, None, None], "▆", true);
        check([blue, blue, blue, orange, orange, orange, orange, orange], "▅", false);
        // Of three the thinnest gives way.
        check([None, orange, blue, blue, blue, blue, blue, blue], "▇", false);
    }

    proptest! {
        #[test]
        fn slots_follow_each_other(sizes in prop::collection::vec(0u64..1 << 40, 1..30), rows in 1u16..60) {
            let Some(slots) = slots(&sizes, rows, 0.125) else {
                prop_assert!(sizes.len() > usize::from(rows));
                return Ok(());
            };
            let mut at = 0;
            for slot in &slots {
                prop_assert!(slot.row >= at && slot.rows >= 1 && slot.bar <= f64::from(slot.rows), "{slots:?}");
                at = slot.row + slot.rows;
            }
            prop_assert!(at <= rows, "{slots:?} in {rows}");
        }
    }
}
